"""The user's own models: added, checked, listed beside the zoo, removed. No code of a model is ever run."""

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DLReconLib.library.kinds import recognise
from DLReconLib.library.sources import Source
from DLReconLib.models import ModelCard, ModelError, list_cards
from DLReconLib.networks import NETWORKS
from DLReconLib.networks.allowed import check_arguments
from DLReconLib.progress import Progress, silent
from DLReconLib.shelves import card_files, user_folder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")


@dataclass(frozen=True)
class Added:
    """card: where it lies now. laws: which it was found to obey. warnings: what the user should know."""

    card: ModelCard
    laws: tuple[str, ...]
    warnings: tuple[str, ...]


def add(path: Path, given: Mapping[str, Any] | None = None, progress: Progress = silent) -> Added:
    """Take a model into the user's folder.

    Args:
        path: a model folder, a MONAI Bundle or a weight file, or a ZIP archive of one of the first two.
        given: fields of the card that are missing or wrong there, such as id, modalities, offset and unit.

    Raises ModelError for what cannot be used or breaks a law; nothing is left behind then.
    """
    from DLReconLib.library.laws import check_laws

    progress(0.0, "reading")
    source = Source(path)
    values, weights = recognise(source, given or {})
    if not NAME.fullmatch(values["id"]):
        raise ModelError(f"{path}: id {values['id']!r}; wanted letters, digits, '.', '_' and '-', at most one '/'; "
                         "give another with --id")  # fmt: skip
    for card in list_cards():
        if card.id == values["id"]:
            raise ModelError(f"model {card.id}: {path} has the id of the one in {card.folder}; give another with --id, "
                             "or remove that one")  # fmt: skip
    shelf = user_folder()
    final = shelf / values["id"]
    if final.exists() or any(p.is_relative_to(shelf) and (p / "card.json").exists() for p in final.parents):
        raise ModelError(f"{final}: is there already, or lies in a model; remove it, or give another id with --id")
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=shelf) as folder:
        staged = Path(folder) / "model"
        staged.mkdir()
        card = stage(source, values, weights, staged)
        laws = check_laws(card, progress)
        final.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(final)
    progress(1.0, "added")
    left = [n for n in source.sizes if n.endswith((".py", ".ts", ".pkl"))]
    warnings = [f"{len(left)} files of code were left out and not run: {', '.join(left[:3])}"] if left else []
    return Added(ModelCard.read(final), laws, tuple(warnings))


def stage(source: Source, values: dict[str, Any], weights: str, folder: Path) -> ModelCard:
    """Card and weights as a model folder, checked but for its laws."""
    from DLReconLib.library.tensors import check_shapes, load_tensors, save_tensors

    network, arguments = values["network"], values["arguments"]
    if network in ("imported", "monai"):
        check_network_arguments(arguments)
    if weights:
        raw = folder / f"raw{Path(weights).suffix}"
        source.copy(weights, raw)
        found = hashlib.sha256(raw.read_bytes()).hexdigest()
        if values["sha256"] and values["sha256"] != found:
            raise ModelError(f"{source.path}: {weights} has SHA-256 {found[:16]}..., the card wants "
                             f"{str(values['sha256'])[:16]}...; the file is damaged or was exchanged")  # fmt: skip
        tensors = load_tensors(raw)
        if network == "imported" and not any(k.startswith("network.") for k in tensors):
            tensors = {f"network.{k}": t for k, t in tensors.items()}
        check_shapes(network, arguments, tensors)
        save_tensors(tensors, folder / "weights.safetensors")
        raw.unlink()
        digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        values = values | {"weights": "weights.safetensors", "sha256": digest}
    elif network in NETWORKS:
        check_shapes(network, arguments, {})
    text = json.dumps(values | {"trust": {}, "failures": []}, indent=2) + "\n"
    (folder / "card.json").write_text(text, encoding="utf-8")
    try:
        return ModelCard.read(folder)
    except TypeError as error:
        raise ModelError(f"{source.path}: its card has a field of the wrong type ({error}); see ModelCard") from error


def check_network_arguments(arguments: Any) -> None:
    inner = arguments if isinstance(arguments, dict) else {}
    try:
        check_arguments(inner.get("network", ""), inner.get("arguments"))
    except ValueError as error:
        raise ModelError(str(error)) from error


def remove(name: str) -> Path:
    """Remove a model of the user's folder, even one whose card is broken; returns where it was.

    Raises ModelError where it is not there: models of the zoo and of $DLRECON_MODELS are not touched.
    """
    shelf = user_folder()
    mine = {p.parent.relative_to(shelf).as_posix(): p.parent for p in card_files(shelf)} if shelf.is_dir() else {}
    if name not in mine:
        known = ", ".join(mine) or "none"
        raise ModelError(f"model {name!r} is not among those that were added ({known}); only these can be removed")
    folder = mine[name]
    with tempfile.TemporaryDirectory(prefix=".removing-", dir=shelf) as away:
        folder.rename(Path(away) / "model")
    if folder.parent != shelf and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return folder
