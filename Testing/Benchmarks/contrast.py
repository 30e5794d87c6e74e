"""How much do tissues come apart, and at what price? Ours against CLAHE and gamma.

  python Testing/Benchmarks/contrast.py --data DATA         writes contrast.md, contrast.json, figures/contrast-*.png
  python Testing/Benchmarks/contrast.py --quick             two images
  python Testing/Benchmarks/contrast.py --cards             the figures of an earlier run into the models' cards

DATA (or the environment variable DLRECON_DATA) is the folder of images that the split files of the models name; only
images whose role is "test" are opened. Tissues: of CT, fat, muscle and bone by HU; of MR, three classes of the smoothed
image by Otsu's thresholds; one voxel of their rims is left out. Noise of a tissue: standard deviation within 3 x 3 x 3
voxels (3 x 3 where slices are thick), of the calmest fifth of the tissue, since the rest is structure. CNR of a pair:
difference of means / root mean square of both noises. All figures are ratios, after to before; inverted: share of
neighbours, different by more than three times the noise, whose order was turned round. "curves alone" are the same
curves, applied to the image itself.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import ZOO, Array  # noqa: E402
from harness import arguments, own_pixels, write_page  # noqa: E402
from superres import REFERENCES  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.inference import Model  # noqa: E402
from DLReconLib.models import find_card  # noqa: E402
from DLReconLib.volume import Volume  # noqa: E402

HERE = Path(__file__).parent
METHODS = ("classical/clahe", "classical/gamma", "curves alone", "contrast")
TISSUES_CT = ((-150, -50), (20, 100), (200, 3000))
SHOWN = ("Colin27 T1", "STS_001 thigh T1", "STS_001 thigh CT")
CALM = 20  # percentile
RATIOS = ("contrast", "noise", "cnr")


def box_of(volume: Volume) -> list[int]:
    spacing = volume.geometry.spacing[::-1]
    return [3 if s < 2 * min(spacing) else 1 for s in spacing]


def tissues(volume: Volume) -> list[Array]:
    """Masks of at least 100 voxels, in order of their values."""
    from skimage.filters import threshold_multiotsu

    size = box_of(volume)
    smooth = ndimage.uniform_filter(volume.array, size, mode="nearest")
    if volume.modality == "CT":
        bands = [(smooth > low) & (smooth < high) for low, high in TISSUES_CT]
    else:
        inside = smooth > 0.1 * np.percentile(smooth, 99.5)
        limits = [-np.inf, *threshold_multiotsu(smooth[inside], 3), np.inf]
        bands = [inside & (smooth > low) & (smooth <= high) for low, high in pairwise(limits)]
    bands = [ndimage.binary_erosion(b, np.ones(size)) for b in bands]
    return [b for b in bands if np.count_nonzero(b) >= 100]


def deviation(image: Array, size: list[int]) -> Array:
    """Standard deviation around each voxel."""
    image = image.astype(np.float64) - float(image.mean(dtype=np.float64))
    mean, square = (ndimage.uniform_filter(x, size, mode="nearest") for x in (image, image * image))
    return np.sqrt(np.maximum(square - mean * mean, 0))


def figures(image: Array, masks: list[Array], size: list[int]) -> list[dict[str, float]]:
    """Of each pair of neighbouring tissues: contrast, noise, CNR."""
    local = deviation(image, size)
    means = [float(image[m].mean(dtype=np.float64)) for m in masks]
    noises = [float(np.percentile(local[m], CALM)) for m in masks]
    found = []
    for (a, b), (s, t) in zip(pairwise(means), pairwise(noises), strict=True):
        noise = float(np.sqrt((s * s + t * t) / 2))
        found.append({"contrast": b - a, "noise": noise, "cnr": (b - a) / noise})
    return found


def inverted(before: Array, after: Array, noise: float) -> float:
    turned = counted = 0
    for axis in range(3):
        was, now = (np.diff(x.astype(np.float64), axis=axis) for x in (before, after))
        clear = np.abs(was) > 3 * noise
        counted += int(clear.sum())
        turned += int((clear & (was * now < 0)).sum())
    return turned / max(counted, 1)


def loaded(method: str) -> Model:
    if method != "curves alone":
        return Model(find_card(method), "cpu", "float32")
    card = find_card("contrast")
    return Model(replace(card, arguments=card.arguments | {"base": False}), "cpu", "float32")


def measure(name: str, volume: Volume, models: dict[str, Model]) -> tuple[list[dict], dict[str, Array]]:
    masks, size = tissues(volume), box_of(volume)
    before = figures(volume.array, masks, size)
    rows, outputs = [], {}
    for method, model in models.items():
        started = time.perf_counter()
        after = outputs[method] = reconstruct(volume, task="contrast", loaded=model, judge=False).volume.array
        seconds = time.perf_counter() - started
        found = figures(after, masks, size)
        turned = inverted(volume.array, after, max(b["noise"] for b in before))
        for number, (b, a) in enumerate(zip(before, found, strict=True)):
            rows.append({"image": name, "modality": volume.modality, "pair": number, "method": method,
                         "cnr_before": b["cnr"], **{f: a[f] / b[f] for f in RATIOS}, "inverted": turned,
                         "seconds": seconds})  # fmt: skip
    said = (f"{r['method']} {r['pair']}: CNR x{r['cnr']:.2f}, noise x{r['noise']:.2f}" for r in rows)
    print(f"{time.strftime('%H:%M:%S')} {name}: {', '.join(said)}", flush=True)
    return rows, outputs


def file_name(image: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in image.lower()).split()
    return f"contrast-{'-'.join(words)}.png"


def draw(name: str, volume: Volume, outputs: dict[str, Array], folder: Path) -> Path:
    """The middle slice before and after."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    shown = {"input": volume.array} | {m.removeprefix("classical/"): outputs[m] for m in METHODS}
    low, high = (-200, 400) if volume.modality == "CT" else (0, np.percentile(volume.array, 99.9))
    figure, axes = plt.subplots(1, len(shown), figsize=(2.4 * len(shown), 2.7), layout="constrained")
    for axis, (title, image) in zip(axes, shown.items(), strict=True):
        axis.imshow(image[len(image) // 2], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    path = folder / file_name(name)
    figure.savefig(path, dpi=75, metadata={"Software": None})
    plt.close(figure)
    return path


def summary(rows: list[dict]) -> list[dict]:
    """Geometric means over the pairs of each modality, and the least of CNR."""
    found = []
    for modality in dict.fromkeys(r["modality"] for r in rows):
        for method in METHODS:
            mine = [r for r in rows if (r["modality"], r["method"]) == (modality, method)]
            means = {f: float(np.exp(np.mean([np.log(r[f]) for r in mine]))) for f in RATIOS}
            found.append({"modality": modality, "method": method, "pairs": len(mine), **means,
                          "least": min(r["cnr"] for r in mine), "inverted": max(r["inverted"] for r in mine),
                          "seconds": float(np.mean([r["seconds"] for r in mine]))})  # fmt: skip
    return found


def as_markdown(record: dict) -> str:
    lines = ["# Contrast", "", "Ratios, after to before; see contrast.py.", "",
             "| | pairs | method | contrast | noise | CNR | least CNR | inverted | s |", "|---" * 9 + "|"]  # fmt: skip
    for r in record["summary"]:
        ratios = f"{r['contrast']:.2f} | {r['noise']:.2f} | {r['cnr']:.2f} | {r['least']:.2f}"
        lines.append(f"| {r['modality']} | {r['pairs']} | {r['method']} | {ratios} | {100 * r['inverted']:.2f} % | "
                     f"{r['seconds']:.2f} |")  # fmt: skip
    lines += ["", "## Every pair", "", "| image | pair | CNR before | method | contrast | noise | CNR |"]
    lines.append("|---" * 7 + "|")
    for r in record["scores"]:
        lines.append(f"| {r['image']} | {r['pair']} | {r['cnr_before']:.1f} | {r['method']} | {r['contrast']:.2f} | "
                     f"{r['noise']:.2f} | {r['cnr']:.2f} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def failure(record: dict, figures: Path, folder: Path, weights: str) -> dict[str, str]:
    """The pair of the images shown that gains least."""
    mine = [r for r in record["scores"] if r["method"] == "contrast" and r["image"] in SHOWN]
    worst = min(mine, key=lambda r: r["cnr"])
    picture = file_name(worst["image"]).replace("contrast-", "failure-")
    (folder / picture).write_bytes((figures / file_name(worst["image"])).read_bytes())
    text = (
        "Where the values of tissues fill the range already, there is no room to part them, and curves that part two "
        f"bring others together. On {worst['image']}, pair {worst['pair'] + 1}: contrast x{worst['contrast']:.2f}, "
        f"noise x{worst['noise']:.2f}, CNR x{worst['cnr']:.2f}."
    )
    return {"title": "Tissues that lie far apart already", "text": text, "picture": picture, "weights": weights}


def write_cards(record: dict, options: argparse.Namespace) -> None:
    """The means into the field "results" of each method's card, and the worst pair into "failures"."""
    for method in (m for m in METHODS if m != "curves alone"):
        path = ZOO / method / "card.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        values["results"] = {"script": "Testing/Benchmarks/contrast.py", "date": record["date"]}
        for r in (r for r in record["summary"] if r["method"] == method):
            text = {f: f"x{r[f]:.2f}" for f in RATIOS}
            values["results"][f"{r['modality']}, tissues"] = text | {"pairs": r["pairs"]}
        if values["sha256"]:
            values["failures"] = [failure(record, options.out / "figures", path.parent, values["sha256"])]
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def work(options: argparse.Namespace, record: dict) -> None:
    models = {m: loaded(m) for m in METHODS}
    for source in REFERENCES[:1] + REFERENCES[8:9] if options.quick else REFERENCES:
        volume = own_pixels(source, options.data, "MODALITY-denoise")
        rows, outputs = measure(source.name, volume, models)
        record["scores"] += rows
        if source.name in SHOWN:
            record["figures"].append(draw(source.name, volume, outputs, options.out / "figures").name)


def main() -> int:
    parser = arguments(__doc__, "contrast")
    parser.add_argument("--quick", action="store_true", help="two images, a smoke test")
    return write_page(parser, "contrast", work, summary, as_markdown, write_cards)


if __name__ == "__main__":
    sys.exit(main())
