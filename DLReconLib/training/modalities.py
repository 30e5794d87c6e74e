"""Training pairs for ultrasound, PET and microscopy: pictures from disk and drawn ones, spoiled by physics."""

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import Array, counting, log_uniform, painted_labels, remap_contrast, speckle, structures
from DLReconLib.training.patches import Source
from DLReconLib.training.restoration import RestorationPair

DRAWN = 0.5  # the share of patches that no scan lies behind
CLEAN = 0.15  # the share in which nothing is wrong, for a network that tells


class Maker:
    """Cuts patches. sources: images, at least one. shape: (k, j, i) of a patch; k is 1 for slices."""

    def __init__(self, sources: list[Source], degradation: str, shape: tuple[int, int, int]) -> None:
        self.sources, self.shape = sources, shape
        weights = np.array([s.weight for s in sources], float)
        self.chances = weights / weights.sum()

    def cut(self, rng: np.random.Generator) -> Array:
        """A patch of the shape, mirrored where an image is smaller, turned and flipped; label maps are painted."""
        source = self.sources[rng.choice(len(self.sources), p=self.chances)]
        for _ in range(6):
            starts = [
                int(rng.integers(0, max(n - m, 0) + 1)) for n, m in zip(source.image.shape, self.shape, strict=True)
            ]
            patch = source.image[tuple(slice(a, a + m) for a, m in zip(starts, self.shape, strict=True))]
            if np.mean(patch > (0 if source.labels else 0.1)) > 0.3:
                break
        missing = [(0, m - n) for n, m in zip(patch.shape, self.shape, strict=True)]
        patch = np.pad(patch, missing, mode="symmetric")
        if source.labels:
            patch = painted_labels(patch, rng)
        patch = patch[:, :: rng.choice([1, -1]), :: rng.choice([1, -1])]
        if self.shape[1] == self.shape[2] and rng.random() < 0.5:
            patch = patch.swapaxes(1, 2)
        return np.ascontiguousarray(patch, np.float32)


class SpeckleMaker(Maker):
    """Slices of anatomy and drawn tissue as echogenicity, with speckle; kind 1 is speckle."""

    def draw(self, rng: np.random.Generator, kind: int | None = None) -> RestorationPair:
        shape = self.shape[1:]
        picture = None if rng.random() < DRAWN else remap_contrast(self.cut(rng)[0], rng)
        echo = speckle.tissue(shape, picture, rng)
        scanner = speckle.Scanner.draw(rng)
        image, clean = speckle.speckle(echo, scanner, rng)
        if kind is None and rng.random() < CLEAN:
            return RestorationPair(clean[None], clean, 0)
        if rng.random() < 0.5:  # stored in 8 bits
            image = np.rint(image * 255) / np.float32(255)
        return RestorationPair(image[None], clean, 1)


class PetMaker(Maker):
    """Volumes of real and drawn uptake at a lower dose; (1, k, j, i) and (k, j, i)."""

    def draw(self, rng: np.random.Generator, kind: int | None = None) -> RestorationPair:
        if rng.random() < DRAWN:
            clean, spacing = structures.uptake(self.shape, rng), rng.uniform(2, 5.5) * np.array([1, 1, 1])
        else:
            clean, spacing = self.cut(rng), np.array([3.3, 4.7, 4.7])
            clean = np.maximum(clean, 0)
            if rng.random() < 0.3:  # sharper hot spots
                clean = clean ** rng.uniform(1, 1.5)
        return RestorationPair(counting.pet_noise(clean, spacing, rng)[None], clean)


class MicroscopyMaker(Maker):
    """Micrographs, photographs and drawn structures with noise of photons and electronics."""

    def draw(self, rng: np.random.Generator, kind: int | None = None) -> RestorationPair:
        shape = self.shape[1:]
        if rng.random() < DRAWN:
            clean = structures.micrograph(shape, rng)
        else:
            clean = self.cut(rng)[0]
            clean = rng.uniform(0, 0.2) + rng.uniform(0.5, 1) * np.clip(clean, 0, 1.2)
            if rng.random() < 0.4:
                clean = ndimage.gaussian_filter(clean, rng.uniform(0, 0.8))
        photons = log_uniform(rng, 4, 1500)
        reading = log_uniform(rng, 0.004, 0.12) if rng.random() < 0.8 else 0.0
        blur = rng.uniform(0.3, 0.8) if rng.random() < 0.25 else 0.0
        image = counting.poisson_gaussian(clean, photons, reading, blur, rng)
        if rng.random() < 0.4:  # stored in 8 bits
            image = np.rint(np.clip(image, 0, 1) * 255) / np.float32(255)
        return RestorationPair(image[None], clean.astype(np.float32))
