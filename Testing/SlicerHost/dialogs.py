"""Dialogs are not shown: what they would say is recorded, and the test says beforehand what the user answers."""

from collections.abc import Callable
from dataclasses import dataclass, field

from PySide6.QtWidgets import QMessageBox


@dataclass(frozen=True)
class Message:
    """A dialog that a user would have seen. kind: "message", "path" or "progress"."""

    kind: str
    title: str
    text: str
    detail: str = ""
    buttons: tuple[str, ...] = ()


class Unanswered(AssertionError):
    """A dialog with a choice opened, and the test had given no answer: in Slicer it would wait for the user."""


@dataclass
class Dialogs:
    """Messages so far and answers to come: names of buttons ("Ok", "Yes"), paths, or a function of the Message."""

    shown: list[Message] = field(default_factory=list)
    answers: list[object] = field(default_factory=list)

    def answer(self, message: Message) -> object:
        self.shown.append(message)
        if len(message.buttons) == 1:
            return message.buttons[0]
        if not self.answers:
            raise Unanswered(f"{message.kind} dialog without an answer (host.answers): {message.text!r}")
        given = self.answers.pop(0)
        return given(message) if isinstance(given, Callable) else given


state = Dialogs()


def ask(title: str, text: str, detail: str, buttons) -> int:
    """The number of the button that the test names, of QMessageBox.StandardButton flags."""
    names = {b.name: b for b in QMessageBox.StandardButton if b.value and buttons.value & b.value == b.value}
    names = {name: b for name, b in names.items() if b.value & (b.value - 1) == 0}
    names = names or {"Ok": QMessageBox.StandardButton.Ok}
    given = state.answer(Message("message", title, text, detail, tuple(names)))
    if given not in names:
        raise Unanswered(f"answer {given!r} is none of the buttons {', '.join(names)}: {text!r}")
    return names[given].value


def ask_box(box: QMessageBox) -> int:
    detail = "\n".join(part for part in (box.informativeText(), box.detailedText()) if part)
    if box.buttons() and not box.standardButtons().value:
        raise NotImplementedError("message boxes with buttons of their own (addButton)")
    return ask(box.windowTitle(), box.text(), detail, box.standardButtons())


def path(kind: str, title: str) -> str:
    """A file or folder that the test chooses; "" for cancelled."""
    given = state.answer(Message("path", title, kind))
    return "" if given is None else str(given)


def run(dialog) -> int:
    """QDialog.exec: the test answers "accept", "reject" or a function, which may click in the dialog first."""
    if not dialog.inherits("QDialog") or dialog.inherits("QFileDialog"):
        raise NotImplementedError(f"{type(dialog).__name__}.exec: it would wait for the user")
    dialog.show()
    given = state.answer(Message("dialog", dialog.windowTitle(), dialog.objectName()))
    if given not in ("accept", "reject"):
        raise Unanswered(f"answer {given!r} to a dialog is neither accept nor reject")
    getattr(dialog, given)()
    return dialog.result()
