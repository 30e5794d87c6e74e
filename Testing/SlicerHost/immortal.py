"""Before Python 3.12 None, True and False count their references; PySide6 (6.12) takes them for immortal and lets go of
one too many with each call that returns nothing. Their counts start so high here that they cannot run out."""

import ctypes
import sys

PLENTY = 1 << 40


def protect() -> None:
    """Does nothing on Python 3.12 and later, and nothing the second time."""
    if sys.version_info >= (3, 12):
        return
    for one in (None, True, False, Ellipsis, NotImplemented):
        count = ctypes.c_ssize_t.from_address(id(one))
        if count.value < PLENTY:
            count.value += PLENTY


protect()
