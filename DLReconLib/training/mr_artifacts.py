"""Training pairs of MR artifacts: whole slices, broken by degradations.mr_artifacts."""

from functools import lru_cache

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import log_uniform, painted_labels, remap_contrast
from DLReconLib.degradations import mr_artifacts as physics
from DLReconLib.training.patches import Array, Source
from DLReconLib.training.restoration import RestorationPair

KINDS = ("gibbs", "motion")  # in the order of the network's
CHANCES = (0.1, 0.4, 0.5)  # of clean slices and of each kind
POOL = (200, 800, 1200)  # slices of each; they are seen turned, mirrored and cut in many ways
LARGEST = 192


class ArtifactMaker:
    """Draws training pairs.

    Args:
        sources: images and label maps.
        degradation: not looked at, all kinds are drawn.
        patch: (1, j, i), j = i.
    """

    floor = 6e-5  # (0.8 % of the range)^2
    naming = 0.5

    def __init__(self, sources: list[Source], degradation: str, patch: tuple[int, int, int]) -> None:
        self.sources, self.side = sources, patch[1]
        weights = np.array([s.weight for s in sources], float)
        self.chances = weights / weights.sum()
        self.whole = lru_cache(None)(self._whole)

    def draw(self, rng: np.random.Generator, kind: int | None = None) -> RestorationPair:
        """kind: number in KINDS, or None for any or nothing wrong at all."""
        number = int(rng.choice(len(CHANCES), p=CHANCES)) if kind is None else kind + 1
        images = self.whole(number, int(rng.integers(POOL[number])))
        start = [int(rng.integers(0, max(n - self.side, 0) + 1)) for n in images.shape[1:]]
        cut = images[:, start[0] : start[0] + self.side, start[1] : start[1] + self.side].astype(np.float32)
        if rng.random() < 0.5:
            cut = cut.swapaxes(1, 2)
        for axis in (1, 2):
            cut = np.flip(cut, axis) if rng.random() < 0.5 else cut
        missing = [(0, 0), *((0, self.side - n) for n in cut.shape[1:])]
        cut = np.ascontiguousarray(np.pad(cut, missing, mode="symmetric"))
        return RestorationPair(cut[:1], cut[1], number)

    def _whole(self, kind: int, number: int) -> Array:
        """Slice and truth, (2, j, i) float16."""
        rng = np.random.default_rng([number, kind, len(self.sources)])
        clean = self._slice(rng)
        noise = physics.complex_noise(clean.shape, log_uniform(rng, 0.001, 0.03) * (rng.random() < 0.8), rng)
        if kind == 0:
            broken = truth = np.abs(clean + noise)
        elif KINDS[kind - 1] == "gibbs":
            broken, truth = ringing(clean, noise.real, rng)
        else:
            truth = np.abs(clean + noise)
            broken = truth
            while np.mean((broken - truth) ** 2) < 2e-5:  # a movement that nobody would see
                broken = physics.move(clean, physics.random_poses(len(clean), rng), noise)
        return np.stack([broken.astype(np.float32), truth]).astype(np.float16)

    def _slice(self, rng: np.random.Generator) -> Array:
        """(j, i), range about 0..1, at most LARGEST wide, with some air around it where there is room."""
        for _ in range(20):
            source = self.sources[rng.choice(len(self.sources), p=self.chances)]
            axis = int(rng.integers(3)) if source.isotropic or source.labels else 0
            image = np.moveaxis(source.image, axis, 0)
            place = int(rng.integers(1, max(2, len(image) - 3)))
            part = image[place : place + 3] if source.labels else image[place : place + 1]
            if np.mean(part > (0 if source.labels else 0.1)) > 0.25:
                break
        starts = [int(rng.integers(0, max(n - LARGEST, 0) + 1)) for n in part.shape[1:]]
        part = part[:, starts[0] : starts[0] + LARGEST, starts[1] : starts[1] + LARGEST]
        if source.labels:
            part = painted_labels(part, rng)[1:2]
        elif rng.random() < 0.5:
            part = remap_contrast(part, rng)
        clean = np.maximum(part[0], 0).astype(np.float32)
        if rng.random() < 0.5:
            clean = clean * shading(clean.shape, rng)
        air = [(int(rng.integers(0, 20)),) * 2 for _ in range(2)] if rng.random() < 0.7 else [(0, 0)] * 2
        clean = np.pad(clean, air, mode="constant" if rng.random() < 0.8 else "edge")
        return clean[:LARGEST, :LARGEST] / max(float(np.percentile(clean, 99.5)), 0.05)


def shading(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    coarse = np.exp(rng.uniform(-0.4, 0.4, (3, 3)))
    grid = np.meshgrid(*(np.linspace(0, 2, n) for n in shape), indexing="ij")
    return ndimage.map_coordinates(coarse, grid, order=2, mode="nearest").astype(np.float32)


def ringing(clean: Array, noise: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """A truncated slice and the truth: zero-filled to the grid of the truth, or, of slices large enough, on a grid of
    half the size, where the truth is the mean of the four pixels. The noise went the same way and stays."""
    shape = np.array(clean.shape)
    if shape.min() >= 128 and rng.random() < 0.45:
        height, width = shape // 2 * 2
        clean, noise = clean[:height, :width], noise[:height, :width]
        sizes = [height // 2, width // 2]
        truth = clean.reshape(sizes[0], 2, sizes[1], 2).mean((1, 3))
    else:
        sizes, truth = list(shape), clean
    native = sizes[0] < shape[0]
    lines = [int(n * rng.uniform(0.4, 0.95)) for n in sizes]
    if native and rng.random() < 0.6:
        lines = list(sizes)
    elif rng.random() < 0.4:
        axis = int(rng.integers(2))
        lines[axis] = sizes[axis] if native else shape[axis]
    along = noise
    for axis in (0, 1):
        along = physics.acquire_axis(along, lines[axis], sizes[axis], axis)
    broken = physics.truncate(clean, lines, sizes)
    if (broken.shape != truth.shape) or not np.isfinite(broken).all():
        raise ValueError(f"truncation gave {broken.shape}; wanted {truth.shape}")
    return np.abs(broken + along), np.abs(truth + along)
