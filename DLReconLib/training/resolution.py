"""Training of super-resolution by a plan; what all trainings share is in Trainer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from DLReconLib.resolution.detail import visible
from DLReconLib.training import Trainer
from DLReconLib.training.patches import Source
from DLReconLib.training.resolution_patches import ResolutionPair, ResolutionPatchMaker

EMPTY = 4e-6  # mean square of the detail of a patch, model's unit, below which there is little to learn
CUT = 4  # fine voxels at the faces of a patch that are not looked at: there its mirror image begins
VALIDATION = ((2.0, 1.0, 1.0), (3.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 2.0, 2.0))
NAMES = ("_x2", "_x3", "_x4", "_in_plane")


@dataclass
class ResolutionBatch:
    """base, target: (N, 1, D, H, W); changes: (N, 3, D, H, W); seen: for each pair and axis P A, or None."""

    base: Tensor
    changes: Tensor
    target: Tensor
    seen: list[list[Tensor | None]]

    @classmethod
    def stack(cls, pairs: list[ResolutionPair], device: torch.device) -> "ResolutionBatch":
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(p, name) for p in pairs])).to(device)

        axes = [p.acquisition.axes for p in pairs]
        seen = [[torch.from_numpy(visible(a)).to(device) if a.scale > 1 else None for a in each] for each in axes]
        return cls(tensor("base")[:, None], tensor("changes"), tensor("target")[:, None], seen)

    def hidden(self, detail: Tensor) -> Tensor:
        """Of detail (N, 1, D, H, W) what the acquisition cannot see."""
        found = []
        for one, matrices in zip(detail[:, 0], self.seen, strict=True):
            part = one
            for n, matrix in enumerate(matrices):
                if matrix is not None:
                    part = torch.tensordot(matrix, part, ([1], [n])).movedim(0, n)
            found.append(one - part)
        return torch.stack(found)[:, None]

    def errors(self, detail: Tensor) -> tuple[Tensor, Tensor]:
        """Mean square error left, and that of the interpolation; (N,) each."""
        inner = (..., *(slice(CUT, -CUT),) * 3)
        left = (self.hidden(detail.float()) - self.target)[inner].square().mean((1, 2, 3, 4))
        return left, self.target[inner].square().mean((1, 2, 3, 4))


class ResolutionTrainer(Trainer):
    """Loss: mean over the patches of log(MSE / MSE of the interpolation), which is the PSNR gain up to sign and
    scale."""

    figures = ("validation_psnr_gain_db", *(f"gain{name}" for name in NAMES))

    def make_patches(self, sources: list[Source]) -> ResolutionPatchMaker:
        return ResolutionPatchMaker(sources, self.plan.degradation, self.plan.patch)

    def pairs(self, role: str, number: int, size: int, factors: tuple | None = None) -> ResolutionBatch:
        rng = np.random.default_rng([self.plan.seed, self.rank, number, role == "train"])
        return ResolutionBatch.stack([self.makers[role].draw(rng, factors) for _ in range(size)], self.device)

    def train_step(self) -> float:
        batch = self.pairs("train", self.step, self.plan.batch)
        with self.autocast():
            detail = self.parallel(batch.base, batch.changes)
        left, before = batch.errors(detail)
        loss = ((left + EMPTY) / (before + EMPTY)).log().mean()
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Mean PSNR gain (dB) over the interpolation on fixed validation pairs, then by how the grid is refined."""
        gains = []
        for number, factors in enumerate(VALIDATION):
            batch = self.pairs("validation", number, 12, factors)
            with self.autocast():
                detail = self.network(batch.base, batch.changes)
            left, before = batch.errors(detail)
            gains.append(float((10 * ((before + EMPTY) / (left + EMPTY)).log10()).mean()))
        return float(np.mean(gains)), *gains
