"""What a network learns from: a batch of training pairs, and how far an answer is from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from DLReconLib.degradations import Pair

if TYPE_CHECKING:
    from DLReconLib.training.reuse import Ready

FLOOR = 2e-3  # noise below 0.2 % of the range is not worth removing


@dataclass
class Batch:
    """noisy, clean: (N, 1, D, H, W); noise: (N, 2, D/8, H/8, W/8); magnitude: (N,)."""

    noisy: Tensor
    clean: Tensor
    noise: Tensor
    magnitude: Tensor

    @classmethod
    def stack(cls, pairs: list[Pair], device: torch.device) -> "Batch":
        def tensor(arrays: list) -> Tensor:
            return torch.from_numpy(np.stack(arrays).astype(np.float32)).to(device)

        sigma = functional.avg_pool3d(tensor([p.sigma for p in pairs])[:, None], 8)
        correlation = tensor([np.float32(max(p.correlation, 0)) for p in pairs]).view(-1, 1, 1, 1, 1)
        return cls(
            tensor([p.noisy for p in pairs])[:, None],
            tensor([p.clean for p in pairs])[:, None],
            torch.cat([sigma, sigma * correlation], 1),
            tensor([np.float32(p.magnitude) for p in pairs]),
        )


def denoising_loss(residual: Tensor, batch: "Batch | Ready") -> Tensor:
    """Mean over the patches of log(MSE / sigma^2), in which every noise level weighs the same: PSNR up to sign and
    scale."""
    error = (batch.noisy - residual - batch.clean).square().mean((1, 2, 3, 4))
    level = batch.noise[:, 0].square().mean((1, 2, 3)).clamp(min=FLOOR**2)
    return (error / level + 2e-3).log().mean()


def estimation_loss(estimate: Tensor, batch: Batch) -> Tensor:
    """Mean |log| of the factor by which the noise level is misjudged, plus the error of its correlation."""
    true, found, offset = batch.noise, estimate.float(), FLOOR / 4
    ratio = ((found[:, :1] + offset) / (true[:, :1] + offset)).log().abs().mean()
    return ratio + ((found[:, 1:] - true[:, 1:]).abs() / (true[:, :1] + offset)).mean()
