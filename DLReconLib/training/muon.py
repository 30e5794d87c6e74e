"""Muon: momentum whose matrices are made orthogonal (Jordan et al., "Muon: an optimizer for hidden layers in neural
networks", 2024). In trials of this project it needed about half the steps of Adam.

torch.optim.Muon takes two-dimensional parameters only; the kernels of convolutions have five.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonalised(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Nearly U V^T of the singular value decomposition U S V^T, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315  # the paper's coefficients: singular values end between 0.7 and 1.2
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """For kernels (outputs, inputs, ...), taken as matrices (outputs, rest); Nesterov momentum.

    Args:
        params: tensors with two dimensions or more.
        lr: the spectral norm of an update, times sqrt(max(1, outputs / rest)).
        momentum, weight_decay: as in SGD, the latter decoupled.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is None:
                    continue
                state = self.state[value]
                momentum = state.setdefault("momentum", torch.zeros_like(value))
                momentum.lerp_(value.grad, 1 - group["momentum"])
                update = value.grad.lerp(momentum, group["momentum"]).flatten(1)
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                value.mul_(1 - group["lr"] * group["weight_decay"])
                value.add_(orthogonalised(update).view_as(value), alpha=-group["lr"] * scale)


def make_optimizers(network: nn.Module, rate: float, muon_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the inner kernels, AdamW for the first and last layers (head, tail), for the estimator and for what
    is too small for a matrix. Each group keeps its full rate as "initial_lr"."""
    inner, rest = [], []
    for name, value in network.named_parameters():
        small = value.ndim < 2 or value.shape[0] < 8 or value[0].numel() < 8
        (rest if small or name.startswith(("head", "tail", "estimator")) else inner).append(value)
    optimizers: list[torch.optim.Optimizer] = [Muon(inner, muon_rate)] if inner else []
    if rest:
        optimizers.append(torch.optim.AdamW(rest, rate, (0.9, 0.99), weight_decay=1e-4))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers
