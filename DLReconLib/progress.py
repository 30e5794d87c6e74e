"""Progress is a callable (fraction, text); raising Cancelled from it stops the work."""

from typing import Protocol


class Cancelled(Exception):
    """The caller asked to stop."""


class Progress(Protocol):
    def __call__(self, fraction: float, text: str) -> None:
        """Told now and then how far the work is (0 to 1, never falling) and what it does."""


def silent(fraction: float, text: str) -> None:
    """Progress that nobody watches."""
