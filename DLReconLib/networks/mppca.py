"""Principal components of a time series whose number is found by the Marchenko-Pastur law.

Veraart, Novikov, Christiaens, Ades-aron, Sijbers, Fieremans: "Denoising of diffusion MRI using random matrix theory",
NeuroImage 142 (2016). In a small window the frames share few components, noise fills all of them alike: the
eigenvalues of pure noise follow the Marchenko-Pastur distribution, so what rises above its edge is kept and the rest
is thrown away.
"""

import numpy as np

from DLReconLib.networks.context import Context

Array = np.ndarray
FEWEST = 5  # frames; with fewer there is no distribution of eigenvalues to speak of
LARGEST = 11  # voxels along the side of a window


def mppca(frames: Array, context: Context, side: int = 5) -> Array:
    """Denoise all frames at once.

    frames: (n, k, j, i) float32, n being time or diffusion direction. side: voxels along each side of the window; it
    grows until it holds as many voxels as there are frames. Every voxel is answered by all windows that hold it,
    those with fewer components weighing more (Manjon et al., PLoS ONE 2013, eq. 6).

    What was found is noted: {"noise": median standard deviation of the noise, "components": median number kept,
    "frames"}.

    Raises ValueError for fewer frames than FEWEST.
    """
    count, shape = len(frames), frames.shape[1:]
    if count < FEWEST:
        raise ValueError(
            f"series of {count} frames; wanted at least {FEWEST}, for its components to be told from noise"
        )
    window = window_for(shape, count, side)
    stride = 1 if min(count, np.prod(window)) <= 40 else 2
    starts = [places(n, w, stride) for n, w in zip(shape, window, strict=True)]
    series = np.ascontiguousarray(np.moveaxis(frames, 0, -1), np.float32)
    total, weights = np.zeros_like(series), np.zeros(shape, np.float32)
    deviations, kept = [], []
    for number, k in enumerate(starts[0]):
        context.progress(number / len(starts[0]), f"components of slice {k + 1} of {shape[0]}")
        for j in starts[1]:
            rows = slice(k, k + window[0]), slice(j, j + window[1])
            if context.mask is not None and not context.mask[rows].any():
                continue
            row = np.stack([series[(*rows, slice(i, i + window[2]))] for i in starts[2]])
            answer, deviation, components = without_noise(row.reshape(len(row), -1, count))
            answer, weight = answer.reshape(row.shape), (1 / (1 + components)).astype(np.float32)
            for i in range(window[2]):
                where = (*rows, starts[2] + i)
                total[where] += np.moveaxis(answer[:, :, :, i] * weight[:, None, None, None], 0, 2)
                weights[where] += weight
            deviations.append(deviation[deviation > 0])
            kept.append(components[deviation > 0])
    found = np.concatenate([np.zeros(0), *deviations]), np.concatenate([np.zeros(0), *kept])
    noise, components = (float(np.median(f)) if f.size else 0.0 for f in found)
    context.notes |= {"noise": round(noise, 4), "components": round(components), "frames": count}
    done = weights > 0
    series[done] = total[done] / weights[done][:, None]
    return np.moveaxis(series, -1, 0)


def window_for(shape: tuple[int, ...], count: int, side: int) -> tuple[int, ...]:
    """Sides of a window (k, j, i) that fits into the image and holds `count` voxels where that is possible."""
    while np.prod([min(side, n) for n in shape]) < count and side < min(LARGEST, max(shape)):
        side += 2
    return tuple(min(side, n) for n in shape)


def places(size: int, window: int, stride: int) -> Array:
    """First voxels of windows that cover an axis, the last one included."""
    last = size - window
    return np.unique(np.append(np.arange(0, last + 1, stride), last))


def without_noise(windows: Array) -> tuple[Array, Array, Array]:
    """Windows (w, voxels, frames) without the components of noise; the standard deviation of the noise (w,), the
    number of components kept (w,)."""
    voxels, frames = windows.shape[1:]
    mean = windows.mean(1, keepdims=True)
    centred = (windows - mean).astype(np.float64)
    wide = frames > voxels
    product = centred @ centred.swapaxes(1, 2) if wide else centred.swapaxes(1, 2) @ centred
    values, vectors = np.linalg.eigh(product)
    # The mean was taken away: that many voxels are independent.
    rank, longest = min(voxels - 1, frames), max(voxels - 1, frames)
    variance, noisy = marchenko_pastur(np.maximum(values[:, -rank:], 0) / longest, longest)
    noisy = noisy + values.shape[1] - rank
    signal = vectors * (np.arange(values.shape[1]) >= noisy[:, None])[:, None]
    projector = signal @ vectors.swapaxes(1, 2)
    answer = projector @ centred if wide else centred @ projector
    return (answer + mean).astype(np.float32), np.sqrt(variance), values.shape[1] - noisy


def marchenko_pastur(values: Array, longest: int) -> tuple[Array, Array]:
    """Which eigenvalues are noise?

    The smallest p of them are where their mean, the variance, exceeds what their spread says it is: pure noise of
    variance s spreads over 4 s sqrt(p / longest) (Veraart et al., eq. 10 to 12). The largest such p is taken.

    values: (w, rank), rising, of the covariance matrix; longest: the longer side of the data matrix.
    Returns the variance of the noise (w,) and p (w,).
    """
    number = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, 1) / number
    spread = (values - values[:, :1]) / (4 * np.sqrt(number / longest))
    fits = spread < means
    count = np.where(fits.any(1), values.shape[1] - np.argmax(fits[:, ::-1], 1), 0)
    variance = np.take_along_axis(means, np.maximum(count - 1, 0)[:, None], 1)[:, 0]
    return np.where(count > 0, variance, 0), count
