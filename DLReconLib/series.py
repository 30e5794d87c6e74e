"""A time series: a list of Volumes with one geometry, run one after the other."""

from collections.abc import Sequence
from typing import Any

from DLReconLib.pipeline import reconstruct
from DLReconLib.progress import Progress, silent
from DLReconLib.result import Result
from DLReconLib.volume import Volume


def reconstruct_series(
    volumes: Sequence[Volume], *, mask: Volume | None = None, progress: Progress = silent, **options: Any
) -> list[Result]:
    """reconstruct() for each; the model that "auto" chooses for the first does them all. Raises what it raises."""
    results: list[Result] = []
    for number, volume in enumerate(volumes):

        def part(fraction: float, text: str, number: int = number) -> None:
            progress((number + fraction) / len(volumes), text)

        results.append(reconstruct(volume, mask=mask, progress=part, **options))
        if options.get("model", "auto") == "auto":
            options["model"] = results[0].provenance["model"]["id"]
    return results


def record_of(results: Sequence[Result]) -> dict[str, Any]:
    """The record of a run: that of the volume, or that of the first with those of all as "time_points"."""
    first = results[0].provenance
    return first if len(results) == 1 else first | {"time_points": [r.provenance for r in results]}
