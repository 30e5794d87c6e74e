"""Enumerations that are integers, as PythonQt's are, made of PySide6's, which are not."""

import enum

from . import qt5

_types: dict[type, type] = {}


class Value(int):
    """An integer that knows its enumeration: qt.Qt.Checked == 2. Combined with | it is a plain integer."""

    def member(self):
        return type(self).pyside(int(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.member().name} ({int(self)})"

    __str__ = int.__repr__


def is_enum(value) -> bool:
    return isinstance(value, enum.Enum)


def is_enum_class(value) -> bool:
    return isinstance(value, type) and issubclass(value, enum.Enum)


def number(value) -> int:
    """The integer of an enumeration value of either kind, or of an integer."""
    return int(value.value) if is_enum(value) else int(value)


def out(value):
    """What a module gets for an enumeration or one of its values."""
    kind = value if is_enum_class(value) else type(value)
    if kind not in _types:
        _types[kind] = type(kind.__name__, (Value,), {"pyside": kind})
        for name, member in kind.__members__.items():
            setattr(_types[kind], name, _types[kind](number(member)))
    return _types[kind] if is_enum_class(value) else _types[kind](number(value))


def only_in_qt6(kind: type, name: str) -> bool:
    """Whether Qt 5.15, which Slicer 5.12 is built on, lacks this member of a class."""
    return any(name in qt5.LACKS.get(base.__name__, ()) for base in kind.__mro__)
