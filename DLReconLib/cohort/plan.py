"""What `dlrecon evaluate` compares: a JSON plan, or a folder with a fixed layout."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ENDINGS = (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd", ".png", ".tif", ".tiff")
INPUT = "input"
KINDS = ("reference", "mask", "labels")
NOT_METHODS = {INPUT, *KINDS, "segmentations"}


@dataclass(frozen=True)
class Case:
    """One image to judge by. id: its name, and that of its results in a method's folder. image: what the methods
    start from. reference: what it should be. mask: where it counts. labels: tissues > 0, for the figures of
    labels and for Dice. peak: data range (default: the reference's, see evaluation.range_of)."""

    id: str
    image: Path
    reference: Path | None = None
    mask: Path | None = None
    labels: Path | None = None
    peak: float | None = None


@dataclass(frozen=True)
class Method:
    """A model that is run (model: id or path of a card.json; options: those of `dlrecon run`), or a folder of ready
    results, a file a case named by its id. segmentations: folder of label images made from the results."""

    name: str
    model: str = ""
    options: dict[str, Any] | None = None
    results: Path | None = None
    segmentations: Path | None = None


@dataclass(frozen=True)
class CohortPlan:
    """cases; methods, the first of which is the input itself; threshold: of the segmentation whose Dice with the
    labels is measured, a value, "otsu" (of each image, within the mask) or None for no such test."""

    title: str
    cases: tuple[Case, ...]
    methods: tuple[Method, ...]
    threshold: float | str | None = None


def read_plan(path: Path) -> CohortPlan:
    """A plan from a JSON file, or from a folder (one with a plan.json inside is read by that).

    JSON: {"title", "cases": [{"id", "image", "reference", "mask", "labels", "peak"}], "methods": [{"name", "model",
    "options", "results", "segmentations"}], "threshold", "segmentations"}; paths are relative to the file, only
    "id", "image", "name" and one of "model" and "results" are needed; "segmentations" beside the cases is the folder
    of those made from the images as they are.

    Folder: input/ID.nrrd; reference/, mask/, labels/ the same names where there are any; each other folder is a
    method and holds its results; segmentations/METHOD/ID.nrrd and segmentations/input/ID.nrrd. Any readable format.

    Raises FileNotFoundError for a path that is missing, ValueError for a plan that says what is not understood.
    """
    if path.is_dir():
        return read_plan(path / "plan.json") if (path / "plan.json").is_file() else _read_folder(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"plan {path}: no JSON ({error}); wanted a plan, or a folder with input/") from error
    known = {"title", "cases", "methods", "threshold", "segmentations"}
    _check_names(values, known, {"cases", "methods"}, f"plan {path}")
    base = path.parent
    cases = tuple(
        _make(Case, c, {"id", "image"}, base, f"plan {path}: case {n}") for n, c in enumerate(values["cases"])
    )
    methods = [_make(Method, m, {"name"}, base, f"plan {path}: method {n}") for n, m in enumerate(values["methods"])]
    folder = values.get("segmentations")
    first = Method(INPUT, segmentations=base / folder if folder else None)
    plan = CohortPlan(values.get("title", path.stem), cases, (first, *methods), values.get("threshold"))
    _check(plan, f"plan {path}")
    return plan


def _make(kind: Any, values: Any, needed: set[str], base: Path, where: str) -> Any:
    names = {f.name for f in fields(kind)}
    _check_names(values, names, needed, where)
    paths = {"image", "results", "segmentations", *KINDS}
    made = {name: base / value if name in paths and value else value for name, value in values.items()}
    model = made.get("model", "")
    if model and (base / model).exists():
        made["model"] = str(base / model)
    return kind(**made)


def _check_names(values: Any, known: set[str], needed: set[str], where: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {values!r}; wanted a JSON object")
    if set(values) - known:
        raise ValueError(f"{where}: unknown {sorted(set(values) - known)}; wanted some of {sorted(known)}")
    if needed - set(values):
        raise ValueError(f"{where}: lacks {sorted(needed - set(values))}")


def _check(plan: CohortPlan, where: str) -> None:
    if not plan.cases:
        raise ValueError(f"{where}: no cases; wanted at least one image")
    for what, names in (("case", [c.id for c in plan.cases]), ("method", [m.name for m in plan.methods])):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"{where}: {what} {', '.join(twice)} is named twice ({INPUT!r} is the image itself)")
    for method in plan.methods[1:]:
        if bool(method.model) == bool(method.results):
            raise ValueError(f"{where}: method {method.name}; wanted either a model or a folder of results")
        if method.results and not method.results.is_dir():
            raise FileNotFoundError(f"{where}: method {method.name}: no folder {method.results}")
        if method.results and method.options:
            raise ValueError(f"{where}: method {method.name}: options are for models, not for ready results")
    threshold = plan.threshold
    if isinstance(threshold, bool) or not (threshold in (None, "otsu") or isinstance(threshold, (int, float))):
        raise ValueError(f"{where}: threshold {threshold!r}; wanted a number or 'otsu'")


def _read_folder(folder: Path) -> CohortPlan:
    inputs = _files(folder / INPUT) if (folder / INPUT).is_dir() else {}
    if not inputs:
        raise FileNotFoundError(f"{folder}: no images in {folder / INPUT}; wanted input/ID.nrrd, reference/ID.nrrd and "
                                "a folder of results a method, or a plan.json")  # fmt: skip
    others = {kind: _files(folder / kind) if (folder / kind).is_dir() else {} for kind in KINDS}
    cases = tuple(Case(name, path, **{k: f.get(name) for k, f in others.items()}) for name, path in inputs.items())

    def drawn(name: str) -> Path | None:
        place = folder / "segmentations" / name
        return place if place.is_dir() else None

    names = [p.name for p in sorted(folder.iterdir()) if p.is_dir() and p.name not in NOT_METHODS and _files(p)]
    methods = (Method(n, results=folder / n, segmentations=drawn(n)) for n in names)
    threshold = "otsu" if others["labels"] else None
    plan = CohortPlan(folder.resolve().name, cases, (Method(INPUT, segmentations=drawn(INPUT)), *methods), threshold)
    _check(plan, str(folder))
    return plan


def _files(folder: Path) -> dict[str, Path]:
    """Image files by their names without ending, sorted. Raises ValueError where two have the same."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), None)
        if ending is None or not path.is_file() or path.name.startswith("."):
            continue
        name = path.name[: -len(ending)]
        if name in found:
            raise ValueError(f"{folder}: {found[name].name} and {path.name} are both case {name}; wanted one of them")
        found[name] = path
    return found


def find_image(folder: Path, case: str) -> Path:
    """The file of a case in a method's folder. Raises FileNotFoundError where it is missing."""
    found = _files(folder).get(case)
    if found is None:
        raise FileNotFoundError(f"no file {case}.nrrd (or {', '.join(ENDINGS[2:])}) in {folder}")
    return found
