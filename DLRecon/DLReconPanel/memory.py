"""How much memory a run will take, and how much there is."""

import os
import sys

import numpy as np
from slicer.i18n import tr as _


def sentence(volumeNode, card, tile, precision):
    """An estimate of what the worker takes, and what is free."""
    if volumeNode is None or volumeNode.GetImageData() is None:
        return ""
    needed = bytesNeeded(volumeNode.GetImageData().GetDimensions()[::-1], card, tile, precision)
    free = bytesFree()
    text = _("About {n:.1f} GB needed").format(n=needed / 1e9)
    if free is None:
        return text + "."
    text += _(", {n:.1f} GB free").format(n=free / 1e9)
    return text + (_(": choose smaller pieces.") if needed > free else ".")


def bytesNeeded(shape, card, tile=0, precision="auto"):
    """Bytes that the worker takes on the CPU for an image of shape (k, j, i): input, result, and for a network the
    activations of one piece with its halo. Fitted to measurements of Testing/Benchmarks/speed.py."""
    needed = 12.0 * np.prod(shape)
    if card is None or not card.learned:
        return needed + 1e8
    sides = [tile] * 3 if tile else card.tile
    piece = np.prod([min(side + 2 * card.halo, n) for side, n in zip(sides, shape, strict=True)])
    return needed + piece * (140 if precision == "bfloat16" else 240) + 3e8


def bytesFree():
    """Bytes of memory that are available, None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return _freeOnWindows()
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _freeOnWindows():
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("total", ctypes.c_ulonglong),
                    ("available", ctypes.c_ulonglong), ("rest", ctypes.c_ulonglong * 5))  # fmt: skip

    status = Status(length=ctypes.sizeof(Status))
    done = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.available if done else None
