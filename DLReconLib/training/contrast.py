"""Training of tone curves on real images, without any target; what all trainings share is in Trainer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DLReconLib.degradations import remap_contrast
from DLReconLib.networks.curve_net import describe
from DLReconLib.networks.tone import BINS, Scene, overlap, survey
from DLReconLib.training import Trainer
from DLReconLib.training.patches import Array, Source

POOL = {"train": 250, "validation": 24}
PAIRS = 1500  # of an example
NOISE = 1.03  # the gain of noise that costs nothing
LEFT = 0.3  # of the noise in the base of an image
PENALTY = 30.0
SMOOTH = 0.05
DEPTH = (6, 40)
SIDE = (48, 140)


@dataclass(frozen=True)
class Example:
    """x, grid: what the network gets. cells: (N,) of the pairs. between, at: (N, BINS) which bins lie between the ends
    of a pair, and which hold their noise."""

    x: Tensor
    grid: tuple[int, int, int]
    cells: Tensor
    between: Tensor
    at: Tensor


def example(scene: Scene, rng: np.random.Generator) -> Example | None:
    """Pairs that differ little are drawn more often: they are the ones worth an effort."""
    if len(scene.ends) < 50:
        return None
    apart = np.maximum(scene.ends[:, 1] - scene.ends[:, 0], 1e-3)
    chosen = rng.choice(len(apart), min(PAIRS, len(apart)), p=(1 / apart) / (1 / apart).sum())
    ends, width = scene.ends[chosen], 1.5 * scene.noise
    around = [overlap(np.stack([e - width, e + width], 1), scene.edges) for e in ends.T]
    at = sum(a / np.maximum(a.sum(1, keepdims=True), 1e-6) for a in around) / 2
    tensors = (torch.from_numpy(a.astype(np.float32)) for a in (overlap(ends, scene.edges), at))
    return Example(torch.from_numpy(describe(scene)), scene.grid, torch.from_numpy(scene.cells[chosen]), *tensors)


class ContrastTrainer(Trainer):
    """Loss: how much the tissues come apart, where the noise of both sides is to stay as it is, and neighbouring cells
    are to have like curves."""

    figures = ("validation_contrast_gain", "noise_gain")

    def make_patches(self, sources: list[Source]) -> list[Example]:
        role = "train" if not hasattr(self, "pooled") else "validation"
        self.pooled = True
        weights = np.array([s.weight for s in sources])
        found: list[Example] = []
        for number in range(5 * POOL[role]):
            rng = np.random.default_rng([self.plan.seed, number, role == "train"])
            source = sources[rng.choice(len(sources), p=weights / weights.sum())]
            made = example(survey(cut(source.image, rng)), rng)
            found += [made] if made else []
            if len(found) == POOL[role]:
                break
        return found

    def gains(self, given: Example) -> tuple[Tensor, Tensor, Tensor]:
        """Of each pair the gain of contrast and that of noise; and how unlike neighbouring curves are."""
        increments = self.parallel(given.x.to(self.device), given.grid)
        slope = increments / given.x[:, 4 * BINS : 5 * BINS].clamp(min=1e-6).to(self.device)
        mine = slope[given.cells]
        contrast = (given.between * mine).sum(1)
        more = mine - 1  # of the noise in the base, which is a part of the noise and goes along with it
        noise = (1 + LEFT**2 * (given.at * (2 * more + more.square())).sum(1)).sqrt()
        curves = increments.cumsum(1).reshape(*given.grid, BINS)
        unlike = sum((curves.diff(dim=n).abs().mean() if curves.shape[n] > 1 else 0.0) for n in range(3))
        return contrast, noise, torch.as_tensor(unlike)

    def train_step(self) -> float:
        rng = np.random.default_rng([self.plan.seed, self.rank, self.step, 7])
        loss = torch.zeros(())
        for number in rng.integers(len(self.makers["train"]), size=self.plan.batch):
            contrast, noise, unlike = self.gains(self.makers["train"][number])
            louder = (noise.log().mean() - np.log(NOISE)).clamp(min=0)
            loss = loss - contrast.log().mean() + PENALTY * louder + SMOOTH * unlike
        loss = loss / self.plan.batch
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Geometric mean over the pairs of the gain of contrast and of that of noise."""
        found = [self.gains(e)[:2] for e in self.makers["validation"]]
        return tuple(float(torch.stack([pair[n].log().mean() for pair in found]).mean().exp()) for n in (0, 1))


def cut(image: Array, rng: np.random.Generator) -> Array:
    """A random box of an image, its values by another curve or the other way round now and then."""
    where = []
    for size, (least, most) in zip(image.shape, (DEPTH, SIDE, SIDE), strict=True):
        wanted = min(size, int(rng.integers(least, most + 1)))
        start = int(rng.integers(0, size - wanted + 1))
        where.append(slice(start, start + wanted))
    part = image[tuple(where)].astype(np.float32)
    if part.min() == part.max():
        return image.astype(np.float32)
    chance = rng.random()
    if chance < 0.15:
        return -part
    return remap_contrast(np.clip(part, 0, 1.5), rng) if chance < 0.35 and part.min() >= 0 else part
