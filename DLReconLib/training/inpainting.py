"""Training of networks that fill holes; what all trainings share is in Trainer.

First the error inside the holes alone ("inpainting"), then, from those weights, with a discriminator of patches beside
it ("inpainting-gan": Isola et al., CVPR 2017, section 3.2; least squares, Mao et al., ICCV 2017).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from DLReconLib.degradations import remap_contrast
from DLReconLib.degradations.holes import KINDS, random_hole
from DLReconLib.networks.fill_unet import with_noise
from DLReconLib.networks.filling import fills
from DLReconLib.training import Trainer
from DLReconLib.training.patches import Array, PatchMaker, Source

POOL = {"train": 1800, "validation": 40}  # examples made beforehand; the biharmonic fill takes its time
EMPTY = 0.01  # of the spread around the hole: an error that nobody sees
ADVERSARIAL = 0.1  # weights of looking real and of steps as large as the truth's, beside that of being right
TEXTURE = 1.0
FLAT = 0.02  # of the spread around the hole: steps that nobody sees


@dataclass(frozen=True)
class Example:
    """channels: (8, k, j, i) float16, see filling.Fills; truth: (k, j, i) float16 in the same unit."""

    channels: Array
    truth: Array

    def turned(self, rng: np.random.Generator) -> "Example":
        """One of the 16 ways to lie that keep the slices slices."""
        channels, truth = self.channels, self.truth
        for axis in range(3):
            if rng.random() < 0.5:
                channels, truth = np.flip(channels, axis + 1), np.flip(truth, axis)
        if truth.shape[1] == truth.shape[2] and rng.random() < 0.5:
            channels, truth = channels[[0, 1, 3, 2, 4, 5, 7, 6]].swapaxes(2, 3), truth.swapaxes(1, 2)
        return replace(self, channels=channels, truth=truth)


class ExampleMaker:
    """Cuts patches, makes holes and fills them classically.

    sources: of any modality: the network sees no unit. shape: (k, j, i) of a patch.
    """

    def __init__(self, sources: list[Source], shape: tuple[int, int, int]) -> None:
        self.cutter, self.shape = PatchMaker(sources, "mr-noise", shape), shape

    def make(self, rng: np.random.Generator, kind: str | None = None) -> Example:
        while True:
            patch, ratio = self._patch(rng)
            hole = random_hole(self.shape, rng, ratio, kind)
            part = fills(patch, hole, (ratio, 1.0, 1.0))
            if part.unit > 0:
                truth = (patch - part.middle) / part.unit
                return Example(part.channels.astype(np.float16), np.clip(truth, -50, 50).astype(np.float16))

    def _patch(self, rng: np.random.Generator) -> tuple[Array, float]:
        """(k, j, i) and the distance of its slices in units of the in-plane spacing."""
        patch, ratio = self.cutter.cut_clean(rng)
        if rng.random() < 0.3:
            patch = remap_contrast(np.clip(patch, 0, 1.5), rng) if patch.min() >= 0 else -patch
        return patch, ratio


class InpaintingTrainer(Trainer):
    """Loss: mean over the examples of log(L1 / L1 of the biharmonic fill), inside the holes."""

    figures = ("validation_psnr_gain_db", *(f"gain_{kind}_db" for kind in KINDS))

    def make_patches(self, sources: list[Source]) -> list[Example]:
        maker, kinds = ExampleMaker(sources, self.plan.patch), list(KINDS)

        def make(rng: np.random.Generator, number: int) -> Array:
            e = maker.make(rng, None if self.role == "train" else kinds[number % len(kinds)])
            return np.concatenate([e.channels, e.truth[None]])

        return [Example(e[:-1], e[-1]) for e in self.kept_pool(POOL[self.role], make)]

    def stack(self, chosen: list[Example]) -> tuple[Tensor, Tensor]:
        """(N, 8 or 9, D, H, W) and the truth (N, 1, D, H, W), float32."""
        rng = np.random.default_rng([self.plan.seed, self.rank, self.step, 6])
        texture = getattr(self.network, "texture", False)
        channels = [with_noise(e.channels, rng) if texture else e.channels for e in chosen]
        arrays = np.stack(channels), np.stack([e.truth for e in chosen])[:, None]
        channels, truth = (torch.from_numpy(a.astype(np.float32)).to(self.device) for a in arrays)
        return channels, truth

    def draw(self) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.plan.seed, self.rank, self.step, 5])
        pool = self.makers["train"]
        return self.stack([pool[n].turned(rng) for n in rng.integers(len(pool), size=self.plan.batch)])

    def train_step(self) -> float:
        channels, truth = self.draw()
        with self.autocast():
            found = self.parallel(channels)
        loss = relative_error(found, channels, truth)
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Mean gain of PSNR (dB) over the biharmonic fill, of all and of each kind of hole."""
        pool, gains = self.makers["validation"], []
        for start in range(0, len(pool), 5):
            channels, truth = self.stack(pool[start : start + 5])
            with self.autocast():
                found = self.network(channels)
            left, before = (((x - truth).square()).sum((1, 2, 3, 4)) for x in (found, channels[:, :1]))
            gains.append(10 * (before / left.clamp(min=1e-6)).log10())
        gain = torch.cat(gains)
        return (float(gain.mean()), *(float(gain[n :: len(KINDS)].mean()) for n in range(len(KINDS))))


class AdversarialTrainer(InpaintingTrainer):
    """From the weights of plan.start on, the same loss plus ADVERSARIAL times that of a discriminator of patches which
    sees image and hole, and TEXTURE times how much larger or smaller the steps of neighbours in the hole are than those
    of the truth."""

    figures = (*InpaintingTrainer.figures, "texture_ratio")

    def __init__(self, plan_path: Path, data: Path, work: Path, device: str = "auto") -> None:
        from monai.losses import PatchAdversarialLoss
        from monai.networks.nets import PatchDiscriminator
        from safetensors.torch import load_file

        super().__init__(plan_path, data, work, device)
        begin, head = load_file(Path(plan_path).parent / self.plan.start), self.network.head.weight
        missing = head.shape[1] - begin["head.weight"].shape[1]  # the noise has no part in it yet
        begin["head.weight"] = functional.pad(begin["head.weight"], [0, 0, 0, 0, 0, 0, 0, missing])
        self.network.load_state_dict(begin)
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.critic = PatchDiscriminator(3, 16, 2, num_layers_d=2, norm="INSTANCE").to(self.device)
        self.verdict = PatchAdversarialLoss(criterion="least_squares")
        self.critic_optimizer = torch.optim.AdamW(self.critic.parameters(), 4e-4, (0.5, 0.99))

    def train_step(self) -> float:
        channels, truth = self.draw()
        hole = channels[:, 4:5]
        with self.autocast():
            found = self.parallel(channels)
            seen = self.critic(torch.cat([found, hole], 1))[-1]
        loss = relative_error(found, channels, truth) + ADVERSARIAL * self.verdict(seen.float(), True, False)
        loss = loss + TEXTURE * texture_ratio(found, truth, hole).log().abs().mean()
        self.descend(loss)
        with self.autocast():
            real = self.critic(torch.cat([truth, hole], 1))[-1].float()
            made = self.critic(torch.cat([found.detach(), hole], 1))[-1].float()
        apart = 0.5 * (self.verdict(real, True, True) + self.verdict(made, False, True))
        self.critic_optimizer.zero_grad(set_to_none=True)
        apart.backward()
        self.critic_optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """As InpaintingTrainer; then the geometric mean of texture_ratio()."""
        pool, ratios = self.makers["validation"], []
        for start in range(0, len(pool), 5):
            channels, truth = self.stack(pool[start : start + 5])
            with self.autocast():
                found = self.network(channels)
            ratios.append(texture_ratio(found, truth, channels[:, 4:5]).log())
        return (*super().measure(), float(torch.cat(ratios).mean().exp()))

    def save_checkpoint(self) -> None:
        super().save_checkpoint()
        state = {"critic": self.critic.state_dict(), "optimizer": self.critic_optimizer.state_dict()}
        temporary = self.work / "critic.part"
        torch.save(state, temporary)
        temporary.replace(self.work / "critic.pt")

    def load_checkpoint(self) -> None:
        super().load_checkpoint()
        state = torch.load(self.work / "critic.pt", map_location=self.device, weights_only=True)
        self.critic.load_state_dict(state["critic"])
        self.critic_optimizer.load_state_dict(state["optimizer"])


def relative_error(found: Tensor, channels: Tensor, truth: Tensor) -> Tensor:
    """Mean over the examples of log((L1 + EMPTY) / (L1 of the biharmonic fill + EMPTY)) inside the holes."""
    hole = channels[:, 4:5]
    count = hole.sum((1, 2, 3, 4))
    left, before = ((hole * (x - truth)).abs().sum((1, 2, 3, 4)) / count for x in (found, channels[:, :1]))
    return ((left + EMPTY) / (before + EMPTY)).log().mean()


def texture_ratio(found: Tensor, truth: Tensor, hole: Tensor) -> Tensor:
    """(N,) mean absolute step between neighbours of the hole, divided by that of the truth."""
    steps = []
    for image in (found.float(), truth):
        total, count = 0.0, 0.0
        for axis in (2, 3, 4):
            inside = hole.narrow(axis, 1, hole.shape[axis] - 1) * hole.narrow(axis, 0, hole.shape[axis] - 1)
            total = total + (inside * image.diff(dim=axis).abs()).sum((1, 2, 3, 4))
            count = count + inside.sum((1, 2, 3, 4))
        steps.append(total / (count + 1) + FLAT)
    return steps[0] / steps[1]
