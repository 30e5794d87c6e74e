"""A blind denoiser: a small network finds the noise, shrinkage of cosine coefficients and a residual U-Net remove it.

Every convolution is bias-free, so f(a x) = a f(x) for a > 0 and what was learned at one noise level
carries over to others (Mohan et al., "Robust and interpretable blind image denoising via bias-free
convolutional neural networks", ICLR 2020). The noise level enters as a map beside the image (Zhang et al.,
"FFDNet", IEEE TIP 2018, eq. 3).
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.layers import fold
from DLReconLib.networks.shrinkage import Shrinkage

CONDITIONS = 3  # noise level, level times correlation, Rician bias
CELLS = 8  # layers of the noise estimator that see voxels; the others see cells
BOUND = 8.0  # the largest change, in standard deviations of the noise: noise is hardly ever larger
TINY = 1e-6


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv3d:
    padding = (kernel - 1) // 2
    return nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)


class ResidualBlock(nn.Module):
    """x + C2 relu(C1 x + B s), s being the condition maps: thresholds that move with the noise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.threshold = conv(CONDITIONS, channels, 1)
        self.second = conv(channels, channels)
        nn.init.zeros_(self.threshold.weight)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x) + self.threshold(conditions)))


def split(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """An image (N, 1, D, H, W) as detail of the type asked for, and local mean, float32: the means of aligned
    4 x 4 x 4 blocks, interpolated linearly between their centres. Both have the shape of x."""
    blocks = functional.avg_pool3d(x.float(), 4)
    mean = functional.interpolate(blocks, size=x.shape[2:], mode="trilinear")
    return (x.float() - mean).to(dtype), mean


def noise_map(noise: Tensor) -> Tensor:
    """The noise of cells (N, C, D/8, H/8, W/8) at every voxel: (N, C, D, H, W) float32."""
    return functional.interpolate(noise.float(), scale_factor=8, mode="trilinear")


def coherence(x: Tensor) -> Tensor:
    """How much more noise a cosine coefficient holds where slices are mirrored copies of one, two or three, as those of
    a thin stack are: (N, 1, 1, 1, 1), sqrt(4 / n) for n slices below 4, else 1."""
    factor = x.new_ones(len(x), dtype=torch.float32)
    for slices in (3, 2, 1):
        end = min(2 * slices, x.shape[2])
        same = (x[:, :, :slices].flip(2)[:, :, : end - slices] == x[:, :, slices:end]).all(1).all(1).all(1).all(1)
        factor = torch.where(same, (4 / slices) ** 0.5, factor)
    return factor.view(-1, 1, 1, 1, 1)


class NoiseEstimator(nn.Module):
    """What noise is in the image? Features of cells of 8 x 8 x 8 voxels, compared with those of the cells around: noise
    varies slowly in space, anatomy does not."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(9, channels),
            nn.ReLU(),
            conv(channels, channels, 2, 2),
            nn.ReLU(),
            conv(channels, 2 * channels),
            nn.ReLU(),
            conv(2 * channels, 2 * channels, 2, 2),
            nn.ReLU(),
            conv(2 * channels, 2 * channels),
            nn.ReLU(),
            conv(2 * channels, 2, 1),
        )

    def features(self, x: Tensor) -> Tensor:
        """Of an image or a piece of one, (N, 1, D, H, W): (N, C, D/8, H/8, W/8) float32."""
        detail, mean = split(x, self.layers[0].weight.dtype)
        folded = fold(detail)
        # Near 0 in tissue, a fixed fraction of the noise in the air of magnitude images.
        spread = folded.abs().mean(1, keepdim=True)
        level = functional.avg_pool3d(mean, 2).abs()  # float32: averages in bfloat16 do not exist on the CPU
        darkness = spread * (spread / (level + spread + TINY))
        return self.layers[:CELLS](torch.cat([folded, darkness.to(folded.dtype)], 1)).float()

    def settle(self, features: Tensor) -> Tensor:
        """The noise, from the features of an image, those of its pieces put together: (N, 2, D/8, H/8, W/8) float32,
        standard deviation, and the same times the correlation between in-plane neighbours; in the unit of the
        input, both >= 0."""
        found = self.layers[CELLS:](features.to(self.layers[0].weight.dtype)).float().abs()
        # The mean over 3 x 3 x 3 cells steadies the estimate.
        padded = functional.pad(found, (1, 1, 1, 1, 1, 1), mode="replicate")
        return functional.avg_pool3d(padded, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.settle(self.features(x))


class NoiseUNet(nn.Module):
    """Blind residual denoiser.

    The image enters as its detail (minus the local mean), so that what leaves depends on the absolute level
    only through the Rician bias, sigma^2 / S. For signed images therefore f(a x + b) = a f(x) + b.

    Args:
        channels: features at 1, 1/2, 1/4, 1/8 of the resolution.
        estimator_channels: features of the noise estimator.

    The input's D, H, W are multiples of 8.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 96), estimator_channels: int = 24) -> None:
        super().__init__()
        self.estimator = NoiseEstimator(estimator_channels)
        self.shrinkage = Shrinkage()
        self.head = conv(2 + CONDITIONS, channels[0])
        steps = list(itertools.pairwise(channels))
        self.encode = nn.ModuleList(ResidualBlock(c) for c in channels[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, 2) for a, b in steps)
        self.bottom = ResidualBlock(channels[-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, 2, bias=False) for a, b in steps)
        self.decode = nn.ModuleList(ResidualBlock(c) for c in channels[:-1])
        self.tail = conv(channels[0], 1)
        nn.init.zeros_(self.tail.weight)  # training begins at the shrinkage

    def shrink(self, x: Tensor, noise: Tensor) -> Tensor:
        """The residual by shrinkage alone, (N, 1, D, H, W) float32; arguments as in forward()."""
        detail, _ = split(x, self.head.weight.dtype)
        return detail.float() - self.shrinkage(detail, noise_map(noise) * coherence(x))

    def forward(
        self, x: Tensor, magnitude: Tensor, noise: Tensor | None = None, removed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Find the noise and the residual that takes it away.

        Args:
            x: (N, 1, D, H, W), any unit.
            magnitude: (N,) 1 where the image is a magnitude image (Rician noise), 0 where it is signed.
            noise: (N, 2, D/8, H/8, W/8) to use instead of the estimate of this image.
            removed: (N, 1, D, H, W) float32, what shrink() gives for this noise, where it is known already. The
                estimator then rests: the noise is given too.

        Returns:
            residual: (N, 1, D, H, W) float32, below BOUND times the noise; the denoised image is x - residual.
            noise: (N, 2, D/8, H/8, W/8) float32, the estimate, see NoiseEstimator; where that rests, and in
                evaluation, the given noise.
        """
        detail, mean = split(x, self.head.weight.dtype)
        resting = noise is not None and (removed is not None or not self.training)
        estimate = noise if resting else self.estimator(x)
        noise = estimate.detach() if noise is None else noise
        maps = noise_map(noise)
        sigma = maps[:, :1]
        rician = magnitude.view(-1, 1, 1, 1, 1) * sigma * (sigma / (mean.abs() + sigma + TINY))
        pooled = [torch.cat([maps, rician], 1)]
        for _ in self.down:
            pooled.append(functional.avg_pool3d(pooled[-1], 2))
        conditions = [c.to(detail.dtype) for c in pooled]
        if removed is None:
            with torch.set_grad_enabled(x.requires_grad):  # what shrinks is learned before the rest
                removed = detail.float() - self.shrinkage(detail, maps * coherence(x))
        features, kept = self.head(torch.cat([detail, removed.to(detail.dtype), conditions[0]], 1)), []
        for block, down, condition in zip(self.encode, self.down, conditions, strict=False):
            kept.append(block(features, condition))
            features = down(kept[-1])
        features = self.bottom(features, conditions[-1])
        for level in reversed(range(len(kept))):
            features = self.decode[level](kept.pop() + self.up[level](features), conditions[level])
        limit = BOUND * sigma + TINY
        return limit * torch.tanh((removed + self.tail(features).float()) / limit), estimate
