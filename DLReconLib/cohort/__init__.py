"""`dlrecon evaluate`: methods compared over many cases. A case that fails is listed and does not stop the rest."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DLReconLib.cohort.page import as_csv, as_page, as_words, summary_csv
from DLReconLib.cohort.plan import INPUT, Case, CohortPlan, Method, find_image, read_plan
from DLReconLib.cohort.statistics import FigureResult, Table, summarise
from DLReconLib.evaluation import check, figures_of, range_of
from DLReconLib.inference import Model
from DLReconLib.io import read_volume
from DLReconLib.models import find_card
from DLReconLib.outputs import json_text, write_text
from DLReconLib.pipeline import Options, reconstruct
from DLReconLib.progress import Progress, silent
from DLReconLib.quality.figures import FIGURES
from DLReconLib.quality.tissues import otsu
from DLReconLib.volume import Volume

Array = np.ndarray
# What may go wrong with one case: bad or missing files, a model that cannot run it, no memory.
FAILURES = (ValueError, OSError, ImportError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Failure:
    """method: "" where the case itself could not be read."""

    case: str
    method: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """figures[method][case][name]; intervals and curves likewise; results of the statistics; written files."""

    plan: CohortPlan
    figures: Table
    intervals: dict[str, dict[str, Any]]
    curves: dict[str, dict[str, Any]]
    notes: dict[str, dict[str, Any]]
    failures: list[Failure]
    results: list[FigureResult]
    files: list[Path]

    @property
    def measured(self) -> int:
        """Cases that the input and at least one method have figures of."""
        others = [set(c) for m, c in self.figures.items() if m != INPUT]
        return len(set(self.figures.get(INPUT, {})) & set().union(*others)) if others else len(self.figures[INPUT])

    @property
    def text(self) -> str:
        return as_words(self)


def evaluate_cohort(path: Path, out: Path, device: str = "auto", progress: Progress = silent) -> Outcome:
    """Measure every case with every method, compare, and write figures.csv, summary.csv, evaluation.json and
    evaluation.html into `out` (made where it is missing; files of these names are replaced).

    Raises what read_plan() raises, and whatever `progress` raises; failing cases are in the outcome.
    """
    plan = read_plan(path)
    out.mkdir(parents=True, exist_ok=True)
    outcome = run_plan(plan, device, progress)
    texts = {
        "figures.csv": as_csv(outcome),
        "summary.csv": summary_csv(outcome),
        "evaluation.json": json_text(as_record(outcome)),
        "evaluation.html": as_page(outcome),
    }
    for name, text in texts.items():
        write_text(out / name, text)
        outcome.files.append(out / name)
    return outcome


def run_plan(plan: CohortPlan, device: str = "auto", progress: Progress = silent) -> Outcome:
    """Case by case, method by method; a model is loaded once and kept. Cases stay in the plan's order."""
    for method in plan.methods:
        if method.model:
            options_of(method, device)  # a slip in the plan is told before the work
    outcome = Outcome(plan, {m.name: {} for m in plan.methods}, {}, {}, {}, [], [], [])
    loaded: dict[str, Model] = {}
    steps = len(plan.cases) * len(plan.methods)
    for number, case in enumerate(plan.cases):
        try:
            given = read_case(case)
        except FAILURES as error:
            outcome.failures.append(Failure(case.id, "", _reason(error)))
            continue
        for place, method in enumerate(plan.methods):
            done = number * len(plan.methods) + place

            def part(fraction: float, text: str, done: int = done) -> None:
                progress((done + fraction) / steps, text)

            part(0.0, f"{case.id}: {method.name}")
            try:
                image = result_of(method, case, given, loaded, device, part)
                _measure(outcome, method, case, image, given)
            except FAILURES as error:
                outcome.failures.append(Failure(case.id, method.name, _reason(error)))
    outcome.results.extend(summarise(outcome.figures))
    progress(1.0, "done")
    return outcome


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


@dataclass(frozen=True)
class Given:
    """The files of a case, read. peak: data range. guide: where tissue and edges are found for all methods: the
    reference, else the image."""

    image: Volume
    reference: Array | None
    mask: Array | None
    labels: Array | None
    peak: float | None
    guide: Array


def read_case(case: Case) -> Given:
    """Raises ValueError or OSError for files that cannot be read or do not share the grid of the image."""
    image = read_volume(case.image)
    arrays: dict[str, Array | None] = {}
    check(image, image, "image", str(case.image))
    for name in ("reference", "mask", "labels"):
        path = getattr(case, name)
        other = read_volume(path) if path else None
        check(image, other, name, str(case.image))
        arrays[name] = None if other is None else other.array
    clean = image.array if arrays["reference"] is None else arrays["reference"]
    peak = case.peak
    if peak is None and arrays["reference"] is not None:
        peak = range_of(clean)[0]
    return Given(image, **arrays, peak=peak, guide=clean)


def result_of(
    method: Method, case: Case, given: Given, loaded: dict[str, Model], device: str, progress: Progress
) -> Volume:
    """The image of a method, on the grid of the case's image."""
    if method.results:
        path = find_image(method.results, case.id)
        volume = read_volume(path)
        check(given.image, volume, f"result {path}", str(case.image))
        return volume
    if not method.model:
        return given.image
    chosen = options_of(method, device)
    if method.name not in loaded:
        loaded[method.name] = Model(find_card(method.model), chosen.device, chosen.precision)
    result = reconstruct(given.image, loaded=loaded[method.name], progress=progress, **asdict(chosen)).volume
    check(given.image, result, f"result of {method.name}", str(case.image))
    return result


def options_of(method: Method, device: str) -> Options:
    """Raises ValueError for options that there are not, or a model that is not found."""
    given = {"device": device, "judge": False, **(method.options or {}), "model": method.model}
    given.setdefault("task", find_card(method.model).task)
    known = set(Options.__dataclass_fields__)
    if set(method.options or {}) - known:
        raise ValueError(
            f"method {method.name}: unknown option {', '.join(sorted(set(given) - known))}; wanted some of: "
            f"{', '.join(sorted(known - {'model'}))}"
        )
    return Options(**given)


def _measure(outcome: Outcome, method: Method, case: Case, image: Volume, given: Given) -> None:
    found = figures_of(image, given.reference, given.mask, given.labels, given.peak, given.guide)
    figures = {name: found.get(name) for name in FIGURES}
    notes = {"labels": found.get("labels", {}), "cnr": found["cnr"], "cnr_regions": found["cnr_regions"]}
    if given.labels is not None:
        figures["dice"], notes["segmentation"] = segmentation(outcome.plan, method, case, image, given)
    outcome.figures[method.name][case.id] = figures
    outcome.intervals.setdefault(method.name, {})[case.id] = found["intervals"]
    outcome.curves.setdefault(method.name, {})[case.id] = found["curves"]
    outcome.notes.setdefault(method.name, {})[case.id] = notes


def segmentation(plan: CohortPlan, method: Method, case: Case, image: Volume, given: Given) -> tuple[float | None, str]:
    """(Dice with the labels, how the segmentation came about): a given label image, mean over the labels; else
    what lies above the plan's threshold against all labels > 0, within the mask."""
    inside = np.ones(given.labels.shape, bool) if given.mask is None else given.mask != 0
    truth = np.where(inside, given.labels, 0)
    if method.segmentations:
        path = find_image(method.segmentations, case.id)
        drawn = read_volume(path)
        check(given.image, drawn, f"segmentation {path}", str(case.image))
        values = np.unique(truth[truth > 0])
        each = [dice((drawn.array == v) & inside, truth == v) for v in values]
        return (float(np.mean(each)) if each else None), f"given, mean over {len(each)} labels"
    if plan.threshold is None:
        return None, "none"
    level = otsu(image.array[inside], 2)[0] if plan.threshold == "otsu" else float(plan.threshold)
    how = f"above {level:.6g}" + (" (Otsu of this image)" if plan.threshold == "otsu" else " (given)")
    return dice((image.array > level) & inside, truth > 0), how


def dice(first: Array, second: Array) -> float:
    """2 |A and B| / (|A| + |B|) (Dice 1945), boolean arrays of one shape; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2.0 * int((first & second).sum()) / total


def as_record(outcome: Outcome) -> dict[str, Any]:
    """Everything as JSON values."""
    plan = outcome.plan
    return {
        "title": plan.title,
        "cases": [c.id for c in plan.cases],
        "methods": [{"name": m.name, "model": m.model, "options": m.options or {}} for m in plan.methods],
        "threshold": plan.threshold,
        "failures": [asdict(f) for f in outcome.failures],
        "results": [asdict(r) for r in outcome.results],
        "figures": outcome.figures,
        "intervals": outcome.intervals,
        "notes": outcome.notes,
    }
