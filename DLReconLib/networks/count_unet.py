"""An adaptive filter for volumes of counted events (PET): noise that grows with the signal, small volumes.

A 3D U-Net chooses, for each voxel, how to mix the volume with Gaussian means of it, from narrow to wide (the local
choice of a scale, Lepski, Mammen, Spokoiny, Annals of Statistics 1997; mixing by a network as in Bako et al., ACM TOG
2017). The result is a mean with weights that are positive: no structure can appear that the volume has not, no value
becomes negative, no peak is raised. f(a x) = a f(x) for a > 0.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.context import Context
from DLReconLib.networks.layers import fold, through_levels, unfold
from DLReconLib.networks.noise_unet import conv

WIDTHS = (0.0, 0.45, 0.7, 1.0, 1.5, 2.3)  # standard deviations of the Gaussians in voxels
TINY = 1e-6
FLAT_MM = 12.0  # standard deviation of the Gaussian over which the change has no mean
ROUNDS = 3  # how often that is repeated


class Block(nn.Module):
    """x + C2 relu(C1 x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


def gaussians(x: Tensor) -> Tensor:
    """Means of (N, 1, D, H, W) over Gaussians of WIDTHS, mirrored at the edges: (N, len(WIDTHS), D, H, W)."""
    found = [x]
    for before, after in itertools.pairwise(WIDTHS):
        width = (after**2 - before**2) ** 0.5
        reach = max(1, round(3 * width))
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device) / width) ** 2)
        kernel = (kernel / kernel.sum()).view(1, 1, -1)
        smooth = found[-1]
        for axis in (2, 3, 4):
            lines = smooth.movedim(axis, -1)
            flat = functional.pad(lines.reshape(-1, 1, lines.shape[-1]), (reach, reach), mode="replicate")
            smooth = functional.conv1d(flat, kernel).view(lines.shape).movedim(-1, axis)
        found.append(smooth)
    return torch.cat(found, 1)


class CountUNet(nn.Module):
    """channels: features at 1/2, 1/4, ... of the resolution; D, H, W are multiples of `multiple`."""

    def __init__(self, channels: Sequence[int] = (32, 48, 64)) -> None:
        super().__init__()
        self.multiple = 2 ** len(channels)
        steps = list(itertools.pairwise(channels))
        self.head = conv(8 * len(WIDTHS), channels[0])
        self.encode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = Block(channels[-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2, bias=False) for a, b in steps)
        self.decode = nn.ModuleList(Block(c) for c in channels[:-1])
        self.tail = nn.Conv3d(channels[0], 8 * len(WIDTHS), 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        with torch.no_grad():  # training begins at little smoothing
            self.tail.bias.copy_(torch.tensor([0.0, 2.0, 1.0, 0.0, -1.0, -2.0]).repeat_interleave(8))

    def forward(self, x: Tensor, kind: Tensor | None = None) -> tuple[Tensor, None]:
        """x: (N, 1, D, H, W), 0 or more. kind: not used, there is one.

        Returns the residual, of the same shape, float32 (x - residual is the denoised volume), and None."""
        means = gaussians(x.float())
        scale = x.float().abs().mean((1, 2, 3, 4), keepdim=True) + TINY
        # The noise of counts does not depend on the signal after the root (Anscombe, Biometrika 1948).
        roots = (means / scale).clamp(min=0).sqrt()
        seen = torch.cat([roots[:, -1:], roots[:, :-1] - roots[:, 1:]], 1)
        features = through_levels(self, self.head(fold(seen).to(self.head.weight.dtype)))
        weights = unfold(self.tail(features)).float().softmax(1)
        return x.float() - (weights * means).sum(1, keepdim=True), None

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """The denoised volume; (k, j, i) float32, any unit. See keep_activity() for what is guaranteed."""
        context.progress(0.1, "removing noise")
        missing = [(0, -n % self.multiple) for n in image.shape]
        padded = np.pad(image, missing, mode="symmetric").astype(np.float32)
        x = torch.from_numpy(padded).to(self.tail.weight.device)[None, None]
        residual = self(x)[0][0, 0].cpu().numpy()[tuple(slice(n) for n in image.shape)]
        context.progress(0.9, "keeping the means")
        return keep_activity(image, image - residual, context.spacing)


def keep_activity(before: np.ndarray, after: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """`after` with the regional means of `before` (their difference has no mean over FLAT_MM) and no value outside
    those of the 3 x 3 x 3 voxels around it before: no peak is raised. (k, j, i) float32; spacing: (k, j, i) in mm."""
    widths = [FLAT_MM / s for s in spacing]
    low, high = (f(before, 3, mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    for _ in range(ROUNDS):
        after = after + ndimage.gaussian_filter(before - after, widths, mode="nearest")
        after = np.clip(after, low, high)
    return after.astype(np.float32)
