"""How well are bright tubes found? Ours against ridge filters.

  python Testing/Benchmarks/vessels.py --data DATA         writes vessels.md, vessels.json, figures/vessels-*.png
  python Testing/Benchmarks/vessels.py --quick             two images
  python Testing/Benchmarks/vessels.py --cards             the figures of an earlier run into the models' cards

DATA (or the environment variable DLRECON_DATA) is the folder of images that the split files of the models name; only
images whose role is "test" are opened. Planted are splines with branches that become thinner, of radii from 0.7 to 3
pixels, and with the same contrast a sheet and four balls that are not to be found. They are drawn here, not by what
draws the training pairs. Contrast: in standard deviations of the image's own noise (within 3 x 3 x 3 voxels, 3 x 3
where slices are thick, of the calmest fifth of the tissue). Truth: voxels that hold at least half of the largest share
that the tree has of any. All other voxels count as none, also where the scan has vessels of its own: no figure can
reach 1. Average precision: mean of the precision over the recall. Dice: at the threshold that is best for the image.
The filters of scikit-image may choose the better of two sets of scales for each image, by the truth; ours may not.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import interpolate, spatial

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import ZOO, Array, generator  # noqa: E402
from contrast import CALM, box_of, deviation  # noqa: E402
from harness import arguments, own_pixels, write_page  # noqa: E402
from superres import REFERENCES  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.inference import Model  # noqa: E402
from DLReconLib.models import find_card  # noqa: E402
from DLReconLib.training.vessels import average_precision  # noqa: E402
from DLReconLib.volume import Volume  # noqa: E402

HERE = Path(__file__).parent
OURS = ("vessels", "classical/objectness")
RIVALS = ("frangi", "sato", "meijering")
METHODS = (*OURS, *RIVALS)
SCALES = ((0.7, 1.0, 1.5), (1.0, 2.0, 3.0))
CONTRASTS = (1.5, 3.0, 6.0, 12.0)
PICTURED = 6.0
RADII = (0.7, 1.3, 2.0, 3.0)
IMAGES = ("Colin27 T1", "niivue head T2", "torchio head FLAIR", "STS_001 thigh T1", "STS_003 thigh T1",
          "STS_001 thigh CT", "STS_002 pelvis CT", "CT head phantom")  # fmt: skip
SHOWN = ("STS_001 thigh T1", "CT head phantom")
PARTS = 3  # of a thick slice
LARGEST = (24, 84, 84)  # voxels, of the middle of the reference


def spline(points: Array, radius: float, thinner: float) -> Array:
    """(N, 4) places k, j, i and radius along a smooth curve through the points, a place a third of a pixel."""
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    curve = interpolate.CubicSpline(np.linspace(0, 1, len(points)), points)
    where = np.linspace(0, 1, max(8, int(4 * length)))
    return np.column_stack([curve(where), radius * (1 - (1 - thinner) * where)])


def tree(extent: Array, radius: float, rng: np.random.Generator) -> Array:
    """A curve through the box from side to side, and two branches; (N, 4)."""
    axis = int(rng.integers(1, 3))
    points = extent * rng.uniform(0.2, 0.8, (5, 3))
    points[:, axis] = np.linspace(-0.02, 1.02, 5) * extent[axis]
    points[1:, 0] = points[0, 0] + 0.5 * (points[1:, 0] - points[0, 0])
    parts = [spline(points, radius, 0.8)]
    for _ in range(2):
        start = parts[0][int(rng.integers(len(parts[0]) // 4, 3 * len(parts[0]) // 4))]
        end = extent * rng.uniform(0.05, 0.95, 3)
        middle = (start[:3] + end) / 2 + rng.normal(0, 4, 3)
        parts.append(spline(np.stack([start[:3], middle, end]), 0.8 * start[3], 0.6))
    return np.concatenate(parts)


def places_of(shape: tuple[int, ...], ratio: float) -> Array:
    """Of each part of each voxel, (k, PARTS, j, i, 3) in pixels."""
    k, p, j, i = np.meshgrid(*(np.arange(n) for n in (shape[0], PARTS, *shape[1:])), indexing="ij")
    return np.stack([(k + (p + 0.5) / PARTS - 0.5) * ratio, j, i], -1).astype(np.float32)


def share(distance: Array, radius: Array | float) -> Array:
    return np.clip(radius - distance + 0.5, 0, 1).mean(1)


def planted(shape: tuple[int, ...], ratio: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Shares (k, j, i) of the trees, of what is no tube, and the truth (bool)."""
    places, extent = places_of(shape, ratio), np.array(shape) * (ratio, 1.0, 1.0)
    tubes, truth = np.zeros(shape), np.zeros(shape, bool)
    for radius in RADII:
        points = tree(extent, radius, rng)
        distance, nearest = spatial.cKDTree(points[:, :3]).query(places, distance_upper_bound=5)
        here = share(distance, np.append(points[:, 3], 0)[nearest])
        tubes, truth = np.maximum(tubes, here), truth | (here >= 0.5 * here.max())
    normal = rng.standard_normal(3)
    away = np.abs((places - extent * rng.uniform(0.3, 0.7, 3)) @ (normal / np.linalg.norm(normal)))
    others = share(away, 1.0)
    for radius in (1.5, 2.0, 3.0, 4.0):
        centre = extent * rng.uniform(0.1, 0.9, 3)
        others = np.maximum(others, share(np.linalg.norm(places - centre, axis=-1), radius))
    return tubes, others, truth


def noise_of(volume: Volume) -> float:
    inside = volume.array > (-150 if volume.modality == "CT" else 0.1 * np.percentile(volume.array, 99.5))
    return float(np.percentile(deviation(volume.array, box_of(volume))[inside], CALM))


def best_dice(score: Array, truth: Array) -> float:
    order = np.argsort(-score.ravel(), kind="stable")
    score, hits = score.ravel()[order], np.cumsum(truth.ravel()[order])
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    return float((2 * hits[last] / (last + 1 + hits[-1])).max())


def answer(method: str, volume: Volume, truth: Array, models: dict[str, Model]) -> tuple[Array, float, str]:
    """The map, the seconds, and which scales were chosen."""
    if method in OURS:
        started = time.perf_counter()
        result = reconstruct(volume, task="contrast", loaded=models[method], judge=False)
        return result.features.array, time.perf_counter() - started, ""
    from skimage import filters

    tried = []
    for scales in SCALES:
        started = time.perf_counter()
        found = getattr(filters, method)(volume.array, sigmas=scales, black_ridges=False)
        tried.append((average_precision(found, truth), found, time.perf_counter() - started, str(scales)))
    return max(tried, key=lambda t: t[0])[1:]


def measure(name: str, volume: Volume, models: dict[str, Model]) -> tuple[list[dict], dict[str, Array]]:
    spacing = volume.geometry.spacing[::-1]
    ratio, noise = max(1.0, spacing[0] / min(spacing)), noise_of(volume)
    tubes, others, truth = planted(volume.array.shape, ratio, generator(name, "vessels"))
    rows, shown = [], {}
    for contrast in CONTRASTS:
        image = volume.array + np.float32(contrast * noise) * np.maximum(tubes, others).astype(np.float32)
        maps = {"image": image, "planted": truth.astype(np.float32)}
        for method in METHODS:
            found, seconds, scales = answer(method, volume.with_array(image), truth, models)
            maps[method] = found
            rows.append({"image": name, "modality": volume.modality, "contrast": contrast, "method": method,
                         "precision": average_precision(found, truth), "dice": best_dice(found, truth),
                         "share": float(truth.mean()), "scales": scales, "seconds": seconds})  # fmt: skip
        said = (f"{r['method']} {r['precision']:.3f}" for r in rows[-len(METHODS) :])
        print(f"{time.strftime('%H:%M:%S')} {name}, {contrast} sigma: {', '.join(said)}", flush=True)
        if contrast == PICTURED:
            shown = maps
    return rows, shown


def file_name(image: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in image.lower()).split()
    return f"vessels-{'-'.join(words)}.png"


def draw(name: str, volume: Volume, maps: dict[str, Array], folder: Path) -> Path:
    """A slice of the image; of all maps the largest values of five slices."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    middle = int(np.clip(np.argmax(maps["planted"].sum((1, 2))), 2, len(volume.array) - 3))
    figure, axes = plt.subplots(1, len(maps), figsize=(2.0 * len(maps), 2.3), layout="constrained")
    for axis, (title, found) in zip(axes, maps.items(), strict=True):
        part = found[middle] if title == "image" else found[middle - 2 : middle + 3].max(0)
        low, high = np.percentile(part, (1, 99.5)) if title == "image" else (0, max(np.percentile(found, 99.5), 1e-6))
        low, high = (0, 1) if title in (*OURS, "planted") else (low, high)
        axis.imshow(part, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title.removeprefix("classical/"), fontsize=9)
        axis.axis("off")
    path = folder / file_name(name)
    figure.savefig(path, dpi=75, metadata={"Software": None})
    plt.close(figure)
    return path


def summary(rows: list[dict]) -> list[dict]:
    """Means over the images of each modality."""
    found = []
    for modality in dict.fromkeys(r["modality"] for r in rows):
        for contrast in CONTRASTS:
            for method in METHODS:
                wanted = (modality, contrast, method)
                mine = [r for r in rows if (r["modality"], r["contrast"], r["method"]) == wanted]
                means = {f: float(np.mean([r[f] for r in mine])) for f in ("precision", "dice", "seconds", "share")}
                worst = min(r["precision"] for r in mine)
                found.append({"modality": modality, "contrast": contrast, "method": method, "images": len(mine),
                              "worst": worst, **means})  # fmt: skip
    return found


def as_markdown(record: dict) -> str:
    lines = ["# Vessels", "", "Bright tubes planted into scans that were never trained on; see vessels.py. A map by",
             "chance has the average precision of the share that the tubes have of the image. Seconds: on a machine",
             "that was busy with other work.", "",
             "| | images | share | contrast | method | average precision | least | best Dice | s |",
             "|---" * 9 + "|"]  # fmt: skip
    for r in record["summary"]:
        lines.append(f"| {r['modality']} | {r['images']} | {100 * r['share']:.1f} % | {r['contrast']} | "
                     f"{r['method']} | {r['precision']:.3f} | {r['worst']:.3f} | {r['dice']:.3f} | "
                     f"{r['seconds']:.1f} |")  # fmt: skip
    lines += ["", "## Average precision, every image", "", f"| image | contrast | {' | '.join(METHODS)} |"]
    lines.append("|---" * (2 + len(METHODS)) + "|")
    for image in dict.fromkeys(r["image"] for r in record["scores"]):
        for contrast in CONTRASTS:
            mine = {r["method"]: r for r in record["scores"] if (r["image"], r["contrast"]) == (image, contrast)}
            values = " | ".join(f"{mine[m]['precision']:.3f}" for m in METHODS)
            lines.append(f"| {image} | {contrast} | {values} |")
    return "\n".join(lines) + "\n"


def failure(record: dict, figures: Path, folder: Path, weights: str) -> dict[str, str]:
    """The image shown in which least is found."""
    mine = [r for r in record["scores"] if r["method"] == "vessels" and r["image"] in SHOWN]
    worst = min((r for r in mine if r["contrast"] == PICTURED), key=lambda r: r["precision"])
    faint = next(r for r in mine if (r["image"], r["contrast"]) == (worst["image"], CONTRASTS[0]))
    picture = file_name(worst["image"]).replace("vessels-", "failure-")
    (folder / picture).write_bytes((figures / file_name(worst["image"])).read_bytes())
    text = (
        "Tubes that are hardly brighter than the noise or the texture are missed, and other bright structures are "
        f"taken for tubes. On {worst['image']} the average precision is {worst['precision']:.2f} for tubes of "
        f"{PICTURED:g} times the noise (the picture) and {faint['precision']:.2f} for {CONTRASTS[0]:g} times."
    )
    return {"title": "Faint tubes", "text": text, "picture": picture,
            "weights": weights}  # fmt: skip


def write_cards(record: dict, options: argparse.Namespace) -> None:
    """The means into the field "results" of each of our cards, and the worst image into "failures"."""
    for method in OURS:
        path = ZOO / method / "card.json"
        if not path.is_file():
            continue
        values = json.loads(path.read_text(encoding="utf-8"))
        values["results"] = {"script": "Testing/Benchmarks/vessels.py", "date": record["date"]}
        for r in (r for r in record["summary"] if r["method"] == method):
            text = {"average precision": round(r["precision"], 3), "best Dice": round(r["dice"], 3)}
            values["results"][f"{r['modality']}, tubes of {r['contrast']:g} times the noise"] = text | {
                "images": r["images"]
            }
        if values["sha256"]:
            values["failures"] = [failure(record, options.out / "figures", path.parent, values["sha256"])]
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def work(options: argparse.Namespace, record: dict) -> None:
    cards = {m: find_card(options.model if m == "vessels" else m) for m in OURS}
    models = {m: Model(card, "cpu", "float32") for m, card in cards.items()}
    for source in REFERENCES:
        if source.name not in (SHOWN if options.quick else IMAGES):
            continue
        volume = own_pixels(source, options.data, "vessels", LARGEST)
        rows, maps = measure(source.name, volume, models)
        record["scores"] += rows
        if source.name in SHOWN:
            record["figures"].append(draw(source.name, volume, maps, options.out / "figures").name)


def main() -> int:
    parser = arguments(__doc__, "vessels")
    parser.add_argument("--quick", action="store_true", help="two images, a smoke test")
    parser.add_argument("--model", default="vessels", help="a card of other weights to measure")
    return write_page(parser, "vessels", work, summary, as_markdown, write_cards)


if __name__ == "__main__":
    sys.exit(main())
