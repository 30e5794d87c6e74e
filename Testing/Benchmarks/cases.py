"""What is measured on: references with little noise of their own, and noise put on them with fixed seeds.

Only images whose role is "test" in the split file of the model are opened. Arrays are (k, j, i) float32.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import fft, ndimage

import DLReconLib
from DLReconLib.io import read_volume
from DLReconLib.volume import Volume

Array = np.ndarray
ZOO = Path(DLReconLib.__file__).parent / "zoo"
MR_LEVELS = (1, 3, 5, 7, 9, 13)
CT_PEAK = 2000.0
CT_KERNELS = {"soft": 12.0, "sharp": 25.0}
CT_DOSES = {"quarter": 0.25, "tenth": 0.1}
FULL_DOSE_PHOTONS = 1e5


@dataclass(frozen=True)
class Source:
    """A reference: file, factors of block averaging (k, j, i), and the crop after it, first voxel and size."""

    name: str
    path: str
    average: tuple[int, int, int]
    first: tuple[int, int, int]
    size: tuple[int, int, int]


# Whole scans: name, file, means of blocks (k, j, i) that the reference consists of.
MR_SCANS = (
    ("Colin27 T1", "mr/t1_ch2_colin27_ants.nii.gz", (1, 1, 1)),
    ("pddl head T1", "mr/t1_head_3t_pddl.nii.gz", (2, 2, 2)),
    ("niivue head T2", "mr/t2_head_niivue.nii.gz", (1, 1, 1)),
    ("torchio head FLAIR", "mr/t2flair_head_torchio.nii.gz", (1, 2, 2)),
    ("STS_001 thigh T1", "mr/STS_001_t1.nii.gz", (1, 1, 1)),
    ("STS_002 leg T1", "mr/STS_002_t1.nii.gz", (1, 1, 1)),
    ("STS_003 thigh T1", "mr/STS_003_t1.nii.gz", (1, 1, 1)),
    ("STS_004 thigh T1", "mr/STS_004_t1.nii.gz", (1, 1, 1)),
)

# Crops hold inner brain or trunk and limbs, never a face: the heads are not defaced.
MR_SOURCES = (
    Source("Colin27 T1", "mr/t1_ch2_colin27_ants.nii.gz", (1, 1, 1), (74, 80, 68), (24, 44, 44)),
    Source("pddl head T1", "mr/t1_head_3t_pddl.nii.gz", (2, 2, 2), (40, 84, 46), (24, 44, 44)),
    Source("niivue head T2", "mr/t2_head_niivue.nii.gz", (1, 2, 2), (28, 34, 34), (24, 44, 44)),
    Source("torchio head FLAIR", "mr/t2flair_head_torchio.nii.gz", (1, 2, 2), (2, 45, 58), (24, 44, 44)),
    Source("STS_001 thigh T1", "mr/STS_001_t1.nii.gz", (1, 2, 2), (18, 20, 22), (24, 44, 44)),
    Source("STS_002 leg T1", "mr/STS_002_t1.nii.gz", (1, 2, 2), (6, 0, 6), (24, 44, 44)),
    Source("STS_003 thigh T1", "mr/STS_003_t1.nii.gz", (1, 2, 2), (14, 12, 8), (24, 44, 44)),
    Source("STS_004 thigh T1", "mr/STS_004_t1.nii.gz", (1, 2, 2), (18, 10, 10), (24, 44, 44)),
)
CT_SOURCES = (
    Source("STS_001 thigh", "ct/STS_001_ct.nii.gz", (2, 2, 2), (8, 24, 34), (16, 52, 52)),
    Source("STS_002 pelvis", "ct/STS_002_ct.nii.gz", (3, 2, 2), (0, 2, 18), (16, 52, 52)),
    Source("STS_003 pelvis", "ct/STS_003_ct.nii.gz", (3, 2, 2), (1, 6, 14), (16, 52, 52)),
    Source("STS_004 thigh", "ct/STS_004_ct.nii.gz", (2, 2, 2), (20, 8, 18), (16, 52, 52)),
    Source("liver, one slice", "ct/liver_3slice_dcmqi.nii.gz", (3, 2, 2), (0, 40, 30), (1, 180, 200)),
)


@dataclass(frozen=True)
class Case:
    """One image to denoise and how to judge the answer.

    volume: the noisy image. reference, mask: (k, j, i); mask holds the voxels that count.
    peak: data range of PSNR and SSIM. sigma: true (or best known) standard deviation of the noise.
    model: which of our models. magnitude: the noise is Rician, so rivals may have it corrected.
    spectrum: noise power |FFT|^2 (k, j, i) where it is known. flat: homogeneous voxels for the mean shift in HU.
    own_noise: estimate of the noise left in the reference. factors: multiples of sigma that rivals may try.
    judges: further pairs (name, reference, mask) for the same answer. only_inside: the reference is wrong outside
    the mask, so SSIM, which looks around every voxel, has no meaning.
    """

    group: str
    image: str
    condition: str
    volume: Volume
    reference: Array
    mask: Array
    peak: float
    sigma: float
    model: str
    magnitude: bool = False
    spectrum: Array | None = None
    flat: Array | None = None
    own_noise: float = 0.0
    factors: tuple[float, ...] = (1.0,)
    judges: tuple[tuple[str, Array, Array], ...] = ()
    only_inside: bool = False

    @property
    def name(self) -> str:
        return f"{self.image}, {self.condition}"


def check_role(path: str, model: str) -> None:
    """Raises ValueError unless the model's split file gives the image the role "test"."""
    entries = json.loads((ZOO / model / "split.json").read_text(encoding="utf-8"))["images"]
    roles = {entry["path"]: entry["role"] for entry in entries}
    if roles.get(path) != "test":
        raise ValueError(f"{path}: role {roles.get(path)!r} in the split of {model}; only test images may be measured")


def block_average(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    """Means of blocks of factors (k, j, i) voxels; voxels that fill no whole block are cut off at the far end."""
    counts = [n // f for n, f in zip(volume.array.shape, factors, strict=True)]
    whole = [c * f for c, f in zip(counts, factors, strict=True)]
    array = volume.array[: whole[0], : whole[1], : whole[2]].astype(np.float64)
    blocks = array.reshape(counts[0], factors[0], counts[1], factors[1], counts[2], factors[2])
    geometry = volume.geometry.resampled(tuple(whole[::-1]), tuple(counts[::-1]))
    return replace(volume, array=blocks.mean((1, 3, 5)).astype(np.float32), geometry=geometry)


def crop(volume: Volume, first: tuple[int, ...], size: tuple[int, ...]) -> Volume:
    """The box of `size` voxels from voxel `first` on, both (k, j, i). Raises ValueError where it sticks out."""
    if any(f + s > n for f, s, n in zip(first, size, volume.array.shape, strict=True)):
        raise ValueError(f"crop {first} + {size} sticks out of {volume.array.shape}")
    array = volume.array[tuple(slice(f, f + s) for f, s in zip(first, size, strict=True))]
    matrix = volume.geometry.matrix()
    origin = tuple((matrix @ [*first[::-1], 1])[:3])
    return replace(volume, array=np.ascontiguousarray(array), geometry=replace(volume.geometry, origin=origin))


def load(source: Source, data: Path, model: str) -> Volume:
    """The whole block-averaged reference, its modality set."""
    check_role(source.path, model)
    volume = replace(read_volume(data / source.path), modality="CT" if model == "ct-denoise" else "MR")
    return block_average(volume, source.average)


def generator(*names: object) -> np.random.Generator:
    """A random generator that depends on nothing but the names."""
    return np.random.default_rng([zlib.crc32(str(name).encode()) for name in names])


def own_noise(reference: Array, mask: Array) -> float:
    """Lowest decile of the standard deviation in 5 x 5 pixels in-plane: an estimate of a reference's own noise
    (from above where nothing is homogeneous)."""
    local = local_deviation(reference)
    inside = ndimage.binary_erosion(mask, np.ones((1, 5, 5)))
    return float(np.percentile(local[inside if inside.any() else mask], 10))


def local_deviation(image: Array, width: int = 5) -> Array:
    """Standard deviation in width x width pixels in-plane."""
    image = image.astype(np.float64)
    size = (0, width, width)
    return np.sqrt(np.maximum(ndimage.uniform_filter(image**2, size) - ndimage.uniform_filter(image, size) ** 2, 0))


def mr_cases(data: Path, quick: bool = False) -> Iterator[Case]:
    """Gaussian and Rician noise of 1 to 13 % of the reference's 99.9th percentile."""
    for source in MR_SOURCES[:1] if quick else MR_SOURCES:
        clean = crop(load(source, data, "mr-denoise"), source.first, source.size)
        reference = clean.array
        peak = float(np.percentile(reference, 99.9))
        mask = reference > 0.1 * peak
        left = own_noise(reference, mask)
        for kind in ("gaussian", "rician"):
            for level in (3, 9) if quick else MR_LEVELS:
                sigma = level / 100 * peak
                rng = generator(source.name, kind, level)
                real, imaginary = rng.standard_normal((2, *reference.shape), np.float32) * np.float32(sigma)
                noisy = reference + real if kind == "gaussian" else np.hypot(reference + real, imaginary)
                yield Case(
                    "mr", source.name, f"{kind} {level} %", clean.with_array(noisy), reference, mask, peak, sigma,
                    "mr-denoise", magnitude=kind == "rician", own_noise=left,
                )  # fmt: skip


def apodisation(shape: tuple[int, int], kernel: str) -> Array:
    """The window of a reconstruction kernel, (j, i // 2 + 1): soft is Hann to 0.8 of the Nyquist frequency,
    sharp a Butterworth window of order 4 at 0.95 of it."""
    radius = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]) * 2
    if kernel == "soft":
        return np.where(radius < 0.8, 0.5 + 0.5 * np.cos(np.pi * np.minimum(radius / 0.8, 1)), 0)
    return 1 / (1 + (radius / 0.95) ** 8)


def ct_noise(clean: Volume, kernel: str, dose: str, rng: np.random.Generator) -> Array:
    """Noise of a CT scan on whole slices, HU: sinogram noise of the dose, the kernel's window, scaled so that its
    standard deviation in soft tissue (-150 to 200 HU) is 12 HU (soft) or 25 HU (sharp) at full dose, 2 times
    that at a quarter, 3.16 times at a tenth. Its mean there is set to 0: a scanner's HU are calibrated."""
    from DLReconLib.degradations import ct_dose_noise

    share = CT_DOSES[dose]
    noise = ct_dose_noise(clean.array, clean.geometry.spacing[0], FULL_DOSE_PHOTONS * share, rng)
    shape = noise.shape[1:]
    noise = fft.irfft2(fft.rfft2(noise, axes=(1, 2)) * apodisation(shape, kernel), s=shape, axes=(1, 2))
    tissue = (clean.array > -150) & (clean.array < 200)
    noise = (noise - noise[tissue].mean()) / noise[tissue].std()
    return (noise * CT_KERNELS[kernel] / np.sqrt(share)).astype(np.float32)


def noise_spectrum(crops: list[Array]) -> Array:
    """Mean power |FFT3|^2 of noise that is independent from slice to slice, (k, j, i)."""
    depth = crops[0].shape[0]
    power = np.mean([np.mean(np.abs(fft.fft2(c, axes=(1, 2))) ** 2, axis=0) for c in crops], axis=0)
    return np.repeat(power[None] * depth, depth, axis=0).astype(np.float32)


def homogeneous(reference: Array, left: float) -> Array:
    """Voxels of soft tissue well inside regions that vary hardly more than the reference's own noise."""
    calm = (local_deviation(reference, 7) < 1.6 * left) & (reference > -150) & (reference < 200)
    return ndimage.binary_erosion(calm, np.ones((1, 3, 3)))


def ct_cases(data: Path, quick: bool = False) -> Iterator[Case]:
    """Simulated quarter and tenth dose, soft and sharp kernel; the noise is added to a full-dose reference."""
    for source in CT_SOURCES[:1] if quick else CT_SOURCES:
        whole = load(source, data, "ct-denoise")
        box = tuple(slice(f, f + s) for f, s in zip(source.first, source.size, strict=True))
        clean = crop(whole, source.first, source.size)
        reference = clean.array
        mask = reference > -500
        left = own_noise(reference, mask & (reference > -150) & (reference < 200))
        for kernel in ("sharp",) if quick else CT_KERNELS:
            for dose in CT_DOSES:
                rng = generator(source.name, kernel, dose)
                noise = ct_noise(whole, kernel, dose, rng)[box]
                others = [ct_noise(whole, kernel, dose, rng)[box] for _ in range(2 if len(noise) > 4 else 16)]
                yield Case(
                    "ct", source.name, f"{dose} dose, {kernel}", clean.with_array(reference + noise), reference,
                    mask, CT_PEAK, float(noise[mask].std()), "ct-denoise", spectrum=noise_spectrum(others),
                    flat=homogeneous(reference, left), own_noise=left,
                    factors=(1.5, 2.2) if kernel == "soft" else (1.0, 1.5),
                )  # fmt: skip
