"""A residual U-Net that mends what a cosine filter made of an image, in units of the noise that the filter found.

The filter's answer beside the image is the input, as the pilot of a second stage is (Dabov et al., IEEE TIP 16, 2007);
divided by the noise of each voxel, Poisson noise and noise of the electronics look alike to the network whatever their
level (the aim of Anscombe, Biometrika 1948). f(a x) = a f(x) for a > 0.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.context import Context
from DLReconLib.networks.cosine import cosine_filter
from DLReconLib.networks.layers import through_levels
from DLReconLib.networks.noise_spectrum import block_depth, find_noise
from DLReconLib.pieces import inside, pieces

Array = np.ndarray
CHANNELS = 4
NEAR = {2: 9, 3: 5}  # sides of the square or cube that is the neighbourhood of a voxel
BOUND = 6.0  # the largest change of the filter's answer, in standard deviations of the noise
TILE, HALO = {2: (8, 512, 512), 3: (64, 64, 64)}, 48
TINY = 1e-6
FLAT_MM = 12.0  # standard deviation of the Gaussian over which the change has no mean
ROUNDS = 3  # how often that is repeated


class GuidedUNet(nn.Module):
    """What is to be changed in the answer of the cosine filter.

    Args:
        channels: features at 1, 1/2, 1/4, ... of the resolution.
        dimensions: 2 for slices, one by one; 3 for volumes.
        counts: whether the image holds counted events (PET): see keep_activity().

    The sides of the input are multiples of 8.
    """

    def __init__(self, channels: Sequence[int] = (24, 48, 72, 96), dimensions: int = 2, counts: bool = False) -> None:
        super().__init__()
        self.dimensions, self.counts = dimensions, counts
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        opposite = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]

        def block(count: int) -> nn.Module:
            return Residual(*(conv(count, count, 3, padding=1) for _ in range(2)))

        steps = list(itertools.pairwise(channels))
        self.head = conv(CHANNELS, channels[0], 3, padding=1)
        self.encode = nn.ModuleList(block(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = nn.Sequential(block(channels[-1]), block(channels[-1]))
        self.up = nn.ModuleList(opposite(b, a, 2, 2) for a, b in steps)
        self.decode = nn.ModuleList(block(c) for c in channels[:-1])
        self.tail = conv(channels[0], 1, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor, kind: Tensor | None = None) -> tuple[Tensor, None]:
        """x: (N, 3, [D,] H, W), any unit: the filter's answer, the image, the standard deviation of its noise.
        kind: not used, there is one.

        Returns the residual, (N, 1, [D,] H, W) float32 (answer - residual is the result), and None."""
        guess, image, sigma = x.float().split(1, 1)
        sigma = sigma + TINY
        side = NEAR[self.dimensions]
        pool = {2: functional.avg_pool2d, 3: functional.avg_pool3d}[self.dimensions]
        mean = pool(guess, side, 1, side // 2, count_include_pad=False)
        typical = sigma.flatten(2).mean(2).view(-1, *(1,) * (self.dimensions + 1))
        seen = [
            ((guess - mean) / sigma).asinh(),
            ((image - guess) / sigma).clamp(-8, 8) / 2,
            (mean / sigma).asinh() / 2,
            (sigma / typical).log().clamp(-4, 4),
        ]
        features = self.head(torch.cat(seen, 1).to(self.head.weight.dtype))
        found = self.tail(functional.relu(through_levels(self, features))).float()
        return sigma * BOUND * (found / BOUND).tanh(), None

    def restore(self, image: Array, context: Context) -> Array:
        """The denoised image; (k, j, i) float32, any unit. Notes: {"noise", "correlation"}."""
        context.progress(0.0, "finding the noise")
        channels = guided(image, block_depth(len(image), context.spacing), context)
        output = np.empty_like(image, np.float32)
        spans = [slice(None)] if self.dimensions == 3 else [slice(k, k + 1) for k in range(len(image))]
        for number, span in enumerate(spans):
            context.progress(0.6 + 0.35 * number / len(spans), "mending")
            part = channels[:, span]
            for outer, inner in pieces(part.shape[1:], TILE[self.dimensions], HALO):
                residual = self._residual(part[(slice(None), *outer)])
                output[span][inner] = part[0][inner] - residual[inside(outer, inner)]
        return keep_activity(image, output, context.spacing) if self.counts else output

    def _residual(self, channels: Array) -> Array:
        sides = channels.shape[1:]
        missing = [(0, 0), *((0, -n % 8 if self.dimensions == 3 or axis else 0) for axis, n in enumerate(sides))]
        x = torch.from_numpy(np.pad(channels, missing, mode="symmetric")).to(self.tail.weight.device)
        found = self(x.swapaxes(0, 1) if self.dimensions == 2 else x[None])[0]
        found = found[:, 0] if self.dimensions == 2 else found[0, 0]
        return found.cpu().numpy()[tuple(slice(n) for n in sides)]


class Residual(nn.Module):
    """x + C2 relu(C1 relu(x))."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second
        nn.init.zeros_(second.weight)
        nn.init.zeros_(second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(functional.relu(x))))


def guided(image: Array, depth: int, context: Context | None = None) -> Array:
    """The channels of forward() for an image (k, j, i): (3, k, j, i) float32. depth: slices of a filter's block."""
    context = context or Context()
    noise = find_noise(image, depth)
    context.notes |= {"noise": noise.sigma, "correlation": round(noise.correlation, 3)}
    guess = cosine_filter(image, noise, progress=lambda f, text: context.progress(0.6 * f, text))
    return np.stack([guess, image, noise.sigma * noise.levels(image)]).astype(np.float32)


def keep_activity(before: Array, after: Array, spacing: Sequence[float]) -> Array:
    """`after` with the regional means of `before` (their difference has no mean over FLAT_MM) and no value outside
    those of the 3 x 3 x 3 voxels around it before: no peak is raised. (k, j, i) float32; spacing: (k, j, i) in mm."""
    widths = [FLAT_MM / s for s in spacing]
    low, high = (f(before, 3, mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    for _ in range(ROUNDS):
        after = after + ndimage.gaussian_filter(before - after, widths, mode="nearest")
        after = np.clip(after, low, high)
    return after.astype(np.float32)
