"""A worker process: how it is started, listened to without ever waiting, and ended with all its children."""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

WINDOWS = sys.platform == "win32"


def choose_python() -> str:
    """Inside Slicer its PythonSlicer, whose environment is complete; elsewhere the Python that runs this."""
    return ("slicer" in sys.modules and shutil.which("PythonSlicer")) or sys.executable


def make_environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """This process's environment with DLReconLib on the path."""
    environment = dict(os.environ) | dict(extra or {})
    paths = [str(Path(__file__).resolve().parents[2]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["PYTHONIOENCODING"] = "utf-8"
    return environment


class Process:
    """A running worker. Two threads do nothing but put the lines it prints into a queue.

    It runs in its own group, so that a Ctrl-C at the terminal does not reach it and its children can be ended
    with it; and in the given folder, because Python imports from the current one first, which may hold anything.
    """

    def __init__(self, python: str, folder: Path, environment: Mapping[str, str] | None) -> None:
        command = [python, "-m", "DLReconLib", "worker", "--folder", str(folder), "--parent", str(os.getpid())]
        if WINDOWS:
            own = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        else:
            own = {"start_new_session": True}
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(
            command, cwd=folder, env=make_environment(environment), stdin=pipe, stdout=pipe, stderr=pipe, **own
        )
        self.pid = self.child.pid  # the hello may name another one, where a launcher stands between
        self._said: queue.Queue[tuple[str, bytes]] = queue.Queue()
        for name, stream in (("stdout", self.child.stdout), ("stderr", self.child.stderr)):
            threading.Thread(target=_listen, args=(name, stream, self._said), daemon=True).start()
        self._open = 2
        self._dead_since: float | None = None

    def send(self, line: bytes) -> None:
        """Where the process has ended nothing is sent; ended() tells."""
        with contextlib.suppress(OSError):
            self.child.stdin.write(line)
            self.child.stdin.flush()

    def lines(self, patience: float) -> Iterator[tuple[str, bytes]]:
        """("stdout" or "stderr", line) of what was printed since the last call.

        patience: seconds to wait for a first line. A little is needed: where the interpreter belongs to an idle
        application (Slicer), the threads that listen run only while someone waits here.
        """
        while True:
            try:
                name, line = self._said.get(timeout=patience) if patience else self._said.get_nowait()
            except queue.Empty:
                return
            patience = 0.0
            if line:
                yield name, line
            else:
                self._open -= 1

    def dead(self) -> bool:
        return self.child.poll() is not None

    def ended(self) -> bool:
        """Whether it is dead and all it said was read; a grandchild that keeps the pipes open is not waited for."""
        if not self.dead():
            return False
        self._dead_since = self._dead_since or time.monotonic()
        return self._open == 0 or time.monotonic() - self._dead_since > 1.0

    def end(self) -> None:
        """End it and its children, at once. Its standard input is closed only then, so that it does not tidy up.
        The threads that listen close the others: closing them here could wait for a grandchild that escaped."""
        if WINDOWS:
            for pid in {self.child.pid, self.pid}:
                command = ["taskkill", "/F", "/T", "/PID", str(pid)]
                subprocess.run(command, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW, check=False)
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(timeout=5)
        with contextlib.suppress(OSError):
            self.child.stdin.close()


def _listen(name: str, stream: IO[bytes], said: queue.Queue) -> None:
    """Lines into the queue, then an empty one at the end."""
    with contextlib.suppress(OSError, ValueError), stream:
        for line in stream:
            said.put((name, line))
    said.put((name, b""))
