"""A U-Net that tells bright tubes from all else that is bright: the likelihood of each voxel to lie in a vessel.

The classical measure looks at the curvature of one place (see objectness.py); a network sees how the place goes on
(as for vessels in Tetteh et al., "DeepVesselNet", Frontiers in Neuroscience 2020, which too is trained on drawn trees).
The image enters as its difference from the local mean in units of the local roughness, so that neither unit nor
offset nor shading matters: for a > 0 the map of a x + b is that of x.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from DLReconLib.networks.context import Context
from DLReconLib.networks.fill_unet import Block, conv
from DLReconLib.networks.layers import fold, through_levels, unfold
from DLReconLib.networks.objectness import lift_of, lifted

Array = np.ndarray
WIDE = 13  # voxels: twice a mean over so many is the local mean
FLOOR = 0.002  # of the range of the image: roughness below it is none
HALO = 24
TILE = 112  # voxels of a side that are worked on at once, without the halo


def look(image: Array, ratio: float = 1.0) -> Array:
    """What the network sees: asinh((x - local mean) / local roughness), (k, j, i) float32; the roughness is the mean
    distance from the mean of 3 x 3 x 3 voxels. ratio: distance of the slices in units of the pixels."""
    x = image - np.float32(image.mean(dtype=np.float64))
    wide = (max(1, round(WIDE / ratio) // 2 * 2 + 1), WIDE, WIDE)

    def mean(values: Array, size: tuple[int, ...]) -> Array:
        return ndimage.uniform_filter(values, size, mode="reflect")

    rough = np.abs(x - mean(x, (3, 3, 3)))
    rough = mean(mean(rough, wide), wide)
    detail = x - mean(mean(x, wide), wide)
    return np.arcsinh(detail / (rough + np.float32(FLOOR * lift_of(x)))).astype(np.float32)


class VesselUNet(nn.Module):
    """The logit of the likelihood.

    Args:
        channels: features at 1/2, 1/4, 1/8, ... of the resolution: it begins with a step from space to depth.
    """

    def __init__(self, channels: Sequence[int] = (32, 40, 48)) -> None:
        super().__init__()
        steps = list(itertools.pairwise(channels))
        self.multiple = 2 ** len(channels)
        self.head = conv(8, channels[0])
        self.encode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = Block(channels[-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2) for a, b in steps)
        self.decode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.tail = conv(channels[0], 8)
        nn.init.zeros_(self.tail.weight)
        nn.init.constant_(self.tail.bias, -3.0)  # most of an image is no vessel

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 1, D, H, W), see look(); sides are multiples of `multiple`. Returns (N, 1, D, H, W) float32."""
        features = through_levels(self, self.head(fold(x.to(self.head.weight.dtype))))
        return unfold(self.tail(features)).float()

    def features_of(self, image: Array, context: Context) -> Array:
        """The likelihood, (k, j, i) float32, 0..1."""
        plane = [s for s, n in zip(context.spacing[1:], image.shape[1:], strict=True) if n > 1]
        seen = look(image, min(max(context.spacing[0] / min(plane), 1.0), WIDE) if len(image) > 1 else 1.0)
        found = np.empty(image.shape, np.float32)
        cores = [[slice(n, min(n + TILE, size)) for n in range(0, size, TILE)] for size in image.shape]
        cores = list(itertools.product(*cores))
        for number, core in enumerate(cores):
            context.progress(0.1 + 0.9 * number / len(cores), f"piece {number + 1} of {len(cores)}")
            # Pieces begin where the blocks of the lowest resolution do, so that all see the same blocks.
            outer = tuple(slice(max(c.start - HALO, 0), min(c.stop + HALO, n)) for c, n in
                          zip(core, image.shape, strict=True))  # fmt: skip
            piece = seen[outer]
            pad = [(0, -n % self.multiple) for n in piece.shape]
            x = torch.from_numpy(np.pad(piece, pad, mode="symmetric")).to(self.head.weight.device)
            answer = torch.sigmoid(self(x[None, None]))[0, 0].cpu().numpy()
            found[core] = answer[tuple(slice(c.start - o.start, c.stop - o.start) for c, o in
                                       zip(core, outer, strict=True))]  # fmt: skip
        return found

    def restore(self, image: Array, context: Context) -> Array:
        """The image with its vessels lifted; (k, j, i) float32, any unit."""
        context.progress(0.0, "looking at the image")
        return lifted(image, self.features_of(image, context), context)
