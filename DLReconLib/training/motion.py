"""Training of MotionUNet: slices that moved between the lines of k-space, then what follows in k-space."""

from functools import lru_cache

import numpy as np
import torch
from scipy import fft, ndimage

from DLReconLib.degradations import log_uniform, painted_labels, remap_contrast
from DLReconLib.degradations import mr_artifacts as physics
from DLReconLib.networks.line_shifts import FIRST, WIDER
from DLReconLib.networks.motion_unet import views
from DLReconLib.training.patches import Array, Source
from DLReconLib.training.restoration import RestorationBatch, RestorationPair, RestorationTrainer

SLICES = 8000  # they are seen mirrored and cut in many ways
STILL, ACROSS = 0.05, 0.1  # the share of them that did not move at all, and whose lines lie along the other axis
LARGEST = 192
FOLLOWED, SIZE, PAIRS = 5000, (64, 96), 8  # whole slices, pixels and number of the pairs of a step of the stage "lines"
DISPLACED = 0.3  # share of these of which the outer ones of the known lines lie a little aside
ASIDE = 0.3  # standard deviation of that, radians at the last of these lines
EMPTY = 1e-7  # mean square of the next lines below which there is little to learn


class MotionMaker:
    """Draws slices whose lines of k-space lie along j, as MotionUNet sees them. Those that did not move, and those
    whose lines lie along the other axis, have to stay as they are.

    Args:
        sources: images and label maps.
        degradation: not looked at.
        patch: (1, j, i), j = i.
    """

    floor = 3e-4  # of the mean square error, (1.7 % of the range)^2: below it slices count less
    share_left = True

    def __init__(self, sources: list[Source], degradation: str, patch: tuple[int, int, int]) -> None:
        self.sources, self.side = sources, patch[1]
        weights = np.array([s.weight for s in sources], float)
        self.chances = weights / weights.sum()
        self.whole = lru_cache(None)(self._whole)
        self.lines = LineMaker(self)

    def draw(self, rng: np.random.Generator, kind: int | None = None) -> RestorationPair:
        images = self.whole(int(rng.integers(SLICES))).astype(np.float32)
        for axis in (1, 2):
            images = np.flip(images, axis) if rng.random() < 0.5 else images
        images = np.concatenate([views(images[:1])[0], images[1:]])
        missing = [(0, 0), *((0, max(self.side - n, 0)) for n in images.shape[1:])]
        images = np.pad(images, missing, mode="symmetric")
        start = [int(rng.integers(0, n - self.side + 1)) for n in images.shape[1:]]
        cut = images[:, start[0] : start[0] + self.side, start[1] : start[1] + self.side]
        return RestorationPair(np.ascontiguousarray(cut[:-1]), cut[-1])

    def _whole(self, number: int) -> Array:
        """Slice and truth, (2, j, i) float16."""
        rng = np.random.default_rng([number, 1, len(self.sources)])
        clean = self.slice(rng)
        clean = clean.T if rng.random() < 0.5 else clean
        noise = physics.complex_noise(clean.shape, log_uniform(rng, 0.001, 0.03) * (rng.random() < 0.8), rng)
        broken = truth = np.abs(clean + noise)
        case = rng.random()
        while (
            case >= STILL and clean.any() and np.mean((broken - truth) ** 2) < 5e-5
        ):  # a movement that nobody would see
            broken = physics.move(clean, physics.random_poses(len(clean), rng), noise)
        if case < STILL + ACROSS:
            broken = truth = broken.T
        return np.stack([broken, truth]).astype(np.float16)

    def slice(self, rng: np.random.Generator) -> Array:
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


class LineMaker:
    """Draws pairs for the network that follows: the image of the lines of k-space (along j) below some line, and the
    same with as many lines more as are to be known, both on the coarsest grid that holds them. Lines that were turned
    back a little wrong are among the known ones: what follows has to fit to the inner ones.

    Args: slices, whose slices are taken.
    """

    def __init__(self, slices: MotionMaker) -> None:
        self.slices = slices
        self.whole = lru_cache(None)(self._whole)

    def _whole(self, number: int) -> Array:
        return self.slices.slice(np.random.default_rng([number, 4, len(self.slices.sources)])).astype(np.float16)

    def draw(self, rng: np.random.Generator) -> RestorationPair:
        slice_ = self.whole(int(rng.integers(FOLLOWED))).astype(np.float32)
        slice_ = slice_.T if rng.random() < 0.5 else slice_
        for axis in (0, 1):
            slice_ = np.flip(slice_, axis) if rng.random() < 0.5 else slice_
        level = log_uniform(rng, 0.001, 0.03) * (rng.random() < 0.8)
        lines = fft.rfft2(np.abs(slice_ + physics.complex_noise(slice_.shape, level, rng)).T).T  # (lines, i)
        last = len(lines) - 1
        known = int(log_uniform(rng, FIRST, last / 1.1))
        wanted = min(max(known + 2, round(WIDER * known)), last)
        lines = lines[: wanted + 1].copy()
        lines[wanted] = 0
        more = lines.copy()
        lines[known:] = 0
        more -= lines
        if rng.random() < DISPLACED:
            begin = int(log_uniform(rng, 2, known))
            angle = np.arange(begin, known)[:, None] / known * rng.normal(0, ASIDE)
            angle = angle + fft.fftfreq(slice_.shape[1]) * len(slice_) / known * rng.normal(0, ASIDE)
            lines[begin:known] *= np.exp(1j * angle)
        return self._cut(np.stack([image_of(lines, len(slice_)), image_of(lines + more, len(slice_))]), rng)

    @staticmethod
    def _cut(pair: Array, rng: np.random.Generator) -> RestorationPair:
        missing = [(0, 0), *((0, max(0, n - m)) for n, m in zip(SIZE, pair.shape[1:], strict=True))]
        pair = np.pad(pair, missing, mode="wrap")
        start = [int(rng.integers(0, m - n + 1)) for n, m in zip(SIZE, pair.shape[1:], strict=True)]
        cut = pair[:, start[0] : start[0] + SIZE[0], start[1] : start[1] + SIZE[1]]
        return RestorationPair(np.ascontiguousarray(cut[:1]), cut[1])


def image_of(lines: Array, height: int) -> Array:
    """(j, i) on a grid that holds the lines (lines, i) of an image of this height."""
    size = 2 * (len(lines) - 1)
    return (fft.irfft2(lines.T, (lines.shape[1], size)).T * (size / height)).astype(np.float32)


def shading(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    coarse = np.exp(rng.uniform(-0.4, 0.4, (3, 3)))
    grid = np.meshgrid(*(np.linspace(0, 2, n) for n in shape), indexing="ij")
    return ndimage.map_coordinates(coarse, grid, order=2, mode="nearest").astype(np.float32)


class MotionTrainer(RestorationTrainer):
    """A stage "lines" of the plan trains the network that follows, alone; loss: as for the other one, without
    `share_left`."""

    figures = ("validation_psnr_gain_db", "gain_of_next_lines_db")

    def make_patches(self, sources: list[Source]) -> MotionMaker:
        return MotionMaker(sources, self.plan.degradation, self.plan.patch)

    def any_step(self) -> float:
        return self.line_step() if self.plan.part(self.step) == "lines" else super().any_step()

    def next_lines(self, role: str, number: int, size: int) -> torch.Tensor:
        """log(MSE / MSE before) of pairs, (size,)"""
        rng = np.random.default_rng([self.plan.seed, self.rank, number, role == "train", 3])
        batch = RestorationBatch.stack([self.makers[role].lines.draw(rng) for _ in range(size)], self.device)
        with self.autocast():
            residual, _ = self.network.following(batch.image)
        left, before = batch.errors(residual)
        return ((left + EMPTY) / (before + EMPTY)).log()

    def line_step(self) -> float:
        loss = self.next_lines("train", self.step, PAIRS).mean()
        self.descend(loss, share=True)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Mean PSNR gains (dB) on fixed validation pairs: of moved slices, and of images with their next lines."""
        gain = -10 / np.log(10) * self.next_lines("validation", 0, 64).mean()
        return super().measure()[0], float(gain)
