"""A model for others: as a folder that is written whole or not at all."""

import tempfile
from pathlib import Path

from DLReconLib.models import find_card

FORMATS = ("bundle", "onnx")


def export(model: str, folder: Path, form: str, size: tuple[int, int, int] | None = None) -> str:
    """Write the model into a new folder; returns a sentence about it.

    size: (k, j, i) voxels that an ONNX graph takes at once.

    Raises ValueError for another format, FileExistsError for a folder that is not empty, ModelError for models that the
    format cannot hold, ImportError where a package is missing.
    """
    if form not in FORMATS:
        raise ValueError(f"format {form!r}; wanted one of: {', '.join(FORMATS)}")
    card, folder = find_card(model), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: exists already and is not empty; choose another folder, or empty it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        if form == "bundle":
            from DLReconLib.library.bundles import RUN, export_bundle

            export_bundle(card, made)
            said = f"in it: {RUN}"
        else:
            from DLReconLib.library.graphs import SIZE, export_onnx

            said = export_onnx(card, made, size or SIZE)["tried"]
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    return said
