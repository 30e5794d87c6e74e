"""The extension as Slicer builds, installs and lists it: CMake against Testing/SlicerStandIn, metadata, pictures."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
CMAKE = shutil.which("cmake")
COMPILER = shutil.which("cc") or shutil.which("cl")
needs_cmake = pytest.mark.skipif(
    CMAKE is None or COMPILER is None, reason="cmake and a C compiler (project() asks for one) are not both installed"
)
needs_slicer = pytest.mark.skipif(
    find_spec("slicer") is None or find_spec("PySide6") is None,
    reason="slicer-core and PySide6, which the test host needs, are not both installed",
)
JUNK = ("__pycache__", "*.pyc", ".*")
MODULES = Path("lib", "Slicer-5.12", "qt-scripted-modules")


def run(*command: object, **options: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=environment, **options
    )


def copy_tree(target: Path) -> Path:
    """What CMake reads, in a folder of its own: tests may spoil it, and nobody edits it meanwhile."""
    for folder in ("DLRecon", "DLReconLib", "Testing/SlicerStandIn", "Testing/SlicerHost", "Testing/Slicer"):
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns(*JUNK))
    for file in ("CMakeLists.txt", "LICENSE.txt", "README.md", "Testing/CMakeLists.txt"):
        shutil.copy(ROOT / file, target / file)
    return target


def configure(source: Path, build: Path, *options: str) -> subprocess.CompletedProcess:
    standin = source / "Testing" / "SlicerStandIn"
    return run(CMAKE, "-S", source, "-B", build, f"-DSlicer_DIR={standin}", f"-DPython3_EXECUTABLE={sys.executable}",
               *options)  # fmt: skip


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG file"
    return struct.unpack(">II", data[16:24])


# ---- built, installed, packed


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = copy_tree(tmp_path_factory.mktemp("source"))
    # What Python and an interrupted training leave behind must not be shipped.
    for junk in ("__pycache__/volume.cpython-312.pyc", "zoo/mr-denoise/weights.safetensors.part", "zoo/.hidden/a.json"):
        path = tree / "DLReconLib" / junk
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"junk")
    return tree


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("build")
    for done in (configure(source, build), run(CMAKE, "--build", build)):
        assert done.returncode == 0, done.stdout + done.stderr
    return build


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("installed")
    done = run(CMAKE, "--install", built, "--prefix", prefix)
    assert done.returncode == 0, done.stdout + done.stderr
    return prefix


@needs_cmake
def test_every_file_arrives_and_no_other(installed: Path, source: Path) -> None:
    library = {f"DLReconLib/{f}" for f in files(source / "DLReconLib")} | {"DLReconLib/LICENSE.txt"}
    module = {f for f in files(source / "DLRecon") if f != "CMakeLists.txt"}
    wanted = {f for f in library | module if not re.search(r"__pycache__|\.pyc$|\.part$|(^|/)\.", f)}
    assert "DLReconLib/zoo/mr-denoise/weights.safetensors" in wanted
    # A script that does not compile has no .pyc; examples among the resources are not compiled.
    compiled = {f"{f}c" for f in wanted if f.endswith(".py") and not f.startswith("Resources/")}
    assert files(installed / MODULES) == wanted | compiled
    assert files(installed) - {str(MODULES / f) for f in wanted | compiled} == {"share/Slicer-5.12/DLRecon.s4ext"}


@needs_cmake
def test_only_the_module_lies_where_slicer_looks_for_modules(installed: Path) -> None:
    assert [p.name for p in (installed / MODULES).glob("*.py")] == ["DLRecon.py"]


@needs_cmake
def test_files_arrive_unchanged(installed: Path, source: Path) -> None:
    for name in ("DLRecon/DLRecon.py", "DLReconLib/zoo/mr-denoise/weights.safetensors"):
        arrived = installed / MODULES / name.removeprefix("DLRecon/")
        assert arrived.read_bytes() == (source / name).read_bytes()


@needs_cmake
@pytest.mark.parametrize("model", ["classical/gaussian", "mr-denoise"])
def test_the_installed_library_works_alone(installed: Path, tmp_path: Path, model: str) -> None:
    if model == "mr-denoise":
        pytest.importorskip("torch", reason="learned models need torch")
    modules = installed / MODULES
    code = f"""if True:
        import json, numpy as np, DLReconLib
        image = 100 + np.random.default_rng(1).normal(0, 5, (8, 16, 16)).astype(np.float32)
        result = DLReconLib.reconstruct(DLReconLib.Volume(image, modality="MR"), model="{model}")
        print(json.dumps([DLReconLib.__file__, float(image.std()), float(result.volume.array.std())]))
    """
    done = run(sys.executable, "-c", code, cwd=tmp_path, env={"PYTHONPATH": str(modules)})
    assert done.returncode == 0, done.stderr
    path, before, after = json.loads(done.stdout.splitlines()[-1])
    assert Path(path) == modules / "DLReconLib" / "__init__.py"
    assert after < 0.8 * before


@needs_cmake
@needs_slicer
def test_the_installed_module_works_alone(installed: Path, source: Path, tmp_path: Path) -> None:
    """The module's own test, as Slicer's Reload and Test runs it, finds the library that was installed beside it."""
    code = (
        "import slicer.testing; slicer.testing.runUnitTest([], 'DLRecon');"
        "import DLRecon, DLReconLib; print('from', DLRecon.__file__); print('from', DLReconLib.__file__)"
    )
    launcher = source / "Testing" / "SlicerStandIn" / "launcher.py"
    done = run(sys.executable, launcher, "--no-splash", "--testing", "--additional-module-paths", installed / MODULES,
               "--python-code", code, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    places = [Path(line[5:]) for line in done.stdout.splitlines() if line.startswith("from ")]
    assert places == [installed / MODULES / "DLRecon.py", installed / MODULES / "DLReconLib" / "__init__.py"]


@needs_cmake
@needs_slicer
def test_ctest_runs_in_the_built_tree(built: Path) -> None:
    done = run("ctest", "--test-dir", built, "--output-on-failure")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = set(re.findall(r"(py_\w+) \.+\s+Passed", done.stdout))
    assert passed == {"py_DLRecon", "py_nomainwindow_qSlicerDLReconModuleGenericTest", "py_DLReconLibraryTest"}


@needs_cmake
@needs_slicer
def test_ctest_fails_where_a_model_lost_its_weights(built: Path) -> None:
    weights = built / MODULES / "DLReconLib" / "zoo" / "mr-denoise" / "weights.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1])
        done = run("ctest", "--test-dir", built, "-R", "py_DLReconLibraryTest", "--output-on-failure")
    finally:
        weights.write_bytes(whole)
    assert done.returncode != 0
    assert "mr-denoise" in done.stdout


@needs_cmake
def test_the_package_holds_what_is_installed(built: Path, tmp_path: Path) -> None:
    done = run("cpack", "-G", "TGZ", "-B", tmp_path, cwd=built)
    assert done.returncode == 0, done.stdout + done.stderr
    (package,) = tmp_path.glob("*-DLRecon.tar.gz")
    with tarfile.open(package) as archive:
        names = archive.getnames()
    assert any(name.endswith("qt-scripted-modules/DLReconLib/zoo/mr-denoise/weights.safetensors") for name in names)
    assert any(name.endswith("qt-scripted-modules/DLRecon.py") for name in names)


@needs_cmake
@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("DLRecon/CMakeLists.txt", "${MODULE_NAME}.py)", "Missing.py)", "nonexistent"),
        ("DLRecon/CMakeLists.txt", "  WITH_GENERIC_TESTS", "  WITH_TESTS now", "nonexistent"),
        ("DLRecon/CMakeLists.txt", "  NAME ${MODULE_NAME}", "  TITLE ${MODULE_NAME}", "unknown keywords"),
        ("CMakeLists.txt", "LICENSE.txt)", "LICENCE.txt)", "EXTENSION_LICENSE_FILE"),
        ("CMakeLists.txt", "project(DLRecon)", "project(DLRecon NONE)", "width of pointers"),
        ("CMakeLists.txt", "deep learning and", "deep learning; and", "EXTENSION_DESCRIPTION"),
        ("CMakeLists.txt", "  INSTALL_DIR", "  INSTALL_FOLDER", "INSTALL_DIR is mandatory"),
    ],
)
def test_the_stand_in_refuses_what_slicer_refuses(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    tree = copy_tree(tmp_path / "source")
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    done = configure(tree, tmp_path / "build")
    assert done.returncode != 0
    assert message in done.stderr


# ---- the entry of the catalogue, and what its checks ask of the repository


def extension_variable(name: str) -> str:
    """Found by the same kind of pattern as the catalogue's check: one quoted value on one line."""
    (value,) = re.findall(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"\)', (ROOT / "CMakeLists.txt").read_text())
    return value


def test_catalogue_entry() -> None:
    """Slicer's slicer-extension-catalog-entry-schema-v1.0.1, and the checks of the catalogue."""
    raw = (ROOT / "DLRecon.json").read_bytes()
    assert b"\r" not in raw
    entry = json.loads(raw)
    kinds = {"$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str,
             "build_dependencies": list, "build_subdirectory": str, "enabled": bool, "tier": int}  # fmt: skip
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(kinds)
    assert all(type(value) is kinds[key] for key, value in entry.items())
    assert entry["$schema"].endswith("/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert entry.get("scm_type", "git") == "git"
    assert 1 <= entry["tier"] <= 5
    assert all(type(name) is str for name in entry["build_dependencies"])
    assert entry["category"] == extension_variable("CATEGORY")
    assert entry["build_dependencies"] == extension_variable("DEPENDS").split()
    assert re.search(r"project\s*\(\s*(\w+)", (ROOT / "CMakeLists.txt").read_text())[1] == "DLRecon"
    url = urlsplit(entry["scm_url"])
    assert url.scheme == "https"
    assert Path(url.path).stem == "SlicerDLRecon"
    assert (ROOT / "LICENSE.txt").is_file()


@pytest.mark.parametrize(("name", "smallest"), [("ICONURL", (128, 128)), ("SCREENSHOTURLS", (800, 450))])
def test_picture_addresses_name_files_of_the_tree(name: str, smallest: tuple[int, int]) -> None:
    for url in extension_variable(name).split():
        prefix = "https://raw.githubusercontent.com/DLRecon/SlicerDLRecon/main/"
        assert url.startswith(prefix)
        width, height = png_size(ROOT / url.removeprefix(prefix))
        assert width >= smallest[0]
        assert height >= smallest[1]


def test_icon_is_what_its_script_draws() -> None:
    import numpy as np
    from matplotlib.image import imread

    icon = ROOT / "DLRecon" / "Resources" / "Icons" / "DLRecon.png"
    assert png_size(icon) == (128, 128)
    sys.path.insert(0, str(ROOT / "Resources"))
    try:
        import make_icon
    finally:
        sys.path.pop(0)
    np.testing.assert_allclose(imread(icon), make_icon.draw() / 255, atol=1.5 / 255)


def test_the_wheel_ships_what_the_extension_ships() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    library = ROOT / "DLReconLib"
    packages = {p.parent.relative_to(ROOT).as_posix().replace("/", ".") for p in library.rglob("__init__.py")}
    assert set(settings["packages"]) == packages
    shipped = {p for pattern in settings["package-data"]["DLReconLib"] for p in library.glob(pattern)}
    data = {p for p in library.rglob("*") if p.is_file() and not re.search(r"\.py|/\.|\.part$", str(p))}
    assert data <= shipped
