"""Noise that a scanner made: fMRI repeats, diffusion directions, a CT phantom; and clean images."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from cases import CT_PEAK, MR_SOURCES, Array, Case, check_role, crop, load, own_noise
from scipy import ndimage

from DLReconLib.io import read_series, read_volume
from DLReconLib.volume import Volume

FMRI = "mr/fmri_cspine_sct_4d.nii.gz"
DIFFUSION = "mr/dti_brain_canon_4d.nii.gz"
PHANTOM = "ct/headphantom_philips_{}.nii.gz"
PHANTOM_BOX = ((5, 140, 212), (10, 128, 92))
FACTORS = (0.7, 1.0, 1.5)


def real_cases(data: Path, quick: bool = False) -> Iterator[Case]:
    """Every case with real noise."""
    yield from fmri_cases(data, (15,) if quick else (5, 15, 25))
    yield from diffusion_cases(data, (6,) if quick else (3, 9))
    yield from phantom_cases(data, ("sharp",) if quick else ("soft", "sharp"))


def fmri_cases(data: Path, frames: tuple[int, ...]) -> Iterator[Case]:
    """One frame against the mean of the other 29: the noise of the two is independent."""
    check_role(FMRI, "mr-denoise")
    series = [replace(v, modality="MR") for v in read_series(data / FMRI)]
    arrays = np.stack([v.array for v in series]).astype(np.float32)
    for frame in frames:
        others = np.delete(arrays, frame, 0)
        reference = others.mean(0)
        peak = float(np.percentile(reference, 99.9))
        mask = reference > 0.1 * peak
        sigma = float(np.median(others.std(0, ddof=1)[mask]))
        yield Case(
            "real", "fMRI cervical spine", f"frame {frame}", series[frame].with_array(arrays[frame]), reference, mask,
            peak, sigma, "mr-denoise", own_noise=sigma / np.sqrt(len(others)), factors=FACTORS,
        )  # fmt: skip


def diffusion_cases(data: Path, directions: tuple[int, ...]) -> Iterator[Case]:
    """One diffusion-weighted volume against what the other twelve volumes predict of it.

    There is no repeat. The reference is the linear combination of the other volumes that fits the volume best
    over the brain (13 coefficients, some 55 000 voxels). Its noise is independent of the volume's, so its error
    adds the same to every method's score on average and the order of methods is fair; the level is not.
    """
    check_role(DIFFUSION, "mr-denoise")
    series = [replace(v, modality="MR") for v in read_series(data / DIFFUSION)]
    arrays = np.stack([v.array for v in series]).astype(np.float32)
    brain = ndimage.gaussian_filter(arrays[1:].mean(0), 1) > 60
    for direction in directions:
        others = np.delete(arrays, direction, 0)
        design = np.c_[others[:, brain].T, np.ones(int(brain.sum()))].astype(np.float64)
        weights = np.linalg.lstsq(design, arrays[direction][brain], rcond=None)[0]
        predicted = np.tensordot(weights[:-1], others, 1) + weights[-1]
        sigma = float((predicted - arrays[direction])[brain].std())
        first, size = (8, 32, 20), (24, 34, 50)
        noisy = crop(series[direction].with_array(arrays[direction]), first, size)
        reference = crop(noisy_like(series[direction], predicted), first, size).array
        peak = float(np.percentile(reference, 99.9))
        inside = crop(noisy_like(series[direction], brain), first, size).array > 0.5
        yield Case(
            "real", "diffusion brain", f"direction {direction}", noisy, reference, inside & (reference > 0.1 * peak),
            peak, sigma, "mr-denoise", factors=FACTORS,
        )  # fmt: skip


def noisy_like(volume: Volume, array: Array) -> Volume:
    return volume.with_array(array.astype(np.float32))


def phantom_volumes(data: Path) -> dict[str, Volume]:
    names = ("1mm_soft", "1mm_sharp", "5mm_soft")
    for name in names:
        check_role(PHANTOM.format(name), "ct-denoise")
    volumes = {name: replace(read_volume(data / PHANTOM.format(name)), modality="CT") for name in names}
    return {name: v.with_array(v.array.astype(np.float32)) for name, v in volumes.items()}


def slabs(thin: Volume, thick: Volume) -> dict[int, list[int]]:
    """Thick slice -> the five thin slices whose centres lie in it, by the geometry of both."""
    centres = [(thin.geometry.matrix() @ [0, 0, k, 1])[2] for k in range(len(thin.array))]
    found: dict[int, list[int]] = {}
    half = thick.geometry.spacing[2] / 2
    for number in range(len(thick.array)):
        middle = (thick.geometry.matrix() @ [0, 0, number, 1])[2]
        inside = [k for k, z in enumerate(centres) if abs(z - middle) < half - 1e-3]
        if len(inside) == 5:
            found[number] = inside
    return found


def phantom_cases(data: Path, kernels: tuple[str, ...]) -> Iterator[Case]:
    """1 mm slices of a phantom against its 5 mm slices, where it does not vary along z.

    The 5 mm slices come from the same rays, so they share noise with the 1 mm slices (correlation 0.6 to 0.9 with
    the soft ones): against them as they are, leaving the noise in would win. The main reference is therefore the
    5 mm slice averaged inside the homogeneous material (Gaussian of 4 pixels that stops at edges), and the
    5 mm slice as it is within 3 pixels of an edge. The sharp kernel has another resolution than the reference:
    there edges do not count. The score against the plain 5 mm slices is given as a further judge.
    """
    volumes = phantom_volumes(data)
    soft, thick = volumes["1mm_soft"], volumes["5mm_soft"]
    plain = np.zeros_like(soft.array)
    steady, material = np.zeros((2, *soft.array.shape), bool)
    averaged = np.zeros_like(soft.array)
    for number, inside in slabs(soft, thick).items():
        slice5 = thick.array[number]
        smooth = ndimage.gaussian_filter(soft.array[inside], (0, 1.5, 1.5))
        same = (np.ptp(smooth, 0) < 20) & (np.abs(ndimage.gaussian_filter(slice5, 1.5) - smooth.mean(0)) < 10)
        same &= (slice5 > -500) & (slice5 < 500)
        same = ndimage.binary_opening(same, iterations=2)
        calm = same & ~ndimage.binary_dilation(ndimage.gaussian_gradient_magnitude(slice5, 1) > 25, iterations=3)
        weight = ndimage.gaussian_filter(calm.astype(np.float32), 4)
        mean = ndimage.gaussian_filter(np.where(calm, slice5, 0), 4) / np.maximum(weight, 1e-3)
        plain[inside], steady[inside], material[inside] = slice5, same, calm
        averaged[inside] = np.where(calm, mean, slice5)

    def cut(array: Array) -> Array:
        return crop(noisy_like(soft, array), *PHANTOM_BOX).array

    for kernel in kernels:
        mask = cut(steady if kernel == "soft" else material) > 0.5
        noisy = crop(volumes[f"1mm_{kernel}"], *PHANTOM_BOX)
        reference = cut(averaged)
        flat = cut(material) > 0.5
        sigma = float((noisy.array - reference)[flat].std())
        yield Case(
            "real", "CT phantom 1 mm", kernel, noisy, reference, mask, CT_PEAK, sigma, "ct-denoise", flat=flat,
            factors=(1.0, 1.5, 2.0),
            judges=(("plain 5 mm slices", cut(plain), mask),), only_inside=True,
        )  # fmt: skip


def clean_cases(data: Path, quick: bool = False) -> Iterator[Case]:
    """Clean images in: what comes out should be the same (PSNR of output against input)."""
    source = MR_SOURCES[0]
    volume = crop(load(source, data, "mr-denoise"), source.first, source.size)
    peak = float(np.percentile(volume.array, 99.9))
    mask = volume.array > 0.1 * peak
    left = own_noise(volume.array, mask)
    yield Case("clean", source.name, "as it is", volume, volume.array, mask, peak, 0.0, "mr-denoise", own_noise=left)
    thick = phantom_volumes(data)["5mm_soft"]
    thick = crop(thick, (0, 130, 180), (8, 160, 160))
    yield Case(
        "clean", "CT phantom 5 mm", "as it is", thick, thick.array, thick.array > -500, CT_PEAK, 0.0, "ct-denoise"
    )
