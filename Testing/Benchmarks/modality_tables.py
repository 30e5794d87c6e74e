"""The tables and pictures of modalities.py."""

from pathlib import Path

import numpy as np
from cases import Array
from modality_cases import Case

TITLES = {
    "us": "Ultrasound, simulated speckle",
    "pet": "PET at a lower dose",
    "micro": "Micrographs",
    "series": "Time series",
}


def as_markdown(record: dict) -> str:
    lines = ["# Ultrasound, PET, microscopy, time series", "", "PSNR (dB) / SSIM, means over the images.", ""]
    for theme, title in TITLES.items():
        rows = [r for r in record["scores"] if r["theme"] == theme]
        if rows:
            lines += [f"## {title}", "", *table(rows, theme), ""]
        if theme == "pet" and rows:
            lines += [*pet_table(rows), ""]
        if theme == "us" and record["real"]:
            lines += ["## Ultrasound, real", "", *real_table(record["real"]), ""]
        shifts = {m: max(r["shift"] for r in rows if r["method"] == m and "shift" in r)
                  for m in dict.fromkeys(r["method"] for r in rows if "shift" in r)}  # fmt: skip
        if shifts:
            worst = ", ".join(f"{m} {100 * s:.2f} %" for m, s in shifts.items())
            lines += [
                f"Colours: the means of blocks of 16 x 16 pixels move, in the worst component, by {worst} of 255.",
                "",
            ]
    return "\n".join(lines)


def table(rows: list[dict], theme: str) -> list[str]:
    methods = list(dict.fromkeys(r["method"] for r in rows))
    keys = list(dict.fromkeys((r["image"], r["condition"]) if theme == "series" else (r["condition"],) for r in rows))
    lines = [f"| | images | {' | '.join(methods)} | ours above the best |", "|---" * (len(methods) + 3) + "|"]
    for key in keys:
        mine = [r for r in rows if (r["image"], r["condition"])[-len(key) :] == key]
        means = {m: [np.mean([r[f] for r in mine if r["method"] == m]) for f in ("psnr", "ssim")] for m in methods}
        values = " | ".join("{:.2f} / {:.3f}".format(*means[m]) for m in methods)
        gain = means["ours"][0] - max(means[m][0] for m in methods if m != "ours")
        images = len({r["image"] for r in mine})
        lines.append(f"| {', '.join(key)} | {images} | {values} | {gain:+.2f} |")
    seconds = " | ".join(f"{np.mean([r['seconds'] for r in rows if r['method'] == m]):.2f}" for m in methods)
    return [*lines, f"| seconds an image | | {seconds} | |"]


def pet_table(rows: list[dict]) -> list[str]:
    methods = list(dict.fromkeys(r["method"] for r in rows))
    lines = [
        "Mean SUV after against before, the worst case; SUVmax against that before (largest) and the true (mean).",
        "",
        "| | hot places | rest of the body | SUVmax of the given | of the true |",
        "|---" * 5 + "|",
    ]
    for method in methods:
        mine = [r for r in rows if r["method"] == method]
        hot, body = (max((r[f] for r in mine), key=abs) for f in ("hot", "body"))
        peaks = f"{max(r['peak_of_given'] for r in mine):.3f} | {np.mean([r['peak_of_true'] for r in mine]):.3f}"
        lines.append(f"| {method} | {100 * hot:+.1f} % | {100 * body:+.1f} % | {peaks} |")
    return lines


def real_table(rows: list[dict]) -> list[str]:
    methods = list(dict.fromkeys(r["method"] for r in rows))
    lines = [
        "Equivalent number of looks (geometric mean over the pictures) and sharpness of edges; last, the looks where",
        "every result is mixed with the picture until its edges are as sharp as ours.",
        "",
        "| | looks | sharpness | looks at equal sharpness |",
        "|---" * 4 + "|",
    ]
    for method in methods:
        mine = [r for r in rows if r["method"] == method]
        mean = [np.exp(np.mean([np.log(v) for v in values]))
                for values in ([r["full"][0] for r in mine], [r["equal"] for r in mine])]  # fmt: skip
        lines.append(f"| {method} | {mean[0]:.0f} | {np.mean([r['full'][1] for r in mine]):.2f} | {mean[1]:.0f} |")
    return lines


def draw(case: Case, outputs: dict[str, Array], rows: list[dict], folder: Path) -> None:
    """Given, the best neighbour that was told nothing, ours, the truth; below, what they miss."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figures = {r["method"]: r["psnr"] for r in rows}
    fair = [m for m in figures if m not in ("given", "ours") and "," not in m]
    chosen = ["given", max(fair, key=figures.get), "ours"]
    k = case.reference.shape[0] // 2
    shown = {f"{m} {figures[m]:.2f} dB": outputs[m][k] for m in chosen} | {"truth": case.reference[k]}
    top = 255.0 if case.peak == 255 else 0.7 * case.peak
    figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), layout="constrained")
    truth = case.reference[k]
    for column, (title, image) in enumerate(shown.items()):
        picture = np.clip(image / top, 0, 1)
        axes[0, column].imshow(
            1 - picture if case.theme == "pet" else picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
        )
        axes[0, column].set_title(title, fontsize=8)
        if column < 3:
            error = np.clip(0.5 + (image - truth) / (0.5 * top), 0, 1)
            axes[1, column].imshow(error, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for axis in axes.flat:
        axis.axis("off")
    axes[1, 3].text(0.05, 0.5, case.name.replace(", ", "\n"), fontsize=9, va="center")
    folder.mkdir(parents=True, exist_ok=True)
    words = "".join(c if c.isalnum() else " " for c in case.name.lower()).split()
    figure.savefig(folder / f"modality-{'-'.join(words)}.png", dpi=70, metadata={"Software": None})
    plt.close(figure)
