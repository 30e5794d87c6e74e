"""How a model is run, and how it goes on a smaller way when memory runs out."""

from dataclasses import dataclass, field

from DLReconLib.devices import bfloat16_is_right
from DLReconLib.pieces import MULTIPLE

SMALLEST_TILE = 32


class OutOfMemory(MemoryError):
    """Even the smallest pieces do not fit."""


@dataclass
class Execution:
    """How a model is run. The ladder of mend() makes it smaller when memory runs out.

    tile: (k, j, i) voxels worked on at once, without the halo.
    """

    device: str
    precision: str
    tile: tuple[int, int, int]
    fallbacks: list[str] = field(default_factory=list)
    first: tuple[int, ...] = ()

    def mend(self) -> bool:
        """The next smaller way: half the tile, then bfloat16 where it is right, then the CPU, in float32 with the
        first tile. False where there is none."""
        self.first = self.first or self.tile
        if max(self.tile) > SMALLEST_TILE:
            smaller = tuple(max(SMALLEST_TILE, t // 2 // MULTIPLE * MULTIPLE) for t in self.tile)
            self.tile = tuple(min(a, b) for a, b in zip(smaller, self.tile, strict=True))
            self.fallbacks.append(f"out of memory: tile {self.tile}")
        elif self.precision == "float32" and self.device != "none" and bfloat16_is_right():
            self.precision = "bfloat16"
            self.fallbacks.append("out of memory: bfloat16")
        elif self.device not in ("cpu", "none"):
            self.device, self.precision, self.tile = "cpu", "float32", self.first
            self.fallbacks.append("out of memory: CPU")
        else:
            return False
        return True


def is_out_of_memory(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    # The last is oneDNN's: on CPUs it fails so where its buffers do not fit.
    words = ("out of memory", "not enough memory", "allocate memory", "alloc_failed", "could not create a primitive")
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(w in text for w in words)
