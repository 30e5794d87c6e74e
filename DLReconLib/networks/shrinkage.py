"""Shrinkage of local cosine coefficients: a classical denoiser as the first layer of a network.

Every 4 x 4 x 4 block at every voxel is transformed by the orthonormal DCT-II, coefficients that do not stand out
of the noise are shrunk, and the 64 answers that each voxel gets are averaged, sparse blocks weighing more (Guleryuz,
"Weighted overcomplete denoising", Asilomar 2003; Dabov et al., IEEE TIP 2007, eq. 10-11, without their grouping).
"""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 4
EDGE = SIDE - 1
PART = (16, 32, 64)  # voxels transformed at once where no gradient is kept: their 64-fold stays in the cache
TINY = 1e-12


def cosine_transform() -> Tensor:
    """The orthonormal DCT-II of a block as kernels (64, 1, 4, 4, 4); the first one is the mean."""
    n = torch.arange(SIDE, dtype=torch.float64)
    rows = torch.cos(torch.pi * (2 * n[None] + 1) * n[:, None] / (2 * SIDE)) * (2 / SIDE) ** 0.5
    rows[0] /= 2**0.5
    kernels = torch.einsum("ai,bj,ck->abcijk", rows, rows, rows)
    return kernels.reshape(SIDE**3, 1, SIDE, SIDE, SIDE).float().contiguous()


class Shrinkage(nn.Module):
    """What a coefficient c keeps is c^4 / (c^4 + t^4): hardly anything below t, nearly all above. t is learned for
    each coefficient as a linear function of the noise level and of the level times its correlation: where noise
    is correlated, it has more power in the low frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", cosine_transform(), persistent=False)
        self.threshold = nn.Conv3d(2, SIDE**3, 1, bias=False)
        nn.init.zeros_(self.threshold.weight)
        with torch.no_grad():
            self.threshold.weight[:, 0] = 2.5
            self.threshold.weight[0] = 0.1

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        """Denoise.

        Args:
            image: (N, 1, D, H, W), zero on average.
            noise: (N, 2, D, H, W) float32, standard deviation of the noise and that times its correlation.

        Returns (N, 1, D, H, W) float32.
        """
        kind = self.threshold.weight.dtype
        image = functional.pad(image.float(), (EDGE,) * 6, mode="replicate").to(kind)
        noise = functional.pad(noise.float(), (2, 1) * 3, mode="replicate").to(kind)  # at the middle of each block
        if torch.is_grad_enabled():
            return self._blocks(image, noise)
        shape = [len(image), 1, *(n - 2 * EDGE for n in image.shape[2:])]
        answer = image.new_empty(shape, dtype=torch.float32)
        for where in product(*(range(0, n, step) for n, step in zip(answer.shape[2:], PART, strict=True))):
            part, level, place = image, noise, answer
            for axis, (start, step) in enumerate(zip(where, PART, strict=True), 2):
                size = min(step, answer.shape[axis] - start)
                part = part.narrow(axis, start, size + 2 * EDGE)
                level = level.narrow(axis, start, size + EDGE)
                place = place.narrow(axis, start, size)
            place.copy_(self._blocks(part, level))
        return answer

    def _blocks(self, image: Tensor, noise: Tensor) -> Tensor:
        """All blocks of an image with its edges; the answer has none."""
        found = functional.conv3d(image, self.kernels)
        limit = self.threshold(noise).square()
        kept = (1 + (limit / (found.square() + TINY)).square()).reciprocal()
        weight = 1 / (1 + kept.sum(1, keepdim=True))
        back = self.kernels.view(SIDE**3, SIDE**3).T  # orthonormal: its own inverse
        blocks = torch.matmul(back, (found * kept * weight).flatten(2)).unflatten(2, found.shape[2:])
        inner = (slice(None), slice(None), *[slice(EDGE, -EDGE)] * 3)
        return overlap(blocks)[inner] / window_sums(weight)


def overlap(blocks: Tensor) -> Tensor:
    """Blocks (N, 64, D, H, W), each at its place, added up: (N, 1, D + 3, H + 3, W + 3) float32."""
    blocks = blocks.unflatten(1, (SIDE, SIDE, SIDE))
    for axis, along in ((3, -1), (2, -2), (1, -3)):  # along W, H, D: an axis at a time
        parts = blocks.unbind(axis)
        if torch.jit.is_tracing():  # an exported graph has nothing that is added in place
            before = (0, 0) * (-1 - along)
            blocks = sum(functional.pad(part.float(), (*before, n, EDGE - n)) for n, part in enumerate(parts))
            continue
        shape, count = list(parts[0].shape), parts[0].shape[along]
        shape[along] += EDGE
        blocks = parts[0].new_zeros(shape, dtype=torch.float32)
        for n, part in enumerate(parts):
            blocks.narrow(along, n, count).add_(part)
    return blocks[:, None]


def window_sums(values: Tensor) -> Tensor:
    """The sum over each window of SIDE^3 values, (N, 1, D, H, W): (N, 1, D - 3, H - 3, W - 3) float32."""
    values = values.float()
    for axis in (4, 3, 2):
        count = values.shape[axis] - EDGE
        values = sum(values.narrow(axis, n, count) for n in range(SIDE))
    return values
