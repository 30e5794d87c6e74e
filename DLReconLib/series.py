"""A time series: a list of Volumes with one geometry, run one after the other, or by a method that wants all of them at
once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from DLReconLib.inference import Model
from DLReconLib.inputs import check_input
from DLReconLib.models import ModelCard, ModelError, find_card
from DLReconLib.networks import SERIES, find_series
from DLReconLib.networks.context import Context
from DLReconLib.pipeline import Options, reconstruct
from DLReconLib.progress import Progress, silent
from DLReconLib.result import Result
from DLReconLib.transforms import SlicesFirst
from DLReconLib.volume import Volume

TOGETHER = 0.8  # the share of the time that a method takes for all frames at once


def wants_series(model: str) -> bool:
    """Whether a model, by its id or the path of its card, works on all frames at once. Raises what find_card() does."""
    return model != "auto" and find_card(model).network in SERIES


def reconstruct_series(
    volumes: Sequence[Volume],
    *,
    mask: Volume | None = None,
    progress: Progress = silent,
    loaded: Model | None = None,
    load: Callable[[ModelCard, str, str], Model] = Model,
    **options: Any,
) -> list[Result]:
    """reconstruct() for each; the model that "auto" chooses for the first does them all. A model whose network is one
    of networks.SERIES works on all frames at once; what it answers goes down the same road, frame by frame.

    Arguments are those of reconstruct(). Raises what it raises, and ValueError for a series that such a model cannot
    work on.
    """
    chosen, begun, answers = Options(**options), 0.0, None
    if len(volumes) > 1 and (loaded.card.network in SERIES if loaded else wants_series(chosen.model)):
        card, begun = loaded.card if loaded else find_card(chosen.model), TOGETHER
        answers = all_at_once(card, volumes, mask, chosen, lambda f, t: progress(TOGETHER * f, t))
    results: list[Result] = []
    for number, volume in enumerate(volumes):

        def part(fraction: float, text: str, number: int = number) -> None:
            progress(begun + (1 - begun) * (number + fraction) / len(volumes), text)

        one = answers[number] if answers else loaded
        results.append(reconstruct(volume, mask=mask, progress=part, loaded=one, load=load, **options))
        if answers and chosen.model != "auto":
            results[-1].provenance["model_chosen"] = "asked for"
        if options.get("model", "auto") == "auto":
            options["model"] = results[0].provenance["model"]["id"]
    return results


def all_at_once(
    card: ModelCard, volumes: Sequence[Volume], mask: Volume | None, chosen: Options, progress: Progress
) -> list["Answered"]:
    """A model for each frame that knows the answer already."""
    if chosen.task != card.task:
        raise ValueError(f"model {card.id} is for the task {card.task}, not {chosen.task}; choose another of both")
    if chosen.uncertainty:
        raise ValueError(f"uncertainty: it is not known for {card.id}; run without it")
    first = volumes[0]
    for number, volume in enumerate(volumes):
        if volume.array.ndim != 3 or volume.array.shape != first.array.shape:
            raise ValueError(
                f"frame {number} has shape {volume.array.shape}, the first {first.array.shape}; {card.id} wants frames "
                "of one grid with one value a voxel"
            )
        check_input(volume, mask)
    frames = np.stack([v.array for v in volumes]).astype(np.float32)
    context = Context(first.geometry.spacing[::-1], None if mask is None else mask.array != 0, progress=progress)
    try:
        answers = find_series(card.network)(frames, context, **card.arguments)
    except TypeError as error:
        raise ModelError(f"model {card.id}: {error}; correct the arguments in the card") from error
    return [Answered(card, answer, context.notes) for answer in answers]


class Answered(Model):
    """A model that has worked on this one volume, as a frame of a series. answer: (k, j, i)."""

    def __init__(self, card: ModelCard, answer: np.ndarray, notes: dict[str, Any]) -> None:
        super().__init__(card)
        self.answer, self.notes = answer, notes

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        context.notes |= self.notes
        turn = SlicesFirst(self.answer.shape.index(1) if 1 in self.answer.shape else 0)
        return np.ascontiguousarray(turn(self.answer))


def record_of(results: Sequence[Result]) -> dict[str, Any]:
    """The record of a run: that of the volume, or that of the first with those of all as "time_points"."""
    first = results[0].provenance
    return first if len(results) == 1 else first | {"time_points": [r.provenance for r in results]}
