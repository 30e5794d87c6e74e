"""Training pairs for a network that mends the answer of the cosine filter: the filter runs once on each of a pool."""

from functools import lru_cache

import numpy as np

from DLReconLib.degradations import Array
from DLReconLib.networks.guided_unet import guided
from DLReconLib.training.modalities import MicroscopyMaker, PetMaker
from DLReconLib.training.patches import Source
from DLReconLib.training.restoration import RestorationPair

# Of each degradation: who draws, the shape of what is drawn, how many there are, and the depth of the filter's blocks.
POOLS = {
    "micro-noise": (MicroscopyMaker, (1, 160, 160), 2000, 1),
    "pet-noise": (PetMaker, (40, 40, 40), 400, 4),
}


class GuidedMaker:
    """Cuts patches from a pool of images that were spoiled and filtered once, turned and mirrored.

    Args:
        sources, degradation: see MAKERS.
        patch: (k, j, i) of a patch.
    """

    floor = 1e-6

    def __init__(self, sources: list[Source], degradation: str, patch: tuple[int, int, int]) -> None:
        drawing, shape, self.count, self.depth = POOLS[degradation]
        self.inner, self.patch = drawing(sources, degradation, shape), patch
        self.whole = lru_cache(None)(self._whole)

    def draw(self, rng: np.random.Generator, kind: int | None = None) -> RestorationPair:
        whole = self.whole(int(rng.integers(self.count)))
        starts = [int(rng.integers(0, n - m + 1)) for n, m in zip(whole.shape[1:], self.patch, strict=True)]
        cut = whole[(slice(None), *(slice(a, a + m) for a, m in zip(starts, self.patch, strict=True)))]
        for axis in (1, 2, 3):
            cut = np.flip(cut, axis) if rng.random() < 0.5 else cut
        cut = cut.swapaxes(2, 3) if self.patch[1] == self.patch[2] and rng.random() < 0.5 else cut
        cut = np.ascontiguousarray(cut, np.float32)
        cut = cut[:, 0] if len(cut[0]) == 1 else cut
        return RestorationPair(cut[:3], cut[3])

    def _whole(self, number: int) -> Array:
        """The channels of GuidedUNet and the truth, (4, k, j, i) float16."""
        rng = np.random.default_rng([number, len(self.inner.sources)])
        pair = self.inner.draw(rng)
        image, clean = (a.reshape(self.inner.shape) for a in (pair.image[0], pair.clean))
        return np.concatenate([guided(image, self.depth), clean[None]]).astype(np.float16)
