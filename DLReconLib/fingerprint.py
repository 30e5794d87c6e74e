"""What a record keeps of an image, so that another can be told from it."""

import hashlib
import json
from typing import Any

import numpy as np

from DLReconLib.volume import Volume

SAMPLES = 125


def fingerprint(volume: Volume) -> str:
    """SHA-256 of the grid and the values (type of number and bytes), hexadecimal."""
    digest = hashlib.sha256(json.dumps(volume.geometry.matrix().tolist()).encode())
    digest.update(np.ascontiguousarray(volume.array).data)
    return digest.hexdigest()


def samples(array: np.ndarray) -> list[float]:
    """SAMPLES values at places spread over the array by the golden ratio, so that no axis is in step with them."""
    places = (np.arange(1, SAMPLES + 1) * 0.6180339887498949 % 1 * array.size).astype(np.int64)
    return [float(v) for v in array.reshape(-1)[places]]


def trace(volume: Volume) -> dict[str, Any]:
    """What a record keeps of the output: fingerprint, shape, type, and samples, which tell a difference by rounding
    from another image where the file itself is gone."""
    array = volume.array
    return {
        "sha256": fingerprint(volume),
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "samples": samples(array),
    }
