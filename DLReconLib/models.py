"""Model cards: what a model is for and how it must be run. Every field is executed or shown."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from DLReconLib.shelves import card_files, named_folders, user_folder

ZOO = Path(__file__).parent / "zoo"
TASKS = ("denoise", "super-resolution", "artifact-reduction", "contrast", "inpaint")


ARTIFACTS = ("gibbs", "motion", "bias", "spike", "streak", "metal", "ring", "speckle")


class ModelError(ValueError):
    """A card or a weight file that cannot be used."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is for and how it must be run.

    id, title, summary: name, and what a user reads in a list.
    task: one of TASKS. modalities: DICOM codes it was made for; "*" is any.
    network, arguments: name in networks.NETWORKS and its keyword arguments.
    weights, sha256: file beside the card and its checksum; both empty for a method without weights.
    scale: the largest number of output voxels per input voxel along an axis (1: same grid).
    tile: (k, j, i) voxels that are worked on at once, multiples of 8, or empty for a method that must see the
        whole image; halo: voxels of context around them.
    offset, unit: the network sees (value - offset) / unit; unit 0 means the 99.5th percentile of the image.
    reach: lowest and highest value that the model may change; others are kept. Empty: all.
    slices_first: whether the axis with the largest spacing is worked on as the slice axis.
    flat_mm: the change has no local mean over this in-plane distance (keeps HU); 0: none.
    equivariance: "scale" where f(a x) = a f(x), "affine" where f(a x + b) = a f(x) + b, else "none".
    training: data, licences, split, plan. results: measured figures. limits: what it cannot do.
    licence: of the weights. folder: where the card lies (not part of the file).
    trust: what the judging of a result needs to know of the model, or empty: see trust.py, domain.py, uncertainty.py.
        Written by Testing/Benchmarks/trust.py --cards; may be missing in the file.
    intended_use: one or two sentences. not_for: what it must not be used for, a sentence each.
    failures: known ones, each {"title", "text", "picture", "weights"}; picture: a PNG beside the card, or "";
        weights: the sha256 that it was measured with. Measured and drawn by Testing/Benchmarks/failures.py --cards.
        These three, too, may be missing in the file.
    artifacts: of the task artifact-reduction, those of ARTIFACTS that it removes; may be missing in the file.
    """

    id: str
    title: str
    summary: str
    task: str
    modalities: tuple[str, ...]
    network: str
    arguments: dict[str, Any]
    weights: str
    sha256: str
    scale: int
    tile: tuple[int, ...]
    halo: int
    offset: float
    unit: float
    reach: tuple[float, ...]
    slices_first: bool
    flat_mm: float
    equivariance: str
    training: dict[str, Any]
    results: dict[str, Any]
    limits: tuple[str, ...]
    licence: str
    trust: dict[str, Any] = field(default_factory=dict)
    intended_use: str = ""
    not_for: tuple[str, ...] = ()
    failures: tuple[dict[str, str], ...] = ()
    artifacts: tuple[str, ...] = ()
    folder: Path = field(default=Path(), compare=False)

    def __post_init__(self) -> None:
        for name in ("modalities", "tile", "reach", "limits", "not_for", "failures", "artifacts"):
            self._expect(isinstance(getattr(self, name), (list, tuple)), name, "a list", getattr(self, name))
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("arguments", "training", "results", "trust"):
            self._expect(isinstance(getattr(self, name), dict), name, "an object", getattr(self, name))
        for name in ("offset", "unit", "flat_mm", "halo"):
            self._expect(isinstance(getattr(self, name), (int, float)), name, "a number", getattr(self, name))
        known = set(self.artifacts) <= set(ARTIFACTS) and bool(self.artifacts) == (self.task == "artifact-reduction")
        self._expect(known, "artifacts", f"some of {', '.join(ARTIFACTS)}, for the task artifact-reduction alone",
                     self.artifacts)  # fmt: skip
        for failure in self.failures:
            whole = isinstance(failure, dict) and set(failure) == {"title", "text", "picture", "weights"}
            self._expect(whole and all(isinstance(v, str) for v in failure.values()), "failures",
                         "objects of the strings title, text, picture and weights", failure)  # fmt: skip
        self._expect(isinstance(self.intended_use, str), "intended_use", "a string", self.intended_use)
        enlarges = self.task == "super-resolution"
        self._expect(self.scale in ((2, 3, 4) if enlarges else (1,)), "scale",
                     "2 to 4 for super-resolution, else 1", self.scale)  # fmt: skip
        self._expect(len(self.reach) in (0, 2), "reach", "lowest and highest value, or none", self.reach)
        self._expect(self.task in TASKS, "task", f"one of {', '.join(TASKS)}", self.task)
        aligned = len(self.tile) in (0, 3) and all(t > 0 and t % 8 == 0 for t in self.tile)
        self._expect(aligned, "tile", "three multiples of 8, or none", self.tile)
        self._expect(self.halo % 8 == 0 and self.halo >= 0, "halo", "a multiple of 8", self.halo)
        self._expect(self.equivariance in ("none", "scale", "affine"), "equivariance", "none, scale or affine",
                     self.equivariance)  # fmt: skip
        self._expect(bool(self.weights) == bool(self.sha256), "sha256", "one where there are weights", self.sha256)

    def _expect(self, holds: bool, name: str, wanted: str, got: object) -> None:
        if not holds:
            raise ModelError(f"model {self.id}: {name} is {got!r}; wanted {wanted}; correct the card in {self.folder}")

    @classmethod
    def read(cls, path: Path) -> "ModelCard":
        """Read card.json, or the card in a folder.

        Raises ModelError where it is missing, is no JSON, lacks a field or has one that nothing would execute.
        """
        path = Path(path)
        path = path / "card.json" if path.is_dir() else path
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"card {path}: not readable as JSON ({error}); wanted a model card") from error
        if not isinstance(values, dict):
            raise ModelError(f"card {path}: wanted a JSON object, got {type(values).__name__}")
        names = {f.name for f in fields(cls)} - {"folder"}
        optional = {"trust", "intended_use", "not_for", "failures", "artifacts"}
        missing, unknown = sorted(names - optional - set(values)), sorted(set(values) - names)
        if missing or unknown:
            raise ModelError(
                f"card {path}: missing fields {missing}, unknown fields {unknown}; a card has exactly: "
                f"{', '.join(sorted(names))}; was it made for another version of DLRecon?"
            )
        return cls(**values, folder=path.parent)

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        del values["folder"]
        return values

    @property
    def learned(self) -> bool:
        """Whether it has weights, and so needs torch."""
        return bool(self.weights)

    @property
    def adversarial(self) -> bool:
        """Whether it was trained to look real, too: such a model is used only where it is asked for by name."""
        return str(self.training.get("degradation", "")).endswith("-gan")

    @property
    def shipped(self) -> bool:
        """Whether it came with DLRecon; others are used only where they are asked for by name."""
        return ZOO.resolve() in self.folder.resolve().parents

    def checked_weights(self) -> Path:
        """The weight file, after its checksum and kind were verified.

        Raises ModelError for a missing file, a pickle (never opened: it could run code) or another checksum.
        """
        path = self.folder / self.weights
        if not path.is_file():
            raise ModelError(f"model {self.id}: weight file {path} is missing; reinstall DLRecon or the model")
        with path.open("rb") as file:
            start = file.read(9)
        if path.suffix != ".safetensors" or start[8:9] != b"{":
            raise ModelError(
                f"model {self.id}: {path.name} is no safetensors file (a pickle?); wanted safetensors, because a "
                "pickle can run code when it is opened; convert it with safetensors.torch.save_file"
            )
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ModelError(
                f"model {self.id}: {path.name} has SHA-256 {found[:16]}..., the card wants {self.sha256[:16]}...; "
                "the file is damaged or was exchanged; reinstall it"
            )
        return path


def list_cards(task: str | None = None, modality: str | None = None) -> list[ModelCard]:
    """The cards of the zoo, of the folders in $DLRECON_MODELS and of the user's own folder (see shelves.py), learned
    models first; of one task and for one modality if asked. Raises ModelError where two have the same id."""
    folders = dict.fromkeys(p.resolve() for p in (ZOO, *named_folders(), user_folder()))
    cards = [ModelCard.read(path) for folder in folders for path in card_files(folder)]
    seen: dict[str, Path] = {}
    for card in cards:
        other = seen.setdefault(card.id, card.folder)
        if other != card.folder:
            raise ModelError(f"model {card.id}: it is there twice, in {other} and in {card.folder}; wanted ids that "
                             "differ; remove one, or change its id")  # fmt: skip
    chosen = [c for c in cards if task in (None, c.task)]
    if modality is not None:
        chosen = [c for c in chosen if modality.upper() in c.modalities or "*" in c.modalities]
    return sorted(chosen, key=lambda c: (not c.learned, c.id))


def find_card(name: str) -> ModelCard:
    """A card by the id of a zoo model, or by the path of a card.json or of its folder.

    Raises ModelError where there is none, listing those there are.
    """
    for card in list_cards():
        if card.id == name:
            return card
    if name.endswith(".json") or (Path(name) / "card.json").is_file():
        return ModelCard.read(Path(name))
    known = ", ".join(c.id for c in list_cards())
    raise ModelError(f"model {name!r} is unknown; wanted one of: {known}; or the path of a card.json")
