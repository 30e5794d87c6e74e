"""Draw the thumbnails of the module's sample data: 260 x 280 pixels, noisy on the left and clean on the right.

Run it from anywhere: `python Resources/make_thumbnails.py`. The brain is a slice of the example in DLReconLib;
the others are drawn, because the images themselves are only downloaded. The result is the same every time.
"""

from pathlib import Path

import numpy as np
from make_icon import png

from DLReconLib.demo import noisy_example

WIDTH, HEIGHT = 260, 280
FINER = 3  # drawn this much larger, then averaged, for smooth edges
FOLDER = Path(__file__).resolve().parents[1] / "DLRecon" / "Resources" / "Icons"
ROWS, COLUMNS = np.mgrid[: HEIGHT * FINER, : WIDTH * FINER] / (WIDTH * FINER / 2) - np.array(
    [HEIGHT / WIDTH, 1.0]
).reshape(2, 1, 1)  # 1 is half the width


def ellipse(x: float, y: float, a: float, b: float, turn: float = 0.0) -> np.ndarray:
    c, s = np.cos(turn), np.sin(turn)
    u, v = (COLUMNS - x) * c + (ROWS - y) * s, (ROWS - y) * c - (COLUMNS - x) * s
    return (u / a) ** 2 + (v / b) ** 2 < 1


def draw(shapes: list[tuple[np.ndarray, float]], noise: float) -> np.ndarray:
    """(row, column) 0 to 1: later shapes cover earlier ones; grains of noise on the left half."""
    grey = np.zeros_like(ROWS)
    for shape, value in shapes:
        grey[shape] = value
    fine = np.random.default_rng(7).normal(0, noise, (HEIGHT // 2, WIDTH // 2))
    grains = np.kron(fine, np.ones((2 * FINER, 2 * FINER)))
    grey = np.where(COLUMNS < 0, np.abs(grey + grains), grey)
    return grey.reshape(HEIGHT, FINER, WIDTH, FINER).mean(axis=(1, 3))


def head() -> np.ndarray:
    """A head from the front: scalp, skull, brain, fissure, ventricles, cerebellum, neck."""
    return draw(
        [
            (ellipse(0, 0.95, 0.42, 0.6), 0.6),
            (ellipse(-0.74, 0.3, 0.08, 0.2), 0.6),
            (ellipse(0.74, 0.3, 0.08, 0.2), 0.6),
            (ellipse(0, 0, 0.74, 0.95), 0.85),
            (ellipse(0, -0.06, 0.66, 0.82), 0.1),
            (ellipse(0, -0.14, 0.61, 0.7), 0.6),
            (ellipse(0, -0.5, 0.015, 0.34), 0.15),
            (ellipse(-0.1, -0.16, 0.05, 0.17, -0.35), 0.15),
            (ellipse(0.1, -0.16, 0.05, 0.17, 0.35), 0.15),
            (ellipse(0, 0.05, 0.02, 0.12), 0.15),
            (ellipse(-0.2, 0.5, 0.26, 0.17, -0.3), 0.5),
            (ellipse(0.2, 0.5, 0.26, 0.17, 0.3), 0.5),
            (ellipse(0, 0.72, 0.09, 0.35), 0.68),
        ],
        0.16,
    )


def tumor() -> np.ndarray:
    """A section through a head with a bright tumor beside the ventricles."""
    return draw(
        [
            (ellipse(0, 0, 0.82, 0.98), 0.8),
            (ellipse(0, 0, 0.74, 0.9), 0.1),
            (ellipse(0, 0, 0.69, 0.84), 0.45),
            (ellipse(-0.14, -0.1, 0.07, 0.3, 0.2), 0.12),
            (ellipse(0.14, -0.1, 0.07, 0.3, -0.2), 0.12),
            (ellipse(0.38, 0.24, 0.22, 0.2), 0.95),
            (ellipse(0.4, 0.25, 0.1, 0.08), 0.55),
        ],
        0.16,
    )


def chest() -> np.ndarray:
    """A section through a chest: lungs, heart, vessels, spine, ribs."""
    ribs = [
        (ellipse(0.82 * np.cos(t), 0.58 * np.sin(t), 0.07, 0.035, t + 1.57), 1.0) for t in np.arange(0.35, 6.2, 0.52)
    ]
    vessels = [(ellipse(x * 0.45 + dx, dy, 0.025, 0.025), 0.6) for x in (-1, 1)
               for dx, dy in ((-0.1, -0.2), (0.08, -0.05), (-0.02, 0.15), (0.1, 0.2), (-0.16, 0.02))]  # fmt: skip
    return draw(
        [
            (ellipse(0, 0, 0.95, 0.72), 0.4),
            (ellipse(0, 0, 0.88, 0.65), 0.55),
            *ribs,
            (ellipse(-0.45, 0, 0.32, 0.48), 0.06),
            (ellipse(0.45, 0, 0.32, 0.48), 0.06),
            *vessels,
            (ellipse(0.12, -0.1, 0.28, 0.26), 0.62),
            (ellipse(0, 0.45, 0.13, 0.13), 1.0),
            (ellipse(0, 0.43, 0.05, 0.05), 0.5),
            (ellipse(0.16, 0.26, 0.07, 0.07), 0.68),
        ],
        0.13,
    )


def brain() -> np.ndarray:
    """The middle slice of the example, noisy on the left, its clean average on the right."""
    clean, noisy, peak = noisy_example()
    k = len(noisy.array) // 2
    left, right = (np.flipud(volume.array[k].astype(float)) / peak for volume in (noisy, clean))
    half = np.where(np.arange(left.shape[1]) < left.shape[1] // 2, left, right)
    scale = min(HEIGHT / half.shape[0], WIDTH / half.shape[1])
    # Nearest voxels: the noise is to be seen as it is.
    rows = ((np.arange(HEIGHT) - HEIGHT / 2) / scale + half.shape[0] / 2).astype(int)
    columns = ((np.arange(WIDTH) - WIDTH / 2) / scale + half.shape[1] / 2).astype(int)
    inside = np.outer((rows >= 0) & (rows < half.shape[0]), (columns >= 0) & (columns < half.shape[1]))
    picked = half[np.clip(rows, 0, half.shape[0] - 1)][:, np.clip(columns, 0, half.shape[1] - 1)]
    return np.where(inside, picked, 0.0)


def finish(grey: np.ndarray) -> np.ndarray:
    """(row, column, RGBA) uint8 in the colours of the icon, with its amber line."""
    colour = np.repeat((255 * np.clip(grey, 0, 1))[..., None], 3, axis=2)
    colour[:, WIDTH // 2 - 1 : WIDTH // 2 + 1] = (255, 176, 32)
    return np.rint(np.dstack([colour, np.full(grey.shape, 255.0)])).astype(np.uint8)


THUMBNAILS = {"DLReconNoisyBrain": brain, "DLReconHeadMR": head, "DLReconTumorMR": tumor, "DLReconChestCT": chest}

if __name__ == "__main__":
    for name, picture in THUMBNAILS.items():
        (FOLDER / f"{name}.png").write_bytes(png(finish(picture())))
