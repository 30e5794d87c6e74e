"""Training patches: clean images and label maps from disk, cut, varied and degraded."""

import hashlib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from DLReconLib import degradations
from DLReconLib.degradations import Array, Pair
from DLReconLib.io import read_volume


@dataclass(frozen=True)
class Source:
    """An image that patches are cut from.

    image: (k, j, i) float32 in the model's unit, or integer labels.
    isotropic: whether the axes may be exchanged.
    labels: whether `image` is a label map to be painted.
    weight: how often it is drawn, relative to the others.
    fields: CT only, (2, k, j, i) float32 noise realisations in HU.
    ratio: distance of the slices in units of the in-plane spacing.
    """

    image: Array
    isotropic: bool
    labels: bool
    weight: float
    fields: Array | None = None
    ratio: float = 1.0


def block_average(image: Array, factors: tuple[int, ...]) -> Array:
    """Mean of blocks: less noise and sharper for its voxel size, hence a better target than the scan."""
    shape = [n // f for n, f in zip(image.shape, factors, strict=True)]
    cropped = image[tuple(slice(n * f) for n, f in zip(shape, factors, strict=True))]
    split = [size for pair in zip(shape, factors, strict=True) for size in pair]
    return cropped.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32)


def locate(path: str, folder: Path) -> Path:
    """A path of a split: "package:NAME/..." lies in an installed package, anything else in the data folder."""
    if path.startswith("package:"):
        package, inside = path.removeprefix("package:").split("/", 1)
        try:
            return Path(str(files(package))) / inside
        except ModuleNotFoundError as error:
            raise FileNotFoundError(f"{path}: lies in the package {package}; pip install {package}") from error
    return folder / path


def load_sources(split: dict, role: str, modality: str, folder: Path, cache: Path, noise: bool = True) -> list[Source]:
    """Read every image of the split that has the role, once for each of its block averages.

    noise: whether CT gets its noise fields, which take minutes to make.
    """
    sources = []
    for entry in split["images"]:
        if entry["role"] != role:
            continue
        volume = read_volume(locate(entry["path"], folder))
        image = volume.array
        if entry.get("labels"):
            image = image.astype(np.int16)
            box = np.argwhere(image[::4, ::4, ::4] > 0)
            low, high = box.min(0) * 4, box.max(0) * 4 + 4
            image = image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
            sources.append(Source(image, True, True, entry["weight"]))
            continue
        image = image.astype(np.float32)
        for factors in entry["averages"]:
            averaged = block_average(image, factors)
            spacing = np.array(volume.geometry.spacing) * factors[::-1]
            isotropic = bool(spacing.max() / spacing.min() < 1.5)
            weight, ratio = entry["weight"] / len(entry["averages"]), float(spacing[2] / min(spacing[:2]))
            if modality == "CT":
                averaged = np.maximum(averaged, -1000)
                fields = ct_fields(averaged, float(spacing[0]), cache) if noise else None
                sources.append(Source(averaged / 1000 + 1, isotropic and not noise, False, weight, fields, ratio))
            else:
                averaged = averaged / np.percentile(averaged, 99.5)
                sources.append(Source(averaged, isotropic, False, weight, None, ratio))
    return sources


def ct_fields(hu: Array, pixel_mm: float, cache: Path) -> Array:
    """Two noise realisations of a CT volume, made once and kept in the cache folder."""
    digest = hashlib.sha256(hu.tobytes()).hexdigest()
    path = cache / f"noise-{digest[:16]}.npy"
    if path.exists():
        return np.load(path)
    rng = np.random.default_rng(int(digest[:8], 16))
    fields = np.zeros((2, *hu.shape), np.float32)
    for k in range(0, len(hu), 4):
        photons = float(np.exp(rng.uniform(np.log(3e3), np.log(3e5))))
        for field in fields:
            noise = degradations.ct_dose_noise(hu[k : k + 4], pixel_mm, photons, rng)
            field[k : k + 4] = noise
        fields[:, k : k + 4] /= fields[:, k : k + 4].std()
    temporary = path.with_suffix(f".{os.getpid()}.part.npy")  # another process may be at the same
    np.save(temporary, fields)
    temporary.replace(path)
    return fields


class PatchMaker:
    """Draws training pairs.

    Args:
        sources: images to cut from.
        degradation: "mr-noise" or "ct-noise".
        shape: (k, j, i) of a patch.
    """

    def __init__(self, sources: list[Source], degradation: str, shape: tuple[int, int, int]) -> None:
        self.sources = sources
        self.degradation = degradation
        self.shape = shape
        self.fielded = [s for s in sources if s.fields is not None]
        weights = np.array([s.weight for s in sources], float)
        self.chances = weights / weights.sum()

    def draw(self, rng: np.random.Generator, level: float | None = None) -> Pair:
        source = self.sources[rng.choice(len(self.sources), p=self.chances)]
        labels, fields = source.labels, None
        patch, where = self._cut(source, rng)
        if labels:
            patch = self._paint(patch, rng)
        if self.degradation == "ct-noise":
            if source.fields is not None:
                fields = source.fields[:, where[0], where[1], where[2]]
            else:
                other = self.fielded[rng.integers(len(self.fielded))]
                fields = self._cut_fields(other, rng)
            patch, fields = self._turn(patch, fields, rng)
            pair = degradations.ct_noise(patch, fields, rng, level)
        else:
            patch, _ = self._turn(patch, None, rng)
            if source.isotropic and rng.random() < 0.5:
                patch = self._exchange(patch, rng)
            if not labels and rng.random() < 0.5:
                patch = degradations.remap_contrast(patch, rng)
            pair = degradations.mr_noise(patch, rng, level)
        return degradations.thin(pair, rng) if rng.random() < 0.15 else pair

    def cut_clean(self, rng: np.random.Generator) -> tuple[Array, float]:
        """A patch of any source, turned and painted but not degraded, (k, j, i) float32, and the distance of its slices
        in units of the in-plane spacing."""
        source = self.sources[rng.choice(len(self.sources), p=self.chances)]
        patch, _ = self._cut(source, rng)
        ratio = source.ratio
        if source.labels:
            thickness = len(patch) // self.shape[0]
            patch, ratio = block_average(degradations.painted_labels(patch, rng), (thickness, 1, 1)), float(thickness)
        patch, _ = self._turn(patch.astype(np.float32), None, rng)
        if source.isotropic and ratio < 1.5 and rng.random() < 0.6:
            patch = self._exchange(patch, rng)
        return patch, ratio

    def _cut(self, source: Source, rng: np.random.Generator) -> tuple[Array, tuple[slice, ...]]:
        """A patch that is not mostly air, padded by mirroring where the image is smaller."""
        depth, height, width = self.shape
        depth *= int(rng.integers(1, 6)) if source.labels and rng.random() < 0.5 else 1
        for _ in range(8):
            where = []
            for size, wanted in zip(source.image.shape, (depth, height, width), strict=True):
                start = int(rng.integers(0, max(size - wanted, 0) + 1))
                where.append(slice(start, start + min(size, wanted)))
            patch = source.image[tuple(where)]
            if np.mean(patch > (0 if source.labels else 0.1)) > 0.3:
                break
        return self._fill(patch, (depth, height, width)), tuple(where)

    def _cut_fields(self, source: Source, rng: np.random.Generator) -> Array:
        _, where = self._cut(source, rng)
        return np.stack([self._fill(f[where], self.shape) for f in source.fields])

    @staticmethod
    def _fill(patch: Array, shape: tuple[int, ...]) -> Array:
        missing = [(0, n - m) for n, m in zip(shape, patch.shape, strict=True)]
        return np.pad(patch, missing, mode="symmetric") if any(m for _, m in missing) else patch

    def _paint(self, labels: Array, rng: np.random.Generator) -> Array:
        """Synthetic anatomy; a deeper cut becomes thick slices; CT gets tissue values."""
        patch = degradations.painted_labels(labels, rng)
        patch = block_average(patch, (len(patch) // self.shape[0], 1, 1))
        if self.degradation == "ct-noise":
            patch = np.interp(patch, [0, 0.1, 0.8, 1], [0, 0.85, 1.15, rng.uniform(1.2, 2.2)]).astype(np.float32)
        return patch

    def _turn(self, patch: Array, fields: Array | None, rng: np.random.Generator) -> tuple[Array, Array | None]:
        """Random flips, and the in-plane axes exchanged in half of the cases where the patch is square."""
        if fields is not None:
            fields = np.stack([self._fill(f, self.shape) for f in fields])
        for axis in range(3):
            if rng.random() < 0.5:
                patch = np.flip(patch, axis)
                fields = None if fields is None else np.flip(fields, axis + 1)
        if self.shape[1] == self.shape[2] and rng.random() < 0.5:
            patch = patch.swapaxes(1, 2)
            fields = None if fields is None else fields.swapaxes(2, 3)
        return np.ascontiguousarray(patch), fields

    def _exchange(self, patch: Array, rng: np.random.Generator) -> Array:
        """The slice axis exchanged with another one, cropped and mirrored back to the patch's shape."""
        patch = patch.swapaxes(0, int(rng.integers(1, 3)))
        return np.ascontiguousarray(self._fill(patch[: self.shape[0], : self.shape[1], : self.shape[2]], self.shape))
