"""Qt objects as PythonQt shows them to a scripted module: properties are attributes, classes know no inheritance.

A Wrapper holds one PySide6 object. Nothing in PySide6 is patched: the stand-ins of the host are plain PySide6, and only
what a module touches goes through wrappers.
"""

import weakref

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import calls, enums, real, shells, signals

# Python's own extras and Qt's names for things that PythonQt spells in another way.
HIDDEN = {"tr", "connect", "disconnect", "emit", "receivers", "sender", "findChild", "findChildren", "property"}
# What bool() asks, by class, as PythonQt's generated wrappers for Qt 5.15 decide it; others are true.
TRUTH = {
    ("isEmpty", False): "QByteArray QDir QItemSelection QItemSelectionRange QKeySequence QLayout QLayoutItem QMenu "
    "QPainterPath QPolygon QPolygonF QProcessEnvironment QRect QRectF QRegion QSize QSizeF QTextDocument "
    "QTextDocumentFragment QTextFormat QTextList QTranslator QUrl QUrlQuery",
    (
        "isNull",
        False,
    ): "QBitmap QHostAddress QIcon QImage QLine QLineF QMargins QMarginsF QPicture QPixmap QPoint QPointF "
    "QTextCursor QUuid QVector2D QVector3D QVector4D",
    (
        "isValid",
        True,
    ): "QColor QColorSpace QDate QDateTime QElapsedTimer QMetaEnum QMetaMethod QMetaProperty QModelIndex "
    "QMovie QPersistentModelIndex QRegularExpression QSvgRenderer QTextBlock QTextTableCell QTime QTimeZone",
}
QUESTIONS = {name: key for key, names in TRUTH.items() for name in names.split()}

_classes: dict[type, "Class"] = {}
_alive: "weakref.WeakValueDictionary[int, Wrapper]" = weakref.WeakValueDictionary()


def class_of(kind: type) -> "Class":
    """The class that a module sees for a PySide6 class. One each; they are not derived from each other."""
    if kind not in _classes:
        _classes[kind] = Class(kind.__name__, (Wrapper,), {"__slots__": (), "_kind": kind})
    return _classes[kind]


def wrap(value):
    """What a module gets for a value from Qt: wrappers, tuples, integers that know their name."""
    if value is None or isinstance(value, (bool, str, bytes, float)):
        return value
    if enums.is_enum(value):
        return enums.out(value)
    if isinstance(value, int):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(wrap(one) for one in value)
    if isinstance(value, dict):
        return {key: wrap(one) for key, one in value.items()}
    if isinstance(value, QtCore.QObject):
        return _wrap_object(value)
    if isinstance(type(value), type(QtCore.QSize)):
        made = object.__new__(class_of(type(value)))
        object.__setattr__(made, "_object", value)
        return made
    return value


def _wrap_object(value) -> "Wrapper":
    shell = getattr(value, "pythonqt_wrapper", None)
    if shell is not None:
        return shell
    address = shiboken6.getCppPointer(value)[0]
    known = _alive.get(address)
    if known is not None and shiboken6.isValid(known._object) and known._object is value:
        return known
    name = value.metaObject().className()
    if name != type(value).__name__ and hasattr(QtWidgets, name):
        raise RuntimeError(f"{name} {value.objectName()!r} was met while it was being made, and is a QWidget now")
    made = object.__new__(class_of(type(value)))
    object.__setattr__(made, "_object", value)
    _alive[address] = made
    return made


def unwrap(value):
    """The PySide6 value of what a module hands over."""
    if isinstance(value, Wrapper):
        return target(value)
    if isinstance(value, enums.Value):
        return value.member()
    if isinstance(value, (list, tuple)):
        return [unwrap(one) for one in value]
    if isinstance(value, dict):
        return {key: unwrap(one) for key, one in value.items()}
    if isinstance(value, calls.Method):
        return value
    return value


def target(wrapper: "Wrapper"):
    """The PySide6 object. ValueError where C++ has deleted it, as PythonQt says it."""
    held = object.__getattribute__(wrapper, "_object")
    if not shiboken6.isValid(held):
        raise ValueError(f"Trying to use a destroyed {type(wrapper).__name__} object")
    return held


def property_of(held, name: str):
    """The QMetaProperty of that name, or None. objectName is also called name, where there is no property name."""
    if not isinstance(held, QtCore.QObject):
        return None
    meta = held.metaObject()
    index = meta.indexOfProperty(name)
    if index < 0 and name == "name":
        index = meta.indexOfProperty("objectName")
    return meta.property(index) if index >= 0 else None


def read_property(held, prop):
    """A property's value; enumerations become plain integers."""
    name = prop.name()
    try:
        value = held.property(name)
    except RuntimeError:  # PySide6 has no converter for enumerations of the Qt namespace
        getter = getattr(type(held), name, None) or getattr(type(held), f"is{name[0].upper()}{name[1:]}", None)
        if getter is None:
            raise NotImplementedError(f"property {name} of type {prop.typeName()} cannot be read in the host") from None
        value = getter(held)
    if prop.isEnumType() or enums.is_enum(value):
        return enums.number(value)
    return wrap(value)


def write_property(held, prop, value, shown: str) -> None:
    """Sets a property with PythonQt's conversions. AttributeError where the value does not suit."""
    if not prop.isWritable():
        raise AttributeError(f"Property '{prop.name()}' of {shown} object is not writable")
    try:
        converted = calls.to_type(value, prop.typeName(), prop)
    except (TypeError, ValueError):
        converted = calls.UNSUITABLE
    if converted is calls.UNSUITABLE or not _write(held, prop, converted):
        raise AttributeError(
            f"Property '{prop.name()}' of type '{prop.typeName()}' does not accept an object of type "
            f"{type(value).__name__} ({value!r})"
        )


def _write(held, prop, value) -> bool:
    name = prop.name()
    if prop.isEnumType() or prop.isFlagType():
        return prop.write(held, enums.number(value))
    # The setter is PySide6's own path for types whose QVariant it cannot make.
    setter = getattr(held, f"set{name[0].upper()}{name[1:]}", None)
    if not isinstance(value, (bool, int, float, str)) and setter is not None:
        setter(value)
        return True
    return prop.write(held, value)


class Class(type):
    """The type of wrapped classes: static functions, enumeration values and methods by attribute."""

    def __getattr__(cls, name: str):
        kind = _kind(cls)
        if kind is None or name.startswith("_") or name in HIDDEN - {"connect", "disconnect"}:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        special = calls.static(kind, name)
        if special is not None:
            return special
        found = getattr(kind, name, None)
        if found is None or enums.only_in_qt6(kind, name):
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        if enums.is_enum(found) or enums.is_enum_class(found):
            return enums.out(found)
        if isinstance(found, type):
            return class_of(found)
        if type(found).__name__ == "Signal":
            raise NotImplementedError(f"{cls.__name__}.{name}: a signal taken from the class")
        return calls.Method(None, kind, name)

    def __setattr__(cls, name: str, value) -> None:
        if _kind(cls) is not None and "_kind" in cls.__dict__ and not name.startswith("__"):
            raise AttributeError(f"creating new attributes on C++ class {cls.__name__} is not allowed")
        super().__setattr__(name, value)


def _kind(cls):
    for base in cls.__mro__:
        if "_kind" in base.__dict__:
            return base.__dict__["_kind"]
    return None


class Wrapper(metaclass=Class):
    """One Qt object as a module sees it."""

    __slots__ = ("__weakref__", "_object")

    def __init__(self, *args, **keywords):
        kind = _kind(type(self))
        if keywords:
            raise ValueError(f"{type(self).__name__}: constructors take no keywords (got {', '.join(keywords)})")
        if kind is None:
            raise TypeError("a wrapper is made by its class")
        if "_kind" in type(self).__dict__:
            made = calls.construct(kind, args)
        else:
            made = calls.construct(shells.shell_of(type(self), kind), args)
            object.__setattr__(self, "_object", made)
            made.pythonqt_wrapper = self
            return
        object.__setattr__(self, "_object", made)
        if isinstance(made, QtCore.QObject):
            _alive[shiboken6.getCppPointer(made)[0]] = self

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "_object":
            raise RuntimeError(f"{type(self).__name__}: the base class's __init__ was not called")
        held = target(self)
        prop = property_of(held, name)
        if prop is not None and not enums.only_in_qt6(type(held), name):
            return read_property(held, prop)
        found = _member(self, held, name)
        if found is not None:
            return found
        if isinstance(held, QtCore.QObject):
            if name in held.dynamicPropertyNames() or name.encode() in map(bytes, held.dynamicPropertyNames()):
                return wrap(held.property(name))
            for child in held.children():
                if child.objectName() == name:
                    return wrap(child)
        _deny_lacking(held, name)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name: str, value) -> None:
        held = target(self)
        shown = type(self).__name__
        prop = property_of(held, name)
        if prop is not None and not enums.only_in_qt6(type(held), name):
            write_property(held, prop, value, shown)
        elif name not in type(self).__dict__ and _member(self, held, name) is not None:
            raise AttributeError(f"Slot or signal '{name}' can not be overwritten on {shown} object")
        elif isinstance(held, QtCore.QObject) and name.encode() in map(bytes, held.dynamicPropertyNames()):
            held.setProperty(name, unwrap(value))
        elif "_kind" in type(self).__dict__:
            _deny_lacking(held, name)
            raise AttributeError(
                f"'{name}' does not exist on {shown} and creating new attributes on C++ objects is not allowed"
            )
        else:
            object.__setattr__(self, name, value)

    def __bool__(self) -> bool:
        held = object.__getattribute__(self, "_object")
        if not shiboken6.isValid(held):
            return False
        question = next((QUESTIONS[kind.__name__] for kind in type(held).__mro__ if kind.__name__ in QUESTIONS), None)
        return question is None or bool(getattr(held, question[0])()) is question[1]

    def __eq__(self, other) -> bool:
        if not isinstance(other, Wrapper):
            return False
        mine, theirs = (object.__getattribute__(one, "_object") for one in (self, other))
        if isinstance(mine, QtCore.QObject) or isinstance(theirs, QtCore.QObject):
            return mine is theirs
        return type(mine) is type(theirs) and mine == theirs

    def __hash__(self) -> int:
        return hash(id(object.__getattribute__(self, "_object")))

    def __repr__(self) -> str:
        held = object.__getattribute__(self, "_object")
        return f"{type(self).__name__} ({type(self).__name__} at: 0x{id(held):x})"

    def __dir__(self):
        held = target(self)
        meta = held.metaObject() if isinstance(held, QtCore.QObject) else None
        named = [meta.property(i).name() for i in range(meta.propertyCount())] if meta else []
        return sorted({*named, *(n for n in dir(type(held)) if not n.startswith("_")), "className", "delete", "name"})


def _deny_lacking(held, name: str) -> None:
    """NotImplementedError for what the real class has and the stand-in has not."""
    owner = real.lacking([base.__name__ for base in type(held).__mro__], name)
    if owner is not None:
        raise NotImplementedError(f"{owner}.{name}: Slicer has it, the host has not")


def _member(wrapper, held, name: str):
    """A method, signal or enumeration value of a Qt object, or None."""
    special = calls.special(wrapper, held, name)
    if special is not None:
        return special
    if name.startswith("_") or name in HIDDEN or name in calls.host_only(type(held)):
        return None
    if enums.only_in_qt6(type(held), name):
        return None
    if isinstance(held, QtCore.QObject) and signals.signatures(held, name):
        return signals.Signal(wrapper, name)
    kind = type(held)
    if getattr(kind, "pythonqt_shell", None) is not None:
        kind = kind.pythonqt_shell
    found = getattr(kind, name, None)
    if found is None or real.denied(kind.__mro__, name):
        return None
    if enums.is_enum(found) or enums.is_enum_class(found):
        return enums.out(found)
    if isinstance(found, type):
        return class_of(found)
    return calls.Method(wrapper, kind, name) if callable(found) else None
