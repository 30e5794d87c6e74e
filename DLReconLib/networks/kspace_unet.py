"""What goes wrong in the k-space of MR slices: ringing, because its outer part was never acquired, and spikes.

Ringing of a zero-filled slice is what is missing beyond the edge of k-space. That part is filled in as by constrained
extrapolation (Block, Uecker & Frahm, "Suppression of MRI truncation artifacts using total variation constrained data
extrapolation", Int. J. Biomed. Imaging 2008), with a network to decide where the answer of total variation is to be
believed; what was acquired stays. Slices on their own grid have no room for that: their ringing is calmed by shifts.
"""

import numpy as np
import torch

from DLReconLib.networks.context import Context
from DLReconLib.networks.kspace import acquired_shares, gibbs_shifts, spike_filter
from DLReconLib.networks.resolution_unet import ResolutionUNet
from DLReconLib.resolution.acquisition import Acquisition, Axis
from DLReconLib.resolution.variation import fewer_edges

COPIES = 8  # of a slice, seen by a network that was made for volumes; the middle one counts
MULTIPLE = 4  # of the sides that the network wants
BRIGHT = 99.5  # percentile that is 1 for the network


class KspaceUNet(ResolutionUNet):
    """The weights are those of a ResolutionUNet that was trained for in-plane resolution, too: it is the same task."""

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """The mended image, slice by slice; (k, j, i) float32, 0 or more, any unit. With context.artifact "auto" spikes
        are looked for first, which stand out beyond doubt, then zero-filling; a slice without either stays as it is.
        Notes what was found and the acquired share of k-space."""
        if context.artifact in ("auto", "spike"):
            output = spike_filter(image, context)
            if context.notes["slices_with_spikes"] or context.artifact == "spike":
                context.notes["artifact"] = "spike" if context.notes["slices_with_spikes"] else "none"
                return output
        shares = acquired_shares(image)
        zero_filled = min(shares) < 1
        if context.artifact == "auto":
            context.notes |= {"artifact": "gibbs" if zero_filled else "none", "looked_for": ["spike", "gibbs"]}
        if not zero_filled:
            return image if context.artifact == "auto" else gibbs_shifts(image, context)
        context.notes["acquired_share"] = [round(s, 3) for s in shares]
        unit = np.float32(np.percentile(image, BRIGHT)) or np.float32(1)
        output = np.empty_like(image, dtype=np.float32)
        for k in range(len(image)):
            context.progress(k / len(image), f"slice {k + 1} of {len(image)}")
            output[k] = unit * self.extrapolated(image[k] / unit, shares)
        return np.maximum(output, 0)

    @torch.no_grad()
    def extrapolated(self, slice_: np.ndarray, shares: tuple[float, float]) -> np.ndarray:
        """The slice (j, i), 1 for bright tissue, with the rest of k-space filled in; shares (j, i) were acquired."""
        plane = [Axis(min(n, round(n * share)), n, "kspace") for n, share in zip(slice_.shape, shares, strict=True)]
        acquisition = Acquisition((Axis(1, 1), *plane))
        base = acquisition.consistent(acquisition.degrade(slice_[None].astype(np.float32)))
        missing = [(0, 0), *((0, -n % MULTIPLE) for n in slice_.shape)]
        device = self.head.weight.device

        def seen(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.pad(np.repeat(array, COPIES, 0), missing, mode="symmetric")).to(device)

        changes = torch.stack([seen(c) for c in fewer_edges(base, acquisition)])
        detail = self(seen(base)[None, None], changes[None])[0, 0, COPIES // 2].cpu().numpy()
        detail = detail[None, : slice_.shape[0], : slice_.shape[1]]
        return (base + detail - acquisition.consistent(acquisition.degrade(detail)))[0]
