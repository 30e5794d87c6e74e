"""What noise is in an image? Its spectrum and how its level follows the brightness, from the image alone.

The image is cut into overlapping blocks and each gets its cosine transform. In the calmest blocks the coefficients are
noise: their robust spread is the spectrum (Ponomarenko et al., "Blind estimation of the noise spectrum", in the manner
of Proc. SPIE 7244, 2009). Arrays are (k, j, i) float32; blocks have the sides of `spectrum`.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import fft, ndimage

Array = np.ndarray
SIDE = 8  # of a block in the plane
DEPTH = 4  # and across it, at most
CALM = 0.1  # the share of blocks that are taken for noise alone
MOST = 60_000  # blocks looked at
BINS = 12  # of brightness
MAD = 0.6745
SAME = 1.5  # levels that differ less are one
THICK = 4.0  # slices this many times as far apart as pixels are taken for themselves


@dataclass(frozen=True)
class Noise:
    """spectrum: variance of each coefficient of an orthonormal cosine transform of a block, (k, j, i).
    brightness, level: at these local means of the image the standard deviation is that many times the spectrum's."""

    spectrum: Array
    brightness: Array
    level: Array

    @property
    def sigma(self) -> float:
        """Standard deviation where the level is 1."""
        return float(np.sqrt(self.spectrum.mean()))

    @property
    def correlation(self) -> float:
        """Lag-1 autocorrelation in the plane: for a cosine transform, the mean of cos(pi u / n) over the power. What
        rises above twice the median counts no more than that: it may be structure. Strong correlation reads too low."""
        power = self.spectrum.sum(0)
        power = np.minimum(power, 2 * np.median(power))
        steps = np.cos(np.pi * np.arange(power.shape[0]) / power.shape[0])
        along = power.sum(1) @ steps, power.sum(0) @ steps
        return float(sum(along) / (2 * power.sum() + 1e-30))

    def levels(self, image: Array) -> Array:
        """The level at each voxel of an image, by its local mean; float32."""
        return np.interp(local_mean(image), self.brightness, self.level).astype(np.float32)

    def draw(self, image: Array, rng: np.random.Generator) -> Array:
        """Noise as it is in this image, (k, j, i) float32."""
        white = rng.standard_normal(image.shape, np.float32)
        axes = [np.abs(fft.fftfreq(n)) * 2 * side for n, side in zip(image.shape, self.spectrum.shape, strict=True)]
        axes[2] = np.abs(fft.rfftfreq(image.shape[2])) * 2 * self.spectrum.shape[2]
        places = np.meshgrid(*axes, indexing="ij")
        power = ndimage.map_coordinates(self.spectrum, places, order=1, mode="nearest")
        coloured = fft.irfftn(fft.rfftn(white) * np.sqrt(power), s=image.shape)
        return (coloured * self.levels(image)).astype(np.float32)


def local_mean(image: Array) -> Array:
    return ndimage.uniform_filter(image, (1, 5, 5), mode="nearest")


def block_depth(slices: int, spacing: tuple[float, ...]) -> int:
    """How many slices a block holds: fewer where they lie further apart than the pixels, since anatomy differs then."""
    ratio = spacing[0] / min(spacing[1:])
    wanted = DEPTH if ratio < 1.5 else DEPTH // 2 if ratio < THICK else 1
    return wanted if slices >= wanted else 1


def transform(sides: tuple[int, ...]) -> Array:
    """The orthonormal cosine transform of a flattened block as a matrix (coefficients, voxels)."""
    matrix = np.ones((1, 1))
    for n in sides:
        matrix = np.kron(matrix, fft.dct(np.eye(n), axis=0, norm="ortho"))
    return matrix.astype(np.float32)


def orders(sides: tuple[int, ...]) -> Array:
    """Squared distance of each coefficient from the mean, (k, j, i)."""
    return np.add.reduce(np.stack(np.meshgrid(*(np.arange(n) / n for n in sides), indexing="ij")) ** 2)


def low_order(sides: tuple[int, ...]) -> Array:
    """The quarter of the coefficients, without the mean, that structures fill first."""
    order = orders(sides)
    return (order > 0) & (order <= np.quantile(order, 0.25))


def cut(views: Array, low: Array) -> tuple[Array, Array]:
    """Blocks (n, voxels), and how much structure there is beside each: in its neighbours left and right, or above and
    below, whichever are calmer. Its own noise then does not decide whether it counts."""
    steps = [1, 2, 4, 8]
    apart = max(1, low.shape[0] // 2)
    step = next((s for s in steps if np.prod(views.shape[:3]) / apart / s**2 <= MOST), steps[-1])
    some = views[::apart, ::step, ::step]
    blocks = some.reshape(-1, low.size)
    power = ((blocks @ transform(low.shape)[low.ravel()].T) ** 2).sum(1).reshape(some.shape[:3])
    beside = []
    for axis in (1, 2):
        n, shift = power.shape[axis], low.shape[axis] // step
        places = np.arange(n)
        pair = [np.take(power, np.clip(places + s, 0, n - 1), axis) for s in (-shift, shift)]
        beside.append(sum(pair))
    return blocks, np.minimum(*beside).ravel()


def find_noise(image: Array, depth: int = 1) -> Noise:
    """The noise of an image, where it is not constant; depth: of the blocks, see block_depth."""
    sides = (depth, min(SIDE, image.shape[1]), min(SIDE, image.shape[2]))
    views = np.lib.stride_tricks.sliding_window_view(image, sides)
    low = low_order(sides)
    blocks, beside = cut(views, low)
    varied = blocks.max(1) > blocks.min(1)
    blocks, beside = blocks[varied], beside[varied]
    if not len(blocks):
        return Noise(np.zeros(sides, np.float32), np.zeros(1), np.ones(1))
    found = (blocks @ transform(sides).T).reshape(-1, *sides)
    spectrum = np.minimum(spread_of(found, beside), spread_of(found, energy(found, low)) / chosen_calm(low))
    spectrum[0, 0, 0] = (spectrum[0, 0, min(1, sides[2] - 1)] + spectrum[0, min(1, sides[1] - 1), 0]) / 2
    spectrum = np.maximum(spectrum, 1e-12 * spectrum.max() + 1e-30)
    brightness, level = follow(found / np.sqrt(spectrum), blocks.mean(1))
    return Noise(spectrum.astype(np.float32), brightness, level)


def energy(found: Array, low: Array) -> Array:
    """Of the low coefficients of each block."""
    return (found[:, low] ** 2).sum(1)


def spread_of(found: Array, structure: Array) -> Array:
    """Variance of each coefficient where there is least structure, (k, j, i)."""
    calm = np.argsort(structure)[: max(64, int(CALM * len(found)))]
    return (np.median(np.abs(found[calm]), 0) / MAD) ** 2


def chosen_calm(low: Array) -> Array:
    """How much too small spread_of() finds the variance of noise alone, where its own energy decides what is calm."""
    noise = np.random.default_rng(0).standard_normal((4000, *low.shape), np.float32)
    found = spread_of(noise, energy(noise, low))
    return np.where(low, found[low].mean() if low.any() else 1.0, 1.0)


def follow(found: Array, means: Array) -> tuple[Array, Array]:
    """How the noise follows the brightness: of the coefficients in units of the spectrum, means of the blocks. What may
    as well be structure, up to a factor of SAME, counts as the same level."""
    order = orders(found.shape[1:])
    high = order > np.quantile(order, 0.5)
    size = np.median(np.abs(found[:, high]), 1)
    edges = np.quantile(means, np.linspace(0, 1, BINS + 1))
    expected = np.quantile(np.median(np.abs(np.random.default_rng(0).standard_normal((2000, high.sum()))), 1), 0.25)
    centres, levels = [], []
    for low, top in pairwise(edges):
        inside = (means >= low) & (means <= top)
        if inside.sum() >= 50:
            centres.append(float(means[inside].mean()))
            levels.append(float(np.quantile(size[inside], 0.25) / expected))
    if not centres:
        return np.zeros(1), np.ones(1)
    ratio = np.log(np.clip(ndimage.uniform_filter1d(levels, 3, mode="nearest"), 0.2, 10))
    return np.array(centres), np.exp(ratio if np.ptp(ratio) > np.log(SAME) else np.full_like(ratio, np.median(ratio)))
