"""The bias field of an MR volume from a look at it with voxels of about 4 mm: a cubic B-spline, hence smooth.

The image is i = b u with a smooth b > 0 (Sled et al., IEEE TMI 1998, eq. 1, without noise). A small three-dimensional
network gives the coefficients of log b on a lattice of about 32 mm, as N4 has one (Tustison et al., IEEE TMI 2010).
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.context import Context

COARSE_MM = 4.0
LATTICE = 8  # coarse voxels between the coefficients
MOST = 1.5  # |log b| is below it
AIR = 0.08  # of the 99th percentile: darker voxels are not looked at
WEAK = 1.6  # ratio of the ends of a field that is found in even images, too
PASSES = 2  # the second looks at what the first has left


def reduce(image: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Means of blocks of `factors` (k, j, i) voxels, the last ones filled up by the edge."""
    missing = [(0, -n % f) for n, f in zip(image.shape, factors, strict=True)]
    padded = np.pad(image, missing, mode="edge")
    split = [size for n, f in zip(padded.shape, factors, strict=True) for size in (n // f, f)]
    return padded.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32)


def basis(count: int, size: int, factor: int) -> np.ndarray:
    """(size, count) cubic B-splines of voxels on a lattice of LATTICE * factor voxels, rows with the sum 1."""
    place = ((np.arange(size) + 0.5) / factor / LATTICE - 0.5)[:, None]
    distance = np.abs(place - np.arange(-1, count + 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    values = np.where(distance < 1, near, far)
    values[:, 1] += values[:, 0]  # the outermost coefficients go on
    values[:, -2] += values[:, -1]
    return (values[:, 1:-1] / values[:, 1:-1].sum(1, keepdims=True)).astype(np.float32)


def expand(coefficients: Tensor, bases: Sequence[Tensor]) -> Tensor:
    """(N, a, b, c) and three of basis() -> (N, k, j, i)."""
    for axis, matrix in enumerate(bases):
        coefficients = torch.movedim(torch.tensordot(coefficients, matrix, ([1 + axis], [1])), -1, 1 + axis)
    return coefficients


def tissue(coarse: np.ndarray) -> np.ndarray:
    return coarse > AIR * np.percentile(coarse, 99)


def look(coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees of (k, j, i): (3, K, J, I) float32, sides multiples of LATTICE: the image over its mean in
    tissue, the logarithm of that, and where the tissue is. And the tissue, (k, j, i)."""
    inside = tissue(coarse)
    scaled = np.clip(coarse / max(float(coarse[inside].mean()) if inside.any() else 1.0, 1e-12), 0, 8)
    channels = np.stack([scaled, np.where(inside, np.log(scaled + 0.05), 0), inside]).astype(np.float32)
    return np.pad(channels, [(0, 0), *((0, -n % LATTICE) for n in coarse.shape)]), inside


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv3d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


class BiasNet(nn.Module):
    """Coefficients of log b.

    Args:
        channels: features at 4, 8, 16 and 32 mm.
    """

    def __init__(self, channels: Sequence[int] = (12, 24, 48, 64)) -> None:
        super().__init__()
        self.kinds = ("bias",)
        self.head = nn.Conv3d(3, channels[0], 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv3d(a, b, 2, 2), Block(b)) for a, b in itertools.pairwise(channels)
        )
        self.far = nn.ModuleList(nn.Linear(channels[-1], channels[-1]) for _ in range(2))
        self.blocks = nn.ModuleList(Block(channels[-1]) for _ in range(2))
        self.tail = nn.Conv3d(channels[-1], 1, 1)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x: Tensor) -> Tensor:
        """look() of volumes (N, 3, K, J, I) -> coefficients of log b (N, K/8, J/8, I/8) float32, in (-MOST, MOST)."""
        features = functional.relu(self.head(x))
        for level in self.levels:
            features = level(features)
        for far, block in zip(self.far, self.blocks, strict=True):  # what the volume is like as a whole
            mean = functional.relu(far(features.mean((2, 3, 4))))
            features = block(features + mean[..., None, None, None])
        return MOST * torch.tanh(self.tail(features)[:, 0].float() / MOST)

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """(k, j, i) float32 without its bias field; the mean over the tissue is kept. Notes the range of the field.
        With context.artifact "auto" an image whose field is weak stays as it is: such is found in even ones, too."""
        factors = [min(n, max(1, round(COARSE_MM / s))) for n, s in zip(image.shape, context.spacing, strict=True)]
        coarse = reduce(np.maximum(image, 0), factors)
        weight = self.head.weight
        log, total = np.zeros_like(coarse), None
        for number in range(PASSES):
            context.progress(0.1 + 0.3 * number, "bias field")
            seen, inside = look(coarse * np.exp(-log))
            if not inside.any() or coarse[inside].std() < 1e-4 * coarse[inside].mean():
                context.notes["artifact"] = "none"
                return image
            found = self(torch.from_numpy(seen)[None].to(weight.device, weight.dtype))[0].cpu()
            total = found if total is None else total + found
            log = self._expanded(total, log.shape, (1, 1, 1))
        shift = float(log[inside].mean())
        low, high = np.percentile(log[inside] - shift, [1, 99])
        context.notes |= {"field_from": round(float(np.exp(low)), 3), "field_to": round(float(np.exp(high)), 3)}
        if context.artifact == "auto":
            weak = high - low <= np.log(WEAK)
            context.notes["artifact"] = "none" if weak else "bias"
            if weak:
                return image
        field = self._expanded(total - shift, image.shape, factors)
        output = image / np.exp(field)
        ratio = coarse[inside].mean() / (coarse * np.exp(shift - log))[inside].mean()
        return (output * np.float32(ratio)).astype(np.float32)

    @staticmethod
    def _expanded(coefficients: Tensor, shape: Sequence[int], factors: Sequence[int]) -> np.ndarray:
        sizes = zip(coefficients.shape, shape, factors, strict=True)
        return expand(coefficients[None], [torch.from_numpy(basis(*s)) for s in sizes])[0].numpy()


def n4(image: np.ndarray, context: Context, shrink_mm: float = COARSE_MM, iterations: int = 50) -> np.ndarray:
    """(k, j, i) without its bias field, by N4 (Tustison et al., IEEE TMI 2010) of SimpleITK on the volume shrunk to
    voxels of about shrink_mm, inside Otsu's threshold; four levels of `iterations`."""
    import SimpleITK as sitk

    factors = [min(max(1, n // 4), max(1, round(shrink_mm / s)))
               for n, s in zip(image.shape, context.spacing, strict=True)]  # fmt: skip
    whole = sitk.GetImageFromArray(np.maximum(image, 0).astype(np.float32))
    whole.SetSpacing([float(s) for s in context.spacing[::-1]])
    small = sitk.Shrink(whole, factors[::-1])
    if min(small.GetSize()) < 4 or np.ptp(sitk.GetArrayViewFromImage(small)) <= 1e-4 * image.max():
        return image
    context.progress(0.1, "N4")
    method = sitk.N4BiasFieldCorrectionImageFilter()
    method.SetMaximumNumberOfIterations([int(iterations)] * 4)
    method.Execute(small, sitk.OtsuThreshold(small, 0, 1, 200))
    field = sitk.GetArrayFromImage(method.GetLogBiasFieldAsImage(whole))
    return (image / np.exp(field)).astype(np.float32)
