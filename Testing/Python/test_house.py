"""The map of the house: which module may import which, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "DLReconLib"

# Each module may import what is named beside it.
ALLOWED = {
    "cli": {"batch", "worker", "training", "evaluation", "doctor", "demo", "pipeline", "models", "io", "outputs", "progress",
            "replay", "report", "card_text", "help", "cohort", "figures", "plots", "explain"},
    "outputs": {"claims", "derived", "headers", "io"},
    "demo": {"outputs", "pipeline", "io", "metrics", "progress", "volume"},
    "doctor": {"devices", "models", "packages", "remedies"},
    "dependencies": {"packages", "progress", "remedies", "wheels"},
    "packages": {"remedies", "wheels"},
    "remedies": set(),
    "wheels": set(),
    "evaluation": {"edges", "intervals", "io", "metrics", "quality", "spectrum", "tissues", "volume"},
    "cohort": {"cohort_page", "cohort_plan", "cohort_statistics", "evaluation", "figures", "inference", "io", "models",
               "outputs", "pipeline", "progress", "tissues", "volume"},
    "cohort_plan": {"io", "models"},
    "cohort_statistics": {"figures", "intervals"},
    "cohort_page": {"cohort_statistics", "figures", "plots"},
    "figures": set(),
    "intervals": set(),
    "plots": set(),
    "spectrum": {"metrics", "tissues"},
    "tissues": {"metrics"},
    "training": {"patches", "degradations", "networks", "muon", "plans", "progress"},
    "patches": {"degradations", "io"},
    "pipeline": {"enlarging", "fingerprint", "inference", "models", "transforms", "progress", "quality", "resolution",
                 "result", "trust", "uncertainty", "volume"},
    "trust": {"domain", "models", "quality", "residuals", "transforms", "volume"},
    "domain": {"models", "residuals", "transforms"},
    "uncertainty": {"models"},
    "explain": {"inference", "pipeline", "progress", "result", "transforms", "volume"},
    "residuals": {"quality"},
    "inference": {"devices", "models", "networks", "metrics", "progress"},
    "devices": set(),
    "transforms": {"models", "volume"},
    "io": {"volume", "dicom", "headers", "claims"},
    "dicom": {"volume", "headers", "claims"},
    "headers": {"claims", "volume"},
    "claims": set(),
    "fingerprint": {"volume"},
    "replay": {"fingerprint", "io", "pipeline", "progress", "result", "volume"},
    "derived": {"derived_tags", "headers", "volume"},
    "derived_tags": set(),
    "card_text": {"models"},
    "report": {"card_text", "fingerprint", "io", "models", "replay", "report_page", "report_pictures",
               "resolution", "volume"},
    "report_page": set(),
    "report_pictures": {"volume"},
    "mrml": {"volume"},
    "help": set(),
    "ranking": {"metrics"},
    "muon": set(),
    "plans": set(),
    "networks": set(),
    "degradations": set(),
    "metrics": set(),
    "quality": {"edges", "metrics"},
    "edges": set(),
    "models": set(),
    "progress": set(),
    "batch": {"batch_page", "cases", "claims", "client", "io", "manifest", "models", "outputs", "pipeline", "progress",
              "result", "volume"},
    "batch_page": {"result", "volume"},
    "cases": {"claims", "dicom", "headers"},
    "manifest": set(),
    "client": {"job", "launch", "models", "protocol", "result", "volume"},
    "job": {"progress", "result", "volume"},
    "worker": {"explain", "pipeline", "inference", "protocol", "progress"},
    "launch": set(),
    "protocol": {"volume"},
    "result": {"resolution", "volume"},
    "resolution": {"acquisition", "volume"},
    "acquisition": set(),
    "enlarging": {"inference", "metrics", "models", "networks", "progress", "resolution", "transforms", "trust"},
    "resolution_patches": {"acquisition", "degradations", "patches"},
    "resolution_training": {"patches", "resolution_patches", "training"},
    "volume": set(),
}  # fmt: skip
HOMES = {
    "SimpleITK": {"io", "dicom", "headers", "claims", "networks"},
    "vtk": {"mrml"},
    "slicer": {"mrml"},
    "monai": {"networks", "transforms", "degradations", "inference", "training", "metrics"},
    "torch": {"explain", "networks", "degradations", "devices", "inference", "training", "resolution_training", "muon"},
    "matplotlib": {"plots", "cohort_page", "training"},
    "qt": set(),
    "PySide6": set(),
    "pydicom": {"derived", "derived_tags"},
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


MODULES = sorted(p for p in LIBRARY.rglob("*.py") if p.name not in ("__init__.py", "__main__.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
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
