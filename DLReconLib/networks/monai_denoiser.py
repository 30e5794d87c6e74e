"""Networks of MONAI as residual denoisers, with the interface of NoiseUNet."""

from typing import Any

import torch
from torch import Tensor, nn

from DLReconLib.networks.noise_unet import NoiseEstimator, noise_map, split


class MonaiDenoiser(nn.Module):
    """A network of monai.networks.nets gets the detail of the image and the noise level found in it, and gives
    the residual in units of that level.

    Args:
        network: class name in monai.networks.nets, for two input channels and one output channel: BasicUNet,
            UNet, SegResNet, DynUNet, SwinUNETR, Restormer, ...
        arguments: its keyword arguments.
        estimator_channels: features of the noise estimator.

    Raises ValueError where MONAI has no such network.
    """

    def __init__(self, network: str, arguments: dict[str, Any], estimator_channels: int = 24) -> None:
        super().__init__()
        from monai.networks import nets

        if not hasattr(nets, network):
            raise ValueError(f"network {network!r} is not in monai.networks.nets; see MONAI's documentation")
        self.estimator = NoiseEstimator(estimator_channels)
        self.network = getattr(nets, network)(**arguments)

    def forward(self, x: Tensor, magnitude: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See NoiseUNet.forward; `magnitude` is not used."""
        detail, _ = split(x, next(self.estimator.parameters()).dtype)
        estimate = self.estimator(x) if noise is None or self.training else noise
        noise = estimate.detach() if noise is None else noise
        level = noise_map(noise[:, :1]).to(detail.dtype) + 1e-6
        ratio = detail / level
        return (self.network(torch.cat([ratio, detail], 1)) * level).float(), estimate
