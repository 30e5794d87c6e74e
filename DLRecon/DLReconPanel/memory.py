"""How much memory a run will take, and how much there is."""

import os
import sys

import numpy as np
from slicer.i18n import tr as _

from DLReconPanel import taskOptions

COPIES = 32.0  # bytes a voxel, measured: what a method holds that sees the whole image
FINE = 16.0  # the same of super-resolution, a voxel of the result
SLICE = 4.0  # slices that a network works on at once


def sentence(parameters, card):
    """An estimate of what the worker takes, and what is free."""
    node = parameters.inputVolume
    if node is None or node.GetImageData() is None:
        return ""
    fine = None
    if parameters.task == taskOptions.ENLARGE:
        try:
            fine = taskOptions.fineShape(parameters)
        except ValueError:
            return ""
    shape = node.GetImageData().GetDimensions()[::-1]
    needed = bytesNeeded(shape, card, parameters.tile, parameters.precision, fine)
    free = bytesFree()
    text = _("About {n:.1f} GB needed").format(n=needed / 1e9)
    if free is None:
        return text + "."
    text += _(", {n:.1f} GB free").format(n=free / 1e9)
    pieces = card is not None and card.learned and (card.tile or fine)
    much = _(": choose smaller pieces.") if pieces else _(": crop the volume first.")
    return text + (much if needed > free else ".")


def bytesNeeded(shape, card, tile=0, precision="auto", fine=None):
    """Bytes that the worker takes on the CPU for an image of shape (k, j, i): input, result, and for a network the
    activations of one piece with its halo. Fitted to measurements of Testing/Benchmarks/speed.py for networks that
    work by pieces; what sees the whole image at once is reckoned as a slice (SLICE) or as copies of it (COPIES).

    :param fine: shape of the result where it lies on another grid.
    """
    result = shape if fine is None else fine
    needed = (4.0 if fine else 0.0) * np.prod(shape) + 12.0 * np.prod(result)
    if fine:
        needed += FINE * np.prod(fine)
    if card is None or not card.learned:
        whole = card is not None and not card.tile and not fine
        return needed + (COPIES * np.prod(shape) if whole else 0.0) + 1e8
    a_voxel = 140 if precision == "bfloat16" else 240
    if not card.tile and not tile:
        return needed + COPIES * np.prod(result) + SLICE * a_voxel * np.prod(sorted(result)[1:]) + 3e8
    sides = [tile] * 3 if tile else card.tile
    piece = np.prod([min(side + 2 * card.halo, n) for side, n in zip(sides, result, strict=True)])
    return needed + piece * a_voxel + 3e8


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
