"""The dose noise that ct-denoise learned from and is measured with: a scanner that turns the slice under its rays.

Newer degradations use the projector of tomography.py. This one stays as it is, because with another one the same seed
would give other noise, and the plan of ct-denoise and the benchmark's cases would not be repeatable.
"""

import numpy as np
import torch

Array = np.ndarray


def view_angles(views: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (views,) of the angles of a parallel-beam scanner, over half a turn."""
    angles = torch.arange(views) * (torch.pi / views)
    return torch.cos(angles), torch.sin(angles)


def _rotation_grid(cosine: torch.Tensor, sine: torch.Tensor, size: int) -> torch.Tensor:
    zero = torch.zeros_like(cosine)
    matrices = torch.stack([torch.stack([cosine, -sine, zero], -1), torch.stack([sine, cosine, zero], -1)], 1)
    return torch.nn.functional.affine_grid(matrices, [len(cosine), 1, size, size], align_corners=False)


def project(slices: torch.Tensor, views: int) -> torch.Tensor:
    """Line integrals in pixels: (N, size, size) -> (N, views, size)."""
    size = slices.shape[-1]
    cosines, sines = view_angles(views)
    sums = []
    for c, s in zip(cosines.split(1), sines.split(1), strict=True):
        grid = _rotation_grid(c, s, size)
        turned = torch.nn.functional.grid_sample(slices[None], grid, align_corners=False)
        sums.append(turned.sum(2)[0])
    return torch.stack(sums, 1)


def backproject(sinogram: torch.Tensor) -> torch.Tensor:
    """Filtered back-projection with the Ram-Lak filter (Kak & Slaney 1988, eq. 3.61):
    (N, views, size) -> (N, size, size), per pixel."""
    count, views, size = sinogram.shape
    padded = 2 * size
    n = torch.fft.fftfreq(padded, 1 / padded)
    kernel = torch.where(n == 0, 0.25, torch.where(n % 2 == 0, 0.0, -1 / (torch.pi * n.abs().clamp(min=1)) ** 2))
    ramp = torch.fft.rfft(kernel).real
    filtered = torch.fft.irfft(torch.fft.rfft(sinogram, n=padded) * ramp, n=padded)[..., :size]
    cosines, sines = view_angles(views)
    centre = (torch.arange(size) - (size - 1) / 2).float()
    image = torch.zeros(count, size, size)
    for view, (c, s) in enumerate(zip(cosines, sines, strict=True)):
        position = centre[None, :] * c + centre[:, None] * s + (size - 1) / 2
        left = position.floor().clamp(0, size - 2).long()
        weight = (position - left).clamp(0, 1)
        row = filtered[:, view]
        image += row[:, left] * (1 - weight) + row[:, left + 1] * weight
    return image * (torch.pi / views)


def ct_dose_noise(hu: Array, pixel_mm: float, photons: float, rng: np.random.Generator) -> Array:
    """The noise of a CT scan at a dose, without its signal: (k, j, i) HU in, (k, j, i) HU out.

    Each slice is projected (parallel beam, water 0.0195/mm at 60-70 keV), `photons` per detector element
    suffer Poisson statistics and electronic noise of 10 photons, and the difference to the noiseless
    sinogram is reconstructed with the Ram-Lak kernel: streaks through dense bone and photon starvation
    come out as they do in scanners (Zeng et al., IEEE TNS 2015, eq. 1-4).
    """
    height, width = hu.shape[1:]
    size = int(np.ceil(np.hypot(height, width) / 8) * 8)
    views = min(size, 360)
    mu = np.clip(hu / 1000 + 1, 0, None) * 0.0195 * pixel_mm
    top, left = (size - height) // 2, (size - width) // 2
    margins = ((0, 0), (top, size - height - top), (left, size - width - left))
    padded = torch.from_numpy(np.pad(mu.astype(np.float32), margins))
    with torch.no_grad():
        line = project(padded, views)
        expected = photons * np.exp(-line.numpy())
        counts = rng.poisson(expected) + rng.normal(0, 10, expected.shape)
        measured = -np.log(np.maximum(counts, 0.5) / photons)
        noise = backproject(torch.from_numpy((measured - line.numpy()).astype(np.float32)))
    noise = noise[:, top : top + height, left : left + width].numpy()
    return noise / (0.0195 * pixel_mm) * 1000
