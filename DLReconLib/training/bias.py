"""Training of the bias field: label maps in random contrasts and real scans, under random smooth fields."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from DLReconLib.degradations import painted_labels, remap_contrast
from DLReconLib.degradations.mr_artifacts import bias_field
from DLReconLib.networks.bias_net import LATTICE, basis, expand, look, n4, reduce
from DLReconLib.networks.context import Context
from DLReconLib.training import Trainer
from DLReconLib.training.patches import Array, Source


@dataclass(frozen=True)
class BiasPair:
    """seen: (3, k, j, i) of look(). log: (k, j, i) of the true field where inside is true, with the mean 0 there."""

    seen: Array
    log: Array
    inside: Array


class BiasMaker:
    """Draws training pairs with voxels of about 4 mm.

    Args: sources, of pixels of about 1 mm; shape: (k, j, i) of a cut in these voxels, multiples of LATTICE; cache:
    folder that keeps the real scans after N4.
    """

    def __init__(self, sources: list[Source], shape: tuple[int, int, int], cache: Path) -> None:
        self.shape = shape
        weights = np.array([s.weight for s in sources], float)
        self.chances = weights / weights.sum()
        self.images = []
        for source in sources:
            if source.labels:
                self.images.append((source.image[::2, ::2, ::2], True))
            else:
                factors = (min(len(source.image), max(1, round(4 / source.ratio))), 4, 4)
                coarse = reduce(source.image, factors)
                spacing = (source.ratio * factors[0], 4.0, 4.0)
                self.images.append((corrected(coarse, spacing, cache), False))

    def draw(self, rng: np.random.Generator) -> BiasPair:
        image, labels = self.images[rng.choice(len(self.images), p=self.chances)]
        if labels:
            image = self._painted(image, rng)
        elif rng.random() < 0.3:
            image = remap_contrast(image, rng)
        image = np.transpose(image, rng.permutation(3)) if labels and rng.random() < 0.5 else image
        image = image[tuple(slice(None, None, int(rng.choice([-1, 1]))) for _ in range(3))]
        where = []
        for size, wanted in zip(image.shape, self.shape, strict=True):
            length = min(size, wanted, max(6, int(size * rng.uniform(0.5, 1.3))))
            start = int(rng.integers(0, size - length + 1))
            where.append(slice(start, start + length))
        image = np.maximum(image[tuple(where)], 0)
        image = image * (1 + 0.03 * rng.random() * rng.standard_normal(image.shape))
        field = bias_field(image.shape, rng)
        seen, inside = look((image * field).astype(np.float32))
        missing = [(0, n - m) for n, m in zip(self.shape, image.shape, strict=True)]
        log = np.log(field)
        log = log - (log[inside].mean() if inside.any() else 0)
        seen = np.pad(seen, [(0, 0), *((0, n - m) for n, m in zip(self.shape, seen.shape[1:], strict=True))])
        return BiasPair(seen, np.pad(log, missing), np.pad(inside, missing))

    @staticmethod
    def _painted(labels: Array, rng: np.random.Generator) -> Array:
        """Random contrast; half of the time only the brain and what lies in it, as after skull stripping; slices of 4
        mm or thicker ones."""
        values = np.unique(labels)
        if rng.random() < 0.3:
            keep = rng.permutation(values[1:])[: max(8, int(len(values) * rng.uniform(0.3, 0.9)))]
            labels = np.where(np.isin(labels, keep), labels, 0)
        return reduce(painted_labels(labels, rng), (2, 2, 2))


def corrected(coarse: Array, spacing: tuple[float, ...], cache: Path) -> Array:
    """The scan after N4, made once."""
    path = cache / f"n4-{hashlib.sha256(coarse.tobytes()).hexdigest()[:16]}.npy"
    if not path.exists():
        temporary = path.with_suffix(".part.npy")
        np.save(temporary, n4(coarse, Context(spacing), 1.0, 20))
        temporary.replace(path)
    return np.load(path)


class BiasTrainer(Trainer):
    """Loss: root of the mean square of what is missed of log b, in tissue, apart from a constant."""

    figures = ("validation_rms_of_log_field", "validation_correlation")

    def make_patches(self, sources: list[Source]) -> BiasMaker:
        return BiasMaker(sources, self.plan.patch, self.work)

    def misses(self, role: str, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Squared error (N,) and squared correlation (N,)."""
        rng = np.random.default_rng([self.plan.seed, self.rank, number, role == "train"])
        pairs = [self.makers[role].draw(rng) for _ in range(size)]
        seen, log, inside = (
            torch.from_numpy(np.stack([getattr(p, n) for p in pairs]).astype(np.float32)).to(self.device)
            for n in ("seen", "log", "inside")
        )
        with self.autocast():
            found = self.parallel(seen)
        bases = [torch.from_numpy(basis(n // LATTICE, n, 1)).to(self.device) for n in self.plan.patch]
        found = expand(found, bases)
        count = inside.sum((1, 2, 3)) + 1
        found = found - ((found * inside).sum((1, 2, 3)) / count)[:, None, None, None]
        error = ((found - log).square() * inside).sum((1, 2, 3)) / count
        product = (found * log * inside).sum((1, 2, 3))
        sizes = ((found * inside).square().sum((1, 2, 3)) * (log * inside).square().sum((1, 2, 3))).sqrt()
        return error, product / (sizes + 1e-6)

    def train_step(self) -> float:
        error, _ = self.misses("train", self.step, self.plan.batch)
        loss = (error + 1e-5).sqrt().mean()
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        found = [self.misses("validation", number, 6) for number in range(6)]
        error, correlation = (torch.cat(part) for part in zip(*found, strict=True))
        return float(error.sqrt().mean()), float(correlation.mean())
