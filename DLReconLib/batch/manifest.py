"""The manifest of a batch: a JSON object a line, one for each case that was finished; only ever appended to.

A line is on the disk before the next step is taken, so that whatever ends the process, nothing finished is lost.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


class Manifest:
    """records: the last line of each case, by name. Use it as a context: one process at a time may have it open."""

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError (an OSError) where another process has it open."""
        self.path = path
        self._file = path.open("a+b")
        try:
            _lock(self._file)
        except OSError as error:
            self._file.close()
            raise BlockingIOError(
                f"{path}: another batch writes here; wait for its end, or name another folder"
            ) from error
        self.records = self._read()

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self) -> dict[str, dict[str, Any]]:
        """A last line that was torn, and anything else that is no record, is passed over."""
        self._file.seek(0)
        found = {}
        for line in self._file.read().split(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("name"), str):
                found[record["name"]] = record
        return found

    def append(self, record: dict[str, Any]) -> None:
        """Add a line and wait until it is on the disk. Raises OSError (a full disk)."""
        self._file.seek(0, os.SEEK_END)
        start = b""
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            start = b"" if self._file.read(1) == b"\n" else b"\n"  # after a torn line
        self._file.write(start + json.dumps(record).encode() + b"\n")
        self._file.flush()
        self.records[record["name"]] = record
        os.fsync(self._file.fileno())

    def clear(self) -> None:
        self._file.truncate(0)
        self.records = {}


def _lock(file: Any) -> None:
    """Until the file is closed or the process ends, however it ends."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(1 << 30)  # a byte that nobody writes
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
