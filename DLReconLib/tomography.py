"""Parallel-beam tomography of slices: projection along rays, and filtered back-projection.

Slices are (N, j, i) float32, sinograms (N, views, detectors) float32; lengths are in pixels, angles in radians. The
centre of rotation is the middle of the slice; detectors are a pixel apart, the middle one sees the centre. A view of
angle a measures along the lines x cos a + y sin a = s, x along i and y along j.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import fft, sparse

Array = np.ndarray
KERNELS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")


def quiet(fraction: float) -> None:
    pass


def view_angles(views: int, first: float = 0.0, arc: float = np.pi) -> Array:
    """(views,) evenly spaced over the arc, its end not included."""
    return first + np.arange(views) * (arc / views)


def detectors(shape: tuple[int, int]) -> int:
    """Detectors, of an odd number, that see the whole slice from everywhere."""
    return 2 * int(np.ceil(np.hypot(*shape) / 2)) + 1


def project(slices: Array, angles: Array, told: Callable[[float], None] = quiet) -> Array:
    """Line integrals by linear interpolation along the steeper axis (Joseph, IEEE TMI 1982).

    (N, j, i) -> (N, views, detectors). told: gets the fraction done, and may raise.
    """
    shape = slices.shape[1:]
    columns = np.ascontiguousarray(slices.reshape(len(slices), -1).T, np.float32)
    sinogram = np.empty((len(angles), detectors(shape), len(slices)), np.float32)
    for view, angle in enumerate(angles):
        told(view / len(angles))
        sinogram[view] = joseph(shape, float(angle)) @ columns
    return np.ascontiguousarray(sinogram.transpose(2, 0, 1))


def joseph(shape: tuple[int, int], angle: float) -> sparse.csr_matrix:
    """The rows that project() sums by: (detectors, j * i). Its transpose is the adjoint."""
    height, width = shape
    count = detectors(shape)
    place = np.arange(count, dtype=np.float32) - (count - 1) / 2
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    if abs(cosine) >= abs(sine):  # one sample in each row of the slice
        steps, size, stride, other = height, width, 1, width
        along, across = cosine, sine
    else:
        steps, size, stride, other = width, height, width, 1
        along, across = sine, cosine
    step = np.arange(steps, dtype=np.float32) - (steps - 1) / 2
    met = (place[:, None] - step * across) / along + np.float32((size - 1) / 2)
    # Samples beyond the edges count 0: the padding is air that fades in within a pixel.
    met = np.clip(met, -1, size)
    left = np.clip(met.astype(np.int32), 0, size - 2)
    share = met - left.astype(np.float32)
    scale = (share >= 0) & (share <= 1)
    scale = np.where(scale, 1 / abs(along), np.float32(0))
    weights, columns = np.empty((*met.shape, 2), np.float32), np.empty((*met.shape, 2), np.int32)
    np.multiply(1 - share, scale, out=weights[..., 0])
    np.multiply(share, scale, out=weights[..., 1])
    np.add(left * stride, np.arange(steps, dtype=np.int32) * other, out=columns[..., 0])
    np.add(columns[..., 0], stride, out=columns[..., 1])
    starts = np.arange(count + 1, dtype=np.int32) * (2 * steps)
    return sparse.csr_matrix((weights.ravel(), columns.ravel(), starts), shape=(count, height * width), copy=False)


def filter_views(sinogram: Array, kernel: str = "ramp") -> Array:
    """The ramp of the band-limited projections (Kak & Slaney 1988, eq. 3.61), times a window that falls from 1 at
    frequency 0 to its least at Nyquist's. Raises ValueError for a kernel not in KERNELS."""
    count = sinogram.shape[-1]
    size = fft.next_fast_len(2 * count, real=True)
    n = np.rint(fft.fftfreq(size, 1 / size))
    odd = -1 / (np.pi * np.where(n == 0, 1, n)) ** 2
    ramp = fft.rfft(np.where(n == 0, 0.25, np.where(n % 2 == 0, 0.0, odd))).real
    frequency = fft.rfftfreq(size) * 2
    windows = {
        "ramp": np.ones_like(frequency),
        "shepp-logan": np.sinc(frequency / 2),
        "cosine": np.cos(np.pi / 2 * frequency),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * frequency),
        "hann": 0.5 + 0.5 * np.cos(np.pi * frequency),
    }
    if kernel not in windows:
        raise ValueError(f"kernel {kernel!r} is unknown; wanted one of: {', '.join(KERNELS)}")
    response = (ramp * windows[kernel]).astype(np.float32)
    return fft.irfft(fft.rfft(sinogram, size, axis=-1) * response, size, axis=-1)[..., :count]


def back_project(sinogram: Array, angles: Array, shape: tuple[int, int], told: Callable = quiet) -> Array:
    """What the detectors saw, smeared back along their lines and added up over the views; (N, j, i)."""
    columns = np.ascontiguousarray(sinogram.transpose(1, 2, 0), np.float32)
    total = np.zeros((shape[0] * shape[1], len(sinogram)), np.float32)
    for view, matrix in enumerate(_pixel_driven(shape, angles, sinogram.shape[-1])):
        told(view / len(angles))
        total += matrix @ columns[view]
    return np.ascontiguousarray(total.T).reshape(len(sinogram), *shape)


def _pixel_driven(shape: tuple[int, int], angles: Array, count: int) -> Iterator[sparse.csr_matrix]:
    """For each view the linear interpolation between the detectors that see a pixel; (j * i, detectors)."""
    height, width = shape
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    starts = np.arange(height * width + 1, dtype=np.int32) * 2
    for angle in angles:
        met = (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) + np.float32((count - 1) / 2)).ravel()
        left = np.clip(met.astype(np.int32), 0, count - 2)
        share = met - left.astype(np.float32)
        cells, weights = np.stack([left, left + 1], -1), np.stack([1 - share, share], -1)
        yield sparse.csr_matrix((weights.ravel(), cells.ravel(), starts), shape=(len(met), count), copy=False)


def filtered_back_projection(
    sinogram: Array, angles: Array, shape: tuple[int, int], kernel: str = "ramp", told: Callable = quiet
) -> Array:
    """(N, views, detectors), views evenly spaced over half a turn or a whole one -> (N, j, i), per pixel."""
    return back_project(filter_views(sinogram, kernel), angles, shape, told) * np.float32(np.pi / len(angles))
