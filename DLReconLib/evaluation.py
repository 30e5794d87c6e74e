"""Figures of an image: by itself, against a reference, and label by label, each with how sure it is.

Figures are flat dicts of floats, None where the image does not tell; `intervals` has 95 % intervals by the same names
(bootstrap over regions of the image: squares, edges, patches, cubes), `curves` plain lists to plot.
"""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from DLReconLib.io import read_volume
from DLReconLib.metrics import METRICS, ms_ssim_scales, noise_sigma, ssim_map
from DLReconLib.quality import air_level, blocks, figures_of_blocks, middle_slices, tissue_of
from DLReconLib.quality.edges import edge_spread, falls_to, find_edges, mtf, ringing
from DLReconLib.quality.intervals import bootstrap
from DLReconLib.quality.spectrum import air_sigma, local_noise, noise_spectrum, quiet_patches
from DLReconLib.quality.tissues import bias_fit, cells, cnr_of, inner, tissue_regions
from DLReconLib.volume import Volume

Array = np.ndarray
PLANES = 32  # of a volume that edges and noise are measured in
EDGES = 600
LEVELS = {"mtf50": 0.5, "mtf10": 0.1}
WINDOW = 11  # voxels, of SSIM
SIDES = {"ms_ssim": WINDOW, "hfen": 3, "gmsd": 6}  # that a plane must have
MOST_LABELS = 10  # between which CNR is printed


def measure(
    image: Path,
    reference: Path | None = None,
    mask: Path | None = None,
    peak: float | None = None,
    labels: Path | None = None,
) -> dict[str, Any]:
    """The figures of an image file (scalar). A mask of two labels or more serves as labels where none are given.

    Raises ValueError where the files do not share a grid, are not scalar or hold NaN.
    """
    volume = read_volume(image)
    others = {
        name: read_volume(path) if path else None
        for name, path in (("reference", reference), ("mask", mask), ("labels", labels))
    }
    for name, other in {"image": volume, **others}.items():
        check(volume, other, name, str(image))
    arrays = {name: None if other is None else other.array for name, other in others.items()}
    if arrays["labels"] is None and arrays["mask"] is not None and len(np.unique(arrays["mask"])) > 2:
        arrays["labels"] = arrays["mask"]
    return figures_of(volume, arrays["reference"], arrays["mask"], arrays["labels"], peak)


def check(volume: Volume, other: Volume | None, name: str, image: str) -> None:
    """Raises ValueError where the other does not lie on the grid of the volume, is not scalar or not finite."""
    if other is None:
        return
    if other.components > 1:
        raise ValueError(f"{name} has {other.components} components; wanted a scalar image")
    if not volume.same_grid(other):
        raise ValueError(f"{name} lies on another grid than {image}; wanted the same; resample it first")
    if other.array.dtype.kind == "f" and not np.isfinite(other.array).all():
        raise ValueError(f"{name} has voxels that are NaN or infinite; wanted finite numbers; replace them first")


def figures_of(
    volume: Volume,
    reference: Array | None = None,
    mask: Array | None = None,
    labels: Array | None = None,
    peak: float | None = None,
    guide: Array | None = None,
) -> dict[str, Any]:
    """All figures of a scalar volume; the arrays lie on its grid. `guide`: see alone().

    Raises ValueError for a mask that is empty, a constant image, or a data range that is not above 0.
    """
    array, spacing = volume.array, volume.geometry.spacing
    if array.min() == array.max():
        raise ValueError(f"image is constant (every voxel is {array.flat[0]}); wanted an image with content")
    inside = None if mask is None else mask != 0
    if inside is not None and not inside.any():
        raise ValueError("the mask is empty; wanted at least one voxel above 0")
    result = alone(array, spacing, inside, labels, guide)
    local = None
    if reference is not None:
        top, how = (peak, "given") if peak is not None else range_of(reference)
        if not top > 0:
            raise ValueError(f"peak is {top:g}; wanted a data range above 0; give --peak")
        local = ssim_map(array, reference, top) if min(array.shape[-2:]) >= WINDOW else None
        further = against(array, reference, top, inside, local)
        result["intervals"] |= further.pop("intervals")
        result |= {"peak": float(top), "peak_is": how} | further
    if labels is not None and (labels > 0).any():
        result["labels"] = by_label(array, labels, reference, result.get("peak"), local)
    return result


def range_of(reference: Array) -> tuple[float, str]:
    """The data range that is used where none is given, and how it came about."""
    return float(np.percentile(reference, 99.9) - reference.min()), "99.9th percentile minus minimum of the reference"


def alone(
    array: Array,
    spacing: tuple[float, float, float],
    mask: Array | None = None,
    labels: Array | None = None,
    guide: Array | None = None,
) -> dict[str, Any]:
    """What an image says by itself; names, units and formulas: see FIGURES in figures.py.

    Args:
        array: (k, j, i). spacing: (i, j, k) mm. mask: where it counts; without one, all that is not air.
        labels: tissues > 0 for CNR and bias; without them they are found (tissues.tissue_regions, bias_fit).
        guide: another version of the image, cleaner where there is one, in which tissue (where there is no mask) and
            edges are found; give the same one to compare versions.
    """
    slices, step, chosen = middle_slices(array, spacing, mask, PLANES, widest=1024)
    model = slices if guide is None else middle_slices(guide, spacing, None, PLANES, widest=1024)[0]
    tissue = tissue_of(model, chosen)
    squares = blocks(slices, tissue)
    air = air_level(slices)
    part = central(array)
    result: dict[str, Any] = {
        **figures_of_blocks(*squares, air),
        "noise_white": noise_sigma(slices, tissue) if tissue.any() else None,
        "noise_air": air_sigma(array[part]),
        "noise_uneven": unevenness(
            array[part], tissue_of((array if guide is None else guide)[part], None if mask is None else mask[part])
        ),
        "squares": len(squares[0]),
    }
    intervals: dict[str, Any] = bootstrap(len(squares[0]), lambda times: figures_of_blocks(*squares, air, times))
    curves: dict[str, Any] = {}
    for found in (
        _edge_figures(slices, step, chosen, model, figures_of_blocks(*blocks(model, tissue), air)["noise_sigma"]),
        _noise_figures(slices, step, tissue, model),
        _tissue_figures(array, labels, mask),
    ):
        intervals |= found.pop("intervals", {})
        curves |= found.pop("curves", {})
        result |= found
    return result | {"intervals": intervals, "curves": curves}


def central(array: Array, limit: float = 4e6) -> tuple[slice, ...]:
    """The middle of a volume (k, j, i), about `limit` voxels: as many slices as it takes."""
    count = min(len(array), max(16, int(limit / array[0].size)))
    start = (len(array) - count) // 2
    return slice(start, start + count), slice(None), slice(None)


def unevenness(array: Array, tissue: Array) -> float | None:
    """Coefficient of variation of the local noise over the tissue: near 0 where it is the same everywhere."""
    local = local_noise(array, mask=tissue)
    known = local[np.isfinite(local)]
    return float(known.std() / known.mean()) if known.size > 4 and known.mean() > 0 else None


def _edge_figures(
    slices: Array, step: tuple[float, float], mask: Array | None, guide: Array, noise: float | None
) -> dict[str, Any]:
    edges = find_edges(slices, step, noise or 0.0, mask, EDGES, guide)
    if edges is None:
        return dict.fromkeys(("mtf50", "mtf10", "ringing")) | {"edges": 0}
    frequency, curve = mtf(edges)
    nyquist = 0.5 / edges.pixel

    def figures(times: Array) -> dict[str, float | None]:
        shape = mtf(edges, times)
        # The grid carries nothing above half a cycle per pixel.
        reached = {name: np.nanmin([falls_to(*shape, level), nyquist]) for name, level in LEVELS.items()}
        return {name: float(f) for name, f in reached.items()} | {"ringing": ringing(edges, times)}

    return {
        **figures(np.ones(len(edges))),
        "edges": len(edges),
        "intervals": bootstrap(len(edges), figures),
        "curves": {
            "mtf": {"frequency": frequency.tolist(), "mtf": curve.tolist(), "nyquist": nyquist},
            "edge": {"distance": edges.distance.tolist(), "spread": edge_spread(edges).tolist()},
        },
    }


def _noise_figures(slices: Array, step: tuple[float, float], tissue: Array, guide: Array) -> dict[str, Any]:
    patches = quiet_patches(slices, tissue, guide)
    if len(patches) < 4:
        return dict.fromkeys(("nps_peak", "nps_mean")) | {"patches": len(patches)}
    found = noise_spectrum(patches, step)

    def figures(times: Array) -> dict[str, float | None]:
        return {"nps_peak": found.peak(times), "nps_mean": found.mean(times)}

    return {
        **figures(np.ones(len(patches))),
        "patches": len(patches),
        "intervals": bootstrap(len(patches), figures),
        "curves": {"nps": {"frequency": found.frequency.tolist(), "power": found.power.tolist()}},
    }


def _tissue_figures(array: Array, labels: Array | None, mask: Array | None) -> dict[str, Any]:
    given = labels is not None and (labels > 0).any()
    if not given:
        part = central(array)
        array, mask = array[part], None if mask is None else mask[part]
    regions = inner(labels) if given else tissue_regions(array)
    if mask is not None and not given:
        regions = np.where(mask, regions, 0)
    found = cells(array, regions)
    pairs = list(combinations(sorted({int(v) for v in found.label})[:MOST_LABELS], 2))

    def ratios(times: Array | None = None) -> dict[str, float | None]:
        return {f"{a}-{b}": cnr_of(found, a, b, times) for a, b in pairs}

    # Above air: in CT the attenuation, not the HU, is what shading multiplies.
    fit = bias_fit(array - np.float32(air_level(array)), regions if given else None)
    intervals = bootstrap(len(fit), lambda times: {"bias": fit.variation(times)}, 100) if fit else {}
    return {
        "cnr": ratios(),
        "cnr_regions": "labels, without their outermost layer" if given else "classes of brightness (Otsu)",
        "bias": fit.variation() if fit else None,
        "intervals": intervals | {"cnr": bootstrap(len(found), ratios, 100)},
    }


def against(
    array: Array, reference: Array, peak: float, mask: Array | None = None, local: Array | None = None
) -> dict[str, Any]:
    """The METRICS of an image against a reference, over the mask; None for those whose window does not fit. Those
    that are means over voxels have intervals, by a bootstrap over cubes of 16 voxels. `local`: the ssim_map()."""
    figures: dict[str, Any] = {}
    for name, metric in METRICS.items():
        if name == "ssim":
            figures[name] = None if local is None else float(local.mean() if mask is None else local[mask].mean())
        else:
            fits = min(array.shape[-2:]) >= SIDES.get(name, 1)
            figures[name] = metric(array, reference, peak, mask) if fits else None
    figures["ms_ssim_scales"] = ms_ssim_scales(array.shape)
    where = np.ones(array.shape, np.uint8) if mask is None else mask.astype(np.uint8)
    difference = array.astype(np.float64) - reference
    square, size = cells(difference**2, where, 16), cells(np.abs(difference), where, 16)
    likeness = None if local is None else cells(local, where, 16)

    def means(times: Array) -> dict[str, float | None]:
        root = float(np.sqrt(square.moments(1, times)[0]))
        return {
            "rmse": root,
            "nrmse": root / peak,
            "psnr": 20 * np.log10(peak / root) if root > 0 else None,
            "mae": size.moments(1, times)[0],
            "ssim": None if likeness is None else likeness.moments(1, times)[0],
        }

    return figures | {"intervals": bootstrap(len(square), means)}


def by_label(
    array: Array, labels: Array, reference: Array | None = None, peak: float | None = None, local: Array | None = None
) -> dict[str, dict[str, Any]]:
    """For each label > 0: voxels, mean and standard deviation; against a reference PSNR, RMSE, MAE, SSIM and the shift
    of the mean (`local`: the ssim_map())."""
    result = {}
    for value in np.unique(labels[labels > 0]):
        here = labels == value
        values = array[here].astype(np.float64)
        row: dict[str, Any] = {"voxels": int(here.sum()), "mean": float(values.mean()), "sd": float(values.std())}
        if reference is not None:
            error = values - reference[here]
            root = float(np.sqrt(np.mean(error**2)))
            row |= {"psnr": float(20 * np.log10(peak / root)) if root > 0 else float("inf"), "rmse": root}
            row |= {"mae": float(np.abs(error).mean()), "shift": float(error.mean())}
            row["ssim"] = None if local is None else float(local[here].mean())
        result[str(int(value))] = row
    return result
