"""Takes the place of the Slicer program in ctest: `launcher.py [options] --python-code CODE | --python-script FILE`.

Of Slicer's options it knows those that CMake's test macros give. The modules below `--additional-module-paths` are
loaded as Slicer loads them, each .py file beside another as a module, into `slicer.modules`. Ends with 77 (skipped)
where slicer-core, which brings Slicer's own classes, is not installed.
"""

import argparse
import importlib.util
import os
import sys
import traceback
import types
import unittest
from pathlib import Path

SKIPPED = 77


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    for switch in ("--no-splash", "--testing", "--no-main-window", "--disable-cli-modules"):
        parser.add_argument(switch, action="store_true")
    parser.add_argument("--additional-module-path", action="append", default=[])
    parser.add_argument("--additional-module-paths", nargs="*", default=[])
    parser.add_argument("--python-code")
    parser.add_argument("--python-script", nargs=argparse.REMAINDER)
    return parser.parse_args()


def run_unit_test(path: list[str], name: str) -> None:
    """As slicer.testing.runUnitTest: raises where a test fails."""
    sys.path.extend([path] if isinstance(path, str) else path)
    suite = unittest.TestLoader().loadTestsFromName(name)
    if not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful():
        raise RuntimeError(f"{name} failed")


class Logic:
    """ScriptedLoadableModuleLogic, as far as logics without a widget use it."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")


class Test(unittest.TestCase):
    """ScriptedLoadableModuleTest: unittest finds its test_ functions."""

    def delayDisplay(self, message, msec=100):
        print(message)


class Module:
    """ScriptedLoadableModule."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        self.parent.name = self.moduleName


def start() -> types.ModuleType:
    """The `slicer` package of slicer-core with what a module without its window needs."""
    import slicer
    import slicer.util

    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.app = types.SimpleNamespace(
        connect=lambda signal, slot: True, testingEnabled=lambda: True, applicationLogic=lambda: None
    )
    slicer.modules = types.SimpleNamespace()
    parts = {
        "slicer.i18n": {"tr": lambda text: text, "translate": lambda context, text: text},
        "slicer.testing": {"runUnitTest": run_unit_test},
        "slicer.ScriptedLoadableModule": {
            "ScriptedLoadableModule": Module,
            "ScriptedLoadableModuleWidget": object,
            "ScriptedLoadableModuleLogic": Logic,
            "ScriptedLoadableModuleTest": Test,
        },
    }
    for name, members in parts.items():
        part = types.ModuleType(name)
        part.__dict__.update(members)
        part.__all__ = list(members)
        sys.modules[name] = part
        setattr(slicer, name.split(".")[1], part)
    return slicer


def load_modules(slicer: types.ModuleType, folders: list[str]) -> None:
    for folder in dict.fromkeys(map(os.path.abspath, folders)):
        if not os.path.isdir(folder):
            continue
        sys.path.insert(0, folder)
        for script in sorted(Path(folder).glob("*.py")):
            spec = importlib.util.spec_from_file_location(script.stem, script)
            code = importlib.util.module_from_spec(spec)
            sys.modules[script.stem] = code
            spec.loader.exec_module(code)
            module = types.SimpleNamespace(path=str(script))
            getattr(code, script.stem)(module)
            setattr(slicer.modules, script.stem.lower(), module)


def main() -> int:
    options = arguments()
    if importlib.util.find_spec("slicer") is None:
        print("skipped: slicer-core is not installed (pip install slicer-core)")
        return SKIPPED
    slicer = start()
    try:
        load_modules(slicer, options.additional_module_path + options.additional_module_paths)
        if options.python_script:
            script, *sys.argv[1:] = options.python_script
            exec(compile(Path(script).read_text(encoding="utf-8"), script, "exec"), {"__name__": "__main__"})
        elif options.python_code:
            exec(options.python_code, {"__name__": "__main__"})
    except Exception:  # Slicer with --testing ends with 1 on any of them
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    # The end of a Python that holds MRML nodes is of no interest to a test.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
