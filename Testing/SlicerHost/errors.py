"""Exceptions that Slicer prints and swallows: collected here, so that a test can fail on them."""

import sys
import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class Swallowed:
    """An exception that a slot, an event handler or an observer raised, and where."""

    error: BaseException
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


collected: list[Swallowed] = []


def collect(error: BaseException, where: str) -> None:
    text = "".join(traceback.format_exception(error))
    collected.append(Swallowed(error, where, text))
    print(text, file=sys.stderr)


def hook(kind, error, trace) -> None:
    """For sys.excepthook: observers of VTK and PySide6's own slots end there."""
    error = error if error is not None else kind()
    collect(error.with_traceback(trace), "observer or event handler")


def thread(args) -> None:
    """For threading.excepthook."""
    collect(args.exc_value or args.exc_type(), f"thread {args.thread.name if args.thread else '?'}")


def unraisable(args) -> None:
    """For sys.unraisablehook: __del__ and callbacks that have no caller."""
    collect(args.exc_value or args.exc_type(), f"unraisable in {args.object!r}")
