"""Training patches for super-resolution: fine patches, made coarse by the acquisition and interpolated again.

The network learns what A cannot see: the target is the fine patch minus its own consistent spline, so that noise in
the coarse image, which the acquisition's guarantee keeps, is no part of it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import log_uniform, painted_labels, remap_contrast
from DLReconLib.resolution.acquisition import PROFILES_OF, Acquisition, Axis
from DLReconLib.resolution.variation import fewer_edges
from DLReconLib.training.patches import Array, PatchMaker, Source, block_average

NOISY = 0.3  # the share of the pairs whose coarse image has noise
SOFT = 0.25  # the share of the fine patches that a scanner has interpolated or smoothed: there is no more to be found
KINDS = {"through-plane": 0.6, "in-plane": 0.22, "all axes": 0.18}


@dataclass(frozen=True)
class ResolutionPair:
    """float32, unit of the model.

    acquisition: what made the coarse patch. base: (k, j, i) fine, its consistent spline. changes: (3, k, j, i), see
    fewer_edges(). target: (k, j, i) what is to be added to the base.
    """

    acquisition: Acquisition
    base: Array
    changes: Array
    target: Array


class ResolutionPatchMaker:
    """Draws training pairs.

    Args:
        sources: images to cut from; the fields of CT noise are not used.
        degradation: "mr-resolution" or "ct-resolution".
        shape: (k, j, i) of a patch.
    """

    def __init__(self, sources: list[Source], degradation: str, shape: tuple[int, int, int]) -> None:
        self.slices, self.plane = PROFILES_OF[degradation[:2].upper()]
        self.tissue = degradation == "ct-resolution"
        self.shape = shape
        self.cutter = PatchMaker(sources, "mr-noise", shape)

    def draw(self, rng: np.random.Generator, factors: tuple[float, float, float] | None = None) -> ResolutionPair:
        """factors: along k, j, i; by default random, up to 4."""
        fine = self._fine(rng)
        if factors is None:
            factors = random_factors(rng)
        acquisition = self._acquisition(fine.shape, factors, rng)
        clean = acquisition.degrade(fine)
        base = acquisition.consistent(clean)
        target = fine - base
        if rng.random() < NOISY:
            noise = rng.standard_normal(clean.shape, np.float32) * np.float32(log_uniform(rng, 0.001, 0.02))
            base = base + acquisition.consistent(noise)
        return ResolutionPair(acquisition, base, np.stack(fewer_edges(base, acquisition)), target)

    def _fine(self, rng: np.random.Generator) -> Array:
        """A patch with a random axis as that of the slices; of thick slices mostly one that lies in them."""
        cutter = self.cutter
        source = cutter.sources[rng.choice(len(cutter.sources), p=cutter.chances)]
        axis = int(rng.integers(3)) if source.isotropic or rng.random() < 0.2 else int(rng.integers(1, 3))
        turned = Source(np.moveaxis(source.image, axis, 0), source.isotropic, source.labels, source.weight)
        patch, _ = cutter._cut(turned, rng)
        if source.labels:
            patch = painted_labels(patch, rng)
            patch = block_average(patch, (len(patch) // cutter.shape[0], 1, 1))
            if self.tissue:
                patch = np.interp(patch, [0, 0.1, 0.8, 1], [0, 0.85, 1.15, rng.uniform(1.2, 2.2)])
        patch, _ = cutter._turn(patch.astype(np.float32), None, rng)
        if not source.labels and not self.tissue and rng.random() < 0.4:
            patch = remap_contrast(patch, rng)
        return softened(patch, rng) if rng.random() < SOFT else patch

    def _acquisition(self, shape: tuple[int, ...], factors: tuple[float, ...], rng: np.random.Generator) -> Acquisition:
        """A few thicknesses of slices, so that the matrices can be kept."""
        width = float(rng.choice([0.8, 0.9, 1.0, 1.0, 1.1]))
        sliced = factors[0] > factors[1]  # else it is a 3D acquisition, or the slices stay
        profiles = (self.slices, width) if sliced else (self.plane, 1.0), (self.plane, 1.0), (self.plane, 1.0)
        axes = [Axis(round(n / f), n, *p) for n, f, p in zip(shape, factors, profiles, strict=True)]
        return Acquisition(tuple(axes))


def softened(patch: Array, rng: np.random.Generator) -> Array:
    """As from a scanner that interpolates in-plane, by zeros in k-space, or smooths."""
    if rng.random() < 0.5:
        return ndimage.gaussian_filter(patch, [0, *rng.uniform(0.4, 1.2, 2)], mode="reflect")
    axes = [Axis(round(n / rng.uniform(1.2, 2.2)), n, "kspace") for n in patch.shape[1:]]
    interpolating = Acquisition((Axis(patch.shape[0], patch.shape[0]), *axes))
    return interpolating.consistent(interpolating.degrade(patch))


def random_factors(rng: np.random.Generator) -> tuple[float, float, float]:
    kind = rng.choice(list(KINDS), p=list(KINDS.values()))
    thick = float(rng.choice([2.0, 3.0, 4.0]) if rng.random() < 0.6 else rng.uniform(1.3, 4))
    plane = 2.0 if rng.random() < 0.7 else float(rng.uniform(1.3, 2.5))
    if kind == "through-plane":
        return thick, 1.0, 1.0
    return (1.0 if kind == "in-plane" else thick if rng.random() < 0.5 else plane), plane, plane
