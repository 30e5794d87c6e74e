"""Curves of an image as pictures. The numbers themselves are in the `curves` of evaluation.figures_of()."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLOURS = ("#666666", "#1f6fb4", "#d1620b", "#2a8f3c", "#8f4fb0", "#a8323e", "#0f8f8c", "#8a6d1a")


def save_plots(curves: dict[str, Any], folder: Path) -> list[Path]:
    """edge.png, mtf.png and nps.png of what `curves` holds, in the folder (made where it is missing).

    Raises ImportError without matplotlib.
    """
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    draw = {"edge": draw_edge, "mtf": draw_mtf, "nps": draw_nps}
    written = []
    for name, curve in curves.items():
        figure = Figure(figsize=(6, 4), layout="constrained")
        draw[name](figure.add_subplot(), {"": curve})
        path = folder / f"{name}.png"
        part = path.with_name(f".{path.name}.part")
        try:
            figure.savefig(part, dpi=120, format="png", metadata={"Software": None})
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        written.append(path)
    return written


def draw_mtf(axes: Any, curves: dict[str, Any]) -> None:
    """MTF by frequency of each named curve: {"frequency", "mtf", "nyquist"}."""
    for (name, curve), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
        shown = [(f, m) for f, m in zip(curve["frequency"], curve["mtf"], strict=True) if f <= 1.2 * curve["nyquist"]]
        axes.plot(*zip(*shown, strict=True), color=colour, label=name or None)
    nyquist = max(c["nyquist"] for c in curves.values())
    axes.axvline(nyquist, color="#999999", linewidth=0.8, linestyle=":")
    axes.text(nyquist, 1.02, "Nyquist ", ha="right", va="bottom", fontsize=8, color="#666666")
    for level in (0.5, 0.1):
        axes.axhline(level, color="#bbbbbb", linewidth=0.8)
    axes.set(xlabel="frequency, cycles/mm", ylabel="MTF", xlim=(0, 1.2 * nyquist), ylim=(0, 1.15))
    _finish(axes, curves)


def draw_edge(axes: Any, curves: dict[str, Any]) -> None:
    """Edge spread function of each named curve: {"distance", "spread"}."""
    for (name, curve), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
        axes.plot(curve["distance"], curve["spread"], color=colour, label=name or None)
    axes.set(xlabel="distance from the edge, mm", ylabel="edge spread, 0 dark to 1 bright")
    _finish(axes, curves)


def draw_nps(axes: Any, curves: dict[str, Any]) -> None:
    """Noise power of each named curve: {"frequency", "power"}."""
    for (name, curve), colour in zip(curves.items(), COLOURS * len(curves), strict=False):
        axes.plot(curve["frequency"], curve["power"], color=colour, label=name or None)
    axes.set(xlabel="frequency, cycles/mm", ylabel="noise power, unit² mm²")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _finish(axes, curves)


def draw_boxes(axes: Any, values: dict[str, Sequence[float]], unit: str) -> None:
    """A box of each method (quartiles, whiskers to 1.5 times their distance), every case a dot, and a line through the
    cases: `values` by method, cases in the same order."""
    names = list(values)
    boxes = axes.boxplot(list(values.values()), widths=0.5, showfliers=False, patch_artist=True)
    for box, colour in zip(boxes["boxes"], COLOURS * len(names), strict=False):
        box.set(facecolor=colour + "40", edgecolor=colour)
    for line in boxes["medians"]:
        line.set_color("black")
    for row in zip(*values.values(), strict=True):
        axes.plot(range(1, len(names) + 1), row, color="#00000030", linewidth=0.8, marker="o", markersize=3)
    axes.set_xticks(range(1, len(names) + 1), names, rotation=20 if max(map(len, names)) > 8 else 0)
    axes.set_ylabel(unit)
    axes.grid(axis="y", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _finish(axes: Any, curves: dict[str, Any]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if any(curves):
        axes.legend(frameon=False, fontsize=8)
