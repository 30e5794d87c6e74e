"""What becomes of ringing, movement and spikes in MR slices: ours against classical methods, all in one run.

  python Testing/Benchmarks/mr_artifacts.py --data DATA     writes mr_artifacts.md, .json and figures/mr-artifacts-*.png
  python Testing/Benchmarks/mr_artifacts.py --quick         two images
  python Testing/Benchmarks/mr_artifacts.py --cards         the figures of an earlier run into the models' cards

DATA (or DLRECON_DATA) is the folder of images that the split of mr-denoise names; only those of the role "test" are
opened. --rivals PYTHON is an environment with dipy (requirements-rivals.txt); without it that column is empty.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft, ndimage

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import MR_SCANS, ZOO, Array, block_average, check_role, generator  # noqa: E402
from harness import arguments, write_page  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.degradations import mr_artifacts as physics  # noqa: E402
from DLReconLib.io import read_volume  # noqa: E402
from DLReconLib.metrics import psnr, ssim  # noqa: E402
from DLReconLib.volume import Geometry, Volume  # noqa: E402

HERE = Path(__file__).parent
OURS = {"gibbs": "mr-artifacts", "spike": "mr-artifacts", "motion": "mr-motion"}
SLICES = 6
NOISE = 0.01  # of the range, in both channels
SHOWN = ("Colin27 T1", "STS_001 thigh T1")
CONDITIONS = {
    "gibbs": ("zero-filled from 75 %", "zero-filled from 50 %", "one axis from 60 %", "own grid"),
    "motion": tuple(f"{size}{how}" for how in ("", ", each slice apart") for size in ("small", "middle", "large")),
    "spike": ("one", "several", "other in each slice"),
    "none": ("clean",),
}
# dB over the object. In a multi-slice scan all slices see the same movement; in one of slices one after another, each
# its own.
DAMAGE = {"small": (31, 36), "middle": (26, 31), "large": (21, 26)}
SMOOTHERS = ("gaussian", "median", "nlm", "curvature")  # of movement: the best of them in each case


@dataclass(frozen=True)
class Case:
    """broken, reference: (k, j, i); mask: the object, where figures are taken."""

    image: str
    kind: str
    condition: str
    broken: Array
    reference: Array
    mask: Array

    @property
    def volume(self) -> Volume:
        return Volume(self.broken, Geometry((1.0, 1.0, 5.0)), "MR")


def reference(path: str, average: tuple[int, int, int], data: Path) -> Array:
    """SLICES slices of the middle half; 1 is the 99.9th percentile."""
    check_role(path, "mr-denoise")
    array = np.maximum(block_average(read_volume(data / path), average).array, 0)
    places = np.linspace(0.3, 0.7, SLICES) * len(array)
    chosen = array[places.astype(int)]
    return (chosen / np.percentile(chosen, 99.9)).astype(np.float32)


def cases(data: Path, kinds: list[str], quick: bool = False) -> Iterator[Case]:
    for name, path, average in [r for r in MR_SCANS if r[0] in SHOWN] if quick else MR_SCANS:
        clean = reference(path, average, data)
        for kind in kinds:
            for condition in CONDITIONS[kind]:
                rng = generator(name, condition)
                noise = physics.complex_noise(clean.shape, NOISE, rng)
                if kind == "motion" and condition in DAMAGE:
                    pairs = zip(*moved(condition, clean, noise, rng), strict=True)
                else:
                    pairs = [degrade(kind, condition, s, n, rng) for s, n in zip(clean, noise, strict=True)]
                if kind == "spike" and condition != "other in each slice":  # what the receiver does to all alike
                    rng = generator(name, condition)
                    spikes = physics.random_spikes(clean.shape[1:], rng)
                    spikes = tuple(s[:1] for s in spikes) if condition == "one" else spikes
                    pairs = [(physics.put_spikes(s, *spikes, n), np.abs(s + n))
                             for s, n in zip(clean, noise, strict=True)]  # fmt: skip
                broken, truth = (np.stack(part).astype(np.float32) for part in zip(*pairs, strict=True))
                yield Case(name, kind, condition, broken, truth, truth > 0.1)


def degrade(kind: str, condition: str, clean: Array, noise: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """One slice: broken and reference. The noise is in both, as far as the acquisition lets it through."""
    truth = np.abs(clean + noise)
    if kind == "none":
        return truth, truth
    if kind == "spike":
        return physics.put_spikes(clean, *physics.random_spikes(clean.shape, rng), noise), truth
    if kind == "motion":
        broken, _ = moved(condition.split(",")[0], clean[None], noise[None], rng)
        return broken[0], truth
    if condition == "own grid":
        height, width = (n // 2 * 2 for n in clean.shape)
        clean = clean[:height, :width]
        lines = sizes = (height // 2, width // 2)
        truth = clean.reshape(sizes[0], 2, sizes[1], 2).mean((1, 3))
        rest = np.zeros(sizes)
    else:
        share = int(condition.split()[-2]) / 100
        sizes, truth = clean.shape, clean
        lines = (int(share * sizes[0]), sizes[1] if condition.startswith("one") else int(share * sizes[1]))
        rest = physics.acquire_axis(physics.acquire_axis(noise.real, lines[0], sizes[0], 0), lines[1], sizes[1], 1)
    return np.abs(physics.truncate(clean, lines, sizes) + rest), np.abs(truth + rest)


def moved(size: str, clean: Array, noise: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Slices that moved alike, with a damage of DAMAGE, and the references."""
    truth, (low, high) = np.abs(clean + noise), DAMAGE[size]
    while True:
        poses = physics.random_poses(clean.shape[1], rng)
        broken = np.stack([physics.move(s, poses, n) for s, n in zip(clean, noise, strict=True)])
        if low <= psnr(broken, truth, 1.0, truth > 0.1) < high:
            return broken, truth


def kspace_median(image: Array, limit: float = 4.0) -> Array:
    """The usual remedy for spikes: samples of k-space far above the median of their neighbourhood get its amplitude."""
    output = np.empty_like(image)
    for number, slice_ in enumerate(image):
        spectrum = fft.fft2(slice_)
        amplitude = np.abs(spectrum)
        usual = ndimage.median_filter(amplitude, 5, mode="wrap")
        fj, fi = (fft.fftfreq(n, 1 / n) for n in slice_.shape)
        high = (amplitude > limit * usual) & (np.hypot(fj[:, None], fi[None]) > 8)
        spectrum[high] *= (usual / (amplitude + 1e-12))[high]
        output[number] = fft.ifft2(spectrum).real
    return output


def dipy(image: Array, python: str) -> tuple[Array, float]:
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / n) for n in ("in.npy", "out.npy")]
        np.save(files[0], image)
        command = [python, str(HERE / "gibbs_rival.py"), *files]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return np.load(files[1]), float(done.stdout.split()[-1])


def methods(case: Case, rivals: str) -> dict[str, tuple[Array, float, dict]]:
    """Outputs, seconds and what was found."""
    outputs: dict = {"input": (case.broken, 0.0, {})}

    def run(name: str, **options) -> None:
        started = time.perf_counter()
        result = reconstruct(case.volume, device="cpu", judge=False, **options)
        found = result.provenance.get("found", {})
        outputs[name] = (result.volume.array, time.perf_counter() - started, found)

    reduction = {"task": "artifact-reduction"}
    if case.kind == "gibbs":
        if rivals:
            outputs["dipy"] = (*dipy(case.broken, rivals), {})
        run("gibbs-shifts", model="classical/gibbs-shifts", **reduction)
    if case.kind == "spike":
        started = time.perf_counter()
        outputs["k-space median"] = (kspace_median(case.broken), time.perf_counter() - started, {})
        run("spike-filter", model="classical/spike-filter", **reduction)
    if case.kind == "motion":
        for name in SMOOTHERS:
            run(name, model=f"classical/{name}")
    if case.kind in OURS:
        run("ours, told", model=OURS[case.kind], artifact=case.kind, **reduction)
    run("ours, auto", **reduction)
    return outputs


def measure(case: Case, rivals: str) -> tuple[list[dict], dict[str, Array]]:
    rows, found = [], methods(case, rivals)
    for method, (output, seconds, notes) in found.items():
        rows.append({
            "image": case.image, "kind": case.kind, "condition": case.condition, "method": method,
            "psnr": min(99.0, psnr(output, case.reference, 1.0, case.mask)),
            "ssim": ssim(output, case.reference, 1.0, case.mask), "seconds": seconds, "found": notes,
        })  # fmt: skip
    print(f"{time.strftime('%H:%M:%S')} {case.image}, {case.kind}, {case.condition}: "
          + ", ".join(f"{r['method']} {r['psnr']:.2f}/{r['ssim']:.3f}" for r in rows)
          + f" {rows[-1]['found']}", flush=True)  # fmt: skip
    return rows, {m: o for m, (o, _, _) in found.items()}


def rival_of(kind: str) -> tuple[str, ...]:
    return {"gibbs": ("dipy", "gibbs-shifts"), "motion": SMOOTHERS, "spike": ("k-space median", "spike-filter")}[kind]


def draw(case: Case, outputs: dict[str, Array], rows: list[dict], folder: Path) -> Path:
    """One slice: input, the best rival, ours, reference; below, what they miss."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    figures = {r["method"]: r["psnr"] for r in rows}
    best = max((m for m in rival_of(case.kind) if m in figures), key=figures.get)
    names = ["input", *(m for m in rival_of(case.kind) if m in figures and case.kind != "motion")]
    if "ours, told" in figures:
        names = ["input", best, "ours, told"]
    shown = {f"{m} {figures[m]:.2f} dB": outputs[m][2] for m in names} | {"reference": case.reference[2]}
    ratio = case.reference.shape[1] / case.reference.shape[2]
    figure, axes = plt.subplots(2, 4, figsize=(11, 5.5 * ratio + 0.6), layout="constrained")
    for column, (title, image) in enumerate(shown.items()):
        axes[0, column].imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes[0, column].set_title(title, fontsize=9)
        if column < 3:
            axes[1, column].imshow(image - case.reference[2], cmap="gray", vmin=-0.1, vmax=0.1)
    for axis in axes.flat:
        axis.axis("off")
    axes[1, 3].text(0.05, 0.5, f"{case.image}\n{case.kind}, {case.condition}\nbelow: errors", fontsize=9)
    words = "".join(c if c.isalnum() else " " for c in f"{case.image} {case.kind} {case.condition}".lower()).split()
    path = folder / f"mr-artifacts-{'-'.join(words)}.png"
    figure.savefig(path, dpi=70, metadata={"Software": None})
    plt.close(figure)
    return path


def summary(rows: list[dict]) -> list[dict]:
    """For each kind and condition the means over the images, and how ours, told, compares."""
    found = []
    for kind, condition in dict.fromkeys((r["kind"], r["condition"]) for r in rows):
        mine = [r for r in rows if (r["kind"], r["condition"]) == (kind, condition)]
        images = list(dict.fromkeys(r["image"] for r in mine))
        of = {(r["image"], r["method"]): r for r in mine}
        names = list(dict.fromkeys(r["method"] for r in mine))
        line = {"kind": kind, "condition": condition, "images": len(images)}
        line["means"] = {m: {f: float(np.mean([of[i, m][f] for i in images])) for f in ("psnr", "ssim", "seconds")}
                         for m in names}  # fmt: skip
        if "ours, auto" in names:
            line["named"] = sum(of[i, "ours, auto"]["found"].get("artifact") == kind for i in images)
        if "ours, told" in names:
            rivals = [m for m in rival_of(kind) if m in names]
            for figure in ("psnr", "ssim"):
                gains = [of[i, "ours, told"][figure] - of[i, "input"][figure] for i in images]
                over = [of[i, "ours, told"][figure] - max(of[i, m][figure] for m in rivals) for i in images]
                line[f"{figure}_gain"], line[f"{figure}_over_rivals_least"] = float(np.mean(gains)), float(min(over))
        found.append(line)
    return found


def as_markdown(record: dict) -> str:
    both = "{psnr:.2f} / {ssim:.3f}".format_map
    lines = [
        "# MR artifacts", "",
        "PSNR (dB) / SSIM over the object, means over the images. Gain: ours, told the artifact, above the input.",
        "Least: ours above the best of the classical methods of that image, in the worst image. Named: images whose",
        "artifact `auto` names right (clean: in which it finds nothing). No network was trained on these images, but",
        "one rule of mr-motion, that inner lines count less, was made after one of them (STS_003) had lost 15 dB, and",
        "its strength was set with that image in view.", "",
    ]  # fmt: skip
    for kind in dict.fromkeys(line["kind"] for line in record["summary"]):
        part = [line for line in record["summary"] if line["kind"] == kind]
        names = list(part[0]["means"])
        lines += [f"| {kind} | images | {' | '.join(names)} | gain | least | named |", "|---" * (len(names) + 5) + "|"]
        for line in part:
            values = " | ".join(both(line["means"][m]) for m in names)
            gain = f"{line['psnr_gain']:+.2f} / {line['ssim_gain']:+.3f}" if "psnr_gain" in line else ""
            least = (f"{line['psnr_over_rivals_least']:+.2f} / {line['ssim_over_rivals_least']:+.3f}"
                     if "psnr_gain" in line else "")  # fmt: skip
            lines.append(
                f"| {line['condition']} | {line['images']} | {values} | {gain} | {least} | {line.get('named', '')} |"
            )
        lines.append("")
    return "\n".join(lines) + "\n"


def write_cards(record: dict, options: argparse.Namespace) -> None:
    """The means into the field "results" of the cards of all methods that have one."""
    names = {"classical/gibbs-shifts": "gibbs-shifts", "classical/spike-filter": "spike-filter"}
    names |= dict.fromkeys(OURS.values(), "ours, told")
    for card_id, method in names.items():
        path = ZOO / card_id / "card.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        card["results"] = {"script": "Testing/Benchmarks/mr_artifacts.py", "date": record["date"]}
        for line in record["summary"]:
            if method in line["means"] and (method != "ours, told" or OURS[line["kind"]] == card_id):
                found = {m: f"{v['psnr']:.2f} dB, SSIM {v['ssim']:.3f}" for m, v in line["means"].items()}
                found |= {"images": line["images"]} | ({"named right": line["named"]} if "named" in line else {})
                card["results"][f"{line['kind']}, {line['condition']}"] = found
        if card_id in KNOWN:
            card["failures"] = [KNOWN[card_id](record, card["sha256"], path.parent)]
        path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def masked_rim(record: dict, weights: str, folder: Path) -> dict[str, str]:
    """For the card: where the rim of a mask rings, with the picture that draw() made."""
    image, condition = SHOWN[0], "zero-filled from 75 %"
    picture = "mr-artifacts-colin27-t1-gibbs-zero-filled-from-75.png"
    of = {r["method"]: r["psnr"] for r in record["scores"] if (r["image"], r["condition"]) == (image, condition)}
    shutil.copyfile(HERE / "figures" / picture, folder / "failure-rim.png")
    text = ("A head that was cut out of its background before k-space was cut off has a rim that no scanner sees. Its "
            f"ringing is the strongest of all and stays: {image} has {of['ours, told']:.1f} dB, {of['input']:.1f} dB "
            f"before, {of['dipy']:.1f} dB after dipy.")  # fmt: skip
    return {"title": "The rim of a mask", "text": text, "picture": "failure-rim.png", "weights": weights}


def hardly_mended(record: dict, weights: str, folder: Path) -> dict[str, str]:
    """For the card: the moved image of the pictures that gains least."""
    drawn = [
        r for r in record["scores"] if r["kind"] == "motion" and r["condition"] == "middle" and r["image"] in SHOWN
    ]
    of = {(r["image"], r["method"]): r["psnr"] for r in drawn}
    image = min(SHOWN, key=lambda i: of[i, "ours, told"] - of[i, "input"])
    words = "-".join("".join(c if c.isalnum() else " " for c in image.lower()).split())
    shutil.copyfile(HERE / "figures" / f"mr-artifacts-{words}-motion-middle.png", folder / "failure-ghosts.png")
    text = (
        "Rotations, and movements that differ from line to line by more than a few pixels, stay; so do most ghosts of "
        f"a strong movement. {image}, middle: {of[image, 'ours, told']:.1f} dB, {of[image, 'input']:.1f} dB before."
    )
    return {"title": "Ghosts that stay", "text": text, "picture": "failure-ghosts.png", "weights": weights}


KNOWN = {"mr-artifacts": masked_rim, "mr-motion": hardly_mended}


def work(options: argparse.Namespace, record: dict) -> None:
    drawn = ("zero-filled from 75 %", "own grid", "middle", "several")
    earlier = options.earlier
    record["scores"] += [r for r in earlier.get("scores", []) if r["kind"] not in options.kinds]
    record["figures"] += [f for f in earlier.get("figures", []) if not any(f"-{k}-" in f for k in options.kinds)]
    for case in cases(Path(options.data), options.kinds, options.quick):
        rows, outputs = measure(case, options.rivals)
        record["scores"] += rows
        if case.image in SHOWN and case.condition in drawn:
            record["figures"].append(draw(case, outputs, rows, options.out / "figures").name)


def main() -> int:
    parser = arguments(__doc__, "mr_artifacts")
    parser.add_argument("--rivals", default="", help="Python of an environment with dipy")
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=list(CONDITIONS),
        choices=CONDITIONS,
        help="only these; what an earlier run found of the others is kept",
    )
    parser.add_argument("--quick", action="store_true", help="two images, a smoke test")
    return write_page(parser, "mr_artifacts", work, summary, as_markdown, write_cards)


if __name__ == "__main__":
    sys.exit(main())
