"""Sliding cosine transforms with the noise's own spectrum: hard threshold, then Wiener's filter by its answer.

Yaroslavsky et al., "Transform domain image restoration methods", Proc. SPIE 4304, 2001; the two steps as in Dabov et
al., "Image denoising by sparse 3-D transform-domain collaborative filtering", IEEE TIP 2007, without the matching.
"""

from collections.abc import Callable

import numpy as np

from DLReconLib.networks.context import Context, quiet
from DLReconLib.networks.noise_spectrum import Noise, block_depth, find_noise, transform

Array = np.ndarray
THRESHOLD = 2.7
VOXELS = 2**22  # of blocks held at once


def cosine(image: Array, context: Context, threshold: float = THRESHOLD) -> Array:
    """The method of a card: finds the noise and filters, (k, j, i) float32. Notes: {"noise", "correlation"}."""
    context.progress(0.0, "finding the noise")
    noise = find_noise(image, block_depth(len(image), context.spacing))
    context.notes |= {"noise": noise.sigma, "correlation": round(noise.correlation, 3)}
    context.progress(0.1, "filtering")
    return cosine_filter(image, noise, threshold, context.progress)


def cosine_filter(
    image: Array, noise: Noise, threshold: float = THRESHOLD, progress: Callable[[float, str], None] = quiet
) -> Array:  # fmt: skip
    """Denoise (k, j, i) float32; in each block by the level of the noise at its middle."""
    if noise.sigma <= 1e-6 * (np.ptp(image) or 1):
        return image.copy()
    level = noise.levels(image)
    first = blockwise(image, level, None, noise.spectrum, threshold, lambda f, t: progress(0.1 + 0.4 * f, t))
    return blockwise(image, level, first, noise.spectrum, threshold, lambda f, t: progress(0.5 + 0.5 * f, t))


def blockwise(
    image: Array, level: Array, guide: Array | None, spectrum: Array, threshold: float,
    progress: Callable[[float, str], None] = quiet,
) -> Array:  # fmt: skip
    """One step: without a guide, coefficients below `threshold` deviations go; with one, Wiener's filter by it."""
    sides = spectrum.shape
    strides = (max(1, sides[0] // 2), *(max(1, n // 4) for n in sides[1:]))
    pads = [(n - 1, n - 1 + s) if n > 1 else (0, 0) for n, s in zip(sides, strides, strict=True)]
    matrix, variance = transform(sides), spectrum.ravel()
    views = [np.lib.stride_tricks.sliding_window_view(np.pad(a, pads, "symmetric"), sides)
             for a in (image, guide) if a is not None]  # fmt: skip
    levels = np.lib.stride_tricks.sliding_window_view(np.pad(level, pads, "symmetric"), sides)
    levels = levels[(..., *(n // 2 for n in sides))]
    padded = [n + sum(p) for n, p in zip(image.shape, pads, strict=True)]
    total, weights = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
    rows = max(1, VOXELS // (views[0].shape[2] // strides[2] * variance.size))
    for k in range(0, views[0].shape[0], strides[0]):
        progress(k / views[0].shape[0], "filtering")
        for j in range(0, views[0].shape[1], strides[1] * rows):
            where = np.s_[k, j : j + strides[1] * rows : strides[1], :: strides[2]]
            shape = views[0][where].shape
            found = views[0][where].reshape(-1, variance.size) @ matrix.T
            local = variance * levels[where].reshape(-1, 1) ** 2
            if guide is None:
                kept = found**2 > threshold**2 * local
                kept[:, 0] = True
                weight = 1 / np.maximum((kept * local).sum(1), 1e-30)
            else:
                power = (views[1][where].reshape(-1, variance.size) @ matrix.T) ** 2
                kept = power / (power + local)
                kept[:, 0] = 1
                weight = 1 / np.maximum((kept**2 * local).sum(1), 1e-30)
            blocks = ((found * kept) @ matrix * weight[:, None]).reshape(shape)
            spread(total, blocks, (k, j), strides)
            spread(weights, np.broadcast_to(weight.reshape((*shape[:2], 1, 1, 1)), shape), (k, j), strides)
    inner = tuple(slice(p[0], p[0] + n) for p, n in zip(pads, image.shape, strict=True))
    return (total[inner] / weights[inner]).astype(np.float32)


def spread(total: Array, blocks: Array, start: tuple[int, int], strides: tuple[int, ...]) -> None:
    """Add blocks (rows, columns, k, j, i) at their places."""
    rows, columns, *sides = blocks.shape
    for a in range(sides[0]):
        for b in range(sides[1]):
            for c in range(sides[2]):
                j = slice(start[1] + b, start[1] + b + strides[1] * rows, strides[1])
                i = slice(c, c + strides[2] * columns, strides[2])
                total[start[0] + a, j, i] += blocks[:, :, a, b, c]
