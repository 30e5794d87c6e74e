"""What is missing or half installed is found without importing it, and mended; folders of wheels; failures."""

import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from DLReconLib import dependencies
from DLReconLib.dependencies import DependencyError, Step, install, packages, plan
from DLReconLib.dependencies.packages import PACKAGES, State, examine, look
from DLReconLib.dependencies.remedies import import_remedy, install_remedy
from DLReconLib.dependencies.wheels import Wheel, lacking, satisfies, split
from DLReconLib.progress import Cancelled

ROOT = Path(__file__).parents[2]
BY_NAME = {package.name: package for package in PACKAGES}
TORCH = BY_NAME["torch"]
SUITING = {"numpy": "2.1.0", "scipy": "1.14", "scikit-image": "0.25", "SimpleITK": "2.4", "torch": "2.9.1+cpu",
           "safetensors": "0.5", "monai": "1.5", "matplotlib": "3.10"}  # fmt: skip


def put(
    site: Path, name: str, version: str = "", *, module: bool = True, record: bool = True, end: bool = True
) -> None:
    """A package as pip leaves it, or half of it."""
    folder = site / BY_NAME[name].module
    if module:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("")
    if record:
        version = version or SUITING[name]
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if end:
            (info / "INSTALLER").write_text("pip\n")
            listed = [f"{folder.name}/__init__.py", *(f"{info.name}/{f}" for f in ("METADATA", "INSTALLER", "RECORD"))]
            (info / "RECORD").write_text("".join(f"{path},,\n" for path in listed))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where packages are installed: everything is there."""
    for name in SUITING:
        put(tmp_path / "site", name)
    return tmp_path / "site"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def kinds(site: Path) -> dict[str, str]:
    return {state.package.name: state.kind for state in examine("train", [str(site)])}


# ---- what there is


def test_all_there(site: Path) -> None:
    assert set(kinds(site).values()) == {"present"}
    assert plan("train", states=examine("train", [str(site)])) == []


def test_nothing_there(empty: Path) -> None:
    assert set(kinds(empty).values()) == {"missing"}


def test_version_without_importing(site: Path) -> None:
    state = look(TORCH, [str(site)])
    assert state.version == "2.9.1+cpu"


@pytest.mark.parametrize(("version", "kind"), [("2.3.1", "version"), ("2.14.0", "version"), ("2.4.0", "present")])
def test_versions(empty: Path, version: str, kind: str) -> None:
    put(empty, "torch", version)
    state = look(TORCH, [str(empty)])
    assert state.kind == kind
    assert version in state.text


def test_record_without_files(empty: Path) -> None:
    put(empty, "torch", module=False)
    state = look(TORCH, [str(empty)])
    assert state.kind == "empty"
    assert "uninstall torch" in state.mend
    steps = plan(states=[state])
    assert [step.kind for step in steps] == ["uninstall", "torch"]  # else pip takes it for installed


def test_files_without_record(empty: Path) -> None:
    put(empty, "torch", record=False)
    state = look(TORCH, [str(empty)])
    assert state.kind == "unrecorded"
    assert [step.kind for step in plan(states=[state])] == ["torch"]


def test_a_package_that_slicer_ships_needs_no_record(empty: Path) -> None:
    put(empty, "SimpleITK", record=False)
    assert look(BY_NAME["SimpleITK"], [str(empty)]).ok


@pytest.mark.parametrize("name", ["~orch", "~-rch", "~orch-2.9.1.dist-info"])
def test_what_an_uninstallation_left(empty: Path, name: str) -> None:
    (empty / name).mkdir()
    (empty / "~onai").mkdir()  # another package's
    state = look(TORCH, [str(empty)])
    assert state.kind == "missing"
    assert state.remains == (str(empty / name),)
    assert name in state.mend
    assert plan(states=[state])[0] == Step("remove", plan(states=[state])[0].title, (str(empty / name),))


def test_a_folder_that_could_not_be_deleted(empty: Path) -> None:
    (empty / "torch" / "lib").mkdir(parents=True)
    (empty / "torch" / "lib" / "c10.dll").write_text("in use")
    state = look(TORCH, [str(empty)])
    assert (state.kind, state.remains) == ("missing", (str(empty / "torch"),))


def test_a_folder_of_the_users_own_is_let_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is on Python's path: what lies there was not installed."""
    (tmp_path / "dlrecon_none" / "images").mkdir(parents=True)
    (tmp_path / "~lrecon_none").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    package = replace(TORCH, name="dlrecon-none", module="dlrecon_none")
    assert packages.importlib.util.find_spec("dlrecon_none")  # as a namespace package
    assert look(package) == State(package, "missing", "", "dlrecon-none is not installed", look(package).mend, ())


def test_an_installation_that_did_not_end(empty: Path) -> None:
    put(empty, "torch", end=False)
    state = look(TORCH, [str(empty)])
    assert state.kind == "interrupted"
    assert [Path(folder).name for folder in state.remains] == ["torch-2.9.1+cpu.dist-info"]


def test_an_upgrade_that_did_not_end(empty: Path) -> None:
    put(empty, "torch", "2.5.0")
    put(empty, "torch", "2.9.0")
    assert look(TORCH, [str(empty)]).kind == "interrupted"


@pytest.mark.parametrize(
    ("code", "kind", "mend"),
    [
        ("", "present", ""),
        ("raise OSError('[WinError 126] The specified module was not found. Error loading c10.dll')", "broken", "C++"),
        ("raise ImportError('libcudnn.so.9: cannot open shared object file')", "broken", "CUDA"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "refused", "AVX"),
        ("import torch._C", "broken", "again"),
    ],
)
def test_a_package_that_fails_when_imported(tmp_path: Path, code: str, kind: str, mend: str) -> None:
    if "SIGILL" in code and sys.platform == "win32":
        pytest.skip("Windows has no such signal")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(code)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    state = packages.try_import(State(TORCH, "present", "2.9"), str(program))
    assert state.kind == kind
    assert mend in state.mend
    assert bool(plan(states=[state])) == (kind == "broken")


def test_a_python_that_does_not_start(tmp_path: Path) -> None:
    state = packages.try_import(State(TORCH, "present", "2.9"), str(tmp_path / "nothing"))
    assert state.kind == "refused"
    assert "could not be started" in state.text


# ---- steps


def test_classical_methods_need_no_torch(empty: Path) -> None:
    steps = plan("classical", states=examine("train", [str(empty)]))
    assert [step.kind for step in steps] == ["pip"]
    assert "scikit-image>=0.22" in steps[0].items


def test_sizes_and_sources_are_told(empty: Path) -> None:
    states = examine("learned", [str(empty)])
    text = dependencies.summary(plan(states=states, cuda=False))
    assert re.search(r"PyTorch: 200 MB from", text)
    assert plan(states=states, cuda=True)[-1].download > 2000


def test_unknown_level() -> None:
    with pytest.raises(ValueError, match=r"level 'all' .* classical, learned, train"):
        plan("all")


def fakes(site: Path) -> tuple[dict, list]:
    """Installers that install into the folder, and what they were asked for."""
    asked: list = []

    def pip(requirements: tuple[str, ...], options: tuple[str, ...]) -> None:
        asked.append(("pip", requirements, options))
        for requirement in requirements:
            put(site, re.match(r"[\w-]+", requirement)[0])

    def torch(versions: str) -> object:
        asked.append(("torch", versions))
        put(site, "torch")
        return object()

    return {"pip": pip, "torch": torch, "paths": [str(site)], "folder": site}, asked


def test_install_brings_everything(empty: Path) -> None:
    installers, asked = fakes(empty)
    told: list[tuple[float, str]] = []
    install(plan("train", states=examine("train", [str(empty)])), progress=lambda *t: told.append(t), **installers)
    assert set(kinds(empty).values()) == {"present"}
    assert [what for what, *_ in asked] == ["pip", "torch"]
    assert asked[1][1] == ">=2.4,<2.14"
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_install_clears_remains_first(empty: Path) -> None:
    (empty / "~orch" / "lib").mkdir(parents=True)
    (empty / "torch" / "lib").mkdir(parents=True)
    installers, _ = fakes(empty)
    install(plan(states=[look(TORCH, [str(empty)])]), **installers)
    assert not (empty / "~orch").exists()
    assert not (empty / "torch" / "lib").exists()
    assert look(TORCH, [str(empty)]).ok


def test_nothing_to_do_does_nothing() -> None:
    install([], pip=lambda *a: pytest.fail("asked"), torch=lambda v: pytest.fail("asked"))


def test_success_that_is_none_is_told(empty: Path) -> None:
    with pytest.raises(DependencyError, match="said that it succeeded, but torch is not installed"):
        install(plan(states=[look(TORCH, [str(empty)])]), torch=lambda v: object(), paths=[str(empty)], folder=empty)


def test_declining_is_told(empty: Path) -> None:
    with pytest.raises(DependencyError, match=r"declined.*classical methods"):
        install(plan(states=[look(TORCH, [str(empty)])]), torch=lambda v: None, paths=[str(empty)], folder=empty)


def test_cancelling_comes_through(empty: Path) -> None:
    def stop(fraction: float, text: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        install(plan(states=[look(TORCH, [str(empty)])]), progress=stop, paths=[str(empty)], folder=empty)


# ---- failures say what to do


def test_a_full_disk_is_found_before(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 300e6})
    monkeypatch.setattr(dependencies.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DependencyError, match=r"has 0\.3 GB free; wanted 1\.\d GB.*Free some space"):
        install(
            plan(states=[look(TORCH, [str(empty)])], cuda=False), torch=lambda v: pytest.fail("asked"), folder=empty
        )


@pytest.mark.parametrize("version", [(3, 9, 0), (3, 14, 0)])
def test_an_unsuitable_python_is_found_before(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...]) -> None:
    monkeypatch.setattr(dependencies.sys, "version_info", version)
    with pytest.raises(DependencyError, match=r"wanted 3\.10 to 3\.13"):
        dependencies.check_python()


# What pip and Slicer really said, shortened.
@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "NewConnectionError('<...>: Failed to establish a new connection: [Errno -3] Temporary failure in name "
            "resolution')': /simple/torch/\nERROR: No matching distribution found for torch",
            "internet was not reached",
        ),
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407'))", "HTTPS_PROXY"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self-signed'))", "PIP_CERT"),
        ("OSError: [WinError 5] Access is denied: 'c10.dll'", "close every Slicer"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/Slicer/lib/Python'", "cannot be written"),
        ("ERROR: Could not find a version that satisfies the requirement torch (from versions: none)", "3.10 to 3.13"),
        ("error: externally-managed-environment", "venv"),
        ("No module named pip", "ensurepip"),
        ("Command '[...]' returned non-zero exit status 1.", "log"),
    ],
)
def test_advice_after_a_failure(empty: Path, said: str, advice: str) -> None:
    def pip(requirements: object, options: object) -> None:
        raise subprocess.CalledProcessError(1, ["pip"], output="", stderr=said)

    steps = [Step("pip", "Install scipy", ("scipy>=1.11",))]
    with pytest.raises(DependencyError, match=f"Install scipy: failed.*{advice}"):
        install(steps, pip=pip, folder=empty)


def test_unknown_failures_have_advice_too() -> None:
    assert "HTTPS_PROXY" in install_remedy("something never seen")
    assert import_remedy("something never seen", 1, "torch>=2.4")[1]


# ---- a folder of wheels


def wheel(folder: Path, name: str, version: str, tags: str = "py3-none-any", needs: tuple[str, ...] = ()) -> Path:
    """A wheel with one module. With the folder of the module as pip's own build would make it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    module = {p.name.replace("-", "_"): p.module for p in PACKAGES}.get(name, name)
    texts = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n",
    }
    texts[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*texts, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-{tags}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in texts.items():
            archive.writestr(inside, text)
    return path


def test_a_folder_that_holds_everything(tmp_path: Path) -> None:
    wheel(tmp_path, "torch", "2.9.0", needs=("filelock", "sympy>=1.13", 'triton; sys_platform == "none"'))
    wheel(tmp_path, "filelock", "3.0")
    wheel(tmp_path, "sympy", "1.13.3", needs=("mpmath<1.4,>=1.1.0",))
    assert lacking(tmp_path, ["torch>=2.4,<2.14"], {"mpmath": "1.3.0"}) == []
    missing = "mpmath<1.4,>=1.1.0 (needed by sympy): found nothing of that name"
    assert lacking(tmp_path, ["torch>=2.4,<2.14"], {}) == [missing]


@pytest.mark.parametrize(
    ("version", "tags"),
    [
        ("2.3.0", "py3-none-any"),
        ("2.9.0", "cp39-cp39-any"),
        ("2.9.0", "py3-none-plan9_mips"),
        ("2.14.0", "py3-none-any"),
    ],
)
def test_a_wheel_that_does_not_suit_is_named(tmp_path: Path, version: str, tags: str) -> None:
    path = wheel(tmp_path, "torch", version, tags)
    (sentence,) = lacking(tmp_path, ["torch>=2.4,<2.14"], {})
    assert path.name in sentence


def test_tags_of_real_wheels() -> None:
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert Wheel.named(Path("simpleitk-2.5.7-cp37-abi3-any.whl")).fits()
    assert Wheel.named(Path(f"torch-2.9.1+cpu-{own}-{own}-any.whl")).fits()
    assert not Wheel.named(Path("torch-2.9.1-cp313-cp313t-win_arm64.whl")).fits()
    assert Wheel.named(Path("notes.txt")) is None


def test_what_a_folder_lacks_is_told_with_the_command_that_fills_it(tmp_path: Path, empty: Path) -> None:
    steps = plan(states=examine("learned", [str(empty)]), wheels=tmp_path)
    with pytest.raises(DependencyError) as caught:
        install(steps, pip=lambda *a: pytest.fail("asked"), paths=[str(empty)], folder=empty)
    for part in (
        "- torch>=2.4,<2.14: found nothing",
        "- safetensors>=0.4",
        "pip download --only-binary",
        '"torch>=2.4',
    ):
        assert part in str(caught.value)


def test_a_folder_that_does_not_exist(tmp_path: Path, empty: Path) -> None:
    steps = plan(states=[look(TORCH, [str(empty)])], wheels=tmp_path / "nothing")
    with pytest.raises(DependencyError, match="nothing does not exist"):
        install(steps, paths=[str(empty)], folder=empty)


def test_offline_installation_by_the_real_pip(tmp_path: Path) -> None:
    """An environment without anything, a folder of small wheels, no internet."""
    for name, version in (("safetensors", "0.5.0"), ("torch", "2.9.0"), ("scikit_image", "0.25")):
        wheel(tmp_path / "wheels", name, version)
    venv.create(tmp_path / "env", with_pip=False, symlinks=sys.platform != "win32")
    site = next((tmp_path / "env").rglob("site-packages"))
    put(site, "torch", "2.9.0", module=False)  # recorded, and its files gone: pip would do nothing
    states = [look(BY_NAME[name], [str(site)]) for name in ("safetensors", "torch", "scikit-image")]

    def pip(*command: str) -> None:  # ours, working on that environment
        python = next((tmp_path / "env").rglob("python.exe" if sys.platform == "win32" else "python"))
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", str(python), *command], check=True, capture_output=True
        )

    steps = plan(states=states, wheels=tmp_path / "wheels")
    install(
        steps,
        pip=lambda requirements, options: pip("install", "--disable-pip-version-check", *options, *requirements),
        uninstall=lambda names: pip("uninstall", "--yes", *names),
        torch=lambda versions: pytest.fail("the folder has it"),
        paths=[str(site)],
        folder=site,
    )
    assert [look(state.package, [str(site)]).version for state in states] == ["0.5.0", "2.9.0", "0.25"]
    assert (site / "torch" / "__init__.py").is_file()


# ---- numbers and lists


@pytest.mark.parametrize(
    ("version", "specifier", "suits"),
    [
        ("2.10", ">=2.9", True),
        ("2.0", "==2.0.0", True),
        ("2.9.1+cpu", "<2.14,>=2.4", True),
        ("1.4.9", "~=1.4.5", True),
        ("1.5.0", "~=1.4.5", False),
        ("2.5.1", "==2.0.*", False),
        ("2.0.1", "==2.0.*", True),
        ("1.26.0", "!=1.26", False),
        ("3.0", "", True),
    ],
)
def test_version_ranges(version: str, specifier: str, suits: bool) -> None:
    assert satisfies(version, specifier) is suits
    specifiers = pytest.importorskip("packaging.specifiers", reason="packaging is the reference")
    assert specifiers.SpecifierSet(specifier).contains(version) is suits


def test_requirements_say_the_same_everywhere() -> None:
    """The table, pyproject.toml, and the file that Slicer's pip_ensure reads."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for level, listed in (
        ("classical", project["dependencies"]), ("learned", extras["learned"]), ("train", extras["train"])
    ):  # fmt: skip
        own = {split(p.requirement)[:2] for p in PACKAGES if p.level == level}
        assert {split(text)[:2] for text in listed if not text.startswith("dlrecon[")} == own
    lines = (ROOT / "DLRecon" / "Resources" / "requirements.txt").read_text().splitlines()
    listed = {split(line)[:2] for line in lines if line and not line.startswith("#")}
    assert listed < {split(p.requirement)[:2] for p in PACKAGES}
    assert not {"torch", "numpy", "simpleitk"} & {name for name, _ in listed}


# ---- the doctor knows it too


def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from DLReconLib import doctor

    put(empty, "torch", module=False)
    put(empty, "numpy")
    (empty / "~umpy").mkdir()
    monkeypatch.setattr(doctor, "examine_packages", lambda level: examine(level, [str(empty)]))
    found = {finding["what"]: finding for finding in doctor.examine()}
    assert "files are gone" in found["torch"]["found"]
    assert "uninstall torch" in found["torch"]["mend"]
    assert (found["torch"]["ok"], found["torch"]["optional"]) == (False, True)
    assert (found["scipy"]["ok"], found["scipy"]["optional"]) == (False, False)
    assert found["numpy"]["ok"]
    assert "~umpy" in found["numpy"]["found"]
    assert "device" not in found  # torch is not even tried
