"""DLReconLib: better images from noisy, coarse or spoiled ones. See reconstruct().

Importing this package loads neither torch nor SimpleITK; what needs them loads them when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "reconstruct": "pipeline",
    "Result": "result",
    "Client": "client",
    "WorkerError": "client",
    "run_batch": "batch",
    "read_volume": "io",
    "read_series": "io",
    "write_volume": "io",
    "write_series": "io",
    "Geometry": "volume",
    "Volume": "volume",
    "list_cards": "models",
    "ModelCard": "models",
    "Cancelled": "progress",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"DLReconLib.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module DLReconLib has no attribute {name!r}")
