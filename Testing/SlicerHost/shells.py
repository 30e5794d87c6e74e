"""Subclasses of Qt classes that a module makes: Qt's virtual calls reach their methods."""

import types

from . import errors, pythonqt

_shells: dict[type, type] = {}


def shell_of(cls: type, kind: type) -> type:
    """A PySide6 class that hands virtual calls to the methods of a module's subclass of a Qt class."""
    if cls not in _shells:
        body = {"pythonqt_shell": kind, "pythonqt_wrapper": None}
        for base in cls.__mro__:
            if base is pythonqt.Wrapper or "_kind" in base.__dict__:
                break
            for name, function in base.__dict__.items():
                if isinstance(function, types.FunctionType) and not name.startswith("__") and hasattr(kind, name):
                    body.setdefault(name, _virtual(name, kind))
        _shells[cls] = type(kind)(cls.__name__, (kind,), body)
    return _shells[cls]


def _virtual(name: str, kind: type):
    def called(self, *args):
        wrapper = self.pythonqt_wrapper
        if wrapper is None:  # during construction
            return getattr(kind, name)(self, *args)
        try:
            return pythonqt.unwrap(getattr(wrapper, name)(*[pythonqt.wrap(one) for one in args]))
        except Exception as error:
            errors.collect(error, f"{type(wrapper).__name__}.{name}")
            return getattr(kind, name)(self, *args)

    called.__name__ = name
    return called
