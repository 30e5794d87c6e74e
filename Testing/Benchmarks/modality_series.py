"""Time series to be measured on: simulated ones whose truth is known, and real ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cases import Array, block_average, check_role, crop, generator
from scipy import ndimage

from DLReconLib.io import read_series, read_volume
from DLReconLib.volume import Volume

FMRI = "mr/fmri_cspine_sct_4d.nii.gz"
DIFFUSION = "mr/dti_brain_canon_4d.nii.gz"
COLIN, THIGH = "mr/t1_ch2_colin27_ants.nii.gz", "mr/STS_001_t1.nii.gz"


@dataclass(frozen=True)
class SeriesCase:
    """frames: noisy volumes. reference: (n, k, j, i), what they should be. mask: (k, j, i). weights: of diffusion, b in
    s/mm^2; for other series alike for all frames."""

    image: str
    condition: str
    frames: list[Volume]
    reference: Array
    mask: Array
    peak: float
    weights: list[float]


def series_cases(data: Path, quick: bool = False) -> Iterator[SeriesCase]:
    levels = (5,) if quick else (3, 8)
    for name, make in (("diffusion, simulated", diffusion), ("contrast agent, simulated", contrast_agent)):
        anatomy, clean = make(data)
        peak = float(np.percentile(clean[0], 99.9))
        for level in levels:
            rng = generator(name, level)
            noise = rng.standard_normal((2, *clean.shape), np.float32) * np.float32(level / 100 * peak)
            noisy = np.hypot(clean + noise[0], noise[1])
            frames = [anatomy.with_array(f) for f in noisy]
            mask = anatomy.array > 0.1 * anatomy.array.max()
            weights = [0.0, 0.0, *[1000.0] * 30] if make is diffusion else [1000.0] * len(clean)
            yield SeriesCase(name, f"Rician {level} %", frames, clean, mask, peak, weights)
    yield half_of_fmri(data)
    yield noisier_diffusion(data)


def anatomy_of(path: str, data: Path, factors: tuple, first: tuple, size: tuple) -> Volume:
    check_role(path, "mr-denoise")
    return replace(crop(block_average(read_volume(data / path), factors), first, size), modality="MR")


def diffusion(data: Path) -> tuple[Volume, Array]:
    """Two volumes without and 30 with diffusion weighting, b = 1000 s/mm^2, of tensors that turn slowly through inner
    brain: S = S0 exp(-b g' D g), D from 0.3 to 1.7e-3 mm^2/s in bright tissue, 3e-3 in fluid."""
    anatomy = anatomy_of(COLIN, data, (2, 2, 2), (32, 34, 26), (24, 40, 40))
    rng = generator("tensors")
    image = anatomy.array / np.percentile(anatomy.array, 99)
    axis = np.stack([ndimage.gaussian_filter(rng.standard_normal(image.shape), 4) for _ in range(3)])
    axis /= np.linalg.norm(axis, axis=0)
    share = np.clip((image - 0.3) / 0.6, 0, 1)  # how directed diffusion is
    along, across = 3.0 - 1.3 * np.minimum(1, 2 * share), 3.0 - 2.3 * np.minimum(1, 2 * share) - 0.4 * share
    directions = rng.standard_normal((30, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    projected = np.einsum("nd,dkji->nkji", directions, axis) ** 2
    weighted = np.exp(-(across + (along - across) * projected))
    still = (1.3 - 0.5 * share) * (image > 0.05)
    series = np.concatenate([np.stack([still, still]), still * weighted])
    return anatomy, (1000 * series).astype(np.float32)


def contrast_agent(data: Path) -> tuple[Volume, Array]:
    """30 frames of a thigh in which a contrast agent arrives at frame 8: vessels at once, two other tissues slowly and
    each with a rate of its own (Tofts et al., JMRI 1999, with an exponential washing out)."""
    anatomy = anatomy_of(THIGH, data, (1, 2, 2), (18, 20, 22), (24, 40, 40))
    rng = generator("uptake")
    image = anatomy.array / np.percentile(anatomy.array, 99)
    time = np.maximum(np.arange(30) - 8.0, 0)
    curves = np.stack(
        [np.exp(-time / 6) * (time > 0), 1 - np.exp(-time / 8), (1 - np.exp(-time / 3)) * np.exp(-time / 40)]
    )
    maps = np.stack([ndimage.gaussian_filter(rng.standard_normal(image.shape), 2.5) for _ in range(3)])
    maps = np.clip(maps / maps.std((1, 2, 3), keepdims=True), 0, 2) * (image > 0.1)
    maps[0] *= maps[0] > 1.2
    gain = 1 + 0.5 * np.einsum("ct,ckji->tkji", curves, maps)
    return anatomy, (1000 * image * gain).astype(np.float32)


def half_of_fmri(data: Path) -> SeriesCase:
    """15 of 30 repeats are denoised; the mean of the other 15 is what each should be: their noise is independent."""
    check_role(FMRI, "mr-denoise")
    series = [replace(v, modality="MR") for v in read_series(data / FMRI)]
    arrays = np.stack([v.array for v in series]).astype(np.float32)
    reference = arrays[1::2].mean(0)
    frames = [v.with_array(v.array.astype(np.float32)) for v in series[::2]]
    peak = float(np.percentile(reference, 99.9))
    return SeriesCase("fMRI, cervical spine", "real, half against half", frames, np.stack([reference] * 15),
                      reference > 0.1 * peak, peak, [1000.0] * 15)  # fmt: skip


def noisier_diffusion(data: Path) -> SeriesCase:
    """A real series to which as much noise again was added: the answer is compared with the series before, whose own
    noise adds the same to the error of every method."""
    check_role(DIFFUSION, "mr-denoise")
    series = [replace(v, modality="MR") for v in read_series(data / DIFFUSION)]
    size, first = (24, 48, 48), (8, 16, 16)
    series = [crop(v, first, size) for v in series]
    arrays = np.stack([v.array for v in series]).astype(np.float32)
    peak = float(np.percentile(arrays[0], 99.9))
    rng = generator("noisier")
    noise = rng.standard_normal((2, *arrays.shape), np.float32) * np.float32(0.04 * peak)
    noisy = np.hypot(arrays + noise[0], noise[1])
    mask = arrays.mean(0) > 0.1 * np.percentile(arrays.mean(0), 99.9)
    frames = [v.with_array(f) for v, f in zip(series, noisy, strict=True)]
    bright = arrays.mean((1, 2, 3))
    weights = [0.0 if b > 1.3 * np.median(bright) else 1000.0 for b in bright]
    return SeriesCase("diffusion, brain", "real, 4 % Rician added", frames, arrays, mask, peak, weights)
