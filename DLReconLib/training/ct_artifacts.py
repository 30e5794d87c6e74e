"""Pairs of CT slices with streaks, rings or metal and without; degraded once, kept in the work folder, then cut.

Image channels of a pair: what the classical method of the artifact makes of the slice, and the slice as it was.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from DLReconLib.degradations import ct_artifacts, log_uniform
from DLReconLib.networks.metal import CLIPPED, correct_slices, find_metal
from DLReconLib.networks.rings import middle, ring_pattern
from DLReconLib.networks.streaks import smooth_streaks
from DLReconLib.training.patches import Array, Source
from DLReconLib.training.restoration import RestorationBatch, RestorationPair, RestorationTrainer

KINDS = ("streak", "ring", "metal")
AT_ONCE = 4  # slices of one image that are degraded together
COUNTS = {"streak": 60, "ring": 12, "metal": 8}  # degraded slices for every source
SIDE = 256
UNIT = 4000  # stored as int16
LEAST, MOST = -1.0, 8.0  # what can be stored
VERSIONS = {"streak": 4, "ring": 2, "metal": 3}  # of the physics: others are made anew
NOISY, NOISE = 0.5, (0.004, 0.06)  # share of slices that get noise, and its standard deviation
FAINT = 0.004  # standard deviation that is not called an artifact: 4 HU


def draw_slices(source: Source, rng: np.random.Generator) -> Array:
    """AT_ONCE slices with enough body in them, turned alike, not larger than SIDE; (N, j, i). Half of the groups get
    more noise than the scan had, which is no artifact and has to stay."""
    body = [k for k, s in enumerate(source.image) if np.mean(s > 0.5) > 0.1]
    chosen = source.image[rng.choice(body, AT_ONCE, replace=len(body) < AT_ONCE)]
    lowest = [max(0, (n - SIDE) // 2) for n in chosen.shape[1:]]
    chosen = chosen[:, lowest[0] : lowest[0] + SIDE, lowest[1] : lowest[1] + SIDE]
    chosen = np.rot90(chosen, int(rng.integers(4)), (1, 2))
    chosen = np.ascontiguousarray(chosen[:, :, :: rng.choice([-1, 1])], np.float32)
    if rng.random() < NOISY:
        width = rng.uniform(0, 1.2)
        noise = ndimage.gaussian_filter(rng.standard_normal(chosen.shape), (0, width, width))
        chosen = chosen + (log_uniform(rng, *NOISE) / noise.std() * noise).astype(np.float32)
    return chosen


def with_streaks(slices: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Each of these: (first guess, image, clean), (N, j, i)."""
    kernel = str(rng.choice(["ramp", "shepp-logan", "hann"]))
    first, size = rng.uniform(0, np.pi), max(slices.shape[1:])
    if rng.random() < 0.12:
        broken = ct_artifacts.limited_angle(slices, int(1.25 * size), rng.uniform(0.7, 0.97), first, kernel)
    else:
        views = round(log_uniform(rng, 0.2, 1.1) * size)
        broken = ct_artifacts.sparse_views(slices, views, max(2, round(1.8 * size / views)), first, kernel)
    return np.stack([smooth_streaks(s) for s in broken.image]), broken.image, broken.clean


def with_rings(slices: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    shape = slices.shape[1:]
    centre = np.array(middle(shape))
    if rng.random() < 0.5:
        centre += rng.uniform(-0.2, 0.2, 2) * shape
    strengths = [log_uniform(rng, 0.003, 0.1) for _ in slices]
    image = slices + np.stack([s * ct_artifacts.rings(shape, tuple(centre), rng) for s in strengths])
    near = tuple(centre + rng.normal(0, 0.3, 2))
    guess = np.stack([s - ring_pattern(s, near) for s in image])
    return guess, image, slices


def with_metal(slices: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    pixel = rng.uniform(0.7, 1.4) * (1 if max(slices.shape) > 140 else 2)
    material = str(rng.choice(list(ct_artifacts.METALS), p=[0.4, 0.25, 0.25, 0.1]))
    metal = np.stack([ct_artifacts.metal_shape(s.shape, s > 0.5, pixel, rng) for s in slices])
    image = ct_artifacts.metal_artifacts(slices, metal, material, pixel, log_uniform(rng, 2e4, 5e5), rng).image
    image = np.clip(image, -0.024, CLIPPED if rng.random() < 0.7 else MOST)
    return correct_slices(image, find_metal(image)), image, slices


DEGRADE = {"streak": with_streaks, "ring": with_rings, "metal": with_metal}


def degraded(sources: list[Source], kind: str, work: Path) -> tuple[Array, Array]:
    """All slices of a kind: (count, 3, SIDE, SIDE) int16 and (count, 2) sizes; made once, kept in `work`."""
    count = COUNTS[kind] * len(sources)
    key = json.dumps([VERSIONS[kind], kind, count, [[*s.image.shape, float(s.image.mean())] for s in sources]])
    stem = work / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    kept, sizes = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not (kept.exists() and sizes.exists()):
        chances = np.array([s.weight for s in sources]) / sum(s.weight for s in sources)
        stored = np.zeros((count, 3, SIDE, SIDE), np.int16)
        found = []
        for first in range(0, count, AT_ONCE):
            rng = np.random.default_rng([KINDS.index(kind), count, first])
            source = sources[rng.choice(len(sources), p=chances)]
            parts = np.stack(DEGRADE[kind](draw_slices(source, rng), rng), 1)
            height, width = parts.shape[2:]
            stored[first : first + AT_ONCE, :, :height, :width] = np.rint(np.clip(parts, LEAST, MOST) * UNIT)
            found += [[height, width]] * AT_ONCE
        temporary = kept.with_suffix(".part.npy")
        np.save(temporary, stored)
        temporary.replace(kept)
        sizes.write_text(json.dumps(found))
    return np.load(kept, mmap_mode="r"), np.array(json.loads(sizes.read_text()))


class CtArtifactMaker:
    """Draws pairs of square cuts from degraded slices.

    Args:
        slices: what degraded() gives, by kind.
        side: of the cuts, in pixels.
    """

    def __init__(self, slices: dict[str, tuple[Array, Array]], side: int) -> None:
        self.slices, self.side = slices, side

    def draw(self, rng: np.random.Generator, kind: int | None = None) -> RestorationPair:
        """kind: number of the artifact; by default any, or none in a fifth of the pairs. What is faint is drawn
        seldom, and mended when it is asked for, but not to be named."""
        whole = kind is None and rng.random() < 0.2
        kind = int(rng.choice(len(KINDS), p=[0.6, 0.15, 0.25])) if kind is None else kind
        stored, sizes = self.slices[KINDS[kind]]
        for _ in range(4):
            cut = self._cut(stored, sizes, int(rng.integers(len(stored))), rng, KINDS[kind] == "metal")
            faint = np.std(cut[1] - cut[2]) < FAINT
            if not faint:
                break
        cut = np.rot90(cut, int(rng.integers(4)), (1, 2))[:, :, :: rng.choice([-1, 1])]
        guess, image, clean = cut
        if whole:
            return RestorationPair(np.stack([clean, clean]), clean, 0)
        channels = np.stack([guess, np.minimum(image, CLIPPED)])
        return RestorationPair(channels, clean, 0 if faint else 1 + kind, 1 + kind)

    def _cut(self, stored: Array, sizes: Array, number: int, rng: np.random.Generator, metal: bool) -> Array:
        """(3, side, side) with body in it, and mostly with the metal where there is any."""
        size, side = sizes[number], self.side
        for attempt in range(8):
            start = [int(rng.integers(0, max(n - side, 0) + 1)) for n in size]
            cut = stored[number, :, start[0] : start[0] + side, start[1] : start[1] + side].astype(np.float32) / UNIT
            inside = np.mean(cut[2] > 0.5) > 0.2
            if inside and (not metal or attempt > 4 or cut[1].max() > 3):
                break
        missing = [side - n for n in cut.shape[1:]]
        return np.pad(cut, ((0, 0), (0, missing[0]), (0, missing[1])))


class CtArtifactTrainer(RestorationTrainer):
    """Its slices are degraded before the first step. With plan.start it begins with these weights."""

    def __init__(self, plan_path: Path, *rest: object, **more: object) -> None:
        super().__init__(plan_path, *rest, **more)
        if self.plan.start:
            self.network.load_state_dict(load_file(Path(plan_path).parent / self.plan.start))
            self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        naming, rate = list(self.network.classify.parameters()), self.plan.adam_rate
        self.alone_optimizer = torch.optim.AdamW([{"params": naming, "initial_lr": rate}], weight_decay=1e-4)

    def make_patches(self, sources: list[Source]) -> CtArtifactMaker:
        return CtArtifactMaker({k: degraded(sources, k, self.work) for k in KINDS}, self.plan.patch[-1])

    def late_step(self) -> float:
        """A step of the head alone that names the artifacts: there are plan.estimator_steps of them."""
        self.network.requires_grad_(False)
        self.network.classify.requires_grad_(True)
        batch = self.pairs("train", self.step, 2 * self.plan.batch)
        with self.autocast():
            _, logits = self.network(self.shown(batch, batch.kind < 0))
        loss = functional.cross_entropy(logits, batch.kind)
        self.step_alone(loss)
        return float(loss.detach())

    def shown(self, batch: RestorationBatch, told: Tensor) -> Tensor:
        """Nothing is guessed before the artifact is known."""
        seen = batch.image[:, 1:].expand_as(batch.image)
        return torch.where(told[:, None, None, None], batch.image, seen)
