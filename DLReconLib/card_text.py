"""A model card in words: as plain text for the command line, as a fragment of HTML for the panel and the report."""

import textwrap
from collections.abc import Mapping
from html import escape
from typing import Any

from DLReconLib.models import ModelCard
from DLReconLib.pages import data_uri

WIDTH = 88
RESEARCH = "Research use only: not a medical device, not for diagnosis or treatment."
WORDS = {"ours": "this model", "noisy": "before"}


def describe(card: ModelCard) -> str:
    """The card as plain text, WIDTH letters wide."""
    lines = [f"{card.title} ({card.id})", "", *wrapped(card.summary), "", *wrapped(RESEARCH)]
    for title, content in sections(card):
        lines += ["", title.upper()]
        if isinstance(content, str):
            lines += wrapped(content)
        elif isinstance(content, Table):
            lines += content.text()
        else:
            for item in content:
                lines += wrapped(item, "- ", "  ")
    return "\n".join(lines)


def page(card: ModelCard, width: int = 480) -> str:
    """The card as a fragment of HTML without style of its own; pictures are inside it, `width` pixels wide."""
    parts = [f"<h2>{escape(card.title)} <small>{escape(card.id)}</small></h2>", f"<p>{escape(card.summary)}</p>",
             f"<p><strong>{RESEARCH}</strong></p>"]  # fmt: skip
    for title, content in sections(card):
        parts.append(f"<h3>{title}</h3>")
        if isinstance(content, str):
            parts.append(f"<p>{escape(content)}</p>")
        elif isinstance(content, Table):
            parts.append(content.html())
        elif title == "Known failures":
            parts += [failure(card, f, width) for f in card.failures]
        else:
            parts.append("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in content) + "</ul>")
    return "\n".join(parts)


class Table:
    """Rows of names and figures; the first column names the row."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        rows = {name: row for name, row in results.items() if isinstance(row, Mapping)}
        self.columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        self.rows = [[name, *(figure(row.get(c)) for c in self.columns)] for name, row in rows.items()]
        self.notes = [f"{name}: {figure(value)}" for name, value in results.items() if name not in rows]
        self.heads = ["", *(WORDS.get(c, c) for c in self.columns)]

    def text(self) -> list[str]:
        rows = [self.heads, *self.rows]
        widths = [max(len(row[n]) for row in rows) for n in range(len(self.heads))]
        lines = ["  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return (lines if self.rows else []) + [f"({note})" for note in self.notes]

    def html(self) -> str:
        heads = "".join(f"<th>{escape(h)}</th>" for h in self.heads)
        rows = "".join("<tr>" + "".join(f"<td>{escape(v)}</td>" for v in row) + "</tr>" for row in self.rows)
        table = f'<table border="0" cellpadding="4"><tr>{heads}</tr>{rows}</table>' if self.rows else ""
        return table + (f"<p>{escape('; '.join(self.notes))}</p>" if self.notes else "")


def figure(value: Any) -> str:
    """A figure in words: numbers short, {"mean", "low", "high"} and [low, high] as an interval."""
    if isinstance(value, Mapping):
        if {"low", "high"} <= set(value):
            middle = next((figure(value[k]) + " " for k in ("mean", "median", "value") if k in value), "")
            return f"{middle}({figure(value['low'])} to {figure(value['high'])})"
        return ", ".join(f"{k} {figure(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return " to ".join(map(figure, value)) if len(value) == 2 else ", ".join(map(figure, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def sections(card: ModelCard) -> list[tuple[str, Any]]:
    """(title, a text, a list of texts or a Table), those that the card has, in the order of reading."""
    modalities = "any" if "*" in card.modalities else ", ".join(card.modalities)
    limits = [text for text in card.limits if "research use only" not in text.lower()]
    found = [
        ("Intended use", card.intended_use or f"{card.task} of {modalities} images."),
        ("Not for", list(card.not_for)),
        ("Known failures", [f"{f['title']}: {f['text']}{earlier(card, f)}" for f in card.failures]),
        ("Limits", limits),
        ("Measured", Table(card.results) if card.results else ""),
        ("Training data", training(card)),
        ("How it works", working(card)),
        ("Licence", card.licence),
    ]
    return [(title, content) for title, content in found if content]


def training(card: ModelCard) -> list[str]:
    """Where it learned, under which licences."""
    if not card.learned:
        return ["None: a classical method, which learns nothing."]
    found = card.training
    images = [str(name) for name in found.get("images", [])]
    texts = [f"{len(images)} images of {len(found.get('train', []))} subjects; {len(found.get('validation', []))} "
             "other subjects chose the settings."]  # fmt: skip
    licences: dict[str, int] = {}
    for name in images:
        licence = name.partition(" (")[2].removesuffix(")") or "licence not stated"
        licences[licence] = licences.get(licence, 0) + 1
    texts += [f"{count} image{'s' if count > 1 else ''}: {licence}" for licence, count in licences.items()]
    plain = {k: v for k, v in found.items() if k in ("degradation", "steps", "history")}
    return texts + [f"{name}: {value}" for name, value in plain.items()]


def working(card: ModelCard) -> list[str]:
    """What the fields that are executed mean to a reader."""
    modalities = "any" if "*" in card.modalities else ", ".join(card.modalities)
    texts = [f"Task: {card.task}. Made for: {modalities}. Method: {card.network}."]
    if card.reach:
        texts.append(f"Values below {card.reach[0]:g} and above {card.reach[1]:g} are never changed.")
    if card.flat_mm:
        texts.append(f"What is removed has no mean over {card.flat_mm:g} mm: mean values (HU) of regions stay.")
    if card.equivariance != "none":
        change = {"scale": "a factor", "affine": "a factor, an offset"}[card.equivariance]
        texts.append(f"Another unit of the values ({change}) changes nothing in the result.")
    if card.learned:
        texts.append(f"Weights: SHA-256 {card.sha256}.")
    return texts


def failure(card: ModelCard, one: Mapping[str, str], width: int) -> str:
    """A known failure as HTML, its picture inside."""
    path = card.folder / one["picture"]
    picture = ""
    if one["picture"] and path.is_file():
        picture = f'<br><img alt="{escape(one["title"])}" width="{width}" src="{data_uri(path.read_bytes())}">'
    return f"<p><strong>{escape(one['title'])}.</strong> {escape(one['text'])}{earlier(card, one)}{picture}</p>"


def earlier(card: ModelCard, one: Mapping[str, str]) -> str:
    """A remark where a failure was measured with other weights than the card's."""
    return "" if one["weights"] == card.sha256 else " (Measured with earlier weights of this model.)"


def wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest) or [""]
