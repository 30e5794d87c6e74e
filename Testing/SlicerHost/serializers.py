"""How the values of parameters become texts of a parameter node, and come back."""

import enum
import pathlib
import typing

import slicer

from . import annotations as notes
from . import connectors


class Serializer:
    """How one type is written into a parameter node. Caches its value: the node is read when it changes."""

    def __init__(self, validators):
        self.validators = validators

    def write(self, node, name, value):
        for validator in self.validators:
            validator.validate(value)
        self.put(node, name, value)

    def put(self, node, name, value):
        node.SetParameter(name, self.text(value))

    def has(self, node, name):
        return node.HasParameter(name)

    def remove(self, node, name):
        node.UnsetParameter(name)

    def text(self, value):
        return str(value)


class Number(Serializer):
    def __init__(self, kind, validators):
        wanted = (int, float) if kind is float else int
        super().__init__([notes.NotNone(), notes.IsInstance(wanted), *validators])
        self.kind = kind

    def default(self):
        return 0

    def read(self, node, name):
        return self.kind(node.GetParameter(name))


class Text(Serializer):
    def __init__(self, kind, validators):
        super().__init__([notes.NotNone(), notes.IsInstance(kind), *validators])
        self.kind = kind

    def default(self):
        return self.kind()

    def read(self, node, name):
        return self.kind(node.GetParameter(name))


class Boolean(Serializer):
    def __init__(self, validators):
        super().__init__([notes.NotNone(), notes.IsInstance(bool), *validators])

    def default(self):
        return False

    def text(self, value):
        return "True" if value else "False"

    def read(self, node, name):
        return node.GetParameter(name) == "True"


class Enumeration(Serializer):
    def __init__(self, kind, validators):
        super().__init__([notes.NotNone(), notes.IsInstance(kind), *validators])
        self.kind = kind

    def default(self):
        return next(iter(self.kind))

    def text(self, value):
        return value.name

    def read(self, node, name):
        return self.kind[node.GetParameter(name)]


class Node(Serializer):
    """A reference of the node; an empty parameter of the same name says that it was set."""

    def __init__(self, kinds, validators):
        super().__init__([notes.IsInstance(kinds), *validators])

    def default(self):
        return None

    def put(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)

    def remove(self, node, name):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class Sequence(Serializer):
    """A list: its length, and its items under numbered names. Changing the list changes the node."""

    def __init__(self, item, validators):
        super().__init__(validators)
        self.item = item

    def default(self):
        return []

    def has(self, node, name):
        return node.HasParameter(f"{name}.len")

    def put(self, node, name, value):
        with slicer.util.NodeModify(node):
            before = int(node.GetParameter(f"{name}.len") or 0)
            for index, one in enumerate(value):
                self.item.write(node, f"{name}.{index}", one)
            node.SetParameter(f"{name}.len", str(len(value)))
            for index in range(len(value), before):
                self.item.remove(node, f"{name}.{index}")

    def read(self, node, name):
        count = int(node.GetParameter(f"{name}.len") or 0)
        return Observed(self, node, name, [self.item.read(node, f"{name}.{i}") for i in range(count)])

    def remove(self, node, name):
        self.put(node, name, [])
        node.UnsetParameter(f"{name}.len")


class Observed(list):
    """A list that writes itself back into its parameter node."""

    def __init__(self, serializer, node, name, values):
        super().__init__(values)
        self._where = (serializer, node, name)

    def _saving(method):
        def changed(self, *args, **keywords):
            result = getattr(list, method)(self, *args, **keywords)
            serializer, node, name = self._where
            serializer.write(node, name, list(self))
            return result

        return changed

    append, extend, insert, remove, pop = map(_saving, ("append", "extend", "insert", "remove", "pop"))
    clear, sort, reverse = map(_saving, ("clear", "sort", "reverse"))
    __setitem__, __delitem__, __iadd__ = map(_saving, ("__setitem__", "__delitem__", "__iadd__"))

    def __add__(self, other):
        raise NotImplementedError("a parameter that is a list: + makes no new list; use +=")


def serializer_of(kind, given) -> Serializer:
    """NotImplementedError names a type that the host does not store."""
    validators = [one for one in given if isinstance(one, notes.Validator)]
    if kind in (int, float):
        return Number(kind, validators)
    if kind is bool:
        return Boolean(validators)
    if kind is str or (isinstance(kind, type) and issubclass(kind, pathlib.PurePath)):
        return Text(kind, validators)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Enumeration(kind, validators)
    nodes = connectors.node_classes(kind)
    if nodes:
        return Node(nodes, validators)
    if kind is list or typing.get_origin(kind) is list:
        (item,) = typing.get_args(kind) or (None,)
        if item is None:
            raise NotImplementedError("parameterNodeWrapper: a list needs the type of its items")
        return Sequence(serializer_of(*notes.split(item)), validators)
    raise NotImplementedError(f"parameterNodeWrapper: parameters of type {kind}")
