"""Draws the module's icon: a section through a body, noisy on the left and clean on the right.

Run it from anywhere: `python Resources/make_icon.py`. Needs numpy only; the result is the same every time.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

SIZE = 128
FINER = 4  # drawn this much larger, then averaged, for smooth edges
ICON = Path(__file__).resolve().parents[1] / "DLRecon" / "Resources" / "Icons" / "DLRecon.png"


def draw() -> np.ndarray:
    """(row, column, RGBA), uint8."""
    rows, columns = np.mgrid[: SIZE * FINER, : SIZE * FINER] / (SIZE * FINER / 2) - 1

    def ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
        return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1

    grey = np.zeros_like(rows)
    for shape, value in (
        (ellipse(0, 0, 0.78, 0.92), 0.95),
        (ellipse(0, 0, 0.68, 0.82), 0.45),
        (ellipse(-0.28, -0.1, 0.17, 0.42), 0.15),
        (ellipse(0.28, -0.1, 0.17, 0.42), 0.15),
        (ellipse(0, 0.48, 0.2, 0.17), 0.8),
    ):
        grey[shape] = value
    noise = np.kron(np.random.default_rng(7).normal(0, 0.28, (SIZE // 4, SIZE // 4)), np.ones((4 * FINER, 4 * FINER)))
    grey = np.where(columns < 0, grey + noise, grey).clip(0, 1)

    dark, light = np.array([12, 30, 52]), np.array([235, 246, 255])
    colour = dark + grey[..., None] * (light - dark)
    colour[np.abs(columns) < 0.022] = (255, 176, 32)
    # Round corners: what is further than the radius from the inner square is transparent.
    beyond = np.hypot(*(np.maximum(np.abs(axis) - 0.78, 0) for axis in (rows, columns)))
    alpha = np.where(beyond < 0.21, 255.0, 0.0)
    image = np.dstack([colour, alpha]).reshape(SIZE, FINER, SIZE, FINER, 4).mean(axis=(1, 3))
    return np.rint(image).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """(row, column, RGBA) uint8 as a PNG file (ISO/IEC 15948)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = image.shape
    lines = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    ICON.parent.mkdir(parents=True, exist_ok=True)
    ICON.write_bytes(png(draw()))
