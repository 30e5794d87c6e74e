"""Batches of a denoiser that are seen several times, because what its resting layers make of them is dear."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from DLReconLib.training import Trainer

GROUP = 48  # batches that are kept at once
REUSED = 4  # times each of them is seen


@dataclass
class Ready:
    """noisy, clean, removed: (N, 1, D, H, W), the last by shrinkage; noise, believed: (N, 2, D/8, H/8, W/8), true and
    what the denoiser is told; magnitude: (N,)."""

    noisy: Tensor
    clean: Tensor
    removed: Tensor
    noise: Tensor
    believed: Tensor
    magnitude: Tensor

    def mirrored(self, axes: list[int], swapped: bool) -> "Ready":
        """With these axes reversed and, if wanted, the in-plane axes exchanged."""
        values = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value.ndim == 5:
                value = value.flip(axes)
                value = value.transpose(3, 4) if swapped else value
            values[field.name] = value.contiguous()
        return Ready(**values)


class ReadyBatches:
    """Groups of batches in random order. What a step gets follows from the trainer's seed, rank and step alone."""

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        self.forget()

    def forget(self) -> None:
        self.group, self.batches = -1, []

    def take(self, step: int) -> Ready:
        """The batch of a step, mirrored in a way of its own."""
        plan, (group, turn) = self.trainer.plan, divmod(step, GROUP * REUSED)
        if group != self.group:
            self.group, self.batches = group, [self._make(group * GROUP + n) for n in range(GROUP)]
        seed = [plan.seed, self.trainer.rank]
        order = np.random.default_rng([*seed, group, 3]).permutation(GROUP * REUSED)
        rng = np.random.default_rng([*seed, step, 4])
        axes = [axis for axis in (2, 3, 4) if rng.random() < 0.5]
        return self.batches[order[turn] % GROUP].mirrored(axes, plan.patch[1] == plan.patch[2] and rng.random() < 0.5)

    @torch.no_grad()
    def _make(self, number: int) -> Ready:
        trainer = self.trainer
        batch = trainer.batch("train", number, trainer.plan.batch)
        believed = trainer.jittered_noise(batch, number)
        with trainer.autocast():
            if believed is None:
                believed = trainer.network.estimator(batch.noisy)
            removed = trainer.network.shrink(batch.noisy, believed)
        return Ready(batch.noisy, batch.clean, removed, batch.noise, believed, batch.magnitude)
