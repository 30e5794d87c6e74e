"""A network that chooses tone curves (after Guo et al., "Zero-DCE", CVPR 2020; here monotone by construction, and for
each cell of a coarse grid instead of each pixel).

A monotone curve alone changes contrast and noise by the same factor wherever the values of two tissues are as near as
their noise. So the curve is applied to the base of the image, its edges without its noise, and what is left of the
image is added in part (Durand & Dorsey, "Fast bilateral filtering for high-dynamic-range images", SIGGRAPH 2002).

It sees which values are frequent in flat places, and which lie between two tissues, here and in the whole image. A
curve is the sum of increments that are never below FLOOR of the identity's: order is kept, and nothing vanishes.
"""

import numpy as np
import torch
from torch import Tensor, nn

from DLReconLib.networks.context import Context
from DLReconLib.networks.tone import BINS, Scene, apply, base_of, calm, survey

FLOOR = 0.25


class CurveNet(nn.Module):
    """Increments of curves.

    Args:
        features: of the hidden layers.
        local: 0 for one curve for the whole image, 1 for curves of the cells alone.
        base: apply the curves to the base of the image; else to the image itself.
        detail: how much of the rest of the image is added to its base.
    """

    def __init__(self, features: int = 96, local: float = 0.5, base: bool = True, detail: float = 0.7) -> None:
        super().__init__()
        self.local, self.base, self.detail = local, base, detail
        self.head = nn.Linear(5 * BINS + 1, features)
        self.middle = nn.Sequential(nn.ReLU(), nn.Linear(features, features), nn.ReLU())
        self.tail = nn.Linear(features, BINS)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """x: (cells, 5 BINS + 1), see describe(). Returns the increments (cells, BINS) float32, which add up to 1."""
        width = x[:, 4 * BINS : 5 * BINS].float()
        found = self.tail(self.middle(self.head(x.to(self.head.weight.dtype)))).float()
        found = smoothed(3 * torch.tanh(found / 3), grid)
        whole = found.mean(0, keepdim=True)
        logits = width.clamp(min=1e-6).log() + whole + self.local * (found - whole)
        return FLOOR * width + (1 - FLOOR) * logits.softmax(1)

    def restore(self, image: np.ndarray, context: Context) -> np.ndarray:
        """The image through its curves; (k, j, i) float32, any unit. Notes the largest slope of a curve."""
        context.progress(0.0, "looking at the values")
        scene = survey(image)
        x = torch.from_numpy(describe(scene)).to(self.head.weight.device)
        increments = self(x, scene.grid).cpu().numpy().astype(np.float64)
        slope = increments / np.maximum(np.diff(scene.edges), 1e-9)
        context.notes |= {"slopes": [round(float(slope.min()), 3), round(float(slope.max()), 3)]}
        curves = np.concatenate([np.zeros((len(increments), 1)), np.cumsum(increments, 1)], 1)
        base = base_of(image, scene, context.spacing) if self.base else image
        curves = calm(curves.reshape(*scene.grid, BINS + 1), scene.edges, image.shape)
        found = apply(base, scene, curves, context.progress)
        return found + np.float32(self.detail) * (image - base) if self.base else found


def describe(scene: Scene) -> np.ndarray:
    """(cells, 5 BINS + 1) float32: the shares of flat voxels and of crossed pairs, in the cell and in all; the widths
    of the bins; the noise."""
    here = [scene.flat, scene.crossed]
    everywhere = [np.broadcast_to(a.mean(0), a.shape) for a in here]
    shares = [np.log1p(30 * a) for a in (*here, *everywhere)]
    count = len(scene.flat)
    width = np.broadcast_to(np.diff(scene.edges), (count, BINS))
    noise = np.full((count, 1), 10 * scene.noise)
    return np.concatenate([*shares, width, noise], 1).astype(np.float32)


def smoothed(values: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """(cells, BINS) averaged over neighbouring cells by (1, 2, 1) / 4 along each axis."""
    x = values.reshape(*grid, -1)
    for axis, size in enumerate(grid):
        if size > 1:
            low, high = x.narrow(axis, 0, 1), x.narrow(axis, size - 1, 1)
            wide = torch.cat([low, x, high], axis)
            x = 0.25 * wide.narrow(axis, 0, size) + 0.5 * x + 0.25 * wide.narrow(axis, 2, size)
    return x.reshape(values.shape)
