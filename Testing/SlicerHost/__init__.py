"""A host for scripted modules of 3D Slicer: PySide6 with PythonQt's habits on the real MRML scene. For tests only."""

from . import immortal  # noqa: F401  (before PySide6)
from .host import Host
from .loaded import Module

__all__ = ["Host", "Module"]
