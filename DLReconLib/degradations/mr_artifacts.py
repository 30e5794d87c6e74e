"""What goes wrong in the k-space of MR scanners: too little of it, movement between its lines, spikes.

Slices are (j, i) float32, range about 0..1; every function draws from the numpy Generator that it is given. The
spectrum of a slice is scipy.fft.fft2 of it, so the sample (0, 0) is the centre of k-space.
"""

from collections.abc import Sequence

import numpy as np
from scipy import fft, ndimage

from DLReconLib.degradations import log_uniform

Array = np.ndarray


def frequencies(size: int) -> Array:
    """Cycles per field of view, in the order of scipy.fft: 0, 1, ..., -1."""
    return fft.fftfreq(size, 1 / size)


def acquire_axis(slices: Array, lines: int, size: int, axis: int) -> Array:
    """Only the `lines` central lines of k-space along an axis, zero-filled to `size` samples; values are kept.

    The field of view stays and the half-voxel rule holds: sample m of the result lies at (m + 1/2) N / size - 1/2 in
    samples of the input. So a sharp edge gets the ringing of the Dirichlet kernel of `lines` (Bracewell, "The Fourier
    Transform and its Applications", ch. 10). Of an even number of lines the outermost is shared by both signs.
    Returns float, complex for complex slices.
    """
    count = slices.shape[axis]
    x = np.moveaxis(slices, axis, -1)
    spectrum, f = fft.fft(x, axis=-1), frequencies(count)
    weight = np.where(np.abs(f) < lines / 2, 1.0, np.where(np.abs(f) == lines / 2, 0.5, 0.0))
    if lines >= count:
        weight[:] = 1.0
    spectrum = spectrum * (weight * np.exp(1j * np.pi * f * (1 / size - 1 / count)))
    output = np.zeros((*x.shape[:-1], size), complex)
    kept = np.flatnonzero(weight)
    np.add.at(output, (..., f[kept].astype(int) % size), spectrum[..., kept])
    image = fft.ifft(output, axis=-1) * (size / count)
    return np.moveaxis(image if np.iscomplexobj(slices) else image.real, -1, axis)


def truncate(clean: Array, lines: Sequence[int], sizes: Sequence[int]) -> Array:
    """Gibbs ringing: the slice from the central `lines` (j, i) of its k-space, zero-filled to `sizes`; magnitude."""
    for axis, (count, size) in enumerate(zip(lines, sizes, strict=True)):
        if (count, size) != (clean.shape[axis],) * 2:
            clean = acquire_axis(clean, count, size, axis)
    return np.abs(clean).astype(np.float32)


def pose(slice_: Array, degrees: float) -> Array:
    """The slice turned about its centre; cubic interpolation, the edge repeated beyond it."""
    if degrees == 0:
        return slice_
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = (np.array(slice_.shape) - 1) / 2
    return ndimage.affine_transform(slice_, matrix, centre - matrix @ centre, order=3, mode="nearest")


def move(clean: Array, poses: Array, noise: Array | float = 0.0) -> Array:
    """Rigid motion between the lines of k-space.

    Args:
        clean: (j, i), lines of k-space along j.
        poses: (j, 3) in the order of frequencies(j): shift along j and i in pixels, and angle in degrees, during the
            acquisition of the line.
        noise: complex, added to the image.

    S(k) = exp(-2 pi i k . d) F{R f}(k), with the pose (R, d) of its line (Atkinson et al., IEEE TMI 1997, eq. 1);
    the image is the magnitude of its inverse transform.
    """
    height, width = clean.shape
    spectrum = np.empty((height, width), complex)
    for angle in np.unique(poses[:, 2]):
        rows = poses[:, 2] == angle
        spectrum[rows] = fft.fft2(pose(clean, float(angle)))[rows]
    kj, ki = fft.fftfreq(height)[:, None], fft.fftfreq(width)[None]
    spectrum *= np.exp(-2j * np.pi * (kj * poses[:, :1] + ki * poses[:, 1:2]))
    return np.abs(fft.ifft2(spectrum) + noise).astype(np.float32)


def random_poses(lines: int, rng: np.random.Generator) -> Array:
    """(lines, 3) for move(): a few abrupt movements, or a nearly periodic one, seen by lines that were acquired in
    order or interleaved in 2 to 8 passes; the centre of k-space in one pose, which counts as no movement."""
    order = np.argsort(frequencies(lines), kind="stable")  # from the lowest to the highest frequency
    if rng.random() < 0.4:
        passes = int(rng.integers(2, 9))
        time = np.empty(lines)
        time[np.argsort(np.arange(lines) % passes, kind="stable")] = np.arange(lines)
    else:
        time = np.arange(lines, dtype=float)
    time /= lines
    size = log_uniform(rng, 0.4, 5) * rng.normal(0, 1, 3) * [1, 1, rng.uniform(0, 1)]
    found = np.zeros((lines, 3))
    if rng.random() < 0.65:
        size = size if rng.random() < 0.8 else size * [0, 0, 1]
        for start in rng.uniform(0, 1, int(rng.integers(1, 5))):
            there = time >= start
            if rng.random() < 0.4:  # and back again
                there &= time < start + rng.uniform(0.03, 0.3)
            found[there] += size * rng.normal(0, 1, 3)
    else:
        cycles = log_uniform(rng, 2, 40)
        wave = np.sin(2 * np.pi * cycles * (time + 0.05 * np.cumsum(rng.normal(0, 1, lines)) / lines**0.5))
        found[:, :2] = size[:2] * (wave * (1 + 0.2 * rng.normal(0, 1, lines) * (rng.random() < 0.3)))[:, None]
        found[:, 2] = np.round(wave * 2) / 2 * size[2] * 0.5  # a few angles serve
    middle = lines // 2
    still = np.abs(np.arange(lines) - middle) < 0.5 * lines * rng.uniform(0.02, 0.2)
    found -= found[middle]
    found[still] = 0
    output = np.empty_like(found)
    output[order] = found
    return output


def put_spikes(clean: Array, places: Array, values: Array, noise: Array | float = 0.0) -> Array:
    """Spikes: samples (n, 2) of k-space with values (n,) complex added, each a stripe pattern of that amplitude in
    the image before the magnitude is taken; no conjugate partner, as in a scanner."""
    spectrum = np.zeros(clean.shape, complex)
    np.add.at(spectrum, tuple(np.asarray(places).T), np.asarray(values) * clean.size)
    return np.abs(clean + fft.ifft2(spectrum) + noise).astype(np.float32)


def random_spikes(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Array, Array]:
    """Places and values for put_spikes(): one to six, of 1 to 15 % of the range, now and then a few neighbours along
    a line; not in the centre, where a spike is shading."""
    places, values = [], []
    for _ in range(int(rng.integers(1, 7))):
        while True:
            place = [int(rng.integers(-(n // 2), n - n // 2)) for n in shape]
            if rng.random() < 0.5:
                place = [round(p * rng.uniform(0.1, 1)) for p in place]
            if np.hypot(*place) > 4:
                break
        level = log_uniform(rng, 0.01, 0.15)
        for step in range(1 if rng.random() < 0.75 else int(rng.integers(2, 4))):
            column = place[1] + step
            places.append((place[0] % shape[0], column % shape[1]))
            values.append(level * np.exp(2j * np.pi * rng.random()) * (1 if step == 0 else rng.uniform(0.2, 0.9)))
    return np.array(places), np.array(values)


def complex_noise(shape: tuple[int, ...], level: float, rng: np.random.Generator) -> Array:
    """Gaussian noise of standard deviation `level` in both channels."""
    return (level * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))).astype(np.complex64)


def bias_field(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """A smooth positive field (k, j, i): exp of a cubic spline through 3 to 5 random points along an axis, here and
    there with the fall of a surface coil; log b has a standard deviation of 0 to 0.35."""
    knots = rng.normal(0, 1, [int(rng.integers(3, 6)) if n > 4 else 2 for n in shape])
    places = np.meshgrid(*(np.linspace(0, m - 1, n) for m, n in zip(knots.shape, shape, strict=True)), indexing="ij")
    log = ndimage.map_coordinates(ndimage.gaussian_filter(knots, 0.7, mode="nearest"), places, order=3, mode="nearest")
    log /= log.std() + 1e-6
    if rng.random() < 0.4:
        coil = [rng.uniform(-0.3, 1.3) for _ in shape]
        grid = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
        far = sum((g - c) ** 2 for g, c in zip(grid, coil, strict=True))
        fall = -np.log(far + rng.uniform(0.2, 1))
        log = 0.5 * log + fall / (fall.std() + 1e-6)
    size = rng.uniform(0, 0.35) if rng.random() < 0.9 else 0.0
    return np.exp(size * log / (log.std() + 1e-6)).astype(np.float32)
