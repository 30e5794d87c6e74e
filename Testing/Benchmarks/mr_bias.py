"""How well is a bias field found? Ours against N4 of SimpleITK, on scans under known fields, in one run.

  python Testing/Benchmarks/mr_bias.py --data DATA      writes mr_bias.md and mr_bias.json
  python Testing/Benchmarks/mr_bias.py --quick          two images
  python Testing/Benchmarks/mr_bias.py --data DATA --cards    the figures of an earlier run into the models' cards

DATA (or DLRECON_DATA) is the folder of images that the split of mr-denoise names; only those of the role "test" are
opened. Correlation: of the logarithms of the field found and of the true one, over the object. Variation: standard
deviation over mean of the voxels that had nearly one value (the mode within 12 %) before the field was put on. What
the scans bring along of their own counts against every method alike.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import MR_SCANS, ZOO, Array, block_average, check_role, generator  # noqa: E402
from harness import arguments, write_page  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.degradations.mr_artifacts import bias_field  # noqa: E402
from DLReconLib.io import read_volume  # noqa: E402
from DLReconLib.volume import Volume  # noqa: E402

HERE = Path(__file__).parent
METHODS = {"N4": "classical/n4", "ours": "mr-bias"}
STRENGTHS = {"weak": 0.1, "middle": 0.2, "strong": 0.3}  # standard deviation of log b
SHOWN = ("Colin27 T1", "STS_001 thigh T1")  # whose pictures may be shown


def one_tissue(image: Array) -> Array:
    """Voxels near the most frequent value of the object, without the edges of the region."""
    top = np.percentile(image, 99)
    counts, edges = np.histogram(image[image > 0.2 * top], 100, (0.2 * top, top))
    mode = edges[np.argmax(ndimage.gaussian_filter1d(counts.astype(float), 3))]
    region = np.abs(ndimage.uniform_filter(image, 3) / mode - 1) < 0.12
    return ndimage.binary_erosion(region)


def known_field(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Array:
    log = np.zeros(1)
    while log.std() < 0.02:
        log = np.log(bias_field(shape, rng))
    return np.exp(log * (size / log.std())).astype(np.float32)


def evened(volume: Volume, model: str) -> Array:
    options = {"task": "artifact-reduction", "artifact": "bias", "model": model}
    return reconstruct(volume, judge=False, device="cpu", **options).volume.array


def measure(name: str, strength: str, volume: Volume, clean: Array) -> list[dict]:
    field = known_field(clean.shape, STRENGTHS[strength], generator(name, strength))
    inside, tissue = clean > 0.1 * np.percentile(clean, 99), one_tissue(clean)
    truth = np.log(field[inside])
    broken = volume.with_array((clean * field).astype(np.float32))
    rows = []
    for method, model in {"input": "", **METHODS}.items():
        started, output = time.process_time(), broken.array
        if model:
            output = evened(broken, model)
        seconds = time.process_time() - started
        found = np.log(np.maximum(broken.array[inside], 1e-6) / np.maximum(output[inside], 1e-6))
        values = output[tissue]
        rows.append({
            "image": name, "strength": strength, "method": method, "seconds": seconds,
            "correlation": float(np.corrcoef(found, truth)[0, 1]) if found.std() > 0 else 0.0,
            "variation": float(values.std() / values.mean()),
        })  # fmt: skip
    words = [f"{r['method']} {r['correlation']:.3f} / {r['variation']:.3f} / {r['seconds']:.1f} s" for r in rows]
    print(name, strength, ", ".join(words), flush=True)
    return rows


def summary(rows: list[dict]) -> list[dict]:
    found = []
    for strength in STRENGTHS:
        line: dict = {"strength": strength, "means": {}}
        for method in ("input", *METHODS):
            mine = [r for r in rows if (r["strength"], r["method"]) == (strength, method)]
            line["means"][method] = {f: float(np.mean([r[f] for r in mine]))
                                     for f in ("correlation", "variation", "seconds")}  # fmt: skip
        of = {(r["image"], r["method"]): r for r in rows if r["strength"] == strength}
        images = list(dict.fromkeys(i for i, _ in of))
        line["images"] = len(images)
        line["better"] = {f: sum(s * of[i, "ours"][f] > s * of[i, "N4"][f] for i in images)
                          for f, s in (("correlation", 1), ("variation", -1))}  # fmt: skip
        found.append(line)
    return found


def as_markdown(record: dict) -> str:
    lines = [
        "# MR bias field", "",
        "Correlation of the field found with the true one (in logarithms) / coefficient of variation of one tissue /",
        "processor seconds; means over the images. Better: images in which ours has the higher correlation, the lower",
        "variation.", "",
        f"| field | images | input | {' | '.join(METHODS)} | better |", "|---" * (len(METHODS) + 4) + "|",
    ]  # fmt: skip
    for line in record["summary"]:
        values = [f"{m['correlation']:.3f} / {m['variation']:.3f} / {m['seconds']:.1f}" for m in line["means"].values()]
        better = f"{line['better']['correlation']}, {line['better']['variation']}"
        lines.append(f"| {line['strength']} | {line['images']} | {' | '.join(values)} | {better} |")
    return "\n".join(lines) + "\n"


def worst_shown(record: dict) -> tuple[str, str, dict[str, float]]:
    """Image, strength and correlations of the case, of those that may be shown, in which ours is farthest behind N4."""
    found = {}
    for r in (r for r in record["scores"] if r["image"] in SHOWN):
        found.setdefault((r["image"], r["strength"]), {})[r["method"]] = r["correlation"]
    (image, strength), values = min(found.items(), key=lambda f: f[1]["ours"] - f[1]["N4"])
    return image, strength, values


def failure(record: dict, data: Path, folder: Path, weights: str) -> dict[str, str]:
    """That case for the card, drawn beside it: what went in, after N4, ours, and without the field."""
    image, strength, values = worst_shown(record)
    volume, clean = reference(data, *next(r[1:] for r in MR_SCANS if r[0] == image))
    broken = volume.with_array(clean * known_field(clean.shape, STRENGTHS[strength], generator(image, strength)))
    shown = {"under the field": broken.array}
    for method, model in METHODS.items():
        shown[f"{method}, r {values[method]:.2f}"] = evened(broken, model)
    shown["without it"] = clean
    figure = Figure(figsize=(10, 3), layout="constrained")
    for axis, (title, array) in zip(figure.subplots(1, 4), shown.items(), strict=True):
        part = array[len(array) // 2]
        axis.imshow(part[::-1], cmap="gray", vmin=0, vmax=np.percentile(part, 99.5))
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    name = f"failure-{strength}-field.png"
    figure.savefig(folder / name, dpi=70, metadata={"Software": None})
    text = (f"A {strength} field on {image}: the field found correlates with the true one by {values['ours']:.2f}, "
            f"N4's by {values['N4']:.2f}; some shading stays.")  # fmt: skip
    return {"title": "Shading stays", "text": text, "picture": name, "weights": weights}


def reference(data: Path, path: str, average: tuple[int, int, int]) -> tuple[Volume, Array]:
    check_role(path, "mr-denoise")
    volume = block_average(read_volume(data / path), average)
    return volume, np.maximum(volume.array, 0).astype(np.float32)


def write_cards(record: dict, options: argparse.Namespace) -> None:
    for model in METHODS.values():
        path = ZOO / model / "card.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["sha256"]:
            card["failures"] = [failure(record, Path(options.data), path.parent, card["sha256"])]
        card["results"] = {"script": "Testing/Benchmarks/mr_bias.py", "date": record["date"]}
        for line in record["summary"]:
            card["results"][f"{line['strength']} field"] = {
                m: f"correlation {v['correlation']:.3f}, variation {v['variation']:.3f}, {v['seconds']:.1f} s"
                for m, v in line["means"].items()
            } | {"images": line["images"]}
        path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def work(options: argparse.Namespace, record: dict) -> None:
    for name, path, average in MR_SCANS[:: 4 if options.quick else 1]:
        volume, clean = reference(Path(options.data), path, average)
        for strength in STRENGTHS:
            record["scores"] += measure(name, strength, volume, clean)


def main() -> int:
    parser = arguments(__doc__, "mr_bias")
    parser.add_argument("--quick", action="store_true", help="two images, a smoke test")
    return write_page(parser, "mr_bias", work, summary, as_markdown, write_cards)


if __name__ == "__main__":
    sys.exit(main())
