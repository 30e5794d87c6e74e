"""How good are holes filled? Ours against the biharmonic equation, medians, and interpolation between slices.

  python Testing/Benchmarks/inpaint.py --data DATA         writes inpaint.md, inpaint.json and figures/inpaint-*.png
  python Testing/Benchmarks/inpaint.py --quick             two images
  python Testing/Benchmarks/inpaint.py --cards             the figures of an earlier run into the models' cards

DATA (or the environment variable DLRECON_DATA) is the folder of images that the split files of the models name; only
images whose role is "test" are opened. A hole is cut into each and filled; PSNR and SSIM count inside the hole alone.
Seam: mean step of neighbouring voxels across the border of the hole, relative to that of neighbours on its outside (1:
nothing to be seen); what the untouched image has there stands beside it. Texture: mean step of neighbours inside the
hole, relative to that of the untouched image (1: as lively as the truth, below: smoother).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import ZOO, Array, generator  # noqa: E402
from harness import arguments, own_pixels, write_page  # noqa: E402
from superres import REFERENCES  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.degradations.holes import KINDS, random_hole  # noqa: E402
from DLReconLib.metrics import psnr, ssim  # noqa: E402
from DLReconLib.models import list_cards  # noqa: E402
from DLReconLib.volume import Volume  # noqa: E402

HERE = Path(__file__).parent
LEARNED = tuple(c.id for c in list_cards("inpaint") if c.learned)
PLAIN = ("classical/blend", "classical/biharmonic", "classical/median-fill")
BETWEEN = ("classical/slice-linear", "classical/slice-spline", "classical/slice-fit")
SIZE = (28, 64, 64)
SHOWN = ("Colin27 T1", "STS_001 thigh T1", "CT head phantom")
DRAWN = ("blob", "slices", "half")
NAMES = {"ball": "lesion", "blob": "irregular lesion", "bar": "bar", "slices": "missing slice", "half": "cut off"}


@dataclass(frozen=True)
class Case:
    """volume: the whole image; hole: (k, j, i) bool; peak: the range that PSNR and SSIM refer to."""

    image: str
    kind: str
    modality: str
    volume: Volume
    hole: Array
    peak: float


def cases(data: Path, quick: bool = False) -> Iterator[Case]:
    for source in [REFERENCES[0], REFERENCES[-1]] if quick else REFERENCES:
        volume = own_pixels(source, data, "MODALITY-denoise", SIZE)
        modality, size = volume.modality, volume.array.shape
        spacing = volume.geometry.spacing
        peak = 2000.0 if modality == "CT" else float(np.percentile(volume.array, 99.9))
        for kind in KINDS:
            hole = random_hole(size, generator(source.name, kind), spacing[2] / min(spacing[:2]), kind)
            yield Case(source.name, kind, modality, volume, hole, peak)


def methods(kind: str) -> tuple[str, ...]:
    return (*PLAIN, *(BETWEEN if kind == "slices" else ()), *LEARNED)


def steps_across(image: Array, hole: Array) -> tuple[float, float]:
    """Mean step between neighbours on two sides of the border, and between neighbours within 3 voxels outside it."""
    ring = ndimage.binary_dilation(hole, iterations=3) & ~hole
    across, beside = [], []
    for axis in range(3):
        step = np.abs(np.diff(image.astype(np.float64), axis=axis))
        pair = [np.take(hole, range(a, n), axis) for a, n in ((0, hole.shape[axis] - 1), (1, hole.shape[axis]))]
        near = [np.take(ring, range(a, n), axis) for a, n in ((0, hole.shape[axis] - 1), (1, hole.shape[axis]))]
        across.append(step[pair[0] != pair[1]])
        if len(across[-1]):  # a missing slice has a border along one axis only
            beside.append(step[near[0] & near[1]])
    inside, outside = (np.concatenate(a) for a in (across, beside))
    return float(inside.mean()), float(outside.mean()) if len(outside) else float("nan")


def seam(image: Array, reference: Array, hole: Array) -> tuple[float, float]:
    """Of the filled and of the untouched image, see above. Where the slices beside a missing one are no neighbours of
    others outside, those of the untouched image stand for them."""
    across, _ = steps_across(image, hole)
    was, beside = steps_across(reference, hole)
    return across / beside, was / beside


def texture(image: Array, reference: Array, hole: Array) -> float:
    """Mean step between neighbours of the hole in the slices, relative to the untouched image's."""
    sums = [0.0, 0.0]
    for axis in (1, 2):
        inside = np.logical_and(*(np.take(hole, range(a, hole.shape[axis] - 1 + a), axis) for a in (0, 1)))
        for number, part in enumerate((image, reference)):
            sums[number] += float(np.abs(np.diff(part.astype(np.float64), axis=axis))[inside].sum())
    return sums[0] / max(sums[1], 1e-9)


def measure(case: Case) -> tuple[list[dict], dict[str, Array]]:
    rows, outputs = [], {}
    mask = case.volume.with_array(case.hole.astype(np.uint8))
    for method in methods(case.kind):
        started = time.perf_counter()
        result = reconstruct(case.volume, task="inpaint", model=method, mask=mask, device="cpu", judge=False)
        seconds = time.perf_counter() - started
        output = outputs[method] = result.volume.array
        found, was = seam(output, case.volume.array, case.hole)
        rows.append({
            "image": case.image, "hole": case.kind, "modality": case.modality, "method": method,
            "voxels": int(case.hole.sum()), "psnr": psnr(output, case.volume.array, case.peak, case.hole),
            "ssim": ssim(output, case.volume.array, case.peak, case.hole), "seam": found, "seam_before": was,
            "texture": texture(output, case.volume.array, case.hole), "seconds": seconds,
        })  # fmt: skip
    print(f"{time.strftime('%H:%M:%S')} {case.image}, {NAMES[case.kind]}: "
          + ", ".join(f"{r['method']} {r['psnr']:.2f} / {r['ssim']:.3f}" for r in rows), flush=True)  # fmt: skip
    return rows, outputs


def file_name(image: str, kind: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in f"{image} {NAMES[kind]}".lower()).split()
    return f"inpaint-{'-'.join(words)}.png"


def draw(case: Case, outputs: dict[str, Array], rows: list[dict], folder: Path) -> Path:
    """A slice through the hole: image with the hole, fills, the truth; below, what the fills miss."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    figures = {r["method"]: r["psnr"] for r in rows}
    truth = case.volume.array
    shown = {"hole": np.where(case.hole, np.nan, truth)}
    shown |= {f"{m.removeprefix('classical/')} {figures[m]:.1f} dB": a for m, a in outputs.items()} | {"truth": truth}
    axis = 1 if case.kind == "slices" else 0
    place = int(case.hole.sum(tuple(n for n in range(3) if n != axis)).argmax())
    cut = [np.take(image, place, axis) for image in shown.values()]
    low, high = (-160, 240) if case.modality == "CT" else (0, case.peak)
    limit = 0.15 * case.peak if case.modality == "MR" else 150
    spacing = case.volume.geometry.spacing
    aspect = spacing[2] / spacing[0] if axis == 1 else 1.0
    ratio = aspect * cut[0].shape[0] / cut[0].shape[1]
    figure, axes = plt.subplots(2, len(cut), figsize=(2.2 * len(cut), 4.4 * ratio + 0.7), layout="constrained")
    for column, (title, image) in enumerate(zip(shown, cut, strict=True)):
        options = {"cmap": "gray", "interpolation": "nearest", "aspect": aspect}
        axes[0, column].imshow(np.ma.masked_invalid(image), vmin=low, vmax=high, **options)
        axes[0, column].set_facecolor("tab:red")
        axes[0, column].set_title(title, fontsize=8)
        if 0 < column < len(cut) - 1:
            axes[1, column].imshow(image - cut[-1], vmin=-limit, vmax=limit, **options)
            axes[1, column].set_title("error", fontsize=8)
    for axis_ in axes.flat:
        axis_.set_xticks([])
        axis_.set_yticks([])
    for unused in (axes[1, 0], axes[1, -1]):
        unused.axis("off")
    axes[1, 0].text(0, 0.5, f"{case.image}\n{NAMES[case.kind]}", fontsize=8, va="center")
    path = folder / file_name(case.image, case.kind)
    figure.savefig(path, dpi=75, metadata={"Software": None})
    plt.close(figure)
    return path


def summary(rows: list[dict]) -> list[dict]:
    """Means over the images of each modality and kind of hole."""
    found = []
    for modality, kind in dict.fromkeys((r["modality"], r["hole"]) for r in rows):
        mine = [r for r in rows if (r["modality"], r["hole"]) == (modality, kind)]
        images = list(dict.fromkeys(r["image"] for r in mine))
        of = {(r["image"], r["method"]): r for r in mine}
        used = [m for m in methods(kind) if (images[0], m) in of]
        names = ("psnr", "ssim", "seam", "seam_before", "texture", "seconds")
        means = {m: {f: float(np.mean([of[i, m][f] for i in images])) for f in names} for m in used}
        better = {}
        for ours in (m for m in used if m in LEARNED):
            rival = [max(of[i, m]["psnr"] for m in used if m not in LEARNED) for i in images]
            gains = [of[i, ours]["psnr"] - r for i, r in zip(images, rival, strict=True)]
            better[ours] = {"gain": float(np.mean(gains)), "least": float(min(gains))}
        found.append({"modality": modality, "hole": kind, "images": len(images), "means": means, "better": better})
    return found


def as_markdown(record: dict) -> str:
    lines = ["# Inpainting", "",
             "PSNR (dB) / SSIM inside the hole; seam and texture as in inpaint.py (in brackets the seam of the",
             "untouched image). Gain: dB above the best classical method of an image, mean and least.", ""]  # fmt: skip
    lines += ["| | images | method | PSNR / SSIM | seam | texture | gain | least |", "|---" * 8 + "|"]
    for line in record["summary"]:
        for method, mean in line["means"].items():
            better = line["better"].get(method)
            gains = f"{better['gain']:+.2f} | {better['least']:+.2f}" if better else "|"
            lines.append(
                f"| {line['modality']} {NAMES[line['hole']]} | {line['images']} | {method} | {mean['psnr']:.2f} / "
                f"{mean['ssim']:.3f} | {mean['seam']:.2f} ({mean['seam_before']:.2f}) | {mean['texture']:.2f} | "
                f"{gains} |"
            )
    lines += ["", "## Every case", "", "| image | hole | method | PSNR / SSIM | seam | s |", "|---" * 6 + "|"]
    for r in record["scores"]:
        lines.append(f"| {r['image']} | {NAMES[r['hole']]} | {r['method']} | {r['psnr']:.2f} / {r['ssim']:.3f} | "
                     f"{r['seam']:.2f} ({r['seam_before']:.2f}) | {r['seconds']:.2f} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def failure(record: dict, method: str, figures: Path, folder: Path, weights: str) -> dict[str, str]:
    """The hole of the pictures that is filled worst."""
    drawn = {(image, kind): file_name(image, kind) for image in SHOWN for kind in DRAWN}
    mine = [r for r in record["scores"] if r["method"] == method and (r["image"], r["hole"]) in drawn]
    worst = min(mine, key=lambda r: r["psnr"])
    name = drawn[worst["image"], worst["hole"]]
    (folder / name.replace("inpaint-", "failure-")).write_bytes((figures / name).read_bytes())
    text = (
        "What lies far from anything known is made up: a likely continuation, not what was there. On "
        f"{worst['image']}, {NAMES[worst['hole']]} ({worst['voxels']} voxels): {worst['psnr']:.1f} dB, SSIM "
        f"{worst['ssim']:.2f} inside the hole."
    )
    picture = name.replace("inpaint-", "failure-")
    return {"title": "Large holes", "text": text, "picture": picture, "weights": weights}


def write_cards(record: dict, options: argparse.Namespace) -> None:
    """The means into the field "results" of each method's card, and the worst hole into "failures"."""
    for card in list_cards("inpaint"):
        path = ZOO / card.id / "card.json"
        if not path.is_file():
            continue
        values = json.loads(path.read_text(encoding="utf-8"))
        values["results"] = {"script": "Testing/Benchmarks/inpaint.py", "date": record["date"]}
        for line in record["summary"]:
            mean = line["means"].get(card.id)
            if mean:
                text = f"{mean['psnr']:.2f} dB, SSIM {mean['ssim']:.3f}, seam {mean['seam']:.2f}"
                text += f", texture {mean['texture']:.2f}"
                name = f"{line['modality']}, {NAMES[line['hole']]}"
                values["results"][name] = {"inside the hole": text, "images": line["images"]}
        if values["sha256"]:
            values["failures"] = [failure(record, card.id, options.out / "figures", path.parent, values["sha256"])]
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def work(options: argparse.Namespace, record: dict) -> None:
    for case in cases(Path(options.data), options.quick):
        rows, outputs = measure(case)
        record["scores"] += rows
        if case.image in SHOWN and case.kind in DRAWN:
            record["figures"].append(draw(case, outputs, rows, options.out / "figures").name)


def main() -> int:
    parser = arguments(__doc__, "inpaint")
    parser.add_argument("--quick", action="store_true", help="two images, a smoke test")
    return write_page(parser, "inpaint", work, summary, as_markdown, write_cards)


if __name__ == "__main__":
    sys.exit(main())
