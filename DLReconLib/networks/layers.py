"""What several networks are built of."""

from torch import Tensor, nn


def fold(x: Tensor) -> Tensor:
    """Space to depth: (N, C, D, H, W) with even D, H, W to (N, 8 C, D/2, H/2, W/2)."""
    n, c, d, h, w = x.shape
    x = x.reshape(n, c, d // 2, 2, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(n, 8 * c, d // 2, h // 2, w // 2)


def unfold(x: Tensor) -> Tensor:
    """Depth to space, the inverse of fold(): (N, 8 C, D, H, W) to (N, C, 2 D, 2 H, 2 W)."""
    n, c, d, h, w = x.shape
    x = x.reshape(n, c // 8, 2, 2, 2, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(n, c // 8, 2 * d, 2 * h, 2 * w)


def through_levels(network: nn.Module, features: Tensor) -> Tensor:
    """Features down and up again through a U-Net's `encode`, `down`, `bottom`, `up` and `decode`; what a level gave on
    the way down is added on the way up."""
    kept = []
    for encode, down in zip(network.encode, network.down, strict=True):
        kept.append(encode(features))
        features = down(kept[-1])
    features = network.bottom(features)
    for up, decode in zip(reversed(network.up), reversed(network.decode), strict=True):
        features = decode(kept.pop() + up(features))
    return features
