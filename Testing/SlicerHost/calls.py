"""Calling Qt from a module: PythonQt's conversions of arguments, and the methods that it adds or replaces."""

import inspect

import shiboken6
from PySide6 import QtCore, QtWidgets
from shibokensupport.signature import get_signature

from . import dialogs, enums, pythonqt, signals

UNSUITABLE = object()
NUMBERS = {"int": int, "uint": int, "qlonglong": int, "double": float, "float": float, "qreal": float}


class Method:
    """A method of a Qt object or, without one, of a Qt class."""

    def __init__(self, wrapper, kind: type, name: str):
        self._wrapper, self._kind, self.__name__ = wrapper, kind, name

    def __call__(self, *args, **keywords):
        shown = f"{self._kind.__name__}.{self.__name__}"
        if keywords:
            raise ValueError(f"{shown}: methods of Qt take no keywords (got {', '.join(keywords)})")
        before = []
        if self._wrapper is not None:
            before = [pythonqt.target(self._wrapper)]
            shell = getattr(type(before[0]), "pythonqt_shell", None)
            if shell is None and self._kind is type(before[0]):
                return pythonqt.wrap(invoke(getattr(before[0], self.__name__), args, shown))
        return pythonqt.wrap(invoke(getattr(self._kind, self.__name__), args, shown, before))

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, Method) and self.__name__ == other.__name__
            and self._wrapper is other._wrapper and self._kind is other._kind
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.__name__, self._kind))

    def __repr__(self) -> str:
        return f"{self.__name__} ({self._kind.__name__} method)"


def invoke(function, args, shown: str, before=()):
    """Calls with the arguments as they are, then with PythonQt's conversions. ValueError where neither suits."""
    plain = [pythonqt.unwrap(one) for one in args]
    if not _must_convert(function, args):
        try:
            return function(*before, *plain)
        except (TypeError, OverflowError) as error:
            refused = error
            if not _refused_arguments(error):
                raise
    else:
        refused = TypeError("arguments need conversion")
    for parameters in _parameters(function, len(args)):
        try:
            converted = [to_type(one, kind) for one, kind in zip(args, parameters, strict=True)]
        except (TypeError, ValueError):
            continue
        if UNSUITABLE not in converted:
            try:
                return function(*before, *converted)
            except TypeError as error:
                if not _refused_arguments(error):
                    raise
    raise ValueError(f"Called {shown}({', '.join(map(repr, args))}) with wrong arguments: {refused}")


def _refused_arguments(error: Exception) -> bool:
    """Whether PySide6 refused the arguments: then no Python code of ours has run below."""
    trace = error.__traceback__
    return trace is None or trace.tb_next is None


def _must_convert(function, args) -> bool:
    return False


def _parameters(function, count: int) -> list[list]:
    """Annotations of the parameters, for every overload that takes so many."""
    found = get_signature(function)
    overloads = found if isinstance(found, list) else [found] if found is not None else []
    result = []
    for one in overloads:
        listed = [p for p in one.parameters.values() if p.name != "self" and p.kind is not p.KEYWORD_ONLY]
        needed = [p for p in listed if p.default is inspect.Parameter.empty]
        if len(needed) <= count <= len(listed):
            result.append([p.annotation for p in listed[:count]])
    return result


def to_type(value, kind, prop=None):
    """A module's value as the type that Qt wants, or UNSUITABLE. `kind`: a class, or the name of a property's type."""
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    if prop is not None and prop.isEnumType():
        return int(value) if isinstance(value, int) and not isinstance(value, str) else UNSUITABLE
    if enums.is_enum_class(kind):
        return kind(int(value)) if isinstance(value, int) else UNSUITABLE
    if name in ("QString", "str"):
        return to_string(value)
    if name == "bool":
        return bool(value) if value is None or isinstance(value, (bool, int, float)) else UNSUITABLE
    if name in NUMBERS:
        return NUMBERS[name](value) if isinstance(value, (bool, int, float)) else UNSUITABLE
    if name in ("QStringList", "QVariantList", "list", "typing.Sequence", "Sequence"):
        return [pythonqt.unwrap(one) for one in value] if isinstance(value, (list, tuple)) else UNSUITABLE
    if isinstance(kind, str):
        plain = pythonqt.unwrap(value)
        right = plain is None or type(plain).__name__ in (name, name.rstrip("*")) or name == "QVariant"
        return plain if right or name in ("PyObject", "object") or isinstance(plain, QtCore.QObject) else UNSUITABLE
    return pythonqt.unwrap(value)


def to_string(value):
    """PythonQt's loose conversion: None is the empty string, a number its digits."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, pythonqt.Wrapper):
        return UNSUITABLE
    return str(value)


def construct(kind: type, args):
    """A new PySide6 object. ValueError as PythonQt raises it where no constructor takes the arguments."""
    shown = kind.__name__
    return invoke(kind, args, shown)


def special(wrapper, held, name: str):
    """The methods that PythonQt and Slicer add to every object, or None."""
    if name == "className":
        return lambda: type(wrapper).__name__ if hasattr(type(held), "pythonqt_shell") else _class_name(held)
    if name == "delete":
        return lambda: shiboken6.delete(pythonqt.target(wrapper))
    if not isinstance(held, QtCore.QObject):
        return None
    if name == "connect":
        return lambda *args: signals.connect(pythonqt.target(wrapper), *args)
    if name == "disconnect":
        return lambda *args: signals.disconnect(pythonqt.target(wrapper), *args)
    if name == "property":
        return lambda key: read_any_property(pythonqt.target(wrapper), key)
    if name == "findChild":
        return lambda kind, key="": next(iter(find_children(pythonqt.target(wrapper), kind, key)), None)
    if name == "findChildren":
        return lambda kind, key="": find_children(pythonqt.target(wrapper), kind, key)
    if name in ("exec", "exec_") and hasattr(held, "exec"):
        if isinstance(held, (QtWidgets.QDialog, QtWidgets.QMenu)) and not isinstance(held, QtWidgets.QMessageBox):
            return lambda *_: dialogs.run(held)
        return Method(wrapper, type(held), "exec")
    return None


def _class_name(held) -> str:
    return held.metaObject().className() if isinstance(held, QtCore.QObject) else type(held).__name__


def read_any_property(held, key: str):
    """QObject::property, for those of the class and dynamic ones. None where there is none."""
    prop = pythonqt.property_of(held, key)
    return pythonqt.read_property(held, prop) if prop is not None else pythonqt.wrap(held.property(key))


def find_children(held, kind, key: str = "") -> tuple:
    """All descendants of a class, given itself or by its name, depth first."""
    name = kind if isinstance(kind, str) else kind.__name__
    found = []
    for child in held.children():
        if child.inherits(name) and (not key or child.objectName() == key):
            found.append(pythonqt.wrap(child))
        found.extend(find_children(child, kind, key))
    return tuple(found)


STATIC: dict[tuple[str, str], object] = {("QTimer", "singleShot"): signals.single_shot}


def static(kind: type, name: str):
    """A static function that PythonQt, Slicer or the host replaces, or None."""
    return next((STATIC[base.__name__, name] for base in kind.__mro__ if (base.__name__, name) in STATIC), None)


def host_only(kind: type) -> frozenset[str]:
    """Names of a stand-in's Python side that are no members of the real class."""
    return frozenset().union(*(base.__dict__.get("pythonqt_hidden", ()) for base in kind.__mro__))
