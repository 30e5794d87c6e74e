"""Failures planted into good runs: each spoils the source, the result or the record in one known way.

Sizes are in voxels, contrasts in units of the true noise. Places and patterns come from a generator that depends
on the names only.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from cases import Array, generator
from scipy import fft, ndimage
from trust_cases import Run, body

from DLReconLib.volume import Geometry, Volume

Failure = Callable[[Run, np.random.Generator], Run]


def true_sigma(run: Run) -> float:
    return float((run.source.array - run.clean)[body(run.clean, run.card)].std())


def changed(run: Run, result: Array) -> Run:
    return replace(run, result=run.result.with_array(result.astype(np.float32)))


def ball(run: Run, rng: np.random.Generator, radius: float = 3.0) -> Array:
    """1 inside a ball with soft rim, at a place well inside the tissue."""
    inside = ndimage.binary_erosion(body(run.clean, run.card), iterations=3)
    places = np.argwhere(inside if inside.any() else body(run.clean, run.card))
    centre = places[rng.integers(len(places))]
    grid = np.indices(run.clean.shape, np.float32)
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
    return np.clip(radius + 0.5 - distance, 0, 1)


def vessel(run: Run, rng: np.random.Generator, radius: float = 1.2, length: float = 24) -> Array:
    """1 inside a straight tube with soft rim through the tissue, in a random direction close to the plane."""
    inside = ndimage.binary_erosion(body(run.clean, run.card), iterations=4)
    places = np.argwhere(inside if inside.any() else body(run.clean, run.card))
    centre = places[rng.integers(len(places))]
    angle, tilt = rng.uniform(0, np.pi), rng.uniform(-0.3, 0.3)
    along = np.array([np.sin(tilt), np.cos(tilt) * np.sin(angle), np.cos(tilt) * np.cos(angle)])
    offset = np.stack([g - c for g, c in zip(np.indices(run.clean.shape, np.float32), centre, strict=True)])
    position = np.tensordot(along, offset, 1)
    distance = np.sqrt(np.maximum((offset**2).sum(0) - position**2, 0))
    return np.clip(radius + 0.5 - distance, 0, 1) * (np.abs(position) < length / 2)


def erased(shape: Callable, contrast: float) -> Failure:
    """Something in the source that is missing in the result."""

    def plant(run: Run, rng: np.random.Generator) -> Run:
        extra = contrast * true_sigma(run) * shape(run, rng)
        source = run.source.array + extra
        return replace(run, source=run.source.with_array(source.astype(np.float32)), clean=run.clean + extra)

    return plant


def invented(shape: Callable, contrast: float) -> Failure:
    def plant(run: Run, rng: np.random.Generator) -> Run:
        return changed(run, run.result.array + contrast * true_sigma(run) * shape(run, rng))

    return plant


def shifted_level(run: Run, rng: np.random.Generator) -> Run:
    """15 HU, or 4 % of the 99.5th percentile."""
    step = 15.0 if run.card.offset else 0.04 * float(np.percentile(run.clean, 99.5))
    return changed(run, run.result.array + step)


def gain(run: Run, rng: np.random.Generator) -> Run:
    """8 % too steep."""
    return changed(run, (run.result.array - run.card.offset) * 1.08 + run.card.offset)


def shading(run: Run, rng: np.random.Generator) -> Run:
    """A smooth factor from 0.88 to 1.12 across the image."""
    ramp = np.linspace(0.88, 1.12, run.clean.shape[2], dtype=np.float32)
    return changed(run, (run.result.array - run.card.offset) * ramp + run.card.offset)


def seam(run: Run, rng: np.random.Generator) -> Run:
    """Half of the image is 0.7 sigma brighter."""
    result = run.result.array.copy()
    result[:, :, result.shape[2] // 2 + 3 :] += 0.7 * true_sigma(run)
    return changed(run, result)


def wrong_tile(run: Run, rng: np.random.Generator) -> Run:
    """One quarter of the plane is 1.5 sigma brighter."""
    result = run.result.array.copy()
    result[:, : result.shape[1] // 2, : result.shape[2] // 2] += 1.5 * true_sigma(run)
    return changed(run, result)


def missed_tile(run: Run, rng: np.random.Generator) -> Run:
    """One half of the plane was not worked on."""
    result = run.result.array.copy()
    half = (slice(None), slice(None), slice(result.shape[2] // 2, None))
    result[half] = run.source.array[half]
    return changed(run, result)


def moved(voxels: float) -> Failure:
    def plant(run: Run, rng: np.random.Generator) -> Run:
        return changed(run, ndimage.shift(run.result.array, (0, 0, voxels), order=1, mode="nearest"))

    return plant


def moved_grid(run: Run, rng: np.random.Generator) -> Run:
    """The same values on a grid that lies one voxel further."""
    geometry: Geometry = run.result.geometry
    origin = (geometry.origin[0] + geometry.spacing[0], *geometry.origin[1:])
    return replace(run, result=replace(run.result, geometry=replace(geometry, origin=origin)))


def mirrored(run: Run, rng: np.random.Generator) -> Run:
    return changed(run, run.result.array[:, :, ::-1])


def swapped_slices(run: Run, rng: np.random.Generator) -> Run:
    result = run.result.array.copy()
    middle = len(result) // 2
    result[[middle - 2, middle + 2]] = result[[middle + 2, middle - 2]]
    return changed(run, result)


def blurred(width: float) -> Failure:
    def plant(run: Run, rng: np.random.Generator) -> Run:
        return changed(run, ndimage.gaussian_filter(run.result.array, (0, width, width), mode="nearest"))

    return plant


def oversmoothed(run: Run, rng: np.random.Generator) -> Run:
    """Total variation with four times the weight that the noise asks for."""
    from skimage.restoration import denoise_tv_chambolle

    sigma = true_sigma(run)
    return changed(run, denoise_tv_chambolle(run.source.array.astype(np.float32), 4 * sigma, max_num_iter=100))


def ringing(run: Run, rng: np.random.Generator) -> Run:
    """Gibbs' oscillations: the spectrum cut off at 55 % of the Nyquist frequency along one axis."""
    spectrum = fft.rfft(run.result.array, axis=2)
    spectrum[:, :, int(0.55 * spectrum.shape[2]) :] = 0
    return changed(run, fft.irfft(spectrum, n=run.clean.shape[2], axis=2))


def sharpened(run: Run, rng: np.random.Generator) -> Run:
    """Unsharp mask, amount 1, width 1.5."""
    result = run.result.array
    return changed(run, 2 * result - ndimage.gaussian_filter(result, (0, 1.5, 1.5), mode="nearest"))


def clipped(run: Run, rng: np.random.Generator) -> Run:
    """Nothing above the 97th percentile."""
    return changed(run, np.minimum(run.result.array, np.percentile(run.result.array, 97)))


def posterised(run: Run, rng: np.random.Generator) -> Run:
    """Sixteen grey levels."""
    result = run.result.array
    low, high = float(result.min()), float(result.max())
    return changed(run, np.rint((result - low) / (high - low) * 15) / 15 * (high - low) + low)


def dead_voxels(run: Run, rng: np.random.Generator) -> Run:
    """One voxel in 5000 is 0 (air in CT)."""
    result = run.result.array.copy()
    result[rng.random(result.shape) < 2e-4] = run.card.offset
    return changed(run, result)


def stripes(run: Run, rng: np.random.Generator) -> Run:
    """Every fourth line is 0.7 sigma brighter."""
    result = run.result.array.copy()
    result[:, ::4] += 0.7 * true_sigma(run)
    return changed(run, result)


def removed_too_much(run: Run, rng: np.random.Generator) -> Run:
    """1.8 times the residual was taken away."""
    return changed(run, run.source.array - 1.8 * (run.source.array - run.result.array))


def removed_too_little(run: Run, rng: np.random.Generator) -> Run:
    """A quarter of the residual, recorded as all of it."""
    return changed(run, run.source.array - 0.25 * (run.source.array - run.result.array))


def noise_added(run: Run, rng: np.random.Generator) -> Run:
    """The source with as much noise again."""
    return changed(run, run.source.array + true_sigma(run) * rng.standard_normal(run.clean.shape))


def other_unit(run: Run, rng: np.random.Generator) -> Run:
    return changed(run, run.result.array / 1000)


def not_numbers(run: Run, rng: np.random.Generator) -> Run:
    result = run.result.array.copy()
    result[tuple(n // 2 for n in result.shape)] = np.nan
    return changed(run, result)


def local_blur(run: Run, rng: np.random.Generator) -> Run:
    """Half of the plane is blurred by 1.2 voxels."""
    result = run.result.array.copy()
    half = (slice(None), slice(None), slice(result.shape[2] // 2, None))
    result[half] = ndimage.gaussian_filter(result[half], (0, 1.2, 1.2), mode="nearest")
    return changed(run, result)


FAILURES: dict[str, Failure] = {
    "lesion of 3 sigma erased": erased(ball, 3),
    "lesion of 3 sigma invented": invented(ball, 3),
    "vessel of 3 sigma erased": erased(vessel, 3),
    "vessel of 3 sigma invented": invented(vessel, 3),
    "level shifted": shifted_level,
    "gain 8 % too high": gain,
    "shading": shading,
    "seam": seam,
    "tile of another level": wrong_tile,
    "tile left out": missed_tile,
    "moved by a voxel": moved(1),
    "moved by half a voxel": moved(0.5),
    "grid moved": moved_grid,
    "mirrored": mirrored,
    "slices exchanged": swapped_slices,
    "blurred": blurred(1.0),
    "blurred on one side": local_blur,
    "oversmoothed": oversmoothed,
    "ringing": ringing,
    "sharpened": sharpened,
    "clipped": clipped,
    "posterised": posterised,
    "dead voxels": dead_voxels,
    "stripes": stripes,
    "residual 1.8 times": removed_too_much,
    "residual 0.25 times": removed_too_little,
    "noise added": noise_added,
    "other unit": other_unit,
    "not a number": not_numbers,
}


def plant(run: Run, kind: str) -> Run | None:
    """The run with a failure of FAILURES, the same for the same names; None where the image has too few slices."""
    if kind == "slices exchanged" and len(run.clean) < 8:
        return None
    spoiled = FAILURES[kind](run, generator("failure", run.name, kind))
    return replace(spoiled, failure=kind)


def contrasts() -> dict[str, tuple[float, Callable[[Run, float, str], Run]]]:
    """Lesions and vessels of falling contrast, by name: contrast, and what plants them."""

    def planter(make: Callable, shape: Callable) -> Callable[[Run, float, str], Run]:
        return lambda run, contrast, name: make(shape, contrast)(run, generator("contrast", run.name, name))

    kinds = {
        "lesion of 3 voxels radius erased": (erased, ball),
        "lesion of 3 voxels radius invented": (invented, ball),
        "vessel of 1.2 voxels radius erased": (erased, vessel),
        "vessel of 1.2 voxels radius invented": (invented, vessel),
    }
    return {f"{k}, {c}": (c, planter(*v)) for k, v in kinds.items() for c in (1.0, 1.5, 2.0, 2.5, 3.0)}


def strangers(modality: str, crops: dict[str, Volume], photographs: dict[str, Array]) -> dict[str, Volume]:
    """Images that a model for `modality` was not made for, with the modality it expects written on them.

    Args:
        crops: a noisy test image for each of "MR" and "CT". photographs: (j, i) grey values by name.
    """
    found = {f"{name}, photograph": Volume(image[None].astype(np.float32)) for name, image in photographs.items()}
    found["geometric phantom"] = Volume(geometric(0.0))
    found["geometric phantom, 3 % noise"] = Volume(geometric(0.03))
    own, other = crops[modality], crops["MR" if modality == "CT" else "CT"]
    rng = generator("strangers", modality)
    span = float(np.ptp(own.array))
    found["extreme noise"] = own.with_array(own.array + (0.6 * span * rng.standard_normal(own.array.shape)))
    found["nothing but noise"] = own.with_array(0.1 * span * rng.standard_normal(own.array.shape))
    found[f"{'MR' if modality == 'CT' else 'CT'} image"] = other
    if modality == "CT":
        found["CT as 0 to 4095"] = own.with_array(np.clip(own.array + 1024, 0, 4095))
        found["CT in 1000 HU"] = own.with_array(own.array / 1000)
        found["CT upside down"] = own.with_array(-own.array)
    else:
        found["MR minus its mean"] = own.with_array(own.array - own.array.mean())
        found["logarithm of an MR"] = own.with_array(np.log(np.maximum(own.array, 0.01 * span)))
    return {k: replace(v, array=v.array.astype(np.float32), modality=modality) for k, v in found.items()}


def geometric(noise: float) -> Array:
    """Boxes and balls of few values, (k, j, i), 0 to 1."""
    k, j, i = np.indices((24, 96, 96), np.float32)
    image = np.where((abs(j - 48) < 40) & (abs(i - 48) < 40), 0.3, 0).astype(np.float32)
    image[(j - 30) ** 2 + (i - 34) ** 2 + (k - 12) ** 2 < 100] = 1.0
    image[(abs(j - 62) < 12) & (abs(i - 60) < 18)] = 0.6
    return image + noise * generator("geometric", noise).standard_normal(image.shape).astype(np.float32)
