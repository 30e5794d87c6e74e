"""Signals as PythonQt connects them: by signature, with the arguments that a function takes, held until disconnect."""

import types

import shiboken6
from PySide6 import QtCore

from . import calls, enums, errors, pythonqt, qt5

_receivers: list["Receiver"] = []


def table(held) -> dict[str, str]:
    """Signature -> signature in PySide6, for every signal of an object.

    A stand-in names its signals with MRML or overloaded arguments in `pythonqt_signals`.
    """
    named = {}
    for base in reversed(type(held).__mro__):
        named |= base.__dict__.get("pythonqt_signals", {})
    hidden = {value.split("(")[0] for value in named.values()}
    meta = held.metaObject()
    found = {}
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            signature = bytes(method.methodSignature()).decode()
            name = signature.split("(")[0]
            if name not in hidden and not enums.only_in_qt6(type(held), name):
                found[signature] = signature
    return found | named


def signatures(held, name: str) -> list[str]:
    return [signature for signature in table(held) if signature.split("(")[0] == name]


def _overloads(held, name: str) -> list[str]:
    """Those that plain .connect() reaches: without the ones that only leave out default arguments."""
    all_of_them = signatures(held, name)

    def clone(one: str) -> bool:
        return any(other != one and other.startswith(one[:-1].rstrip("(") + ("," if one[-2] != "(" else "("))
                   for other in all_of_them)  # fmt: skip

    return [one for one in all_of_them if not clone(one)]


class Receiver:
    """One connection. It holds the function, and so the object of a bound method, until it is taken away."""

    def __init__(self, held, signature: str, inner: str, function, convert=None):
        self.held, self.signature, self.inner, self.function = held, signature, inner, function
        self.convert = convert
        self.slot = lambda *args: self.call(args)
        if not QtCore.QObject.connect(held, QtCore.SIGNAL(inner), self.slot):
            raise RuntimeError(f"{type(held).__name__}: could not connect {signature}")
        _receivers.append(self)

    def call(self, args) -> None:
        if self.convert is not None:
            args = (self.convert(*args),)
        where = f"slot {getattr(self.function, '__qualname__', self.function)!s} of {self.signature}"
        try:
            args = [pythonqt.wrap(one) for one in args]
            self.function(*args[: accepted(self.function)])
        except Exception as error:
            errors.collect(error, where)

    def drop(self) -> None:
        _receivers.remove(self)
        if shiboken6.isValid(self.held):
            QtCore.QObject.disconnect(self.held, QtCore.SIGNAL(self.inner), self.slot)


def accepted(function) -> int | None:
    """How many arguments PythonQt passes: all that a plain function or method names, defaults included."""
    method = isinstance(function, types.MethodType)
    plain = function.__func__ if method else function
    if not isinstance(plain, types.FunctionType) or plain.__code__.co_flags & 0x04:  # *args
        return None
    return max(0, plain.__code__.co_argcount - method)


def _exact(held, signature: str) -> str:
    """The signature as the meta-object spells it. ValueError names what there is."""
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    if normal in table(held):
        return normal
    name = normal.split("(")[0]
    kinds = [kind.__name__ for kind in type(held).__mro__]
    if any(name in qt5.TEXT_OVERLOADS.get(kind, ()) for kind in kinds) and "QString" in normal:
        raise ValueError(f"{kinds[0]}: {normal} exists in Qt 5 only; connect one that Qt 6 also has")
    there = ", ".join(signatures(held, name)) or "no signal of that name"
    raise ValueError(f"{kinds[0]}: no signal {normal}; there is {there}")


def connect(held, signature: str, *to) -> bool:
    """w.connect("clicked(bool)", f), or to a slot of another object by its signature.

    PythonQt prints and returns False for a wrong signature; a test must not pass over that, so this raises.
    """
    exact = _exact(held, signature)
    if len(to) == 2:
        function = getattr(to[0], to[1].split("(")[0])
        count = len([part for part in to[1].split("(")[1].rstrip(")").split(",") if part.strip()])
        called = lambda *args: function(*args[:count])  # noqa: E731
        called.__qualname__ = f"{to[0]!r}.{to[1]}"
        function_key = called
    else:
        (function_key,) = to
        if not callable(function_key):
            raise ValueError(f"{signature}: {function_key!r} cannot be called")
    Receiver(held, exact, table(held)[exact], function_key)
    return True


def disconnect(held, signature: str, function=None) -> bool:
    """False where nothing was connected like that, as in PythonQt."""
    exact = _exact(held, signature)
    mine = [r for r in _receivers if r.held is held and r.signature == exact]
    mine = [r for r in mine if function is None or r.function == function]
    if not mine:
        return False
    for receiver in mine if function is None else mine[:1]:
        receiver.drop()
    return True


def forget_deleted() -> None:
    """The functions connected to objects that are gone are let go, as when a QObject takes its receiver along."""
    for receiver in [r for r in _receivers if not shiboken6.isValid(r.held)]:
        _receivers.remove(receiver)


def connected_to(owner) -> list[str]:
    """The signals still connected to methods of this object: what cleanup() forgot."""
    return [
        f"{r.held.objectName() or type(r.held).__name__}.{r.signature}"
        for r in _receivers
        if getattr(r.function, "__self__", None) is owner and shiboken6.isValid(r.held)
    ]


class Signal:
    """w.clicked: connect, disconnect, emit, and emit by calling it."""

    def __init__(self, wrapper, name: str):
        self._wrapper, self._name = wrapper, name

    def connect(self, function) -> bool:
        held = pythonqt.target(self._wrapper)
        if not callable(function):
            raise ValueError(f"{self._name}: {function!r} cannot be called")
        text = _text_overload(held, self._name)
        if text is not None and text[2]:
            self._connect_text(held, text, function)
        for signature in _overloads(held, self._name):
            Receiver(held, signature, table(held)[signature], function)
        if text is not None and not text[2]:
            self._connect_text(held, text, function)
        return True

    def _connect_text(self, held, text, function) -> None:
        inner, how, _first = text
        convert = (lambda index: held.itemText(index)) if how == "itemText" else (lambda _value: held.text())
        Receiver(held, f"{self._name}(QString)", inner, function, convert)

    def disconnect(self, function=None) -> bool:
        held = pythonqt.target(self._wrapper)
        names = {*signatures(held, self._name), f"{self._name}(QString)"}
        mine = [r for r in _receivers if r.held is held and r.signature in names]
        mine = [r for r in mine if function is None or r.function == function]
        for receiver in mine:
            receiver.drop()
        return bool(mine)

    def emit(self, *args) -> None:
        held = pythonqt.target(self._wrapper)
        fitting = [s for s in signatures(held, self._name) if _count(s) == len(args)]
        if len(fitting) != 1:
            raise ValueError(f"{self._name}: {len(fitting)} signals take {len(args)} arguments")
        name, _, types_ = table(held)[fitting[0]].rstrip(")").partition("(")
        one = getattr(held, name)
        overloaded = len(signatures(held, self._name)) > 1 and name == self._name
        (one[types_] if overloaded and types_ else one).emit(*[pythonqt.unwrap(one) for one in args])

    __call__ = emit


def _count(signature: str) -> int:
    inside = signature[signature.index("(") + 1 : -1]
    return inside.count(",") + 1 if inside else 0


def _text_overload(held, name: str):
    for kind in type(held).__mro__:
        if name in qt5.TEXT_OVERLOADS.get(kind.__name__, {}):
            return qt5.TEXT_OVERLOADS[kind.__name__][name]
    return None


def single_shot(milliseconds: int, function) -> None:
    """qt.QTimer.singleShot(ms, f)."""
    if isinstance(function, calls.Method):
        function = function.__call__

    def run():
        try:
            function()
        except Exception as error:
            errors.collect(error, "QTimer.singleShot")

    QtCore.QTimer.singleShot(int(milliseconds), run)
