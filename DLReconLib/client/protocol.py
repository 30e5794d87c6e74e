"""What a client and its worker say to each other: JSON objects, a line each; arrays travel in files of a folder.

Requests: {"do": "run" or "explain", "id", "volume", "mask" or null, "options"}, {"do": "series", "id", "frames": a list
of volumes, "mask" or null, "options"}, {"do": "cancel", "id"}, {"do": "status"}, {"do": "shutdown"}.
Answers: {"say": "hello", "protocol", "version", "pid"} first of all, then for each run or explain
{"say": "progress", "id", "fraction", "text"} as often as there is news, {"say": "alive", "id", "cpu"} each second
(cpu: seconds of processor time used so far), and at its end one of {"say": "done", "id", "volume", "uncertainty" or
null, "noise", "provenance"} (of a series "id" and "frames", a list of the rest for each frame), {"say": "failed", "id",
"kind", "error"}, {"say": "cancelled", "id"}.
A status is answered at once: {"say": "status", "pid", "busy", "model"}.

A volume is {"array", "geometry", "modality", "format"}. Its metadata never travels: it may name the patient.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from DLReconLib.volume import Geometry, Volume

PROTOCOL = 2  # raised by each change that a client or a worker of before would not understand


class TransferError(OSError):
    """An array that did not arrive as it was sent."""


def encode(message: dict[str, Any]) -> bytes:
    """One line; the line break before it ends what a library may have printed without one."""
    return b"\n" + json.dumps(message).encode() + b"\n"


def decode(line: bytes, key: str) -> dict[str, Any] | None:
    """The message in a line, an object with this key; None for anything else that a library printed."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and key in message else None


def send_volume(volume: Volume, folder: Path, name: str) -> dict[str, Any]:
    """Write the array of a volume to folder/name.npy; the record is what read_volume wants. Raises OSError."""
    grid = volume.geometry
    return {
        "array": send_array(volume.array, folder, name),
        "geometry": {"spacing": grid.spacing, "origin": grid.origin, "direction": grid.direction},
        "modality": volume.modality,
        "format": volume.origin_format,
    }


def receive_volume(record: dict[str, Any], folder: Path, mapped: bool = False) -> Volume:
    """The volume of a record, without metadata; its file is removed. Raises TransferError.

    mapped: leave the voxels in the system's cache of the file where it can, which is faster than a copy.
    """
    grid = record["geometry"]
    geometry = Geometry(tuple(grid["spacing"]), tuple(grid["origin"]), tuple(map(tuple, grid["direction"])))
    return Volume(receive_array(record["array"], folder, mapped), geometry, record["modality"], record["format"])


def send_array(array: np.ndarray, folder: Path, name: str) -> dict[str, Any]:
    """Write folder/name.npy, whole or not at all. Raises OSError."""
    array = np.ascontiguousarray(array)
    path = folder / f"{name}.npy"
    try:
        np.save(path, array, allow_pickle=False)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return {"file": path.name, "shape": array.shape, "dtype": array.dtype.str, "crc32": _checksum(array)}


def receive_array(record: dict[str, Any], folder: Path, mapped: bool = False) -> np.ndarray:
    """Read and remove the file of a record. Raises TransferError for one that is missing, cut short or changed."""
    path = folder / Path(record["file"]).name
    try:
        # Windows removes no file that is mapped.
        mode = "c" if mapped and sys.platform != "win32" else None
        array = np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise TransferError(f"array {path.name} is missing or cut short ({error}); is the disk full?") from error
    finally:
        path.unlink(missing_ok=True)
    wanted = (tuple(record["shape"]), record["dtype"], record["crc32"])
    got = (array.shape, array.dtype.str, _checksum(array))
    if got != wanted:
        raise TransferError(f"array {path.name} has shape, type and checksum {got}; wanted {wanted}; is the disk full?")
    return array


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
