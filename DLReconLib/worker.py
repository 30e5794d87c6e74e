"""The process that does the work: `python -m DLReconLib worker`. See protocol.py for what it says.

The main thread works, one request after the other. One thread listens (a cancel is heard during the work), one says
each second that the process lives and how much processor time it has used, and looks whether the parent lives.
"""

import contextlib
import faulthandler
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

import DLReconLib
from DLReconLib.client.protocol import PROTOCOL, decode, encode, receive_volume, send_volume
from DLReconLib.progress import Cancelled

PULSE = 1.0  # seconds
OFTEN = 0.05  # seconds between two reports of progress


class Worker:
    """What the threads share. folder: of the arrays; own: whether it is removed when the parent is gone."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], folder: Path, own: bool, parent: int | None) -> None:
        self.requests, self.answers, self.folder, self.own, self.parent = requests, answers, folder, own, parent
        self.todo: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.busy: int | None = None
        self.cancelled: set[int] = set()
        self.model: Any = None
        self.key: tuple = ()
        self._lock = threading.Lock()

    def say(self, what: str, **values: Any) -> None:
        line = encode({"say": what, **values})
        try:
            with self._lock:
                self.answers.write(line)
                self.answers.flush()
        except (OSError, ValueError):
            self.leave()

    def serve(self) -> int:
        """Answer requests until a shutdown; returns the exit code."""
        self.say("hello", protocol=PROTOCOL, version=DLReconLib.__version__, pid=os.getpid())
        for task in (self.listen, self.pulse):
            threading.Thread(target=task, daemon=True).start()
        try:
            while (request := self.todo.get()) is not None:
                self.busy = request["id"]
                self.answer(request)
                self.busy = None
        except KeyboardInterrupt:
            if self.busy is not None:
                self.say("failed", id=self.busy, kind="KeyboardInterrupt", error="the worker was interrupted")
            return 130
        return 0

    def listen(self) -> None:
        try:
            for line in self.requests:
                self.hear(decode(line, "do"))
        finally:
            self.leave()  # the other end was closed

    def hear(self, request: dict[str, Any] | None) -> None:
        if request is None:
            return
        if request["do"] == "cancel":
            self.cancelled.add(request["id"])
        elif request["do"] == "status":
            self.say("status", pid=os.getpid(), busy=self.busy, model=self.model and self.model.card.id)
        else:
            self.todo.put(None if request["do"] == "shutdown" else request)

    def pulse(self) -> None:
        while True:
            time.sleep(PULSE)
            if self.parent is not None and not is_alive(self.parent):
                self.leave()
            busy = self.busy
            if busy is not None:
                with contextlib.suppress(MemoryError):  # the main thread has taken all
                    self.say("alive", id=busy, cpu=time.process_time())

    def leave(self) -> None:
        """The parent is gone: end in the middle of everything, and leave no image of a patient behind."""
        os.chdir(os.path.abspath(os.sep))  # Windows removes no folder that someone is in
        for _ in range(3):
            if self.own:
                shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(1)

    def answer(self, request: dict[str, Any]) -> None:
        number = request["id"]
        try:
            self.say("done", id=number, **self.work(request))
        except Cancelled:
            self.say("cancelled", id=number)
        except Exception as error:  # whatever goes wrong in here must reach the one who waits
            kind, text = type(error).__name__, str(error) or type(error).__name__
            if kind != "OutOfMemory" and lacks_memory(error):
                kind, text = "MemoryError", f"not enough memory ({text}); close other programs, or crop the volume"
            elif not isinstance(error, ValueError | MemoryError):
                traceback.print_exc()
                text = f"{kind}: {text}"
            self.say("failed", id=number, kind=kind, error=text)

    def work(self, request: dict[str, Any]) -> dict[str, Any]:
        number, last = request["id"], -OFTEN

        def progress(fraction: float, text: str) -> None:
            nonlocal last
            if number in self.cancelled:
                raise Cancelled
            now = time.monotonic()
            if now - last >= OFTEN or fraction in (0, 1):
                last = now
                self.say("progress", id=number, fraction=float(fraction), text=text)

        progress(0.0, "loading the libraries")
        volumes = [receive_volume(v, self.folder, mapped=True) for v in request.get("frames") or [request["volume"]]]
        mask = receive_volume(request["mask"], self.folder, mapped=True) if request["mask"] else None
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in request["options"].items()}
        if request["do"] == "run":
            from DLReconLib.pipeline import reconstruct

            results = [reconstruct(volumes[0], mask=mask, progress=progress, load=self.load, **options)]
        elif request["do"] == "series":
            from DLReconLib.series import reconstruct_series

            results = reconstruct_series(volumes, mask=mask, progress=progress, load=self.load, **options)
        elif request["do"] == "explain":
            from DLReconLib.explain import explain

            results = [explain(volumes[0], progress=progress, **options)]
        else:
            raise ValueError(f"request {request['do']!r}; wanted run, series or explain")
        if number in self.cancelled:
            raise Cancelled
        if request["do"] == "series":
            return {"frames": [self.pack(result, f"{n}-{number}") for n, result in enumerate(results)]}
        return self.pack(results[0], number)

    def load(self, card: Any, device: str, precision: str) -> Any:
        """The model of the last run where it is the same, else another in its place."""
        from DLReconLib.inference import Model

        key = (card, device, precision)
        if self.key != key:
            self.model = None  # before the next one, so that two never need memory at once
            self.model, self.key = Model(card, device, precision), key
        return self.model

    def pack(self, result: Any, number: int | str) -> dict[str, Any]:
        return {
            "volume": send_volume(result.volume, self.folder, f"result-{number}"),
            "uncertainty": result.uncertainty and send_volume(result.uncertainty, self.folder, f"uncertainty-{number}"),
            "noise": result.noise,
            "provenance": result.provenance,
        }


def lacks_memory(error: BaseException) -> bool:
    inference = sys.modules.get("DLReconLib.inference")  # to import it now could hide the error behind another one
    return inference.is_out_of_memory(error) if inference else isinstance(error, MemoryError)


def is_alive(pid: int) -> bool:
    if sys.platform != "win32":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
    import ctypes

    synchronize = 0x00100000
    handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    waiting = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) != 0
    ctypes.windll.kernel32.CloseHandle(handle)
    return waiting


def main(folder: Path | None, parent: int | None) -> int:
    """Keep stdin and stdout for the messages: what libraries print to file descriptor 1 goes to stderr, and
    children find nothing to read."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    faulthandler.enable()  # a crash in a library tells where
    own = folder is not None
    with contextlib.suppress(KeyboardInterrupt):
        return Worker(requests, answers, (folder or Path.cwd()).resolve(), own, parent).serve()
    return 130
