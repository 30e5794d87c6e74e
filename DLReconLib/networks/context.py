"""What a method may know that sees the whole image at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


def quiet(fraction: float, text: str) -> None:
    pass


@dataclass
class Context:
    """Of one run on one component of an image.

    spacing: (k, j, i) in mm, of the axes as the method gets them: where the card says so, slices come first.
    mask: (k, j, i) bool, the places to be worked on, or None for all. What the method does elsewhere is not used.
    artifact: what is to be removed, one of models.ARTIFACTS, or "auto".
    budget: seconds that a method may take which learns from the image itself.
    steps: of learning that are to be made, whatever the budget says; 0: as many as it allows.
    magnitude: whether the image is a magnitude image, whose noise is Rician.
    device, precision: where a network runs, and its arithmetic: float32 or bfloat16.
    progress: told (fraction, text); raises Cancelled to stop the work.
    notes: what the method found out, JSON values; they go into the record of the run.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mask: np.ndarray | None = None
    artifact: str = "auto"
    budget: float = 60.0
    steps: int = 0
    magnitude: bool = False
    device: str = "cpu"
    precision: str = "float32"
    progress: Callable[[float, str], None] = quiet
    notes: dict[str, Any] = field(default_factory=dict)
