"""Networks of MONAI as they are: one channel in, one channel out; what others trained runs by its weights alone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from DLReconLib.networks.allowed import check_arguments
from DLReconLib.networks.identity import NoNoise

PREDICTS = ("image", "residual")


class Imported(nn.Module):
    """A network of monai.networks.nets with the interface of NoiseUNet.

    Args:
        network: one of allowed.NETWORKS.
        arguments: its keyword arguments; for two dimensions it sees slice by slice.
        predicts: "image", or "residual": what is to be taken away.
        multiple: what the sides of its input must be multiples of; it is extended by its edge values.

    Raises ValueError as check_arguments does, or for another `predicts`.
    """

    def __init__(self, network: str, arguments: dict[str, Any], predicts: str = "image", multiple: int = 32) -> None:
        super().__init__()
        check_arguments(network, arguments)
        if predicts not in PREDICTS or not (isinstance(multiple, int) and 1 <= multiple <= 256):
            raise ValueError(f"predicts {predicts!r}, multiple {multiple!r}; wanted image or residual, and 1 to 256")
        from monai.networks import nets

        self.flat = arguments.get("spatial_dims", 3) == 2
        self.predicts, self.multiple = predicts, multiple
        self.estimator = NoNoise()
        self.network = getattr(nets, network)(**arguments)

    def forward(self, x: Tensor, magnitude: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See NoiseUNet.forward; `magnitude` and `noise` are not used."""
        size = x.shape[2:]
        missing = [-n % self.multiple for n in size]
        if self.flat:
            missing[0] = 0
        padded = functional.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
        seen = padded.to(next(self.network.parameters()).dtype)
        if self.flat:
            seen = seen.transpose(1, 2).flatten(0, 1)
        answer = self.network(seen)
        if not torch.is_tensor(answer) or answer.shape != seen.shape:
            found = tuple(answer.shape) if torch.is_tensor(answer) else type(answer).__name__
            raise ValueError(f"the network gave {found} for {tuple(seen.shape)}; wanted one channel on the same grid")
        if self.flat:
            answer = answer.unflatten(0, (len(x), -1)).transpose(1, 2)
        answer = answer[..., : size[0], : size[1], : size[2]].float()
        residual = answer if self.predicts == "residual" else x.float() - answer
        return residual, self.estimator(x)
