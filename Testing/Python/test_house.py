"""The map of the house: which module may import which, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "DLReconLib"

# Each module may import what is named beside it.
ALLOWED = {
    "cli": {"batch", "card_text", "cohort", "demo", "doctor", "evaluation", "explain", "flags", "fusion", "io",
            "library", "models", "outputs", "progress", "quality", "replay", "report", "series", "synthesis",
            "training", "worker"},
    "synthesis": {"degradations", "volume"},
    "outputs": {"claims", "derived", "headers", "io", "models", "networks"},
    "demo": {"io", "metrics", "outputs", "pipeline", "progress", "volume"},
    "doctor": {"dependencies", "devices", "models", "shelves"},
    "dependencies": {"progress"},
    "evaluation": {"io", "metrics", "quality", "volume"},
    "cohort": {"evaluation", "inference", "io", "models", "outputs", "pages", "pipeline", "progress", "quality",
               "volume"},
    "quality": {"metrics"},
    "training": {"degradations", "io", "models", "networks", "progress", "resolution"},
    "pipeline": {"adapting", "enlarging", "fingerprint", "inference", "inputs", "models", "networks", "options",
                 "progress", "quality", "resolution", "result", "transforms", "trust", "uncertainty", "volume"},
    "enlarging": {"inference", "metrics", "models", "networks", "pieces", "progress", "resolution", "transforms",
                  "trust"},
    "resolution": {"volume"},
    "registration": {"progress", "volume"},
    "fusion": {"enlarging", "fingerprint", "inference", "inputs", "models", "pipeline", "progress", "registration",
               "resolution", "result", "volume"},
    "trust": {"models", "quality", "transforms", "volume"},
    "inputs": {"models", "volume"},
    "uncertainty": {"models", "trust"},
    "explain": {"inference", "inputs", "pieces", "pipeline", "progress", "result", "transforms", "volume"},
    "adapting": {"inference", "models", "networks", "pieces"},
    "options": {"models"},
    "execution": {"devices", "pieces"},
    "inference": {"devices", "execution", "metrics", "models", "networks", "pieces", "progress"},
    "pieces": set(),
    "devices": set(),
    "transforms": {"models", "volume"},
    "io": {"claims", "dicom", "headers", "volume"},
    "dicom": {"claims", "headers", "volume"},
    "headers": {"claims", "volume"},
    "claims": set(),
    "fingerprint": {"volume"},
    "replay": {"fingerprint", "io", "pipeline", "progress", "result", "series", "volume"},
    "derived": {"headers", "volume"},
    "card_text": {"models", "pages"},
    "report": {"card_text", "fingerprint", "io", "models", "pages", "replay", "resolution", "volume"},
    "mrml": {"volume"},
    "help": set(),
    "tomography": set(),
    "networks": {"pieces", "resolution", "tomography"},
    "degradations": {"tomography"},
    "metrics": set(),
    "models": {"shelves"},
    "shelves": set(),
    "library": {"inference", "models", "networks", "pipeline", "progress", "result", "shelves", "volume"},
    "progress": set(),
    "batch": {"claims", "client", "dicom", "headers", "io", "models", "outputs", "pages", "pipeline", "progress",
              "result", "series", "volume"},
    "client": {"models", "progress", "result", "volume"},
    "worker": {"client", "explain", "inference", "pipeline", "progress", "series"},
    "result": {"resolution", "volume"},
    "volume": set(),
    "series": {"inference", "inputs", "models", "networks", "pipeline", "progress", "result", "transforms", "volume"},
    "pages": set(),
    "flags": {"help", "models"},
}  # fmt: skip
HOMES = {
    "SimpleITK": {"io", "dicom", "headers", "claims", "networks", "registration"},
    "vtk": {"mrml"},
    "slicer": {"mrml"},
    "monai": {"networks", "transforms", "degradations", "inference", "training", "metrics"},
    "torch": {"adapting", "explain", "library", "networks", "degradations", "devices", "inference", "training"},
    "matplotlib": {"quality", "cohort", "training"},
    "qt": set(),
    "PySide6": set(),
    "pydicom": {"derived"},
}


def room(path: Path) -> str:
    inside = path.relative_to(LIBRARY)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path.name}: relative imports hide the arrows"
            found.add(node.module)
            if node.module == "DLReconLib":
                found |= {f"DLReconLib.{alias.name}" for alias in node.names}
    return found


OUTSIDE = (LIBRARY / "__init__.py", LIBRARY / "__main__.py")
MODULES = sorted(p for p in LIBRARY.rglob("*.py") if p not in OUTSIDE)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{room(p)}.{p.stem}")
def test_arrows_point_down(path: Path) -> None:
    own = room(path)
    for name in imports(path):
        if name.startswith("DLReconLib."):
            target = name.split(".")[1]
            assert target == own or target in ALLOWED[own], f"{own} imports {target}"
        outside = name.split(".")[0]
        assert own in HOMES.get(outside, {own}), f"{outside} is imported in {own}; it lives in {HOMES[outside]}"


@pytest.mark.parametrize("code", ["import DLReconLib", "from DLReconLib.cli import main; main(['list'])"])
def test_importing_and_listing_stay_light(code: str) -> None:
    heavy = "{'torch', 'monai', 'SimpleITK', 'skimage', 'matplotlib', 'scipy'}"
    program = f"import sys; {code}; print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_running_loads_no_monai() -> None:
    """It would cost every run eight seconds."""
    pytest.importorskip("torch", reason="learned models need torch")
    program = (
        "import sys, numpy as np; from DLReconLib import reconstruct, Volume;"
        "reconstruct(Volume(np.random.default_rng(0).random((8, 16, 16)), modality='MR'), model='mr-denoise');"
        "print('monai' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_weight_file_is_too_large() -> None:
    sizes = [p.stat().st_size for p in LIBRARY.rglob("*.safetensors")]
    assert max(sizes) <= 8 * 2**20
    assert sum(sizes) <= 60 * 2**20
