"""Pictures of a report: slices as PNG, plots as SVG, with numpy and nothing else."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from DLReconLib.volume import Geometry, Volume

Array = np.ndarray
ENDS = (("R", "L"), ("A", "P"), ("I", "S"))  # where LPS axes x, y, z come from and go to
# For each patient axis that is looked along: what is to the right of the screen, what is below. S is up.
SCREEN = {0: ((1, 1), (2, -1)), 1: ((0, 1), (2, -1)), 2: ((0, 1), (1, 1))}
NAMES = {0: "Sagittal", 1: "Coronal", 2: "Axial"}
SMALLEST = 8


@dataclass(frozen=True)
class Plane:
    """One slice on the screen: how it is cut out of (k, j, i), its size in mm and what lies at its borders.

    name: Axial, Coronal or Sagittal, or the nearest of them. letters: left, right, top, bottom.
    """

    name: str
    axis: int
    index: int
    swap: bool
    flips: tuple[bool, bool]
    size_mm: tuple[float, float]
    letters: tuple[str, str, str, str]

    def cut(self, array: Array) -> Array:
        """(rows, columns) as they are shown."""
        image = np.take(array, self.index, self.axis)
        image = image.T if self.swap else image
        return image[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]


def scalar(array: Array) -> Array:
    """(k, j, i); components are averaged."""
    return array if array.ndim == 3 else array.mean(axis=3, dtype=np.float32)


def planes(volume: Volume) -> list[Plane]:
    """Up to three orthogonal slices through the middle of what is not background, as a radiologist looks at them:
    the patient's right on the left, the front or the head above."""
    array = scalar(volume.array)
    low, high = np.percentile(array, (1, 99.5))
    inside = array > low + 0.2 * (high - low)
    middle = [int(np.average(np.arange(n), weights=w)) if (w := sums(inside, a)).any() else n // 2
              for a, n in enumerate(array.shape)]  # fmt: skip
    anatomy = dominant(volume.geometry)  # (patient axis, sign) of i, j, k
    found = [plane_of(array.shape, volume.geometry, anatomy, a, middle[a]) for a in range(3)]
    large = [p for p in found if min(p.cut(array).shape) >= SMALLEST]
    return sorted(large or found[:1], key=lambda p: ("Axial", "Coronal", "Sagittal").index(p.name))


def sums(inside: Array, axis: int) -> Array:
    return inside.sum(axis=tuple(a for a in range(3) if a != axis))


def dominant(geometry: Geometry) -> list[tuple[int, int]]:
    """For i, j, k: the patient axis (x, y, z) that it runs along most, each once, and in which direction."""
    left = np.abs(np.array(geometry.direction))  # rows x, y, z; columns i, j, k
    found: list[tuple[int, int]] = [(0, 1)] * 3
    for _ in range(3):
        patient, grid = np.unravel_index(int(np.argmax(left)), (3, 3))
        found[grid] = (int(patient), 1 if geometry.direction[patient][grid] >= 0 else -1)
        left[patient, :] = left[:, grid] = -1
    return found


def plane_of(shape: Sequence[int], geometry: Geometry, anatomy: list, axis: int, index: int) -> Plane:
    """The slice across the array axis 0 to 2 (k, j, i)."""
    across = anatomy[2 - axis][0]
    (right, right_sign), (down, down_sign) = SCREEN[across]
    rest = [a for a in range(3) if a != axis]  # rows, columns of the slice as it is stored
    where = {anatomy[2 - a][0]: a for a in rest}
    columns, rows = where[right], where[down]
    signs = {a: anatomy[2 - a][1] for a in rest}
    size = [shape[a] * geometry.spacing[2 - a] for a in (columns, rows)]
    left, top = (ENDS[a][::s] for a, s in ((right, right_sign), (down, down_sign)))
    return Plane(
        name=NAMES[across],
        axis=axis,
        index=index,
        swap=rows > columns,
        flips=(signs[rows] != down_sign, signs[columns] != right_sign),
        size_mm=(size[0], size[1]),
        letters=(left[0], left[1], top[0], top[1]),
    )


def window_of(volume: Volume) -> tuple[float, float, str]:
    """(lowest, highest grey, why): DICOM's window, soft tissue for CT, else percentiles."""
    try:
        centre, width = (float(str(volume.metadata[f"0028|{e}"]).split("\\")[0]) for e in ("1050", "1051"))
        if width > 1:
            return centre - width / 2, centre + width / 2, "the file's own window"
    except (KeyError, ValueError):
        pass
    if volume.modality == "CT":
        return -160.0, 240.0, "soft tissue window"
    low, high = (float(v) for v in np.percentile(scalar(volume.array), (0.5, 99.7)))
    return low, high if high > low else low + 1, "0.5th to 99.7th percentile"


def grey(image: Array, low: float, high: float) -> Array:
    return np.clip(np.rint((image.astype(np.float64) - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def png(image: Array) -> bytes:
    """(rows, columns) uint8 as a greyscale PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, columns = image.shape
    lines = np.zeros((rows, columns + 1), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = image
    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts)


def number(value: float | None) -> str:
    """Three digits, and no exponent where none is needed."""
    if value is None:
        return "not found"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def bars(title: str, before: float | None, after: float | None, unit: str, hint: str) -> str:
    """Two bars, before and after, as a figure."""
    largest = max((abs(v) for v in (before, after) if v is not None), default=0) or 1
    rows = []
    for y, (name, value) in enumerate((("before", before), ("after", after))):
        width = 0 if value is None else 150 * abs(value) / largest
        rows.append(
            f'<text x="0" y="{18 + 26 * y}">{name}</text><rect class="{name}" x="52" y="{6 + 26 * y}" '
            f'width="{width:.1f}" height="16" rx="2"/><text x="{58 + width:.1f}" y="{18 + 26 * y}">'
            f"{number(value)} {escape(unit) if value is not None else ''}</text>"
        )
    label = escape(f"{title}: {number(before)} before, {number(after)} after")
    return (f'<figure class="plot"><figcaption><b>{escape(title)}</b><br>{escape(hint)}</figcaption>'
            f'<svg viewBox="0 0 330 58" role="img" aria-label="{label}">{"".join(rows)}</svg></figure>')  # fmt: skip


def curves(title: str, x: Array, lines: dict[str, Array], x_label: str, hint: str) -> str:
    """Lines over x as a figure; names are classes of the style sheet."""
    width, height, left, bottom = 330, 150, 8, 26
    low = min(float(y.min()) for y in lines.values())
    high = max(float(y.max()) for y in lines.values())
    spread, span = (high - low) or 1.0, float(x[-1] - x[0]) or 1.0
    paths = []
    for name, y in lines.items():
        points = " ".join(
            f"{left + (width - 2 * left) * (a - x[0]) / span:.1f},{6 + (height - bottom - 6) * (high - b) / spread:.1f}"
            for a, b in zip(x, y, strict=True)
        )
        paths.append(f'<polyline class="{name}" points="{points}"/>')
    base = height - bottom
    ticks = [
        f'<text x="{left + (width - 2 * left) * f:.0f}" y="{height - 8}" text-anchor="{anchor}">'
        f"{number(float(x[0] + f * span))}</text>"
        for f, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    ]
    return (f'<figure class="plot wide"><figcaption><b>{escape(title)}</b> <span class="key before">before</span> '
            f'<span class="key after">after</span><br>{escape(hint)}; across: {escape(x_label)}</figcaption>'
            f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
            f'<line class="axis" x1="{left}" x2="{width - left}" y1="{base}" y2="{base}"/>'
            f"{''.join(paths)}{''.join(ticks)}</svg></figure>")  # fmt: skip


def histogram(before: Array, after: Array, unit: str) -> str:
    """How often each value occurs, before and after; the square root, so that small structures show."""
    low, high = (float(v) for v in np.percentile(before, (0.1, 99.9)))
    if not high > low:
        return ""
    edges = np.linspace(low, high, 121)
    counts = {n: np.sqrt(np.histogram(a, edges)[0]) for n, a in (("before", before), ("after", after))}
    return curves("Values", (edges[1:] + edges[:-1]) / 2, counts, f"value {unit}".strip(),
                  "how many voxels have a value (square root)")  # fmt: skip


def profile(plane: Plane, before: Array, after: Array, unit: str) -> str:
    """The values along the middle row of a slice, before and after."""
    rows = [plane.cut(a) for a in (before, after)]
    middle = rows[0].shape[0] // 2
    x = np.linspace(0, plane.size_mm[0], rows[0].shape[1])
    lines = {n: r[middle].astype(float) for n, r in zip(("before", "after"), rows, strict=True)}
    return curves(
        f"Profile, {plane.name.lower()}", x, lines, "mm", f"values {unit} along the middle row".replace("  ", " ")
    )
