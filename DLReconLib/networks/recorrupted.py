"""Pairs to learn from that are made of one noisy image, and the error to expect, without any clean image.

To the image y noise n' of its own kind is drawn: y + a n' and y - n' / a. Their noise is independent, so that learning
the one from the other is learning the truth (Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021, eq. 7). Unlike
masked voxels or half images this holds for correlated noise, too, and at the full resolution.
"""

import numpy as np

from DLReconLib.networks.noise_spectrum import Noise

Array = np.ndarray
ALPHA = 0.5  # of the noise added to what is learned from
HELD = 32  # side of the squares that are kept from learning
SHARE = 0.15  # how much of the image they are


class Recorrupted:
    """Pairs of an image (k, j, i) float32 and what is known of its noise; everything is drawn from the seed.

    scale: standard deviation of the noise at each voxel. held: (j, i) bool, squares that are kept from learning.
    """

    def __init__(self, image: Array, noise: Noise, seed: int = 0) -> None:
        self.image, self.noise, self.rng = image, noise, np.random.default_rng(seed)
        self.scale = noise.levels(image) * np.float32(noise.sigma)
        self.held = self._squares()

    def _squares(self) -> Array:
        shape = self.image.shape[1:]
        counts = [-(-n // HELD) for n in shape]
        chosen = np.zeros(counts, bool).ravel()
        chosen[self.rng.permutation(chosen.size)[: max(1, round(SHARE * chosen.size))]] = True
        held = np.kron(chosen.reshape(counts), np.ones((HELD, HELD), bool))[: shape[0], : shape[1]]
        if held.all():  # a tiny image: a quarter of it
            held[shape[0] // 2 :] = False
            held[:, shape[1] // 2 :] = False
        return held

    def draw(self) -> tuple[Array, Array]:
        """What is to be learned from, and the target; both (k, j, i) float32 in the unit of the image."""
        drawn = self.noise.draw(self.image, self.rng)
        return self.image + np.float32(ALPHA) * drawn, self.image - drawn / np.float32(ALPHA)

    @property
    def noise_of_seen(self) -> Noise:
        """That of what is learned from."""
        return Noise(self.noise.spectrum * np.float32(1 + ALPHA**2), self.noise.brightness, self.noise.level)

    def risk(self, answer: Array, target: Array) -> float:
        """Mean squared error to expect of an answer to the one where the image is kept from learning, target being the
        other; in variances of the noise: 1 is that of the image as it is."""
        removed, drawn, scale = (a[:, self.held] for a in (answer - self.image, self.image - target, self.scale))
        # The mean of (answer - target)^2 without that of drawn^2, which is known.
        return float(np.mean((removed**2 + 2 * removed * drawn) / scale**2, dtype=np.float64) - 1)

    def windows(self, count: int, sides: tuple[int, int, int]) -> list[tuple[slice, slice, slice]]:
        """Places at random, smaller where the image is."""
        found = []
        for _ in range(count):
            pairs = zip(self.image.shape, sides, strict=True)
            starts = [int(self.rng.integers(0, max(n - s, 0) + 1)) for n, s in pairs]
            found.append(tuple(slice(a, a + s) for a, s in zip(starts, sides, strict=True)))
        return found


def middle(shape: tuple[int, ...], most: tuple[int, int, int]) -> tuple[slice, ...]:
    """The middle of an image, at most so many voxels along each axis."""
    return tuple(
        slice((n - min(n, m)) // 2, (n - min(n, m)) // 2 + min(n, m)) for n, m in zip(shape, most, strict=True)
    )
