"""What a caller may choose, and what is chosen for one who says "auto"."""

from dataclasses import dataclass

import numpy as np

from DLReconLib.models import ARTIFACTS, ModelCard, find_card, list_cards


@dataclass(frozen=True)
class Options:
    """What a caller may choose; names and values are those of the command line.

    task, model, modality: see `dlrecon list`; "auto" chooses and says why.
    strength: 0 (returns the input) to 1 (everything that the model takes for noise is removed).
    device: auto, cpu, cuda, cuda:N or mps. tile: (k, j, i) voxels at once, or None for the card's.
    dtype: "float32", or "input" for the type of the input, rounded and clipped.
    precision: auto, float32 or bfloat16, of the network's arithmetic.
    judge: put figures before and after, and how far to trust the result, into the provenance.
    uncertainty: also estimate the standard deviation of the error, voxel by voxel; takes uncertainty.PASSES times as
        long.
    feather: width in mm over which the change fades in from the edge of the mask inwards; 0 is a hard edge.
    artifact: of artifact reduction, one of models.ARTIFACTS or "auto", which looks what there is.
    budget: seconds that a model may take which learns from the image itself.
    steps: of such learning that are made, whatever the budget says; 0: as many as it allows. The same steps give the
        same answer.
    adapt: let a trained denoiser first go on learning from the image alone, and keep what helps (see adapting.py).

    Of super-resolution, whose input is first interpolated by cubic splines, which is also the answer of strength 0:
    scale: times finer along every axis, 1 to 4; spacing: (i, j, k) mm of the result instead, down to a quarter of the
        input's. Without both: as fine everywhere as along the finest axis.
    thickness: of the slices in mm, where it is not what the header says, or else the spacing (a gap, or an overlap,
        which counts up to a quarter of the spacing).
    consistent: guarantee that the result, acquired as the input was, is the input again.
    """

    task: str = "denoise"
    model: str = "auto"
    modality: str = "auto"
    strength: float = 1.0
    device: str = "auto"
    tile: tuple[int, int, int] | None = None
    dtype: str = "float32"
    precision: str = "auto"
    judge: bool = True
    uncertainty: bool = False
    feather: float = 0.0
    artifact: str = "auto"
    budget: float = 60.0
    steps: int = 0
    adapt: bool = False
    scale: float | None = None
    spacing: tuple[float, float, float] | None = None
    thickness: float | None = None
    consistent: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength {self.strength}; wanted a number from 0 (nothing) to 1 (full)")
        if not 0 <= self.feather < np.inf:
            raise ValueError(f"feather {self.feather}; wanted millimetres, 0 or more")
        if self.task != "super-resolution" and (self.scale or self.spacing or self.thickness):
            raise ValueError(f"scale, spacing and thickness are options of the task super-resolution, not {self.task}")
        if self.scale is not None and not 1 < self.scale <= 4:
            raise ValueError(f"scale {self.scale}; wanted above 1 (times finer), up to 4")
        if self.spacing is not None and (len(self.spacing) != 3 or not all(0 < s < np.inf for s in self.spacing)):
            raise ValueError(f"spacing {self.spacing}; wanted three positive millimetres X,Y,Z")
        if self.thickness is not None and not 0 < self.thickness < np.inf:
            raise ValueError(f"thickness {self.thickness}; wanted millimetres above 0")
        if self.artifact not in ("auto", *ARTIFACTS):
            raise ValueError(f"artifact {self.artifact!r}; wanted auto or one of: {', '.join(ARTIFACTS)}")
        if self.artifact != "auto" and self.task != "artifact-reduction":
            raise ValueError(f"artifact is an option of the task artifact-reduction, not {self.task}")
        if not 1 <= self.budget < np.inf:
            raise ValueError(f"budget {self.budget}; wanted seconds, 1 or more")
        if self.steps < 0:
            raise ValueError(f"steps {self.steps}; wanted 1 or more, or 0 for as many as the budget allows")
        if self.adapt and self.task != "denoise":
            raise ValueError(f"adapt is an option of the task denoise, not {self.task}")
        if self.dtype not in ("float32", "input"):
            raise ValueError(f"dtype {self.dtype!r}; wanted float32 or input")
        if self.tile is not None and (len(self.tile) != 3 or min(self.tile) < 16 or any(t % 8 for t in self.tile)):
            raise ValueError(f"tile {self.tile}; wanted three multiples of 8, each 16 or more, as Z,Y,X")


def choose_model(options: Options, modality: str, why: str) -> tuple[ModelCard, str]:
    """The card to use and the reason. Raises ValueError where no model does the task."""
    if options.model != "auto":
        card = find_card(options.model)
        if card.task != options.task:
            raise ValueError(f"model {card.id} is for the task {card.task}, not {options.task}; choose another of both")
        if options.artifact not in ("auto", *card.artifacts):
            raise ValueError(f"model {card.id} does not remove {options.artifact}; wanted auto or one of: "
                             f"{', '.join(card.artifacts)}; or another model")  # fmt: skip
        return card, "asked for"
    cards = [c for c in list_cards(options.task) if c.shipped and not c.adversarial]
    if options.artifact != "auto":
        cards = [c for c in cards if options.artifact in c.artifacts]
    elif options.task == "artifact-reduction":  # who knows most artifacts can tell best which it is
        cards = sorted(cards, key=lambda c: (not c.learned, -len(c.artifacts)))
    if not cards and options.artifact != "auto":
        known = ", ".join(sorted({a for c in list_cards(options.task) for a in c.artifacts}))
        raise ValueError(f"artifact {options.artifact!r} has no model; wanted auto or one of: {known}")
    if not cards:
        known = ", ".join(sorted({c.task for c in list_cards()}))
        raise ValueError(f"task {options.task!r} has no model; wanted one of: {known}")
    for card in cards:
        if modality in card.modalities:
            return card, f"made for {modality} ({why})"
        if card.learned and "*" in card.modalities:
            return card, "made for any modality"
    usual = {"denoise": "classical/nlm", "super-resolution": "classical/spline", "inpaint": "classical/blend"}
    fallback = find_card(usual[options.task]) if options.task in usual else cards[-1]
    return fallback, f"no model is made for modality {modality or 'unknown'} ({why}): a classical method"


def further_models(options: Options, modality: str, card: ModelCard) -> list[ModelCard]:
    """Who may look next where `card` was chosen by itself and found no artifact: learned models of the modality that
    know others, who knows most first."""
    if options.task != "artifact-reduction" or (options.model, options.artifact) != ("auto", "auto"):
        return []
    others = [c for c in list_cards(options.task) if c.shipped and c.learned and not c.adversarial]
    others = [c for c in others if modality in c.modalities and not set(c.artifacts) <= set(card.artifacts)]
    return sorted(others, key=lambda c: (-len(c.artifacts), ARTIFACTS.index(c.artifacts[0])))
