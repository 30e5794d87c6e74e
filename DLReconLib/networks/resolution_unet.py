"""A residual U-Net that adds to an interpolated image the detail that the coarse voxels could not hold.

One network serves every ratio of the grids: beside the image it gets maps that say how far each axis was enlarged and
where between the coarse centres a voxel lies (as in Hu et al., "Meta-SR", CVPR 2019, section 3.2). The maps gate the
features; all convolutions are bias-free and the image enters as its detail, so f(a x + b) = a f(x) for a > 0
(Mohan et al., ICLR 2020): contrast and unit of the image do not matter.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.noise_unet import conv, split

PLACES = 9  # see Acquisition.places()


class GatedBlock(nn.Module):
    """x + C2 relu(C1 x (1 + G m)), m being the place maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.gate = nn.Conv3d(PLACES, channels, 1)
        self.second = conv(channels, channels)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x) * (1 + self.gate(places))))


class ResolutionUNet(nn.Module):
    """Detail of an enlarged image.

    Args:
        channels: features at 1, 1/2, 1/4, ... of the resolution.
        blocks: residual blocks at each level and way, down and up.

    D, H, W of the input are multiples of 8.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64), blocks: int = 1) -> None:
        super().__init__()
        steps = list(itertools.pairwise(channels))

        def level(count: int) -> nn.ModuleList:
            return nn.ModuleList(GatedBlock(count) for _ in range(blocks))

        self.head = conv(PLACES - 2, channels[0])
        self.encode = nn.ModuleList(level(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = level(channels[-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2, bias=False) for a, b in steps)
        self.decode = nn.ModuleList(level(c) for c in channels[:-1])
        self.tail = conv(channels[0], 1)
        nn.init.zeros_(self.tail.weight)  # training begins at the interpolation

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """The detail to be added.

        Args:
            x: (N, 1, D, H, W) the interpolated image, any unit.
            places: (N, 9, D, H, W), see Acquisition.places().

        Returns (N, 1, D, H, W) float32.
        """
        detail, _ = split(x, self.head.weight.dtype)
        pooled = [places.to(detail.dtype)]
        for _ in self.down:
            pooled.append(functional.avg_pool3d(pooled[-1].float(), 2).to(detail.dtype))
        # What A cannot see has no mean over a coarse voxel: it follows the detail only together with the phase.
        phases = detail * pooled[0][:, 3:]
        features, kept = self.head(torch.cat([detail, phases], 1)), []
        for blocks, down, maps in zip(self.encode, self.down, pooled, strict=False):
            for block in blocks:
                features = block(features, maps)
            kept.append(features)
            features = down(features)
        for block in self.bottom:
            features = block(features, pooled[-1])
        for number in reversed(range(len(kept))):
            features = kept.pop() + self.up[number](features)
            for block in self.decode[number]:
                features = block(features, pooled[number])
        return self.tail(features).float()
