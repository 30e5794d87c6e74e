"""Streaks, rings and metal in CT slices: a classical method makes the first guess, a network mends the rest.

The network gets the guess and the slice as it was, so that it can see where the guess went wrong (as for metal in
Zhang & Yu, IEEE TMI 37, 2018, section II.B; for streaks after Jin et al., IEEE TIP 26, 2017).
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from DLReconLib.networks.context import Context
from DLReconLib.networks.ct_signs import SPOKES, name_artifact, spokes
from DLReconLib.networks.metal import AT_ONCE, CLIPPED, correct_slices, find_metal
from DLReconLib.networks.rings import SMALLEST, find_centre, ring_pattern
from DLReconLib.networks.slice_unet import SliceUNet
from DLReconLib.networks.streaks import smooth_streaks

Array = np.ndarray
LOOKING, GUESSING = 0.2, 0.6  # shares of the time
# Views for each pixel of the longer side up to which the network mends streaks; on whole slices of the validation
# subjects it did better than its first guess below, and worse with more views.
FEW = 0.45
# The network changes streaks' first guess by no more than this many times what that took away around the pixel: where
# no streak was, thin structures stay. On validation slices it cost nothing on average.
MOST = 5.0
AROUND = 9  # pixels


def few_views(slice_: Array) -> bool:
    """Whether the spectrum of a (j, i) slice shows that its streaks are those of few views, see FEW."""
    clear, views = spokes(slice_)
    return clear > SPOKES and views <= FEW * max(slice_.shape)


class CtArtifactUNet(SliceUNet):
    """A SliceUNet of two inputs, see there; images are relative to water: HU / 1000 + 1."""

    def restore(self, image: Array, context: Context) -> Array:
        """The mended image; (k, j, i) float32. With context.artifact "auto" the slices are first looked through for
        the signs of artifacts, see name_artifact(). Metal itself comes back as it was, and so do slices without any.

        Notes "artifact", "confidence" for "auto", "metal_voxels" and "metal_slices", "views", or "ring_centre".
        """
        if min(image.shape[1:]) < SMALLEST:
            context.notes["artifact"] = "none"
            return image
        metal = find_metal(image)
        kind, signs = context.artifact, {}
        if kind == "auto":
            kind, signs = name_artifact(image, metal, lambda f: context.progress(LOOKING * f, "looking for artifacts"))
        context.notes |= {"artifact": kind} | signs
        if kind not in self.kinds:
            return image
        todo = np.arange(len(image))
        if kind == "metal":
            todo = np.flatnonzero(metal.any((1, 2)))
            context.notes |= {"metal_voxels": int(metal.sum()), "metal_slices": len(todo)}
        centre = find_centre(image) if kind == "ring" else None
        if centre is not None:
            context.notes["ring_centre"] = [round(float(c), 2) for c in centre]
        output = image.copy()
        for start in range(0, len(todo), AT_ONCE):
            now = todo[start : start + AT_ONCE]

            def told(fraction: float, done: int = start) -> None:
                share = (done + AT_ONCE * GUESSING * fraction) / (len(todo) + AT_ONCE)
                context.progress(LOOKING + (1 - LOOKING) * share, f"{kind}: slice {done + 1} of {len(todo)}")

            told(0)
            guess = image[now]
            if kind == "metal":
                guess = correct_slices(guess, metal[now], told=told)
            elif kind == "streak":
                guess = np.stack([smooth_streaks(s) for s in guess])
            elif kind == "ring":
                guess = np.stack([s - ring_pattern(s, centre) for s in guess])
            output[now] = guess
            mended = [kind != "streak" or few_views(s) for s in image[now]]
            if any(mended):
                output[now[mended]] = self._mend(guess[mended], image[now[mended]], kind)
        output[metal] = image[metal]
        return output

    def _mend(self, guess: Array, image: Array, kind: str) -> Array:
        """What the network makes of first guesses; of streaks within MOST times what they took away."""
        x, cut = self._channels(guess, image)
        number = torch.full((len(x),), self.kinds.index(kind), device=x.device)
        residual, _ = self(x, functional.one_hot(number, len(self.kinds)).float())
        change = -residual[:, 0][cut].cpu().numpy()
        if kind == "streak":
            most = MOST * ndimage.uniform_filter(np.abs(image - guess), (0, AROUND, AROUND))
            change = np.clip(change, -most, most)
        return guess + change

    def _channels(self, guess: Array, image: Array) -> tuple[Tensor, tuple[slice, ...]]:
        first, cut = self._tensor(guess)
        return torch.cat([first, self._tensor(np.minimum(image, CLIPPED))[0]], 1), cut
