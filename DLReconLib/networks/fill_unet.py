"""A U-Net that fills a hole: it mixes classical fills and adds what they miss.

The network gets the biharmonic fill, lines along the three axes and the mask (mask and image as input, as in
Pathak et al., "Context encoders", CVPR 2016), so that no layer ever sees what was in the hole, which is what partial
convolutions are made for (Liu et al., ECCV 2018). It begins as filling.blend(), a mix of the fills, each as far as it
is to be trusted, and learns the mixture and a residual. Everything is in units of the spread around the hole:
f(a x + b) = a f(x) + b for a > 0.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.context import Context
from DLReconLib.networks.filling import (
    CHANNELS,
    FLOOR,
    NEAR,
    SMOOTH,
    Array,
    Fills,
    fills,
    hole_of,
    inverse_squares,
    smooth,
)
from DLReconLib.networks.layers import fold, through_levels, unfold

OUTPUTS = 5
HALO = 24
TILE = 64  # voxels of a side that are worked on at once, without the halo


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, kernel, stride, (kernel - stride + 1) // 2 if kernel > stride else 0)


class Block(nn.Module):
    """x + C2 relu(C1 x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


class FillUNet(nn.Module):
    """The fill of a hole.

    Args:
        channels: features at 1/2, 1/4, 1/8, ... of the resolution: it begins with a step from space to depth.
        bottom: residual blocks at the lowest resolution.
        texture: it gets one channel more, white noise in the hole, to make a texture of: what one voxel of a texture is
            cannot be known, what it looks like can (the latent z of Goodfellow et al., NeurIPS 2014).

    D, H, W are multiples of `multiple`.
    """

    def __init__(self, channels: Sequence[int] = (32, 48, 64), bottom: int = 1, texture: bool = False) -> None:
        super().__init__()
        self.texture = texture
        steps = list(itertools.pairwise(channels))
        self.multiple = 2 ** len(channels)
        self.head = conv(8 * (CHANNELS + texture), channels[0])
        self.encode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = nn.Sequential(*(Block(channels[-1]) for _ in range(bottom)))
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2) for a, b in steps)
        self.decode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.tail = conv(channels[0], 8 * OUTPUTS)  # the shares of four fills, and the residual
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 8, D, H, W), see Fills.channels, or with_noise(). Returns (N, 1, D, H, W) float32 in their unit: the
        fill inside the hole, the image outside."""
        features = through_levels(self, self.head(fold(x.to(self.head.weight.dtype))))
        found = unfold(self.tail(features).float())
        x = x.float()
        lines = x[:, 5:8]
        others = lines.sum(1, keepdim=True) - lines.amax(1, keepdim=True)
        trust = torch.cat([(SMOOTH * others).clamp(min=2 * FLOOR), lines.clamp(min=FLOOR)], 1)
        share = (found[:, :4] + 2 * trust.log()).softmax(1)[:, 1:]
        change = (share * x[:, 1:4]).sum(1, keepdim=True) + found[:, 4:]
        return x[:, :1] + x[:, 4:5] * change

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """The image with context.mask filled; (k, j, i) float32, any unit. Holes that lie apart are filled each for
        itself. Raises ValueError without a mask, and where it leaves nothing known."""
        hole, output = hole_of(image, context), image.astype(np.float32, copy=True)
        weights = inverse_squares(context.spacing)
        filled = smooth(image, hole, weights, lambda: context.progress(0.1, "biharmonic fill"))
        labels, _ = ndimage.label(ndimage.maximum_filter(hole, 2 * NEAR + 1))
        boxes = ndimage.find_objects(labels)
        for number, box in enumerate(boxes):
            wide = tuple(slice(max(s.start - HALO, 0), s.stop + HALO) for s in box)
            part = fills(np.where(hole, filled, image)[wide], hole[wide], context.spacing, filled[wide])
            mine = hole[box] & (labels[box] == number + 1)
            inside = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wide, strict=True))
            context.progress(0.3 + 0.7 * number / len(boxes), f"hole {number + 1} of {len(boxes)}")
            output[box][mine] = self._fill(part, inside)[mine]
        return output

    def _fill(self, part: Fills, inside: tuple[slice, ...]) -> Array:
        """The values of the voxels `inside` of the channels, in the unit of the image."""
        answer = np.full([s.stop - s.start for s in inside], part.middle, np.float32)
        if part.unit == 0:
            return answer
        channels = with_noise(part.channels, np.random.default_rng(0)) if self.texture else part.channels
        for core in tiles(inside):
            outer = tuple(
                slice(max(c.start - HALO, 0), min(c.stop + HALO, n))
                for c, n in zip(core, channels.shape[1:], strict=True)
            )
            piece = channels[(slice(None), *outer)]
            pad = [(0, 0), *((0, -n % self.multiple) for n in piece.shape[1:])]
            x = torch.from_numpy(np.pad(piece, pad, mode="symmetric")).to(self.head.weight.device)
            found = self(x[None])[0, 0].cpu().numpy()
            cut = tuple(slice(c.start - o.start, c.stop - o.start) for c, o in zip(core, outer, strict=True))
            place = tuple(slice(c.start - s.start, c.stop - s.start) for c, s in zip(core, inside, strict=True))
            answer[place] = found[cut] * np.float32(part.unit) + np.float32(part.middle)
        return answer


def with_noise(channels: Array, rng: np.random.Generator) -> Array:
    """(8, k, j, i) and as the ninth channel standard normal noise inside the hole, float32."""
    noise = rng.standard_normal(channels.shape[1:], np.float32) * channels[4]
    return np.concatenate([channels.astype(np.float32), noise[None]])


def tiles(box: tuple[slice, ...]) -> Iterator[tuple[slice, ...]]:
    parts = [[slice(n, min(n + TILE, s.stop)) for n in range(s.start, s.stop, TILE)] for s in box]
    return itertools.product(*parts)
