"""The names of all figures, in the order they are shown: what they are, their unit, and which way is better."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """better: 1 where more is better, -1 where less is, 0 where neither is said (it depends on what is wanted)."""

    title: str
    unit: str = ""
    better: int = 0


AGAINST = {
    "psnr": Figure("peak signal-to-noise ratio", "dB", 1),
    "ssim": Figure("structural similarity", "", 1),
    "ms_ssim": Figure("structural similarity over several scales", "", 1),
    "rmse": Figure("root mean squared error", "image unit", -1),
    "nrmse": Figure("root mean squared error / data range", "", -1),
    "mae": Figure("mean absolute error", "image unit", -1),
    "hfen": Figure("error norm of the fine detail", "", -1),
    "gmsd": Figure("deviation of the gradients' similarity", "", -1),
}
NOISE = {
    "noise_sigma": Figure("noise in quiet tissue", "image unit", -1),
    "noise_white": Figure("noise of the finest details, white noise only", "image unit", -1),
    "noise_air": Figure("noise of each channel, from the background of a magnitude image", "image unit", -1),
    "noise_uneven": Figure("variation of the noise over the image", "", 0),
    "snr": Figure("signal-to-noise ratio of tissue", "", 1),
    "nps_peak": Figure("frequency where the noise is loudest", "1/mm", 0),
    "nps_mean": Figure("mean frequency of the noise", "1/mm", 0),
}
STRUCTURE = {
    "mtf50": Figure("sharpness: MTF of the strongest edges at one half", "cycles/mm", 1),
    "mtf10": Figure("sharpness: MTF of the strongest edges at one tenth", "cycles/mm", 1),
    "ringing": Figure("overshoot beside edges (Gibbs: 0.089)", "of the edge", -1),
    "contrast": Figure("contrast of dark and bright tissue", "", 0),
    "bias": Figure("shading: coefficient of variation of the smooth field", "", -1),
}
TASK = {
    "dice": Figure("Dice of the segmentation with the labels", "", 1),
}
FIGURES = AGAINST | NOISE | STRUCTURE | TASK


def as_text(values: dict[str, Any]) -> str:
    """The figures of evaluation.figures_of() in sections, with their 95 % intervals."""
    lines = []
    intervals = values.get("intervals", {})

    def line(name: str, value: Any, interval: list[float] | None, about: str, unit: str = "") -> None:
        number = "not found" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        sure = f"[{interval[0]:.4g}, {interval[1]:.4g}]" if interval else ""
        lines.append(f"  {name:13} {number:>10} {sure:23} {about}{f', {unit}' if unit else ''}".rstrip())

    def section(title: str, table: dict[str, Figure]) -> None:
        lines.append(("\n" if lines else "") + title)
        for name, figure in table.items():
            line(name, values.get(name), intervals.get(name), figure.title, figure.unit)

    if "psnr" in values:
        section(f"Against the reference (data range {values['peak']:.6g}: {values['peak_is']})", AGAINST)
    section(f"Noise ({values['squares']} squares, {values['patches']} patches)", NOISE)
    section(f"Structure ({values['edges']} edges)", STRUCTURE)
    if values.get("cnr"):
        lines.append(f"\nContrast-to-noise ratio of {values['cnr_regions']}")
        for pair, value in values["cnr"].items():
            line(pair, value, intervals.get("cnr", {}).get(pair), "")
    if values.get("labels"):
        names = list(next(iter(values["labels"].values())))
        lines.append("\nLabels\n  " + "label".ljust(8) + "".join(f"{n:>12}" for n in names))
        for label, row in values["labels"].items():
            cells = ("-" if row[n] is None else f"{row[n]:.5g}" for n in names)
            lines.append("  " + label.ljust(8) + "".join(f"{c:>12}" for c in cells))
    return "\n".join([*lines, "\n[ ]: 95 % interval, bootstrap over squares, edges, patches or cubes of the image"])
