"""Drawn structures, 0..1: what there is in microscopes, and bodies that took up a tracer."""

import numpy as np
from scipy import ndimage, spatial, special

from DLReconLib.degradations import Array, log_uniform


def micrograph(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Nuclei, filaments, membranes and grains as a microscope of limited resolution shows them; (j, i) 0..1."""
    image = np.full(shape, rng.uniform(0, 0.3))
    for draw in rng.permutation([nuclei, filaments, membranes, grains])[: int(rng.integers(1, 4))]:
        image = draw(image, rng)
    if rng.random() < 0.7:  # else coarser pixels than the resolution: edges of one pixel
        image = ndimage.gaussian_filter(image, log_uniform(rng, 0.3, 2))
    low, high = image.min(), image.max()
    image = (image - low) / max(high - low, 1e-6)
    bottom = rng.uniform(0, 0.3)
    image = bottom + (1 - bottom) * image
    return (1 - image if rng.random() < 0.3 else image).astype(np.float32)


def nuclei(image: Array, rng: np.random.Generator) -> Array:
    rows, columns = np.indices(image.shape)
    for _ in range(int(rng.integers(2, 25))):
        y, x = rng.uniform(0, image.shape[0]), rng.uniform(0, image.shape[1])
        radius, flat, angle = log_uniform(rng, 3, 25), rng.uniform(0.5, 1), rng.uniform(0, np.pi)
        u = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        v = ((rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)) / flat
        inside = special.expit((radius - np.hypot(u, v)) / log_uniform(rng, 0.05, 1.5))
        texture = ndimage.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(1, 4))
        value = rng.uniform(0.2, 1) * (1 + rng.uniform(0, 0.4) * texture / texture.std())
        image = image + inside * (value - image)
    return image


def filaments(image: Array, rng: np.random.Generator) -> Array:
    """Curves that turn slowly: the cytoskeleton, vessels."""
    drawn = np.zeros(image.shape)
    for _ in range(int(rng.integers(3, 20))):
        steps = int(rng.integers(50, 400))
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.01, 0.12), steps))
        place = rng.uniform(0, image.shape, 2)[:, None] + np.cumsum(0.5 * np.stack([np.sin(angle), np.cos(angle)]), 1)
        j, i = np.rint(place).astype(int)
        kept = (j >= 0) & (i >= 0) & (j < image.shape[0]) & (i < image.shape[1])
        drawn[j[kept], i[kept]] = rng.uniform(0.3, 1)
    width = log_uniform(rng, 0.5, 2)
    drawn = ndimage.gaussian_filter(drawn, width)
    return image + drawn / max(drawn.max(), 1e-6) * rng.uniform(0.3, 1)


def membranes(image: Array, rng: np.random.Generator) -> Array:
    """The borders between the cells of a Voronoi diagram, and another brightness for each cell."""
    count = int(rng.integers(4, 60))
    centres = rng.uniform(0, 1, (count, 2)) * image.shape
    places = np.stack(np.indices(image.shape), -1) + ndimage.gaussian_filter(
        rng.standard_normal((*image.shape, 2)), (8, 8, 0)
    ) * rng.uniform(0, 60)
    near, cell = spatial.cKDTree(centres).query(places, 2)
    border = np.exp(-(((near[..., 1] - near[..., 0]) / log_uniform(rng, 0.8, 4)) ** 2))
    inside = rng.uniform(0, 1, count)[cell[..., 0]] * rng.uniform(0, 1)
    return image + inside + border * rng.uniform(-0.8, 0.8)


def grains(image: Array, rng: np.random.Generator) -> Array:
    """A random field with a power spectrum 1 / f^p, sometimes cut in two phases: cytoplasm, tissue, matrix."""
    spectrum = np.fft.rfft2(rng.standard_normal(image.shape))
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None])
    field = np.fft.irfft2(spectrum / (frequency + 1 / max(image.shape)) ** rng.uniform(0.8, 2), image.shape)
    field = (field - field.mean()) / field.std()
    if rng.random() < 0.4:
        field = np.tanh(field / rng.uniform(0.05, 0.5))
    return image + rng.uniform(0.05, 0.4) * field


def uptake(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """A body with organs and lesions that took up a tracer differently; (k, j, i), 0 outside, most about 1, with
    some spots up to 15."""
    k, j, i = np.indices(shape, np.float32)
    body = ellipsoid((k, j, i), np.array(shape) / 2, np.array(shape) * rng.uniform(0.4, 0.9, 3), 1.0, rng)
    image = body * rng.uniform(0.3, 1)
    for size, low, high in ((0.3, 0.1, 3.0), (0.08, 1.0, 15.0)):
        for _ in range(int(rng.integers(0, 7))):
            radii = np.maximum(size * min(shape) * rng.uniform(0.3, 1.4, 3), 0.8)
            inside = body * ellipsoid((k, j, i), rng.uniform(0, shape), radii, rng.uniform(0.3, 0.8), rng)
            image = image + inside * (log_uniform(rng, low, high) - image)
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(1, 3))
    image = image * np.exp(rng.uniform(0, 0.15) * texture / texture.std())
    return ndimage.gaussian_filter(image, rng.uniform(0.5, 1.2)).astype(np.float32)


def ellipsoid(places: tuple, centre: Array, radii: Array, edge: float, rng: np.random.Generator) -> Array:
    """1 inside, 0 outside, falling over about `edge` voxels."""
    away = [(p - c) / r for p, c, r in zip(places, centre, radii, strict=True)]
    distance = (np.sqrt(sum(a**2 for a in away)) - 1) * float(np.min(radii))
    return special.expit(-distance / edge)
