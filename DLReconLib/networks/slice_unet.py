"""A residual U-Net over whole slices, for what is wrong with a slice as a whole: ringing, ghosts, streaks, rings, ...

It begins with a step from space to depth, so that every convolution works at half the resolution or less, and all
convolutions are bias-free; the image enters without its mean. So f(a x + b) = a f(x) for a > 0 (Mohan et al., ICLR
2020): unit and offset of the image do not matter. Which artifact is to be removed enters as constant maps; what is
there is told by a second head (multi-task learning, Caruana, Machine Learning 1997).
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.context import Context

TINY = 1e-6
SURE = 0.5  # the share of the slices' probability that an artifact must have to be worked on
VOXELS = 2**20  # worked on at once


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)


class Block(nn.Module):
    """x + C2 relu(C1 x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


class SliceUNet(nn.Module):
    """What is wrong with a slice.

    Args:
        kinds: names of the artifacts, of models.ARTIFACTS; empty for a network with one job and no second head.
        channels: features at 1/2, 1/4, 1/8, ... of the resolution.
        inputs: channels of the input; the first is the image that is to be mended.
        blocks: residual blocks at each level and way.

    H and W of the input are multiples of `multiple`.
    """

    def __init__(
        self, kinds: Sequence[str] = (), channels: Sequence[int] = (32, 64, 96, 128), inputs: int = 1, blocks: int = 1
    ) -> None:
        super().__init__()
        self.kinds, self.inputs = tuple(kinds), inputs
        self.multiple = 2 ** len(channels)
        steps = list(itertools.pairwise(channels))

        def level(count: int) -> nn.Sequential:
            return nn.Sequential(*(Block(count) for _ in range(blocks)))

        self.head = conv(4 * inputs + len(self.kinds), channels[0])
        self.encode = nn.ModuleList(level(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = nn.Sequential(Block(channels[-1]), Block(channels[-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2, bias=False) for a, b in steps)
        self.decode = nn.ModuleList(level(c) for c in channels[:-1])
        self.tail = conv(channels[0], 4)
        nn.init.zeros_(self.tail.weight)
        if self.kinds:
            self.classify = nn.Sequential(
                nn.Linear(sum(channels), 64), nn.ReLU(), nn.Linear(64, 1 + len(self.kinds))
            )  # 0: nothing is wrong

    def forward(self, x: Tensor, kind: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Args:
            x: (N, inputs, H, W), any unit.
            kind: (N, len(kinds)), 1 for the artifact that is to be removed, or all 0 where it is not known.

        Returns:
            residual: (N, 1, H, W) float32; the mended image is x[:, :1] - residual.
            logits: (N, 1 + len(kinds)) float32, how likely nothing, or each artifact, is there; None without kinds.
        """
        dtype = self.head.weight.dtype
        centred = x.float() - x[:, :1].float().mean((2, 3), keepdim=True)
        scale = centred[:, :1].abs().mean((1, 2, 3), keepdim=True) + TINY  # so that bias-free layers see numbers near 1
        features = functional.pixel_unshuffle((centred / scale).to(dtype), 2)
        if self.kinds:
            kind = x.new_zeros(len(x), len(self.kinds)) if kind is None else kind
            maps = kind.to(dtype)[:, :, None, None].expand(-1, -1, *features.shape[2:])
            features = torch.cat([features, maps], 1)
        features, kept, seen = self.head(features), [], []
        for encode, down in zip(self.encode, self.down, strict=True):
            kept.append(encode(features))
            seen.append(kept[-1].float().abs().mean((2, 3)))
            features = down(kept[-1])
        features = self.bottom(features)
        seen.append(features.float().abs().mean((2, 3)))
        for up, decode in zip(reversed(self.up), reversed(self.decode), strict=True):
            features = decode(kept.pop() + up(features))
        residual = functional.pixel_shuffle(self.tail(features), 2).float() * scale
        if not self.kinds:
            return residual, None
        seen = torch.cat(seen, 1)
        seen = (seen / (seen.mean(1, keepdim=True) + TINY)).to(self.classify[0].weight.dtype)
        return residual, self.classify(seen).float()

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """The mended image, slice by slice; (k, j, i) float32, any unit. With several kinds and context.artifact
        "auto" the slices are first asked what is there; without anything the image comes back as it was. What was
        found is noted as {"artifact", "confidence"}."""
        chosen = self._choose(image, context)
        if self.kinds and chosen is None:
            return image
        output = np.empty_like(image)
        for part, fraction in self._parts(image):
            context.progress(0.3 + 0.7 * fraction, f"slice {part.start + 1} of {len(image)}")
            x, cut = self._tensor(image[part])
            residual, _ = self(x, None if chosen is None else chosen.expand(len(x), -1))
            output[part] = image[part] - residual[:, 0][cut].cpu().numpy()
        return output

    def _choose(self, image: np.ndarray, context: Context) -> Tensor | None:
        """One row for forward(), or None where there is nothing to be done or to be chosen."""
        if not self.kinds:
            return None
        device = self.head.weight.device
        if context.artifact != "auto":
            number = self.kinds.index(context.artifact)
            return functional.one_hot(torch.tensor([number], device=device), len(self.kinds)).float()
        shares = []
        for part, fraction in self._parts(image):
            context.progress(0.3 * fraction, "looking for artifacts")
            x, _ = self._tensor(image[part])
            shares.append(self(x)[1].softmax(1))
        share = torch.cat(shares).mean(0)
        best = int(share[1:].argmax())
        found = float(share[1 + best])
        if found < SURE:
            context.notes |= {"artifact": "none", "confidence": round(1 - found, 3)}
            return None
        context.notes |= {"artifact": self.kinds[best], "confidence": round(found, 3)}
        return functional.one_hot(torch.tensor([best], device=device), len(self.kinds)).float()

    def _parts(self, image: np.ndarray):
        count = max(1, VOXELS // image[0].size)
        for start in range(0, len(image), count):
            yield slice(start, min(start + count, len(image))), start / len(image)

    def _tensor(self, slices: np.ndarray) -> tuple[Tensor, tuple[slice, ...]]:
        """(N, 1, H, W) with the sides that forward() wants, mirrored beyond the edges, and where the image lies in
        it."""
        height, width = slices.shape[1:]
        missing = [-n % self.multiple for n in (height, width)]
        padded = np.pad(slices, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
        x = torch.from_numpy(padded.astype(np.float32)).to(self.head.weight.device)[:, None]
        return x, (slice(None), slice(height), slice(width))
