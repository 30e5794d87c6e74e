"""Slices that were acquired while the patient moved: two U-Nets tell how, k-space does the work.

One network knows what follows in k-space: it sees the image of the inner lines and says what the next ones add. Lines
that do not fit to that were displaced, and line_shifts.follow() turns them back, from the centre outwards. The other
network saw many moved slices and says what it would change. line_shifts.explain() finds which displaced lines explain
that; and it judges: nothing that was followed is kept if it leaves more to be changed than before. A learned prior and
the physics of motion take turns, as in "Autofocusing+" (Kuzmina et al., MICCAI 2022), without its search.

In a multi-slice scan every slice is excited again for each line, so all of them see the same movement, and tell of it
together. Where single slices explain themselves much better than all together do, each is taken by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import fft
from torch import Tensor
from torch.nn import functional

from DLReconLib.networks.context import Context, quiet
from DLReconLib.networks.line_shifts import explain, follow, turned
from DLReconLib.networks.slice_unet import SliceUNet

Array = np.ndarray
Tell = Callable[[float, str], None]  # gets the fraction done and a text
SHARES = (0.06, 0.12, 0.25, 0.5)  # of the lines of k-space that a view keeps
VIEWS = 1 + len(SHARES)
ASKED = 8  # slices that tell how the patient moved
TRUSTS = (40.0, 160.0)  # of line_shifts.follow(), all tried
LESS = 0.99  # share of the change, in mean squares, that turning may leave at most
SURE = 150.0  # evidence above which slices have moved
ALIKE = 0.3  # of the evidence of single slices, which adapt to each by itself, that all together need
ROUNDS = 3
LEAST = 12  # pixels of a side
COPIED = 8  # rows of a coarse image that are seen again beyond its ends


def views(slices: Array) -> Array:
    """The slices and what the central lines of k-space along j make of them: (n, j, i) to (n, VIEWS, j, i) float32.
    The centre of k-space was taken in one pose, so a coarse view has none of the ghosts that the fine ones have."""
    seen, size = [slices.astype(np.float32)], slices.shape[1]
    spectrum = fft.rfft(seen[0], axis=1)
    place = np.arange(spectrum.shape[1], dtype=np.float32) / (size / 2)
    for share in SHARES:
        weight = np.clip((1.2 - place / share) / 0.4, 0, 1)
        seen.append(fft.irfft(spectrum * (weight * weight * (3 - 2 * weight))[:, None], size, axis=1))
    return np.stack(seen, 1)


class MotionUNet(SliceUNet):
    """What it would change in a slice whose lines of k-space, along j, were acquired in different poses; and, in
    `following`, what the next lines add to an image of the inner ones.

    Args:
        channels, blocks: of the first network, see SliceUNet; following: channels of the second.
    """

    def __init__(
        self, channels: Sequence[int] = (32, 64, 96, 128), blocks: int = 1, following: Sequence[int] = (32, 64, 96)
    ) -> None:
        super().__init__((), channels, VIEWS, blocks)
        self.following = SliceUNet((), following, 1, blocks)

    @torch.no_grad()
    def restore(self, image: Array, context: Context) -> Array:
        """The image with its lines of k-space turned back; (k, j, i) float32, any unit. Along which of the two axes the
        lines lie, and whether all slices moved alike, is found, too. An image without evidence of movement comes back
        as it was, as do, of slices that moved by themselves, those without. Notes the artifact found, the slices that
        moved, the axis, whether they moved alike, and the evidence."""
        if min(image.shape[1:]) < LEAST:
            context.notes |= {"artifact": "none", "slices_moved": 0}
            return image
        places = np.unique(np.linspace(0, len(image) - 1, min(ASKED, len(image))).astype(int))
        tracks = []
        for axis in (0, 1):
            part = partial(part_of, context.progress, 0.3 * axis, 0.3)
            tracks.append(self._track(tensor(along(image[places], axis)), part))
        axis = int(tracks[1].evidence > tracks[0].evidence)
        slices, track = tensor(along(image, axis)), tracks[axis]
        if track.evidence <= SURE:
            moved = 0
        elif track.alike:
            output, moved = self._together(slices, places, track.factors, context), len(image)
        else:
            output, moved = self._apart(slices, context)
        context.notes |= {"artifact": "motion" if moved else "none", "slices_moved": moved}
        if not moved:
            return image
        context.notes |= {"lines_along": "ji"[axis], "moved_alike": track.alike, "evidence": round(track.evidence, 1)}
        return along(np.maximum(output.numpy(), min(0.0, float(image.min()))), axis)

    def _track(self, slices: Tensor, progress: Tell) -> "Track":
        """How slices (n, j, i) moved, if their lines lie along j."""
        changes = self.change(slices)
        lines = slices.shape[1] // 2 + 1
        before, count = float(changes.square().mean()), len(slices) * slices.shape[1]
        best, factors = 1.0, torch.ones(1)
        for number, trust in enumerate(TRUSTS if before > 0 else ()):

            def predict(coarse: Tensor, number: int = number) -> Tensor:
                progress((number + coarse.shape[1] / (2 * lines)) / (len(TRUSTS) + 1), "looking for movement")
                return self.next_lines(coarse)

            tried = follow(slices, predict, trust)
            left = max(float(self.change(turned(slices, tried)).square().mean()) / before, 1e-6)
            if left < min(best, LESS):
                best, factors = left, tried
        followed = -0.5 * count * float(np.log(best))
        together = explain(slices, changes).evidence
        apart = 0.0
        for number, (slice_, change) in enumerate(zip(slices, changes, strict=True)):
            progress((len(TRUSTS) + number / len(slices)) / (len(TRUSTS) + 1), "looking for movement")
            found = explain(slice_[None], change[None]).evidence
            apart += found if found > SURE else 0.0
        alike = best < 1 or together >= ALIKE * apart
        return Track(followed + (max(0.0, together) if alike else apart), alike, factors)

    def _together(self, slices: Tensor, places: Array, factors: Tensor, context: Context) -> Tensor:
        """All slices (k, j, i), which moved alike; those at the places tell what the factors have left."""
        told = partial(part_of, context.progress, 0.6, 0.1)
        factors = self._explained(slices[places], factors, told)
        output = torch.empty_like(slices)
        for k in range(len(slices)):
            context.progress(0.7 + 0.3 * k / len(slices), f"slice {k + 1} of {len(slices)}")
            output[k : k + 1] = self._mended(slices[k : k + 1], factors)
        return output

    def _apart(self, slices: Tensor, context: Context) -> tuple[Tensor, int]:
        """Slices of which each moved by itself, or not at all, and the number of those that did."""
        output, moved = slices.clone(), 0
        for k in range(len(slices)):
            context.progress(0.6 + 0.4 * k / len(slices), f"slice {k + 1} of {len(slices)}")
            own = slices[k : k + 1]
            if explain(own, self.change(own)).evidence > SURE:
                output[k : k + 1] = self._mended(own, self._explained(own, torch.ones(1)))
                moved += 1
        return output, moved

    def _explained(self, slices: Tensor, factors: Tensor, progress: Tell = quiet) -> Tensor:
        """The factors with what explains the changes that they leave; of slices (n, j, i) that moved alike."""
        now = turned(slices, factors)
        for number in range(ROUNDS):
            progress(number / ROUNDS, "how the patient moved")
            found = explain(now, self.change(now))
            if found.evidence <= SURE:
                break
            factors = factors * found.factors
            now = turned(slices, factors)
        return factors

    def _mended(self, slices: Tensor, factors: Tensor) -> Tensor:
        """With their lines turned back, and what the network would still change."""
        now = turned(slices, factors)
        return now + self.change(now)

    def change(self, slices: Tensor) -> Tensor:
        """What the network would add to slices (n, j, i), lines of k-space along j."""
        height, width = slices.shape[1:]
        missing = [(0, 0), (0, 0), (0, -height % self.multiple), (0, -width % self.multiple)]
        found = []
        for slice_ in slices.numpy():
            seen = np.pad(views(slice_[None]), missing, mode="symmetric")
            residual, _ = self(torch.from_numpy(seen).to(self.head.weight.device))
            found.append(-residual[:, 0, :height, :width].cpu())
        return torch.cat(found)

    def next_lines(self, coarse: Tensor) -> Tensor:
        """What `following` adds to coarse images (n, 2 m, i); the same for an image and its mirror image along j."""
        return (self._following(coarse) + mirrored(self._following(mirrored(coarse)))) / 2

    def _following(self, coarse: Tensor) -> Tensor:
        height, width = coarse.shape[1:]
        rows = torch.arange(-COPIED, height + COPIED + (-height % self.following.multiple)) % height
        seen = coarse[:, rows, None].movedim(2, 1)
        seen = functional.pad(seen, (0, -width % self.following.multiple, 0, 0), mode="reflect")
        residual, _ = self.following(seen.to(self.head.weight.device))
        return -residual[:, 0, COPIED : COPIED + height, :width].cpu()


@dataclass(frozen=True)
class Track:
    """How slices moved: evidence of it, whether they moved alike, and what undoes it then, factors of line_shifts."""

    evidence: float
    alike: bool
    factors: Tensor


def part_of(progress: Tell, begin: float, length: float, fraction: float, text: str) -> None:
    progress(begin + length * fraction, text)


def tensor(slices: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(slices, np.float32))


def mirrored(coarse: Tensor) -> Tensor:
    """Along j, about sample 0 of a periodic image, as k-space is."""
    return coarse.flip(1).roll(1, 1)


def along(slices: Array, axis: int) -> Array:
    """The slices (n, j, i) with the lines of k-space along j: themselves, or transposed."""
    return np.ascontiguousarray(slices.swapaxes(1, 2)) if axis else slices
