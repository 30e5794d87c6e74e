"""SliceUNet for what goes wrong in k-space: it starts from the best classical answer and adds to it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.context import Context
from DLReconLib.networks.kspace import acquired_shares, unring, without_spikes
from DLReconLib.networks.slice_unet import TINY, SliceUNet

STARTS = ("spike",)  # kinds whose classical answer is the start; of others it is a hint
GAIN = 4.0  # of what the classical answer changes, a small image
SMOOTH = ((3, 1), (1, 3), (3, 3), (7, 1), (1, 7))  # windows (j, i) whose binomial means the network may mix in


def classical_answer(kind: str, slices: np.ndarray) -> np.ndarray:
    """What the classical method says to slices (k, j, i), float32; the slices themselves where there is none."""
    if kind == "gibbs":
        return unring(slices, acquired_shares(slices))
    if kind == "spike":
        return np.stack([without_spikes(s)[0] for s in slices])
    return slices


def binomial(image: Tensor, window: tuple[int, int]) -> Tensor:
    """(N, 1, H, W) smoothed by binomial weights over `window` (j, i), the edge repeated."""
    for axis, width in enumerate(window):
        if width > 1:
            row = torch.tensor([1.0])
            for _ in range(width - 1):
                row = functional.pad(row, (0, 1)) + functional.pad(row, (1, 0))
            shape = (1, 1, width, 1) if axis == 0 else (1, 1, 1, width)
            sides = (0, 0, width // 2, width // 2) if axis == 0 else (width // 2, width // 2, 0, 0)
            kernel = (row / row.sum()).view(shape).to(image)
            image = functional.conv2d(functional.pad(image, sides, mode="replicate"), kernel)
    return image


class KspaceUNet(SliceUNet):
    """Residual of slices with what k-space suffered. At every pixel it mixes the image, the classical answer and
    smoothed images with weights of its own, and adds the rest: a network that predicts weights learns in far fewer
    steps than one that predicts values (Bako et al., ACM TOG 2017, section 4.2).

    Args: kinds, channels, blocks as of SliceUNet.
    """

    def __init__(self, kinds: Sequence[str], channels: Sequence[int] = (32, 64, 96, 128), blocks: int = 1) -> None:
        super().__init__(kinds, channels, 2, blocks)
        self.tail = nn.Conv2d(channels[0], 4 * (2 + len(SMOOTH)), 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)
        self.register_buffer("starts", torch.tensor([float(k in STARTS) for k in kinds]), persistent=False)

    def forward(self, x: Tensor, kind: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Args:
            x: (N, 2, H, W), the image and the classical answer for its kind; (N, 1, H, W) for naming alone.
            kind: (N, kinds), or None or zeros, where the second channel is not looked at.

        Returns as SliceUNet.forward: the mended image is x[:, :1] - residual.
        """
        x = x.float()
        image = x[:, :1]
        kind = x.new_zeros(len(x), len(self.kinds)) if kind is None else kind
        known = kind.sum(1)[:, None, None, None]
        change = (image - x[:, 1:2]) * known if x.shape[1] > 1 else torch.zeros_like(image)
        begun = change * (kind @ self.starts.to(kind.dtype))[:, None, None, None]
        start = image - begun
        seen = torch.cat([start, GAIN * change + start.mean((2, 3), keepdim=True)], 1)
        found, logits = super().forward(seen, kind)
        scale = (start - start.mean((2, 3), keepdim=True)).abs().mean((2, 3), keepdim=True) + TINY
        with torch.autocast(x.device.type, enabled=False):
            changes = [GAIN * change, *(start - binomial(start, window) for window in SMOOTH)]
        weights = found[:, 1:] / scale
        return found[:, :1] + (weights * torch.cat(changes, 1)).sum(1, keepdim=True) + begun, logits

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """The mended image, slice by slice; (k, j, i) float32, any unit. Notes as SliceUNet.restore."""
        chosen = self._choose(image, context)
        if chosen is None:
            return image
        name = self.kinds[int(chosen.argmax())]
        output = np.empty_like(image)
        shares = acquired_shares(image) if name == "gibbs" else None
        for k in range(len(image)):
            context.progress(0.3 + 0.7 * k / len(image), f"slice {k + 1} of {len(image)}")
            slices = image[k : k + 1]
            answer = unring(slices, shares) if shares else classical_answer(name, slices)
            pair = [self._tensor(part) for part in (slices, answer)]
            residual, _ = self(torch.cat([p[0] for p in pair], 1), chosen)
            output[k] = (slices - residual[:, 0][pair[0][1]].cpu().numpy())[0]
        return output
