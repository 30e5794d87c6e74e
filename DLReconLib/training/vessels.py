"""Training of the likelihood of vessels: drawn tubes among other bright things, in real and painted images.

Real images hold vessels of their own, which nobody has marked: where the classical measure sees a tube in the image
as it was, the answer counts neither for nor against.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from DLReconLib.degradations import log_uniform, mr_noise, remap_contrast
from DLReconLib.degradations.structures import uptake
from DLReconLib.degradations.tubes import other, tubes
from DLReconLib.networks.objectness import objectness_map
from DLReconLib.networks.vessel_unet import look
from DLReconLib.training import Trainer
from DLReconLib.training.patches import Array, PatchMaker, Source

POOL = {"train": 1300, "validation": 48}  # examples made beforehand: drawing takes its time
MARGIN = 4  # voxels around a patch, for the local mean
SCALES, COARSE = (0.7, 1.0, 1.5, 2.2, 3.2), (1.2, 2.8)
GAMMA = 0.1
UNSURE = 0.25  # of the classical measure: this may be a vessel
POSITIVE = 4.0  # weight of voxels in tubes: they are few
CONTRAST = (1.3, 14.0)  # in units of the noise, or of the texture where that is more
DRAWN, FLAT, THIN = 0.15, 0.12, 0.1  # shares of images that are drawn, of one slice, of a few slices


@dataclass(frozen=True)
class Example:
    """seen: (k, j, i), see look(); truth: share of each voxel in a tube; counts: 0 where nobody knows; rival: the
    classical measure, for validation."""

    seen: Array
    truth: Array
    counts: Array
    rival: Array

    def turned(self, rng: np.random.Generator) -> "Example":
        """One of the 16 ways to lie that keep the slices slices."""
        parts = [self.seen, self.truth, self.counts]
        for axis in range(3):
            if rng.random() < 0.5:
                parts = [np.flip(p, axis) for p in parts]
        if parts[0].shape[1] == parts[0].shape[2] and rng.random() < 0.5:
            parts = [p.swapaxes(1, 2) for p in parts]
        return replace(self, seen=parts[0], truth=parts[1], counts=parts[2])


class ExampleMaker:
    """Draws examples. sources: of any modality. shape: (k, j, i) of a patch."""

    def __init__(self, sources: list[Source], shape: tuple[int, int, int]) -> None:
        self.shape = tuple(n + 2 * MARGIN for n in shape)
        self.cutter = PatchMaker(sources, "mr-noise", self.shape)

    def make(self, rng: np.random.Generator, rival: bool = False) -> Example:
        image, ratio, known = self._image(rng)
        if rng.random() < FLAT:  # one slice
            image, ratio = image[len(image) // 2][None], 1.0
        shape, spacing = image.shape, (ratio, 1.0, 1.0)
        before = np.zeros_like(image) if known else objectness_map(image, spacing, COARSE, GAMMA)
        level = log_uniform(rng, 0.004, 0.1)
        rough = max(1.5 * float(np.median(np.abs(image - slice_mean(image)))), level, 0.005)
        truth = np.zeros(shape, np.float32)
        for _ in range(int(rng.integers(0, 4))):
            image = image + other(shape, ratio, rng) * log_uniform(rng, *CONTRAST) * rough * rng.choice([1, 1, -1])
        for tube in tubes(shape, ratio, rng, 0 if rng.random() < 0.12 else None):
            image = image + tube * log_uniform(rng, *CONTRAST) * rough
            truth = np.maximum(truth, tube)
        if rng.random() < 0.3:
            dark = tubes(shape, ratio, rng, 1)[0]
            image = image - dark * (1 - truth) * log_uniform(rng, *CONTRAST) * rough
        noisy = mr_noise(image.astype(np.float32), rng, level).noisy
        counts = (before < UNSURE) | (truth > 0.1)
        if len(image) > 1 and rng.random() < THIN:
            noisy, truth, counts = cut_thin([noisy, truth, counts], rng)
        classical = objectness_map(noisy, spacing, SCALES, GAMMA) if rival else truth
        parts = (look(noisy, ratio), truth, counts, classical)
        return Example(*(np.clip(self._inside(p), -30, 30).astype(np.float16) for p in parts))

    def _inside(self, part: Array) -> Array:
        """Without the margin; what is thinner is mirrored, as the network sees it."""
        if len(part) < self.shape[0]:
            part = np.pad(part, ((0, self.shape[0] - len(part)), (0, 0), (0, 0)), mode="symmetric")
            return part[: -2 * MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN]
        return part[(slice(MARGIN, -MARGIN),) * 3]

    def _image(self, rng: np.random.Generator) -> tuple[Array, float, bool]:
        """(k, j, i) of about 0..1, the distance of its slices in units of the pixels, and whether all tubes in it are
        known: there are none."""
        if rng.random() < DRAWN:
            return np.clip(uptake(self.shape, rng), 0, 1.5), float(rng.choice([1, 1, 2, 4])), True
        patch, ratio = self.cutter.cut_clean(rng)
        low, high = np.percentile(patch, (1, 99))
        patch = (patch - low) / max(high - low, 1e-3)
        if rng.random() < 0.3:
            patch = remap_contrast(np.clip(patch, 0, 1.5), rng) if rng.random() < 0.7 else 1 - patch
        return np.clip(patch, -1, 3).astype(np.float32), float(np.clip(ratio, 1, 6)), False


def cut_thin(parts: list[Array], rng: np.random.Generator) -> list[Array]:
    """Two to four slices."""
    count = int(rng.integers(2, 5))
    first = int(rng.integers(0, len(parts[0]) - count + 1))
    return [p[first : first + count] for p in parts]


def slice_mean(image: Array) -> Array:
    """The mean of 3 x 3 pixels within the slice."""
    return ndimage.uniform_filter(image, (1, 3, 3), mode="nearest")


class VesselTrainer(Trainer):
    """Loss: weighted cross entropy plus soft Dice (Milletari et al., "V-Net", 3DV 2016, section 3)."""

    figures = ("validation_average_precision", "classical_average_precision")

    def make_patches(self, sources: list[Source]) -> list[Example]:
        maker = ExampleMaker(sources, self.plan.patch)

        def make(rng: np.random.Generator, number: int) -> Array:
            e = maker.make(rng, self.role != "train")
            return np.stack([e.seen, e.truth, e.counts, e.rival])

        return [Example(*e) for e in self.kept_pool(POOL[self.role], make)]

    def stack(self, chosen: list[Example]) -> list[Tensor]:
        """seen, truth and counts, each (N, 1, D, H, W) float32."""
        parts = (np.stack([getattr(e, name) for e in chosen])[:, None] for name in ("seen", "truth", "counts"))
        return [torch.from_numpy(p.astype(np.float32)).to(self.device) for p in parts]

    def train_step(self) -> float:
        rng = np.random.default_rng([self.plan.seed, self.rank, self.step, 5])
        pool = self.makers["train"]
        seen, truth, counts = self.stack([pool[n].turned(rng) for n in rng.integers(len(pool), size=self.plan.batch)])
        with self.autocast():
            found = self.parallel(seen)
        loss = vessel_loss(found, truth, counts)
        self.descend(loss)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Average precision of the network and of the classical measure on all voxels of the validation pairs whose
        truth is known."""
        pool, found = self.makers["validation"], []
        for start in range(0, len(pool), 8):
            seen, *_ = self.stack(pool[start : start + 8])
            with self.autocast():
                found.append(self.network(seen)[:, 0].float().cpu().numpy())
        truth, counts, rival = (np.stack([getattr(e, n) for e in pool]) for n in ("truth", "counts", "rival"))
        sure = counts > 0
        return tuple(average_precision(p[sure], truth[sure] >= 0.5) for p in (np.concatenate(found), rival))


def vessel_loss(found: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """found: logits; all (N, 1, D, H, W)."""
    found = found.float()
    weight = counts * (1 + (POSITIVE - 1) * truth)
    entropy = functional.binary_cross_entropy_with_logits(found, truth, reduction="none")
    entropy = (weight * entropy).sum() / (weight.sum() + 1)
    likely = torch.sigmoid(found) * counts
    both, each = (likely * truth).sum(), (likely.square() + (counts * truth).square()).sum()
    return entropy + 0.5 * (1 - (2 * both + 1) / (each + 1))


def average_precision(score: Array, truth: Array) -> float:
    """The mean of the precision over the recall, equal scores taken together; 0 where nothing is true."""
    order = np.argsort(-score.ravel(), kind="stable")
    score, hits = score.ravel()[order], np.cumsum(truth.ravel()[order])
    if not hits.size or hits[-1] == 0:
        return 0.0
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    return float((np.diff(hits[last] / hits[-1], prepend=0) * hits[last] / (last + 1)).sum())
