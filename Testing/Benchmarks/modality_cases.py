"""Ultrasound, PET and micrographs to be measured on: references, and what physics makes of them with fixed seeds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cases import Array, check_role, generator

from DLReconLib.degradations import counting, speckle, structures
from DLReconLib.io import read_volume
from DLReconLib.training.patches import locate
from DLReconLib.volume import Geometry, Volume

SCANNERS = {
    "fine speckle": speckle.Scanner(0.8, 1.2, 1, 60),
    "coarse speckle": speckle.Scanner(1.5, 3.0, 1, 50),
    "compounded": speckle.Scanner(1.0, 1.6, 3, 60, 0.5),
}
ANATOMY = (  # file, slice, first pixel (j, i): inner brain and thighs
    ("Colin27, slice 80", "mr/t1_ch2_colin27_ants.nii.gz", 80, (44, 26)),
    ("Colin27, slice 100", "mr/t1_ch2_colin27_ants.nii.gz", 100, (44, 26)),
    ("thigh STS_001", "mr/STS_001_t1.nii.gz", 30, (16, 22)),
    ("thigh STS_003", "mr/STS_003_t1.nii.gz", 24, (5, 0)),
    ("thigh STS_004", "mr/STS_004_t1.nii.gz", 30, (0, 0)),
)
DOSES = (0.1, 0.2, 0.4)
LIGHT = {"bright": (300, 0.01), "dim": (40, 0.03), "very dim": (8, 0.06)}  # photons at the brightest, noise of reading
MICROGRAPHS = (
    ("lung, electron microscope", "micro/lung_sem_01.png", (300, 300)),
    ("lung, another section", "micro/lung_sem_05.png", (200, 400)),
    ("cells, fluorescence", "micro/bbbc007_20P1_POS0005_D_1UL.tif", (60, 60)),
    ("cell, phase contrast", "package:skimage/data/cell.png", (200, 200)),
    ("colon, stained", "package:skimage/data/ihc.png", (150, 150)),
)
SIDE = 192


@dataclass(frozen=True)
class Case:
    """theme: us, pet or micro. volume: what is given. reference, mask: as for cases.Case. model: ours."""

    theme: str
    image: str
    condition: str
    volume: Volume
    reference: Array
    mask: Array
    peak: float
    model: str

    @property
    def name(self) -> str:
        return f"{self.image}, {self.condition}"


def us_cases(data: Path, quick: bool = False) -> Iterator[Case]:
    """Anatomy of test subjects and drawn tissue as echogenicity; the truth is what is seen without speckle."""
    echoes = {}
    for name, path, k, (j, i) in ANATOMY[: 1 if quick else None]:
        check_role(path, "us-speckle")
        whole = read_volume(data / path).array.astype(np.float32)
        picture = whole[k, j : j + 112, i : i + 112] / np.percentile(whole, 99.5)
        echoes[name] = speckle.tissue(picture.shape, picture, generator(name))
    for number in range(0 if quick else 4):
        echoes[f"drawn tissue {number + 1}"] = speckle.tissue((128, 128), None, generator("tissue", number))
    for name, echo in echoes.items():
        for condition, scanner in SCANNERS.items():
            image, clean = speckle.speckle(echo, scanner, generator(name, condition))
            volume = Volume(np.rint(image[None] * 255).astype(np.float32), Geometry(), "US")
            reference = clean[None] * 255
            yield Case("us", name, condition, volume, reference, reference >= 0, 255.0, "us-speckle")


def pet_cases(data: Path, quick: bool = False) -> Iterator[Case]:
    """Real uptake of test subjects, whose own noise stays in the reference, and drawn bodies, which have none."""
    sources = {}
    for number in (1,) if quick else (1, 2, 3, 4):
        path = f"pet/STS_{number:03d}_pet.nii.gz"
        check_role(path, "pet-denoise")
        sources[f"STS_{number:03d}"] = read_volume(data / path)
    for number in range(0 if quick else 3):
        drawn = structures.uptake((40, 40, 40), generator("uptake", number))
        sources[f"drawn body {number + 1}"] = Volume(drawn, Geometry((4.0, 4.0, 4.0)), "PT")
    for name, source in sources.items():
        clean = np.maximum(source.array.astype(np.float32), 0)
        peak = float(np.percentile(clean, 99.9))
        for dose in DOSES:
            noisy = counting.pet_noise(clean, source.geometry.spacing[::-1], generator(name, dose), dose)
            volume = replace(source, array=noisy, modality="PT")
            mask = clean > 0.05 * peak
            yield Case("pet", name, f"noise {100 * dose:.0f} %", volume, clean, mask, peak, "pet-denoise")


def micro_cases(data: Path, quick: bool = False) -> Iterator[Case]:
    for name, path, (j, i) in MICROGRAPHS[: 1 if quick else None]:
        check_role(path, "micro-denoise")
        clean = read_volume(locate(path, data)).array[:, j : j + SIDE, i : i + SIDE].astype(np.float32)
        planes = clean[..., None] if clean.ndim == 3 else clean
        for condition, (photons, reading) in LIGHT.items():
            rng = generator(name, condition)
            noisy = [counting.poisson_gaussian(planes[0, ..., n] / 255, photons, reading, 0.0, rng)
                     for n in range(planes.shape[3])]  # fmt: skip
            given = np.clip(np.stack(noisy, -1)[None] * 255, 0, 255).reshape(clean.shape).astype(np.float32)
            mask = np.ones(clean.shape, bool)
            yield Case("micro", name, condition, Volume(given, Geometry(), "SM"), clean, mask, 255.0, "micro-denoise")
