"""Thick orthogonal stacks of one image fused, against the mean of the interpolated stacks; for superres.py."""

import time
from pathlib import Path

import numpy as np
from cases import Array, Source, check_role, crop, generator
from scipy import ndimage
from scipy.spatial.transform import Rotation

from DLReconLib.fusion import enlargement, fuse, places, resampled
from DLReconLib.io import read_volume
from DLReconLib.metrics import psnr, ssim
from DLReconLib.resolution.acquisition import Acquisition, Axis
from DLReconLib.volume import Geometry, Volume

FACTOR = 4
# Inner brain or limbs, never a face; sides of multiples of FACTOR.
SOURCES = (
    Source("Colin27 T1", "mr/t1_ch2_colin27_ants.nii.gz", (1, 1, 1), (60, 62, 48), (60, 72, 72)),
    Source("pddl head T1", "mr/t1_head_3t_pddl.nii.gz", (1, 1, 1), (80, 168, 92), (48, 72, 72)),
    Source("niivue head T2", "mr/t2_head_niivue.nii.gz", (1, 1, 1), (28, 68, 68), (24, 72, 72)),
    Source("STS_004 thigh T1", "mr/STS_004_t1.nii.gz", (1, 1, 1), (18, 20, 20), (24, 72, 72)),
)
CONDITIONS = ("two stacks", "three stacks", "three stacks, 1 % noise", "three stacks, one moved")
MOTION = (np.array([2.0, -3.0, 1.5]), np.array([1.7, -1.2, 0.9]))  # degrees, mm


def measure_fusion(data: Path, quick: bool) -> list[dict]:
    rows = []
    for source in SOURCES[:1] if quick else SOURCES:
        check_role(source.path, "mr-denoise")
        truth = crop(read_volume(data / source.path), source.first, source.size).array.astype(np.float32)
        peak = float(np.percentile(truth, 99.9))
        inner = np.zeros(truth.shape, bool)
        inner[(slice(4, -4),) * 3] = True  # what was moved in from outside is not known
        mask = (truth > 0.1 * peak) & inner
        for condition in CONDITIONS:
            stacks = make_stacks(truth, condition, 0.01 * peak, generator(source.name, condition))
            started = time.perf_counter()
            result = fuse(stacks, device="cpu", register="mutual-information" if "moved" in condition else "off")
            seconds = time.perf_counter() - started
            motions = [np.array(m) for m in result.provenance["fusion"]["motions"]]
            for method, image in (("fused", result.volume.array), ("mean", mean_of(stacks, motions, truth.shape))):
                rows.append({"image": source.name, "condition": condition, "method": method,
                             "psnr": psnr(image, truth, peak, mask), "ssim": ssim(image, truth, peak, mask),
                             "seconds": seconds, "model": result.provenance["model"]["id"]})  # fmt: skip
            print(f"{time.strftime('%H:%M:%S')} fusion: {source.name}, {condition}: "
                  + ", ".join(f"{r['method']} {r['psnr']:.2f}" for r in rows[-2:]), flush=True)  # fmt: skip
    return rows


def make_stacks(truth: Array, condition: str, noise: float, rng: np.random.Generator) -> list[Volume]:
    stacks = []
    for axis in range(2 if "two" in condition else 3):
        image = moved(truth) if "moved" in condition and axis == 2 else truth
        axes = [Axis(n // FACTOR, n, "gaussian") if m == axis else Axis(n, n) for m, n in enumerate(truth.shape)]
        coarse = Acquisition(tuple(axes)).degrade(image)
        if "noise" in condition:
            coarse += np.float32(noise) * rng.standard_normal(coarse.shape, np.float32)
        stacks.append(Volume(coarse, Geometry().resampled(truth.shape[::-1], coarse.shape[::-1]), "MR"))
    return stacks


def moved(image: Array) -> Array:
    """Turned about its middle and shifted, by cubic splines."""
    turn = Rotation.from_euler("xyz", MOTION[0], degrees=True).as_matrix()
    middle = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, turn, middle - turn @ (middle + MOTION[1]), order=3, mode="mirror")


def mean_of(stacks: list[Volume], motions: list[Array], shape: tuple[int, ...]) -> Array:
    """Of the stacks interpolated by cubic splines and put in place by the motions that fusion found."""
    images = []
    for stack, motion in zip(stacks, motions, strict=True):
        one = enlargement(stack, "MR", 1.0, None)
        there = np.linalg.inv(places(Geometry(), one.geometry, motion))
        images.append(resampled(one.acquisition.interpolate(stack.array), shape, there)[0])
    return np.mean(images, 0)
