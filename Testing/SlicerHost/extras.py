"""slicer.i18n, slicer.packaging and SampleData, as thin as a module under test needs them."""

import types
from pathlib import Path

from . import dialogs


def i18n() -> types.ModuleType:
    module = types.ModuleType("slicer.i18n", "Texts stay English.")

    def tr(text):
        return _text(text)

    def translate(context, text):
        if not isinstance(context, str):
            raise TypeError(f"translate: context {context!r} is no text")
        return _text(text)

    module.tr, module.translate = tr, translate
    return module


def _text(text):
    if not isinstance(text, str):
        raise TypeError(f"tr: {text!r} is no text")
    return text


def packaging(installed: list) -> types.ModuleType:
    """Nothing is installed: what was asked for is recorded."""
    module = types.ModuleType("slicer.packaging", "Installing Python packages, recorded.")

    def pip_ensure(requirements, constraints=None, prompt_install=True, requester=None, skip_in_testing=True,
                   prompt_restart=True, show_progress=True, **unknown):  # fmt: skip
        if unknown:
            raise TypeError(f"pip_ensure: unknown arguments {sorted(unknown)}")
        installed.append(("pip_ensure", requirements))

    def pip_install(requirements, **_options):
        installed.append(("pip_install", requirements))

    def load_requirements(path):
        lines = [line.split(" #")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    def load_pyproject_dependencies(*_):
        raise NotImplementedError("slicer.packaging.load_pyproject_dependencies")

    module.pip_ensure, module.pip_install, module.load_requirements = pip_ensure, pip_install, load_requirements
    module.load_pyproject_dependencies = load_pyproject_dependencies
    return module


def sample_data(sources: list) -> types.ModuleType:
    """Registered sources are recorded; files of this machine can be loaded, nothing is downloaded."""
    module = types.ModuleType("SampleData", "Sample data, recorded.")

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(category="Custom", sampleName=None, uris=None, fileNames=None,
                                           nodeNames=None, customDownloader=None, thumbnailFileName=None,
                                           loadFileTypes=None, loadFiles=None, loadFileProperties=None,
                                           checksums=None, **unknown):  # fmt: skip
            if unknown:
                raise TypeError(f"registerCustomSampleDataSource: unknown arguments {sorted(unknown)}")
            if thumbnailFileName is not None and not Path(thumbnailFileName).is_file():
                raise FileNotFoundError(f"sample {sampleName}: no thumbnail {thumbnailFileName}")
            sources.append({
                "category": category, "sampleName": sampleName, "uris": uris, "fileNames": fileNames,
                "nodeNames": nodeNames, "thumbnailFileName": thumbnailFileName, "checksums": checksums,
                "customDownloader": customDownloader, "loadFileTypes": loadFileTypes, "loadFiles": loadFiles,
            })  # fmt: skip

        def __getattr__(self, name):
            raise NotImplementedError(f"SampleDataLogic.{name}: nothing is downloaded in the host")

    def downloadSample(name):
        raise NotImplementedError(f"SampleData.downloadSample({name!r}): nothing is downloaded in the host")

    module.SampleDataLogic, module.downloadSample = SampleDataLogic, downloadSample
    return module


def asked(state: dialogs.Dialogs) -> list[str]:
    """The texts of all dialogs so far."""
    return [message.text for message in state.shown]
