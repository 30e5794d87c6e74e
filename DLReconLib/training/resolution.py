"""Training of super-resolution by a plan; what all trainings share is in Trainer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DLReconLib.training import Trainer
from DLReconLib.training.patches import Source
from DLReconLib.training.resolution_patches import ResolutionPair, ResolutionPatchMaker

EMPTY = 1e-5  # mean square of the detail of a patch, model's unit, below which there is little to learn
VALIDATION = ((2.0, 1.0, 1.0), (3.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 2.0, 2.0))


@dataclass
class ResolutionBatch:
    """base, target: (N, 1, D, H, W); places: (N, 9, D, H, W)."""

    base: Tensor
    places: Tensor
    target: Tensor

    @classmethod
    def stack(cls, pairs: list[ResolutionPair], device: torch.device) -> "ResolutionBatch":
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(p, name) for p in pairs])).to(device)

        return cls(tensor("base")[:, None], tensor("places"), tensor("target")[:, None])

    def errors(self, detail: Tensor) -> tuple[Tensor, Tensor]:
        """Mean square error left, and that of the interpolation; (N,) each."""
        left = (detail - self.target).square().mean((1, 2, 3, 4))
        return left, self.target.square().mean((1, 2, 3, 4))


class ResolutionTrainer(Trainer):
    """Loss: mean over the patches of log(MSE / MSE of the interpolation), which is the PSNR gain up to sign and
    scale."""

    figures = ("validation_psnr_gain_db",)

    def make_patches(self, sources: list[Source]) -> ResolutionPatchMaker:
        return ResolutionPatchMaker(sources, self.plan.degradation, self.plan.patch)

    def pairs(self, role: str, number: int, size: int, factors: tuple | None = None) -> ResolutionBatch:
        rng = np.random.default_rng([self.plan.seed, self.rank, number, role == "train"])
        return ResolutionBatch.stack([self.makers[role].draw(rng, factors) for _ in range(size)], self.device)

    def train_step(self) -> float:
        batch = self.pairs("train", self.step, self.plan.batch)
        with self.autocast():
            detail = self.parallel(batch.base, batch.places)
        left, before = batch.errors(detail)
        loss = ((left + EMPTY) / (before + EMPTY)).log().mean()
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Mean PSNR gain (dB) over the interpolation on fixed validation pairs."""
        gains = []
        for number, factors in enumerate(VALIDATION * 2):
            batch = self.pairs("validation", number, 6, factors)
            with self.autocast():
                detail = self.network(batch.base, batch.places)
            left, before = batch.errors(detail)
            gains.append(10 * (before.sum() / left.sum()).log10())
        return (float(torch.stack(gains).mean()),)
