"""Pictures of single cases: slices and what each method took away."""

from pathlib import Path

import matplotlib
import numpy as np
from cases import Array, Case

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CT_WINDOW = (-160.0, 240.0)


def file_name(case: Case) -> str:
    words = "".join(c if c.isalnum() else " " for c in f"{case.image} {case.condition}".lower()).split()
    return f"denoise-{'-'.join(words)}.png"


def best_rival(rows: list[dict]) -> str:
    """The method with the highest PSNR that is neither the input nor our model."""
    others = [r for r in rows if r["method"] not in ("noisy", "ours")]
    return max(others, key=lambda r: r["psnr"])["method"]


def draw(case: Case, outputs: dict[str, Array], rows: list[dict], folder: Path) -> Path:
    """One slice: reference, noisy, best rival, ours; below: the noise, and what both took away (input minus output)."""
    folder.mkdir(parents=True, exist_ok=True)
    rival = best_rival(rows)
    noisy = case.volume.array
    k = int(np.argmax(case.mask.sum((1, 2)) - 0.01 * np.abs(np.arange(len(noisy)) - len(noisy) / 2)))
    figures = {r["method"]: r["psnr"] for r in rows}
    top = {
        "reference": case.reference,
        f"noisy {figures['noisy']:.1f} dB": noisy,
        f"{rival} {figures[rival]:.1f} dB": outputs[rival],
        f"ours {figures['ours']:.1f} dB": outputs["ours"],
    }
    noise = noisy - case.reference
    below = {
        "": None,
        "noise": np.where(case.mask, noise, 0) if case.only_inside else noise,
        f"removed by {rival}": noisy - outputs[rival],
        "removed by ours": noisy - outputs["ours"],
    }
    low, high = CT_WINDOW if case.model == "ct-denoise" else (0.0, case.peak)
    height = 3.0 * noisy.shape[1] / noisy.shape[2]
    figure, axes = plt.subplots(2, 4, figsize=(12, 2 * height + 0.8), layout="constrained")
    for axis, (title, image) in zip(axes[0], top.items(), strict=True):
        axis.imshow(image[k], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title, fontsize=9)
    for axis, (title, image) in zip(axes[1], below.items(), strict=True):
        if image is not None:
            limit = 3 * case.sigma
            axis.imshow(image[k], cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
            axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    axes[1, 0].text(0.02, 0.5, f"{case.image}\n{case.condition}\nslice {k}", fontsize=9, va="center")
    path = folder / file_name(case)
    figure.savefig(path, dpi=70, metadata={"Software": None})
    plt.close(figure)
    return path
