"""Real ultrasound, of which no truth is known: how many looks speckle seems to have, at equal sharpness of edges."""

from pathlib import Path

import numpy as np
from cases import Array, check_role
from scipy import ndimage

from DLReconLib import reconstruct
from DLReconLib.io import read_volume
from DLReconLib.models import find_card
from DLReconLib.volume import Geometry, Volume

METHODS = ("us-speckle", *(f"classical/{n}" for n in ("median", "nlm", "curvature", "gaussian", "lee", "srad")))
BLOCK = 14


def real_ultrasound(data: Path) -> list[dict]:
    """For each picture and method the equivalent number of looks, ENL = (mean / standard deviation)^2 of grey values in
    homogeneous blocks, and the sharpness of edges, at full strength and where the result is mixed with the picture
    until its edges are as sharp as ours (as it is where they are sharper)."""
    rows = []
    for path in sorted((data / "us").glob("busi_*.png")):
        check_role(f"us/{path.name}", "us-speckle")
        picture = read_volume(path).array.astype(np.float32)
        picture = picture.mean(3) if picture.ndim == 4 else picture  # grey, stored as colour
        calm, edges = blocks(picture[0]), edges_of(picture[0])
        volume, ours = Volume(picture, Geometry(), "US"), 1.0
        found = looks(picture[0], calm)
        rows.append({"image": path.stem, "method": "given", "full": [found, 1.0], "equal": found})
        for method in METHODS:
            output = reconstruct(volume, task=find_card(method).task, model=method, judge=False).volume.array
            kept = sharpness(output[0], picture[0], edges)
            ours = kept if method == METHODS[0] else ours
            share = min(1.0, max(1 - ours, 0) / max(1 - kept, 1e-6))  # sharpness is linear in the mixture
            mixed = picture + share * (output - picture)
            name = "ours" if method == METHODS[0] else method.removeprefix("classical/")
            full = [looks(output[0], calm), kept]
            rows.append({"image": path.stem, "method": name, "full": full, "equal": looks(mixed[0], calm)})
    return rows


def blocks(picture: Array) -> list[tuple[slice, slice]]:
    """The tenth of all blocks that varies least on a large scale, neither black nor white."""
    coarse = ndimage.gaussian_filter(picture, 5)
    found = []
    for j in range(8, picture.shape[0] - BLOCK, BLOCK):
        for i in range(8, picture.shape[1] - BLOCK, BLOCK):
            where = slice(j, j + BLOCK), slice(i, i + BLOCK)
            if 30 < picture[where].mean() < 200:
                found.append((float(coarse[where].std() / coarse[where].mean()), where))
    found.sort(key=lambda pair: pair[0])
    return [where for _, where in found[: max(6, len(found) // 10)]]


def looks(picture: Array, calm: list[tuple[slice, slice]]) -> float:
    """Median over the blocks; a slope of the brightness through a block is no speckle and is taken out."""
    values = []
    for where in calm:
        block = picture[where].astype(np.float64)
        places = np.stack([np.ones(block.size), *(n.ravel() for n in np.indices(block.shape))], 1)
        left = block.ravel() - places @ np.linalg.lstsq(places, block.ravel(), rcond=None)[0]
        values.append(block.mean() ** 2 / max(left.var(), 1e-6))
    return float(np.median(values))


def edges_of(picture: Array) -> tuple[Array, Array]:
    """Where the edges are (the 3 % steepest places of the smoothed picture) and their directions (2, j, i)."""
    slope = np.stack([ndimage.gaussian_filter(picture, 3, order) for order in ((1, 0), (0, 1))])
    steep = np.hypot(*slope)
    steep[:6], steep[-6:], steep[:, :6], steep[:, -6:] = 0, 0, 0, 0
    return steep > np.quantile(steep, 0.97), slope / (np.hypot(*slope) + 1e-6)


def sharpness(output: Array, picture: Array, edges: tuple[Array, Array]) -> float:
    """Mean slope across the edges, signed, so that speckle averages out, as a part of the picture's."""
    where, normal = edges

    def across(image: Array) -> float:
        slope = np.stack([ndimage.gaussian_filter(image.astype(np.float64), 1, order) for order in ((1, 0), (0, 1))])
        return float((slope * normal).sum(0)[where].mean())

    return across(output) / across(picture)
