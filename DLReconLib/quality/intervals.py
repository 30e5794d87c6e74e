"""How sure is a figure, and does a method differ? Confidence intervals and paired tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
DRAWS = 300


def bootstrap(
    count: int, statistic: Callable[[Array], dict[str, float | None]], draws: int = DRAWS, seed: int = 0
) -> dict[str, list[float]]:
    """95 % intervals of figures, by drawing the `count` regions that they come from with replacement (percentile
    bootstrap: Efron & Tibshirani 1993, ch. 13).

    Args:
        statistic: the figures from the number of times that each region was drawn, (count) float64.
        seed: the same intervals at every call.

    Returns [low, high] by name; none with fewer than five regions, or of a figure that a tenth of the draws lacks.
    """
    if count < 5:
        return {}
    rng = np.random.default_rng(seed)
    chance = np.full(count, 1 / count)
    rows = [statistic(rng.multinomial(count, chance).astype(np.float64)) for _ in range(draws)]
    found = {}
    for name in rows[0]:
        values = np.array([r[name] for r in rows if r[name] is not None and np.isfinite(r[name])])
        if len(values) > 0.9 * draws:
            found[name] = [float(v) for v in np.percentile(values, [2.5, 97.5])]
    return found


def of_mean(values: Sequence[float]) -> list[float] | None:
    """95 % interval of the mean of independent cases by Student's t; None for fewer than two."""
    from scipy import stats

    n = len(values)
    if n < 2:
        return None
    half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
    return [float(np.mean(values) - half), float(np.mean(values) + half)]


@dataclass(frozen=True)
class PairedTest:
    """Wilcoxon's signed-rank test of paired differences, two-sided.

    n: pairs. differing: pairs that differ; the others carry no rank. p: None where no pair differs.
    smallest: the smallest p that so many pairs can give, 2 / 2^differing: at 5 pairs 0.0625, so no test of 5 pairs
    reaches 0.05. exact: the distribution was counted out, not approximated by a normal one.
    difference: mean of the differences. interval: its 95 % interval by t.
    """

    n: int
    differing: int
    p: float | None
    smallest: float
    exact: bool
    difference: float
    interval: list[float] | None


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Does first - second differ from 0? (Wilcoxon, Biometrics Bulletin 1945; zeros left out, as he did.)

    Exact up to 50 pairs without ties among the differences, else the normal approximation with ties corrected.
    Raises ValueError for lists of different length, or empty ones.
    """
    from scipy import stats

    if len(first) != len(second) or not len(first):
        raise ValueError(f"wilcoxon: {len(first)} and {len(second)} values; wanted as many of both, at least one")
    differences = np.asarray(first, float) - np.asarray(second, float)
    # Differences that are rounding errors are none.
    scale = max(float(np.abs(first).max()), float(np.abs(second).max()))
    other = differences[np.abs(differences) > 1e-12 * scale]
    size = np.abs(other)
    exact = len(other) <= 50 and len(np.unique(size)) == len(size)
    p = float(stats.wilcoxon(other, method="exact" if exact else "asymptotic").pvalue) if len(other) else None
    smallest = min(1.0, 2.0 ** (1 - len(other)))
    return PairedTest(len(differences), len(other), p, smallest, exact, float(differences.mean()), of_mean(differences))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number (Holm, Scand J Statist 1979): the k-th smallest of m times (m - k + 1), not
    below the one before it, at most 1. None stays None and does not count."""
    known = sorted((p, n) for n, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, n) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[n] = highest
    return corrected
