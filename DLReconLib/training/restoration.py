"""Training of slice networks by pairs of a broken and a whole slice; what all trainings share is in Trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from DLReconLib.training import Trainer
from DLReconLib.training.patches import Array, Source

# What draws the pairs of a degradation: "module:class", called with (sources, degradation, patch) like PatchMaker,
# with draw(rng, kind) -> RestorationPair; kind is None or the number of the artifact that is wanted.
MAKERS: dict[str, str] = {
    "us-speckle": "DLReconLib.training.modalities:SpeckleMaker",
    "pet-noise": "DLReconLib.training.guided:GuidedMaker",
    "micro-noise": "DLReconLib.training.guided:GuidedMaker",
}
# (0.2 % of the range)^2: damage below it is not worth removing. A maker may have a `floor` of its own: with a low one,
# slices without damage rule the gradients and nothing is learned of the others.
EMPTY = 4e-6
NAMING = 0.1  # weight, where the maker has no `naming`, of telling the artifacts apart
TOLD = 0.7  # share of the slices that are to be mended; of the others the artifact is to be named


@dataclass(frozen=True)
class RestorationPair:
    """image: (channels, j, i) float32 in the unit of the model, first the slice that is to be mended. clean: (j, i).
    kind: 0 where nothing is wrong, else 1 + the number of the artifact in the network's `kinds`. asked: what the
    network is told that it has to remove, numbered like kind; 0: the kind that is there, any where nothing is wrong."""

    image: Array
    clean: Array
    kind: int = 0
    asked: int = 0


@dataclass
class RestorationBatch:
    """image: (N, C, H, W); clean: (N, 1, H, W); kind, asked: (N,)."""

    image: Tensor
    clean: Tensor
    kind: Tensor
    asked: Tensor

    @classmethod
    def stack(cls, pairs: list[RestorationPair], device: torch.device) -> "RestorationBatch":
        def tensor(arrays: list[Array]) -> Tensor:
            return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(device)

        kind = torch.tensor([p.kind for p in pairs], device=device)
        asked = torch.tensor([p.asked or p.kind for p in pairs], device=device)
        return cls(tensor([p.image for p in pairs]), tensor([p.clean for p in pairs])[:, None], kind, asked)

    def errors(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Mean square error left, and that before; (N,) each."""
        left = (self.image[:, :1] - residual - self.clean).square().flatten(1).mean(1)
        return left, (self.image[:, :1] - self.clean).square().flatten(1).mean(1)


class RestorationTrainer(Trainer):
    """Loss: mean over the slices of log(MSE / MSE before), which is the PSNR gain up to sign and scale, or, where the
    maker has `share_left`, of MSE / MSE before: its gradient does not vanish where next to nothing can be gained. And
    for a network with kinds the cross-entropy of its second head."""

    figures: Sequence[str] = ("validation_psnr_gain_db", "share_named_right")

    def make_patches(self, sources: list[Source]) -> Any:
        module, name = MAKERS[self.plan.degradation].split(":")
        return getattr(import_module(module), name)(sources, self.plan.degradation, self.plan.patch)

    def pairs(self, role: str, number: int, size: int, kind: int | None = None) -> RestorationBatch:
        rng = np.random.default_rng([self.plan.seed, self.rank, number, role == "train"])
        return RestorationBatch.stack([self.makers[role].draw(rng, kind) for _ in range(size)], self.device)

    def conditions(self, batch: RestorationBatch, told: Tensor, rng: np.random.Generator) -> Tensor | None:
        """Of a network with kinds, the row of each slice: what is asked of it where it is told, else zeros. Of a slice
        without an artifact any may be asked: it must come back as it was."""
        kinds = getattr(self.network, "kinds", ())
        if not kinds:
            return None
        some = torch.from_numpy(rng.integers(1, 1 + len(kinds), len(batch.kind))).to(self.device)
        asked = torch.where(batch.asked > 0, batch.asked, some)
        return functional.one_hot(asked, 1 + len(kinds))[:, 1:].float() * told[:, None]

    def shown(self, batch: RestorationBatch, told: Tensor) -> Tensor:
        """What the network sees; channels beside the slice may depend on what it is told, (N,) bool."""
        return batch.image

    def train_step(self) -> float:
        batch = self.pairs("train", self.step, self.plan.batch)
        rng = np.random.default_rng([self.plan.seed, self.rank, self.step, 2])
        told = torch.from_numpy(rng.random(len(batch.kind)) < TOLD).to(self.device)
        with self.autocast():
            residual, logits = self.parallel(self.shown(batch, told), self.conditions(batch, told, rng))
        left, before = batch.errors(residual)
        floor = getattr(self.makers["train"], "floor", EMPTY)
        if getattr(self.makers["train"], "share_left", False):
            gain = left / (before + floor)
        else:
            gain = ((left + floor) / (before + floor)).log()
        if logits is not None and bool(told.any()):  # restore() never removes what it has not named before
            gain = gain[told]
        loss = gain.mean()
        if logits is not None and not bool(told.all()):
            weight = getattr(self.makers["train"], "naming", NAMING)
            loss = loss + weight * functional.cross_entropy(logits[~told], batch.kind[~told])
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Mean PSNR gain (dB) on fixed validation pairs of every artifact, each told, and the share of them that is
        named right untold (nan for a network without kinds)."""
        kinds = max(1, len(getattr(self.network, "kinds", ())))
        gains, right = [], []
        for number in range(4 * kinds):
            batch = self.pairs("validation", number, 4, number % kinds)
            with self.autocast():
                told = torch.ones_like(batch.kind)
                residual, _ = self.network(batch.image, self.conditions(batch, told, np.random.default_rng(number)))
                logits = self.network(self.shown(batch, told == 0))[1]
            left, before = batch.errors(residual)
            gains.append(10 * ((before + EMPTY) / (left + EMPTY)).log10().mean())
            if logits is not None:
                right.append((logits.argmax(1) == batch.kind).float().mean())
        named = float(torch.stack(right).mean()) if right else float("nan")
        return float(torch.stack(gains).mean()), named
