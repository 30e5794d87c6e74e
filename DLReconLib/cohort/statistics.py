"""What the figures of many cases say: means with intervals, and paired tests between methods."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from DLReconLib.quality.figures import FIGURES
from DLReconLib.quality.intervals import PairedTest, holm, of_mean, wilcoxon

# figures[method][case][name]
Table = dict[str, dict[str, dict[str, float | None]]]


@dataclass(frozen=True)
class Summary:
    """A figure of a method over the common cases. interval: 95 % of the mean, by Student's t."""

    method: str
    mean: float
    sd: float
    median: float
    interval: list[float] | None


@dataclass(frozen=True)
class Comparison:
    """first against second. p: Wilcoxon's, corrected by Holm for all comparisons of the figure; better: the name of
    the method that is, where p < 0.05 and the figure has a good direction."""

    first: str
    second: str
    test: PairedTest
    p: float | None
    better: str


@dataclass(frozen=True)
class FigureResult:
    """cases: those that every method named here has a number for; left_out: methods without any."""

    name: str
    cases: list[str]
    values: dict[str, list[float]]
    summaries: list[Summary]
    comparisons: list[Comparison]
    left_out: list[str]


def summarise(table: Table) -> list[FigureResult]:
    """One result for each figure that any method has. Paired: only cases where all methods have a finite number
    count, so that every mean is over the same cases; methods that have none for a figure are left out of it."""
    results = []
    for name in FIGURES:
        known = {m: {c: f[name] for c, f in cases.items() if _finite(f.get(name))} for m, cases in table.items()}
        with_any = [m for m, cases in known.items() if cases]
        if not with_any:
            continue
        cases = [c for c in known[with_any[0]] if all(c in known[m] for m in with_any)]
        values = {m: [known[m][c] for c in cases] for m in with_any}
        left_out = [m for m in table if m not in with_any]
        summaries = [_summary(m, v) for m, v in values.items()] if cases else []
        comparisons = _compare(name, values) if cases else []
        results.append(FigureResult(name, cases, values, summaries, comparisons, left_out))
    return results


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _summary(method: str, values: Sequence[float]) -> Summary:
    n, mean = len(values), sum(values) / len(values)
    sd = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else float("nan")
    ordered = sorted(values)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return Summary(method, mean, sd, median, of_mean(values))


def _compare(name: str, values: dict[str, list[float]]) -> list[Comparison]:
    pairs = list(combinations(values, 2))
    tests = [wilcoxon(values[b], values[a]) for a, b in pairs]
    corrected = holm([t.p for t in tests])
    direction = FIGURES[name].better
    found = []
    for (a, b), test, p in zip(pairs, tests, corrected, strict=True):
        sure = p is not None and p < 0.05 and direction != 0
        better = (b if test.difference * direction > 0 else a) if sure else ""
        found.append(Comparison(a, b, test, p, better))
    return found


def reach(result: FigureResult) -> str:
    """A sentence where the number of cases cannot give p < 0.05, else nothing."""
    n, tests = len(result.cases), len(result.comparisons)
    if not tests:
        return ""
    if n < 6:
        return (
            f"{n} common case{'s' * (n != 1)}: the signed-rank test cannot give p below {2.0 ** (1 - n):.3g}; it takes "
            "6 to reach 0.05"
        )
    if tests * 2.0 ** (1 - n) >= 0.05:
        needed = 1 + math.ceil(math.log2(tests / 0.05))
        return (
            f"{n} common cases and {tests} comparisons: after Holm's correction the smallest p is "
            f"{tests * 2.0 ** (1 - n):.3g}; it takes {needed} cases to reach 0.05 with the strongest of them"
        )
    return ""
