"""What the real widgets have (slicer-widgets.txt): a stand-in that lacks a member says so instead of denying it."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("slicer-widgets.txt")


@dataclass(frozen=True)
class Real:
    """Measured in Slicer: properties with the text of their defaults, names of signals and of methods."""

    properties: dict[str, str]
    signals: frozenset[str]
    methods: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.properties or name in self.signals or name in self.methods


@functools.cache
def widgets() -> dict[str, Real]:
    """By class."""
    found = {}
    for block in SOURCE.read_text(encoding="utf-8").split("\n## ")[1:]:
        name, *lines = block.strip().splitlines()
        parts = dict(
            line.split(": ", 1) for line in lines if line.startswith(("properties: ", "signals: ", "methods: "))
        )
        found[name] = Real(
            dict(_properties(parts.get("properties", ""))),
            frozenset(parts.get("signals", "").split(", ")),
            frozenset(parts.get("methods", "").split(", ")),
        )
    return found


def _properties(text: str):
    """ "a=1, b='x, y'" -> pairs of name and default."""
    return re.findall(r"(?:^|, )([A-Za-z_]\w*)=(.*?)(?=, [A-Za-z_]\w*=|$)", text)


def denied(kinds: tuple[type, ...], name: str) -> bool:
    """Whether a stand-in has a member that the real class does not show to Python."""
    owner = next((kind for kind in kinds if name in kind.__dict__), None)
    spec = next((widgets()[kind.__name__] for kind in kinds if kind.__name__ in widgets()), None)
    if owner is None or spec is None or name in spec:
        return False
    unmeasured = not owner.__name__.startswith("_") and owner.__name__ not in widgets()
    return not (unmeasured or any(hasattr(kind, name) for kind in kinds if kind.__module__.startswith("PySide6")))


def lacking(kinds: list[str], name: str) -> str | None:
    """The real class that has this member, of those that an object is one of; None where none has."""
    return next((kind for kind in kinds if kind in widgets() and name in widgets()[kind]), None)
