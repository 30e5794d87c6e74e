"""A U-Net that decides where an enlarged image gets which detail.

It is given what total variation would add at several strengths (DLReconLib/resolution/variation.py) and answers with
how much of each is to be believed at every voxel, and with detail of its own: where the image is drawn of areas it
takes the sharp edges, in texture and noise it leaves the spline alone. Features are divided by their local strength,
so that the answer follows the contrast of a place. To begin from what is solved already is unrolled optimisation with
one learned step (Monga, Li & Eldar, "Algorithm unrolling", IEEE SPM 2021).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.layers import fold, unfold

AROUND = 4  # voxels to each side whose mean and strength are taken
CHANGES = 3  # strengths of total variation
WEAK = 0.004  # part of the range below which structure is not made stronger
FIRST = (1.0, 0.5, 0.3)  # how much of each further change is believed before anything is learned


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, kernel, stride, (kernel - 1) // 2)


def local_mean(x: Tensor) -> Tensor:
    """Of the voxels up to AROUND away along the axes; beyond the faces those there go on. (N, C, D, H, W)"""
    size = 2 * AROUND + 1
    x = functional.pad(x, [AROUND] * 6, mode="replicate")
    for kernel in ((size, 1, 1), (1, size, 1), (1, 1, size)):
        x = functional.avg_pool3d(x, kernel, 1)
    return x


class Block(nn.Module):
    """x + C2 relu(C1 x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


def without_alternation(x: Tensor) -> Tensor:
    """Means of (N, C, D, H, W) over 1, 2, 1 along each axis: what alternates from voxel to voxel, as a network can
    answer that works at half the resolution, is gone (Odena et al., "Deconvolution and checkerboard artifacts",
    Distill 2016)."""
    x = functional.pad(x, [1] * 6, mode="replicate")
    for kernel in ((2, 1, 1), (1, 2, 1), (1, 1, 2)):
        x = functional.avg_pool3d(functional.avg_pool3d(x, kernel, 1), kernel, 1)
    return x


class ResolutionUNet(nn.Module):
    """Detail of an enlarged image.

    Args:
        channels: features at half and at a quarter of the resolution.
        smooth: whether its decisions may not alternate from voxel to voxel, see without_alternation().

    D, H, W of the input are multiples of 4.
    """

    def __init__(self, channels: tuple[int, int] = (32, 48), smooth: bool = False) -> None:
        super().__init__()
        self.smooth = smooth
        first, second = channels
        self.head = conv(8 * (1 + CHANGES), first)
        self.encode = Block(first)
        self.down = conv(first, second, 2, 2)
        self.bottom = nn.Sequential(Block(second), Block(second))
        self.up = nn.ConvTranspose3d(second, first, 2, 2)
        self.decode = Block(first)
        self.tail = conv(first, 8 * (1 + CHANGES))
        self.believed = nn.Parameter(torch.tensor(FIRST).view(1, CHANGES, 1, 1, 1))
        nn.init.zeros_(self.tail.weight)  # training begins at total variation
        nn.init.zeros_(self.tail.bias)

    def forward(self, base: Tensor, changes: Tensor) -> Tensor:
        """The detail to be added.

        Args:
            base: (N, 1, D, H, W) the consistent spline, unit of the model.
            changes: (N, 3, D, H, W) what total variation adds to it, ever more, see fewer_edges().

        Returns (N, 1, D, H, W) float32.
        """
        dtype = self.head.weight.dtype
        base, changes = base.float(), changes.float()
        further = torch.cat([changes[:, :1], changes[:, 1:] - changes[:, :-1]], 1)
        structure = base - local_mean(base)
        strength = (local_mean(structure.square()) + WEAK**2).sqrt()
        features = self.head(fold((torch.cat([structure, 4 * further], 1) / strength).to(dtype)))
        kept = self.encode(features)
        features = self.decode(kept + self.up(self.bottom(self.down(kept))))
        answer = unfold(self.tail(features)).float()
        answer = without_alternation(answer) if self.smooth else answer
        trusted = (self.believed.float() + answer[:, 1:]) * further
        return trusted.sum(1, keepdim=True) + 0.25 * strength * answer[:, :1]
