"""A residual 3D U-Net for volumes of counted events (PET): noise that grows with the signal, small volumes.

It gets the volume and its square root, whose noise does not depend on the signal (Anscombe, Biometrika 1948), both in
units of the volume's mean, and is bias-free but for that: f(a x) = a f(x) for a > 0.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.context import Context
from DLReconLib.networks.noise_unet import conv, fold

TINY = 1e-6
FLAT_MM = 12.0  # standard deviation of the Gaussian over which the change has no mean
ROUNDS = 3  # how often that is repeated: what is left is below a percent of a percent of the change


class Block(nn.Module):
    """x + C2 relu(C1 x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


def unfold(x: Tensor) -> Tensor:
    """Depth to space, the inverse of fold(): (N, 8, D, H, W) to (N, 1, 2 D, 2 H, 2 W)."""
    n, _, d, h, w = x.shape
    return x.view(n, 1, 2, 2, 2, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, 1, 2 * d, 2 * h, 2 * w)


class CountUNet(nn.Module):
    """channels: features at 1/2, 1/4, ... of the resolution; D, H, W are multiples of `multiple`."""

    def __init__(self, channels: Sequence[int] = (32, 48, 64)) -> None:
        super().__init__()
        self.multiple = 2 ** len(channels)
        steps = list(itertools.pairwise(channels))
        self.head = conv(16, channels[0])
        self.encode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = Block(channels[-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2, bias=False) for a, b in steps)
        self.decode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.tail = conv(channels[0], 8)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x: Tensor, kind: Tensor | None = None) -> tuple[Tensor, None]:
        """x: (N, 1, D, H, W), 0 or more. kind: not used, there is one.

        Returns the residual, of the same shape, float32 (x - residual is the denoised volume), and None."""
        x = x.float()
        scale = x.abs().mean((1, 2, 3, 4), keepdim=True) + TINY
        root = (x / scale).clamp(min=0).sqrt()
        features = self.head(torch.cat([fold(root), fold(x / scale)], 1).to(self.head.weight.dtype))
        kept = []
        for encode, down in zip(self.encode, self.down, strict=True):
            kept.append(encode(features))
            features = down(kept[-1])
        features = self.bottom(features)
        for up, decode in zip(reversed(self.up), reversed(self.decode), strict=True):
            features = decode(kept.pop() + up(features))
        # What is found is in units of the root's noise: the derivative of x by its root is 2 root.
        return unfold(self.tail(features)).float() * (2 * root + 0.1) * scale, None

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """The denoised volume; (k, j, i) float32, any unit. Regional means are kept (the change has no mean over
        FLAT_MM) and no voxel leaves the range of the 3 x 3 x 3 voxels of the input around it: no peak is raised."""
        context.progress(0.1, "removing noise")
        shape = image.shape
        missing = [(0, -n % self.multiple) for n in shape]
        x = torch.from_numpy(np.pad(image, missing, mode="symmetric").astype(np.float32)).to(self.head.weight.device)
        residual = self(x[None, None])[0][0, 0].cpu().numpy()[tuple(slice(n) for n in shape)]
        context.progress(0.9, "keeping the means")
        return keep_activity(image, image - residual, context.spacing)


def keep_activity(before: np.ndarray, after: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """`after` with the regional means of `before` and no value outside those around it before; (k, j, i) float32."""
    widths = [FLAT_MM / s for s in spacing]
    low, high = (f(before, 3, mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    for _ in range(ROUNDS):
        after = after + ndimage.gaussian_filter(before - after, widths, mode="nearest")
        after = np.clip(after, low, high)
    return after.astype(np.float32)
