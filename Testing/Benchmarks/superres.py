"""How good is super-resolution? Ours against cubic B-splines and Lanczos, on every case, all in one run.

  python Testing/Benchmarks/superres.py --data DATA         writes superres.md, superres.json and figures/superres-*.png
  python Testing/Benchmarks/superres.py --quick             one image of each modality
  python Testing/Benchmarks/superres.py --only CT           some images again, the rest as it was
  python Testing/Benchmarks/superres.py --cards             the figures of an earlier run into the models' cards

DATA (or the environment variable DLRECON_DATA) is the folder of images that the split files of the models name; only
images whose role is "test" are opened. Each reference is made coarse by the acquisition model (acquisition.py) and
enlarged again. Two conditions are not what our models assume: slices of another profile, and noise. Then thick
orthogonal stacks are fused (superres_fusion.py).
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import Array, block_average, check_role, crop, generator  # noqa: E402
from harness import arguments, write_page  # noqa: E402
from superres_fusion import measure_fusion  # noqa: E402
from superres_tables import as_markdown, summary, write_cards  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.io import read_volume  # noqa: E402
from DLReconLib.metrics import psnr, ssim  # noqa: E402
from DLReconLib.models import list_cards  # noqa: E402
from DLReconLib.resolution.acquisition import PROFILES_OF, Acquisition, Axis  # noqa: E402
from DLReconLib.volume import Geometry, Volume  # noqa: E402

HERE = Path(__file__).parent
# Model, and whether the result is made consistent; ours is what auto takes for the modality.
METHODS = {
    "B-spline": ("classical/spline", False),
    "Lanczos": ("classical/lanczos", False),
    "consistent spline": ("classical/spline", True),
    "variation": ("classical/variation", True),
    "ours": ("auto", True),
    "ours, sharper": ("-gan", True),
}


@dataclass(frozen=True)
class Reference:
    """file; factors of block averaging and the crop after it, (k, j, i); the axis that gets the thick slices.

    Crops hold inner brain, trunk and limbs, never a face: the heads are not defaced.
    """

    name: str
    path: str
    average: tuple[int, int, int]
    first: tuple[int, int, int]
    size: tuple[int, int, int]
    axis: int


REFERENCES = (
    Reference("Colin27 T1", "mr/t1_ch2_colin27_ants.nii.gz", (1, 1, 1), (60, 62, 48), (60, 84, 84), 0),
    Reference("pddl head T1", "mr/t1_head_3t_pddl.nii.gz", (1, 1, 1), (80, 168, 92), (48, 84, 84), 0),
    Reference("niivue head T2", "mr/t2_head_niivue.nii.gz", (1, 1, 1), (28, 68, 68), (24, 84, 84), 1),
    Reference("torchio head FLAIR", "mr/t2flair_head_torchio.nii.gz", (1, 1, 1), (2, 90, 116), (24, 84, 84), 1),
    Reference("STS_001 thigh T1", "mr/STS_001_t1.nii.gz", (1, 1, 1), (18, 40, 44), (24, 84, 84), 1),
    Reference("STS_002 leg T1", "mr/STS_002_t1.nii.gz", (1, 1, 1), (6, 0, 12), (24, 84, 84), 1),
    Reference("STS_003 thigh T1", "mr/STS_003_t1.nii.gz", (1, 1, 1), (14, 24, 16), (24, 84, 84), 1),
    Reference("STS_004 thigh T1", "mr/STS_004_t1.nii.gz", (1, 1, 1), (18, 20, 20), (24, 84, 84), 1),
    Reference("STS_001 thigh CT", "ct/STS_001_ct.nii.gz", (2, 2, 2), (8, 24, 34), (16, 48, 48), 1),
    Reference("STS_002 pelvis CT", "ct/STS_002_ct.nii.gz", (2, 2, 2), (0, 2, 18), (16, 48, 48), 1),
    Reference("STS_003 pelvis CT", "ct/STS_003_ct.nii.gz", (2, 2, 2), (1, 6, 14), (16, 48, 48), 1),
    Reference("STS_004 thigh CT", "ct/STS_004_ct.nii.gz", (2, 2, 2), (20, 8, 18), (16, 48, 48), 1),
    Reference("CT head phantom", "ct/headphantom_philips_1mm_soft.nii.gz", (1, 2, 2), (0, 60, 60), (16, 144, 144), 1),
)
CONDITIONS = ("slices x2", "slices x3", "slices x4", "in-plane x2", "slices x3, other profile", "slices x3, 1 % noise")
DRAWN = ("slices x3", "slices x4", "in-plane x2", "slices x3, 1 % noise")
SHOWN = ("Colin27 T1", "STS_001 thigh T1", "CT head phantom")


@dataclass(frozen=True)
class Case:
    """volume: the coarse image. reference, mask: (k, j, i); mask holds the voxels that count."""

    image: str
    condition: str
    modality: str
    volume: Volume
    reference: Array
    mask: Array
    peak: float
    axis: int


def cases(data: Path, quick: bool = False, only: str = "") -> Iterator[Case]:
    chosen = [r for r in ([REFERENCES[0], REFERENCES[-1]] if quick else REFERENCES) if only in r.name]
    for source in chosen:
        modality = source.path[:2].upper()
        check_role(source.path, f"{modality.lower()}-denoise")
        reference = crop(block_average(read_volume(data / source.path), source.average), source.first, source.size)
        array = reference.array.astype(np.float32)
        peak = 2000.0 if modality == "CT" else float(np.percentile(array, 99.9))
        mask = array > (-500 if modality == "CT" else 0.1 * peak)
        for condition in CONDITIONS:
            yield make_case(source, condition, modality, array, mask, peak)


def make_case(source: Reference, condition: str, modality: str, array: Array, mask: Array, peak: float) -> Case:
    """The reference counts as isotropic, whatever it is: what is thick then is the axis that was made coarse."""
    factor = int(condition.split("x")[1][0])
    slices, plane = PROFILES_OF[modality]
    if "other profile" in condition:
        slices = "gaussian" if slices == "box" else "box"
    thick = [n == source.axis for n in range(3)]
    if condition.startswith("in-plane"):
        axes = [Axis(n // factor if number else n, n, plane) for number, n in enumerate(array.shape)]
    else:
        axes = [Axis(n // factor if t else n, n, slices if t else plane)
                for n, t in zip(array.shape, thick, strict=True)]  # fmt: skip
    acquisition = Acquisition(tuple(axes))
    coarse = acquisition.degrade(array)
    if "noise" in condition:
        level = 0.01 * (peak if modality == "MR" else 1000.0)
        coarse += np.float32(level) * generator(source.name, condition).standard_normal(coarse.shape, np.float32)
    geometry = Geometry().resampled(array.shape[::-1], coarse.shape[::-1])
    return Case(source.name, condition, modality, Volume(coarse, geometry, modality), array, mask, peak, source.axis)


def model_of(method: str, modality: str) -> str | None:
    """None where there is no such model for the modality."""
    model = METHODS[method][0]
    if model != "-gan":
        return model
    found = [c.id for c in list_cards("super-resolution", modality) if c.id.endswith(model)]
    return found[0] if found else None


def edge_ratio(image: Array, reference: Array, mask: Array) -> float:
    """Mean gradient magnitude in the mask, divided by that of the reference."""
    found, true = (np.sqrt(sum(np.square(g) for g in np.gradient(a.astype(np.float32)))) for a in (image, reference))
    return float(found[mask].mean() / true[mask].mean())


def measure(case: Case, precision: str) -> tuple[list[dict], dict[str, Array]]:
    rows, outputs = [], {}
    for method, (_, consistent) in METHODS.items():
        model = model_of(method, case.modality)
        if model is None:
            continue
        started = time.perf_counter()
        result = reconstruct(
            case.volume, task="super-resolution", model=model, spacing=(1.0, 1.0, 1.0), device="cpu",
            consistent=consistent, judge=False, precision=precision,
        )  # fmt: skip
        output = outputs[method] = result.volume.array
        rows.append({
            "image": case.image, "condition": case.condition, "modality": case.modality, "method": method,
            "model": result.provenance["model"]["id"], "psnr": psnr(output, case.reference, case.peak, case.mask),
            "ssim": ssim(output, case.reference, case.peak, case.mask),
            "edges": edge_ratio(output, case.reference, case.mask), "seconds": time.perf_counter() - started,
        })  # fmt: skip
    print(f"{time.strftime('%H:%M:%S')} {case.image}, {case.condition}: "
          + ", ".join(f"{r['method']} {r['psnr']:.2f} / {r['ssim']:.3f}" for r in rows), flush=True)  # fmt: skip
    return rows, outputs


def file_name(image: str, condition: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in f"{image} {condition}".lower()).split()
    return f"superres-{'-'.join(words)}.png"


def draw(case: Case, outputs: dict[str, Array], rows: list[dict], folder: Path) -> Path:
    """A slice that holds the thick axis: input, spline, ours, reference; below, what the three miss."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    figures = {r["method"]: r["psnr"] for r in rows}
    across = 2 if case.axis == 0 and case.condition.startswith("slices") else 0
    repeats = [n // m for n, m in zip(case.reference.shape, case.volume.array.shape, strict=True)]
    shown = {"input": np.kron(case.volume.array, np.ones(repeats, np.float32))}
    shown |= {f"{m} {figures[m]:.2f} dB": outputs[m] for m in ("B-spline", "ours")} | {"reference": case.reference}
    cut = [np.take(image, image.shape[across] // 2, across) for image in shown.values()]
    low, high = (-160, 240) if case.modality == "CT" else (0, case.peak)
    limit = 0.1 * case.peak if case.modality == "MR" else 100
    ratio = cut[0].shape[0] / cut[0].shape[1]
    figure, axes = plt.subplots(2, 4, figsize=(12, 6 * ratio + 0.6), layout="constrained")
    for column, (title, image) in enumerate(zip(shown, cut, strict=True)):
        axes[0, column].imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes[0, column].set_title(title, fontsize=9)
        if column < 3:
            axes[1, column].imshow(image - cut[-1], cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
            axes[1, column].set_title("error", fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    axes[1, 3].text(0.05, 0.5, f"{case.image}\n{case.condition}", fontsize=9, va="center")
    path = folder / file_name(case.image, case.condition)
    figure.savefig(path, dpi=75, metadata={"Software": None})
    plt.close(figure)
    return path


def work(options: argparse.Namespace, record: dict) -> None:
    if options.only and options.earlier:
        record |= {name: options.earlier[name] for name in ("figures", "fusion")}
        record["scores"] = [r for r in options.earlier["scores"] if options.only not in r["image"]]
    else:
        record["fusion"] = measure_fusion(Path(options.data), options.quick)
    for case in cases(Path(options.data), options.quick, options.only):
        rows, outputs = measure(case, options.precision)
        record["scores"] += rows
        if case.image in SHOWN and case.condition in DRAWN:
            record["figures"].append(draw(case, outputs, rows, options.out / "figures").name)


def into_cards(record: dict, options: argparse.Namespace) -> None:
    write_cards(record, options.out / "figures", SHOWN)


def main() -> int:
    parser = arguments(__doc__, "superres")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--quick", action="store_true", help="a few cases, a smoke test")
    parser.add_argument("--only", default="", help="images whose name holds this; the others are kept from before")
    return write_page(
        parser, "superres", work, summary, as_markdown, lambda r, o: write_cards(r, o.out / "figures", SHOWN)
    )


if __name__ == "__main__":
    sys.exit(main())
