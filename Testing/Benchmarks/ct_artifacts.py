"""How well are CT artifacts removed? Ours against classical methods, on every case, all in one run.

  python Testing/Benchmarks/ct_artifacts.py --data DATA     writes ct_artifacts.md, .json and figures/ct-artifacts-*.png
  python Testing/Benchmarks/ct_artifacts.py --only NAME     one image, into what an earlier run wrote
  python Testing/Benchmarks/ct_artifacts.py --cards         the figures of an earlier run into the models' cards

DATA (or the environment variable DLRECON_DATA) is the folder of images that the split file of the model names; only
images whose role is "test" are opened. References are means of neighbouring slices, so that their own noise is low.
Sparse views: the reference is what filtered back-projection makes of all views, the input what it makes of every so
many-th; the iterative rival gets the measured line integrals themselves, which nobody has who starts from an image,
and its best weight. Metal and rings are put into the reference by the physics of degradations/ct_artifacts.py.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import ZOO, Array, check_role, generator  # noqa: E402
from harness import arguments, write_page  # noqa: E402
from scipy import ndimage  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.degradations import ct_artifacts as physics  # noqa: E402
from DLReconLib.inference import Model  # noqa: E402
from DLReconLib.io import read_volume  # noqa: E402
from DLReconLib.metrics import mae, psnr, ssim  # noqa: E402
from DLReconLib.models import find_card  # noqa: E402
from DLReconLib.networks.rings import middle  # noqa: E402
from DLReconLib.tomography import detectors, filtered_back_projection, joseph, project, view_angles  # noqa: E402
from DLReconLib.volume import Volume  # noqa: E402

HERE = Path(__file__).parent
NAME = "ct-artifacts"
PEAK = 2000.0
WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2)  # of total variation, relative to water
PASSES = 8
METAL = {"titanium hip": ("titanium", "hip"), "steel screws": ("steel", "screws"),
         "cobalt-chrome rods": ("cobalt-chrome", "rods")}  # fmt: skip
VIEWS = (60, 100, 200)
RINGS = ("rings", "faint rings")
SHOWN = ("STS_001 thigh", "CT head phantom")
PICTURES = ("60 views", "titanium hip", "cobalt-chrome rods", "rings")


@dataclass(frozen=True)
class Reference:
    """file; factors of block averaging, (k, j, i); the slices that are taken after it."""

    name: str
    path: str
    average: tuple[int, int, int]
    slices: tuple[int, ...]


REFERENCES = (
    Reference("STS_001 thigh", "ct/STS_001_ct.nii.gz", (3, 1, 1), (5, 9)),
    Reference("STS_002 pelvis", "ct/STS_002_ct.nii.gz", (3, 1, 1), (3, 7)),
    Reference("STS_003 pelvis", "ct/STS_003_ct.nii.gz", (3, 1, 1), (4, 8)),
    Reference("STS_004 thigh", "ct/STS_004_ct.nii.gz", (3, 1, 1), (6, 14)),
    Reference("CT head phantom", "ct/headphantom_philips_1mm_soft.nii.gz", (4, 2, 2), (0, 3)),
)


@dataclass(frozen=True)
class Case:
    """image, reference: (k, j, i) HU; mask: the voxels that count; metal: (k, j, i) bool, or None.

    sinogram, angles, finest: of sparse views, what the iterative rival gets, and the views of the reference.
    """

    name: str
    condition: str
    artifact: str
    image: Array
    reference: Array
    mask: Array
    metal: Array | None = None
    sinogram: Array | None = None
    angles: Array | None = None
    finest: int = 0


def hu(relative: Array) -> Array:
    return ((relative - 1) * 1000).astype(np.float32)


def cases(data: Path, only: str = "") -> Iterator[Case]:
    for source in REFERENCES:
        if only not in ("", source.name):
            continue
        check_role(source.path, NAME)
        volume = read_volume(data / source.path)
        pixel = volume.geometry.spacing[0] * source.average[2]
        whole = np.maximum(volume.array, -1000).astype(np.float32)
        shape = [n // f for n, f in zip(whole.shape, source.average, strict=True)]
        cut = whole[tuple(slice(n * f) for n, f in zip(shape, source.average, strict=True))]
        blocks = cut.reshape([s for pair in zip(shape, source.average, strict=True) for s in pair]).mean((1, 3, 5))
        slices = blocks[list(source.slices)] / 1000 + 1
        yield from streak_cases(source.name, slices)
        yield from metal_cases(source.name, slices, pixel)
        yield from ring_cases(source.name, slices)
        yield Case(source.name, "clean", "auto", hu(slices), hu(slices), slices > 0.5)


def measured(slices: Array, angles: Array) -> Array:
    """Line integrals of slices that are drawn twice as fine, so that no method has the grid they were made on."""
    fine = np.stack([ndimage.zoom(s, 2, order=3, mode="nearest", grid_mode=True) for s in slices])
    sinogram = project(np.clip(fine, 0, None), angles)
    centre, half = sinogram.shape[-1] // 2, detectors(slices.shape[1:]) // 2
    padded = np.pad(sinogram, ((0, 0), (0, 0), (2, 2)))
    at = centre + 2 + 2 * np.arange(-half, half + 1)
    at = np.clip(at, 1, padded.shape[-1] - 2)
    return (0.125 * padded[..., at - 1] + 0.25 * padded[..., at] + 0.125 * padded[..., at + 1]).astype(np.float32)


def streak_cases(name: str, slices: Array) -> Iterator[Case]:
    for views in VIEWS:
        times = max(2, round(1.8 * max(slices.shape[1:]) / views))
        angles, shape = view_angles(views * times, 0.3), slices.shape[1:]
        sinogram = measured(slices, angles)
        few = filtered_back_projection(sinogram[:, ::times], angles[::times], shape)
        every = filtered_back_projection(sinogram, angles, shape)
        yield Case(name, f"{views} views", "streak", hu(few), hu(every), slices > 0.5,
                   sinogram=sinogram[:, ::times], angles=angles[::times], finest=views * times)  # fmt: skip


def metal_cases(name: str, slices: Array, pixel: float) -> Iterator[Case]:
    for condition, (material, kind) in METAL.items():
        rng = generator(name, condition)
        share = np.stack([physics.metal_shape(s.shape, s > 0.5, pixel, rng, kind) for s in slices])
        broken = physics.metal_artifacts(slices, share, material, pixel, 1e5, rng)
        image = np.clip(hu(broken.image), -1024, 3071)  # as stored by most scanners
        outside = (slices > 0.5) & ~ndimage.binary_dilation(share > 0.01, np.ones((1, 3, 3)))
        yield Case(name, condition, "metal", image, hu(slices), outside, share > 0.5)


def ring_cases(name: str, slices: Array) -> Iterator[Case]:
    for condition in RINGS:
        rng = generator(name, condition)
        strength = 0.03 if condition == "rings" else 0.01
        pattern = np.stack([physics.rings(s.shape, middle(s.shape), rng) for s in slices])
        yield Case(name, condition, "ring", hu(slices + strength * pattern), hu(slices), slices > 0.5)


def total_variation(image: Array, weight: float) -> Array:
    from skimage.restoration import denoise_tv_chambolle

    return np.stack([denoise_tv_chambolle(s, weight, max_num_iter=40) for s in image])


def iterative(case: Case, weight: float) -> Array:
    """SART (Andersen & Kak, Ultrasonic Imaging 1984) with a step of total variation after each pass over the views
    (Sidky & Pan, Phys. Med. Biol. 2008), HU, from the input on; as sharp as it is, or as the reconstruction of all
    views would make it, what is nearer to the reference."""
    shape, count = case.image.shape[1:], len(case.image)
    found = np.clip(case.image / 1000 + 1, 0, None).reshape(count, -1).T.astype(np.float32)
    order = generator(case.name, case.condition).permutation(len(case.angles))
    for _ in range(PASSES):
        for view in order:
            matrix = joseph(shape, float(case.angles[view]))
            lengths = np.maximum(np.asarray(matrix.sum(1)), 0.5)
            weights = np.maximum(np.asarray(matrix.sum(0)).T, 0.5)
            found += matrix.T @ ((case.sinogram[:, view].T - matrix @ found) / lengths) / weights
        image = np.clip(total_variation(found.T.reshape(count, *shape), weight), 0, None)
        found = np.ascontiguousarray(image.reshape(count, -1).T, np.float32)
    angles = view_angles(case.finest, float(case.angles[0]))
    answers = hu(image), hu(filtered_back_projection(project(image, angles), angles, shape))
    return max(answers, key=lambda a: psnr(a, case.reference, PEAK, case.mask))


def run(case: Case, model: str, artifact: str, **arguments: object) -> tuple[Array, dict]:
    card = find_card(model)
    loaded = Model(replace(card, arguments=card.arguments | arguments), "cpu") if arguments else Model(card, "cpu")
    result = reconstruct(Volume(case.image, modality="CT"), loaded=loaded, task="artifact-reduction",
                         artifact=artifact, judge=False)  # fmt: skip
    return result.volume.array, result.provenance.get("found", {})


def best_of(case: Case, method, weights: tuple[float, ...]) -> Array:
    """The answer with the highest PSNR: what someone would get who knew the reference."""
    return max((method(w) for w in weights), key=lambda a: psnr(a, case.reference, PEAK, case.mask))


def methods(case: Case, ours_is: str) -> dict:
    ours = {"ours": lambda: run(case, ours_is, case.artifact)}
    if case.artifact == "streak":
        relative = case.image / 1000 + 1
        plain = {
            "TV, blind": lambda: run(case, "classical/streak-tv", "streak"),
            "TV, best weight": lambda: (
                best_of(case, lambda w: hu(total_variation(relative, w)), WEIGHTS), {}),
            "SART-TV of the line integrals": lambda: (best_of(case, lambda w: iterative(case, w), WEIGHTS[1:3]), {}),
        }  # fmt: skip
    elif case.artifact == "metal":
        model = "classical/metal-interpolation"
        plain = {"linear interpolation": lambda: run(case, model, "metal", passes=0),
                 "interpolation with a prior": lambda: run(case, model, "metal")}  # fmt: skip
    elif case.artifact == "ring":
        plain = {"polar median": lambda: run(case, "classical/polar-median", "ring")}
    else:
        plain = {}
    return {"uncorrected": lambda: (case.image, {})} | plain | ours


def shift(output: Array, case: Case) -> float:
    """Root mean square of the difference of means over 9 x 9 pixels, in HU, where the reference is homogeneous."""

    def mean(image: Array) -> Array:
        return ndimage.uniform_filter(image.astype(np.float64), (0, 9, 9))

    spread = np.sqrt(np.maximum(mean(case.reference**2) - mean(case.reference) ** 2, 0))
    calm = (spread < 35) & ndimage.binary_erosion(case.mask, np.ones((1, 9, 9)))
    return float(np.sqrt(np.mean((mean(output - case.reference)[calm]) ** 2))) if calm.any() else float("nan")


def measure(case: Case, ours_is: str) -> tuple[list[dict], dict[str, Array]]:
    rows, outputs = [], {}
    for method, answer in methods(case, ours_is).items():
        started = time.perf_counter()
        output, found = answer()
        outputs[method] = output
        row = {"image": case.name, "condition": case.condition, "artifact": case.artifact, "method": method,
               "psnr": min(99.0, psnr(output, case.reference, PEAK, case.mask)),
               "ssim": ssim(output, case.reference, PEAK, case.mask),
               "mae": mae(output, case.reference, PEAK, case.mask), "shift": shift(output, case),
               "seconds": time.perf_counter() - started, "found": found}  # fmt: skip
        if case.metal is not None:
            row["metal_kept"] = float(np.mean(output[case.metal] == case.image[case.metal]))
        rows.append(row)
    rows[-1]["named"] = run(case, ours_is, "auto")[1].get("artifact", "none")
    print(f"{time.strftime('%H:%M:%S')} {case.name}, {case.condition}: "
          + ", ".join(f"{r['method']} {r['psnr']:.2f} / {r['ssim']:.3f}" for r in rows), flush=True)  # fmt: skip
    return rows, outputs


def file_name(image: str, condition: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in f"{image} {condition}".lower()).split()
    return f"ct-artifacts-{'-'.join(words)}.png"


def draw(case: Case, outputs: dict[str, Array], rows: list[dict], folder: Path) -> Path:
    """The middle slice: input, the best rival, ours, reference; below, what is wrong with them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    figures = {r["method"]: r["psnr"] for r in rows}
    rival = max((m for m in figures if m not in ("uncorrected", "ours")), key=figures.get)
    chosen = [m for m in ("uncorrected", rival, "ours") if m in outputs]
    k = len(case.image) // 2
    shown = {f"{m} {figures[m]:.2f} dB": outputs[m][k] for m in chosen} | {"reference": case.reference[k]}
    ratio = case.image.shape[1] / case.image.shape[2]
    figure, axes = plt.subplots(2, 4, figsize=(12, 6 * ratio + 0.6), layout="constrained")
    for column, (title, image) in enumerate(shown.items()):
        axes[0, column].imshow(image, cmap="gray", vmin=-250, vmax=350, interpolation="nearest")
        axes[0, column].set_title(title, fontsize=9)
        if title != "reference":
            error = image - case.reference[k]
            axes[1, column].imshow(error, cmap="gray", vmin=-150, vmax=150, interpolation="nearest")
            axes[1, column].set_title("error, +-150 HU", fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    axes[1, 3].text(0.05, 0.5, f"{case.name}\n{case.condition}", fontsize=9, va="center")
    path = folder / file_name(case.name, case.condition)
    figure.savefig(path, dpi=70, metadata={"Software": None})
    plt.close(figure)
    Image.open(path).convert("L").quantize(24).save(path, optimize=True)  # small enough for the repository
    return path


def summary(rows: list[dict]) -> list[dict]:
    """Means over the images for each condition and method."""
    found = []
    for condition in dict.fromkeys(r["condition"] for r in rows):
        mine = [r for r in rows if r["condition"] == condition]
        line = {"condition": condition, "artifact": mine[0]["artifact"], "means": {}}
        for method in dict.fromkeys(r["method"] for r in mine):
            of = [r for r in mine if r["method"] == method]
            line["means"][method] = {f: float(np.nanmean([r[f] for r in of]))
                                     for f in ("psnr", "ssim", "mae", "shift", "seconds")}  # fmt: skip
            kept = [r["metal_kept"] for r in of if "metal_kept" in r]
            if kept:
                line["means"][method]["metal_kept"] = float(np.mean(kept))
        line["named"] = [r["named"] for r in mine if "named" in r]
        found.append(line)
    return found


def as_markdown(record: dict) -> str:
    lines = [
        "# CT artifacts", "",
        "Over the body, outside metal: PSNR (peak 2000 HU), SSIM, mean absolute error, root mean square shift of the",
        "means of homogeneous 9 x 9 squares; seconds for two slices, in one thread. Named: what `auto` found.",
        "The references keep the noise of their scans, which methods of total variation take away, too: that counts",
        "against them. Best weight, and SART-TV: chosen by the reference, in each case.", "",
        "| condition | method | PSNR | SSIM | error, HU | shift, HU | metal kept | s | named |", "|---" * 9 + "|",
    ]  # fmt: skip
    for line in record["summary"]:
        for method, v in line["means"].items():
            kept = f"{v['metal_kept']:.0%}" if "metal_kept" in v else ""
            named = ""
            if method == "ours":
                named = ", ".join(f"{n} {line['named'].count(n)}" for n in dict.fromkeys(line["named"]))
            lines.append(f"| {line['condition']} | {method} | {v['psnr']:.2f} | {v['ssim']:.3f} | {v['mae']:.1f} | "
                         f"{v['shift']:.1f} | {kept} | {v['seconds']:.1f} | {named} |")  # fmt: skip
    lines += ["", "## Every case", "", "| image | condition | PSNR / SSIM |", "|---|---|---|"]
    for image, condition in dict.fromkeys((r["image"], r["condition"]) for r in record["scores"]):
        mine = [r for r in record["scores"] if (r["image"], r["condition"]) == (image, condition)]
        values = ", ".join(f"{r['method']} {r['psnr']:.2f} / {r['ssim']:.3f}" for r in mine)
        lines.append(f"| {image} | {condition} | {values} |")
    return "\n".join(lines) + "\n"


CARDS = {NAME: "ours", "classical/metal-interpolation": "interpolation with a prior",
         "classical/polar-median": "polar median", "classical/streak-tv": "TV, blind"}  # fmt: skip


FAILURES = {  # what the model is known to do badly, each on one of the pictures
    ("CT head phantom", "60 views"): (
        "Broad streaks stay",
        "With 60 views the head phantom has {ours:.1f} dB, {uncorrected:.1f} dB before; the best method of all, which "
        "knows the line integrals or the weight, reaches {best:.1f} dB.",
    ),
    ("STS_001 thigh", "titanium hip"): (
        "Beside metal",
        "Bone beside a titanium hip in a thigh comes out with shadows and a wrong edge: {ours:.1f} dB in the whole "
        "body, {uncorrected:.1f} dB before.",
    ),
}


def write_cards(record: dict, options: argparse.Namespace) -> None:
    """The means into the field "results" of each model's card, and into "failures" of ours what FAILURES names."""
    for name, method in CARDS.items():
        path = ZOO / name / "card.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        card["results"] = {"script": "Testing/Benchmarks/ct_artifacts.py", "date": record["date"]}
        for line in record["summary"]:
            if method in line["means"]:
                card["results"][line["condition"]] = {
                    m: f"{v['psnr']:.2f} dB, SSIM {v['ssim']:.3f}, error {v['mae']:.1f} HU"
                    for m, v in line["means"].items()
                }
        if method == "ours":
            card["failures"] = []
            for (image, condition), (title, text) in FAILURES.items():
                of = {
                    r["method"]: r["psnr"]
                    for r in record["scores"]
                    if (r["image"], r["condition"]) == (image, condition)
                }
                picture = file_name(image, condition).replace("ct-artifacts-", "failure-")
                (path.parent / picture).write_bytes(
                    (options.out / "figures" / file_name(image, condition)).read_bytes()
                )
                text = text.format(best=max(of.values()), **of)
                card["failures"].append({"title": title, "text": text, "picture": picture, "weights": card["sha256"]})
        path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def work(options: argparse.Namespace, record: dict) -> None:
    if options.only and options.earlier:
        record["scores"] = [r for r in options.earlier["scores"] if r["image"] != options.only]
        record["figures"] = options.earlier["figures"]
    for case in cases(Path(options.data), options.only):
        rows, outputs = measure(case, options.model)
        record["scores"] += rows
        if case.name in SHOWN and case.condition in PICTURES:
            record["figures"].append(draw(case, outputs, rows, options.out / "figures").name)


def main() -> int:
    parser = arguments(__doc__, "ct_artifacts")
    parser.add_argument("--model", default=NAME, help="ours: a model of the zoo, or the folder of one")
    parser.add_argument("--only", default="", help="measure this image alone, and keep the others of an earlier run")
    return write_page(parser, "ct_artifacts", work, summary, as_markdown, write_cards)


if __name__ == "__main__":
    sys.exit(main())
