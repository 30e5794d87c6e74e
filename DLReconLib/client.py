"""Client: volumes to a worker process and results back, without ever waiting. No Qt, no torch.

    client = Client()
    job = client.submit(volume, task="denoise")
    while client.poll():        # or a timer calls poll() a few times a second
        show(job.fraction, job.text)
    job.result

The road runs in a process of its own because importing torch can crash an application, and a lack of memory would
take it along. One process serves many jobs, one after the other, and keeps the last model loaded. Use a client
from one thread only. When a job runs longer than `silence` without a sign of work, see Client.
"""

import contextlib
import math
import shutil
import signal
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from DLReconLib.launch import Process, choose_python
from DLReconLib.progress import Cancelled, Progress, silent
from DLReconLib.protocol import PROTOCOL, TransferError, decode, encode, receive_volume, send_volume
from DLReconLib.result import Result
from DLReconLib.volume import Volume

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
POLITE = 2.0  # seconds that a worker has to stop after a cancel before it is ended
PATIENCE = 0.005  # seconds that poll() gives to the threads that listen
LOG_LINES = 2000
VERBS = ("run", "explain")


class WorkerError(RuntimeError):
    """The work failed; the message is made for the user.

    kind: the name of the exception in the worker ("ValueError", "OutOfMemory", ...), or "ended", "hung", "transfer"
    or "protocol".
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class Job:
    """One volume to be worked on.

    state: queued, running, done, failed or cancelled. fraction: 0 to 1, never falling; text: what is being done.
    result: where state is done. error, kind: where it is failed, see WorkerError.
    """

    def __init__(self, client: "Client", number: int, verb: str, volume: Volume) -> None:
        self.state, self.fraction, self.text, self.error, self.kind = "queued", 0.0, "waiting", "", ""
        self.result: Result | None = None
        self._client, self._number, self._verb, self._source = client, number, verb, volume
        self._request: dict[str, Any] = {}
        self._cancelled_at: float | None = None
        self._began: float | None = None  # when the first piece was begun
        self._told = 0.0

    @property
    def finished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def remaining(self) -> float | None:
        """Seconds to go, as far as the pieces done so far tell; None before."""
        if self.state != "running" or self._began is None or self.fraction <= 0:
            return None
        whole = (self._told - self._began) / self.fraction
        return max(0.0, whole - (time.monotonic() - self._began))

    def cancel(self) -> None:
        """Ask it to stop: between two pieces, or, where that takes longer than two seconds, by ending the worker."""
        self._client._cancel(self)

    def wait(self, progress: Progress = silent) -> Result:
        """Poll until it is finished. Raises Cancelled (also when `progress` did: then the job is stopped first)
        and WorkerError."""
        try:
            told = None
            while not self.finished:
                self._client._poll(0.05)
                if self.state == "running" and told != (self.fraction, self.text):
                    told = self.fraction, self.text
                    progress(*told)
        except BaseException:
            self.cancel()
            while not self.finished:
                self._client._poll(0.05)
            raise
        if self.state == "cancelled":
            raise Cancelled
        if self.state == "failed":
            raise WorkerError(self.error, self.kind)
        return self.result

    def _tell(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        if fraction <= 0 or self._began is None:  # before the first piece there is loading, which foretells nothing
            self._began = now
        self.fraction, self.text, self._told = max(self.fraction, min(fraction, 1.0)), text, now

    def _finish(self, state: str, error: str = "", kind: str = "", result: Result | None = None) -> None:
        self.state, self.error, self.kind, self.result, self._request = state, error, kind, result, {}
        if state == "done":
            self.fraction, self.text = 1.0, "done"


class Client:
    """Talks to one worker process; starts it with the first job, and again after it was lost.

    python: the executable, by default Slicer's PythonSlicer there, else this one. environment: variables to add.
    silence: seconds without a sign of work after which a worker at work is ended and its job fails. A sign is any
    progress, or processor time used: so a long piece is left in peace, while a process that is stopped (nothing
    comes from it) and one that waits for ever (it says it is alive, but computes nothing) are found. Only time
    during which poll() is called counts. A process that computes in circles is not found: cancel it.
    """

    def __init__(
        self, python: str | None = None, *, silence: float = 60.0, environment: Mapping[str, str] | None = None
    ) -> None:
        self._python, self._silence, self._environment = python, silence, environment
        self._queue: deque[Job] = deque()
        self._process: Process | None = None
        self._folder: Path | None = None
        self._remove: Any = None
        self._hello: dict[str, Any] | None = None
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._number = 0
        self._quiet = self._worked = 0.0
        self._looked = time.monotonic()
        self._warm = False

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """The last lines that workers printed and that were no messages."""
        return "\n".join(self._lines)

    def status(self) -> dict[str, Any]:
        """pid of the worker or None; warm: it has finished a job; protocol; queued: jobs unfinished."""
        pid = None if self._process is None else (self._hello or {}).get("pid", self._process.pid)
        return {"pid": pid, "warm": self._warm, "protocol": PROTOCOL, "queued": len(self._queue)}

    def submit(
        self, volume: Volume, *, mask: Volume | None = None, box: Box | None = None, verb: str = "run", **options: Any
    ) -> Job:
        """Queue a volume.

        mask: on the same grid, see pipeline.reconstruct. box: start and stop along k, j, i; both are cropped to it
        first (a preview). verb: run, or explain. options: of pipeline.Options or of explain.explain.

        Raises ValueError for another verb or a box outside the volume. Whatever else is wrong becomes the job's.
        """
        if verb not in VERBS:
            raise ValueError(f"verb {verb!r}; wanted one of: {', '.join(VERBS)}")
        if box is not None:
            volume, mask = volume.crop(box), mask and mask.crop(box)
        self._number += 1
        job = Job(self, self._number, verb, volume)
        try:
            folder = self._private_folder()
            job._request = {
                "do": verb,
                "id": job._number,
                "volume": send_volume(volume, folder, f"volume-{job._number}"),
                "mask": mask and send_volume(mask, folder, f"mask-{job._number}"),
                "options": options,
            }
        except OSError as error:
            job._finish("failed", f"the volume could not be handed over: {error}; free space on the disk", "transfer")
            return job
        self._queue.append(job)
        return job

    def poll(self) -> bool:
        """Take in what the worker said; True while a job is unfinished. Never waits longer than some milliseconds,
        apart from reading a result."""
        return self._poll(PATIENCE)

    def close(self) -> None:
        """End the worker and its children, cancel what is unfinished, remove the private folder."""
        for job in self._queue:
            job._finish("cancelled")
        self._queue.clear()
        self._end()
        if self._remove is not None:
            self._remove()
        self._folder = self._remove = None

    def _poll(self, patience: float) -> bool:
        if not self._queue:
            patience = 0.0
        self._start()
        if self._process is not None:
            for name, line in self._process.lines(patience):
                message = decode(line, "say") if name == "stdout" else None
                if message is None:
                    self._note(line.decode(errors="replace").rstrip())
                elif self._process is not None:
                    self._handle(message)
                if self._process is None:  # it was ended; what it still said does not count
                    break
            self._watch()
        self._start()
        return bool(self._queue)

    def _private_folder(self) -> Path:
        if self._folder is None:  # mkdtemp makes it readable by this user only
            self._folder = Path(tempfile.mkdtemp(prefix="DLRecon-")).resolve()
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _note(self, text: str) -> None:
        if text:
            self._lines.append(text)

    def _start(self) -> None:
        """Send the first job of the queue, starting a worker where there is none."""
        if not self._queue or self._queue[0].state != "queued":
            return
        job = self._queue[0]
        if self._process is None:
            try:
                self._process = Process(self._python or choose_python(), self._folder, self._environment)
            except OSError as error:
                return self._fail(job, f"the worker could not be started: {error}", "ended")
            self._stop_at_exit = weakref.finalize(self, self._process.end)
            self._hello, self._warm = None, False
            self._sign_of_work()
            self._worked = 0.0
        if self._hello is None:
            job.text = "starting the worker"
            return None
        job.state, job.text = "running", "handing over"
        self._sign_of_work()
        return self._say(job._request)

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended, which _watch() finds
            self._process.send(encode(message))

    def _handle(self, message: dict[str, Any]) -> None:
        if message["say"] == "hello":
            return self._greet(message)
        job = self._queue[0] if self._queue else None
        if job is None or job.state != "running" or message.get("id") != job._number:
            return None
        if message["say"] == "alive":
            # A tenth of a second cannot come from the thread that says so.
            if message["cpu"] > self._worked + 0.1:
                self._worked = message["cpu"]
                self._sign_of_work()
            return None
        self._sign_of_work()
        if message["say"] == "progress":
            return job._tell(message["fraction"], message["text"])
        self._warm = True
        if job._cancelled_at is not None or message["say"] == "cancelled":
            return self._close_job(job, "cancelled")
        if message["say"] == "failed":
            return self._fail(job, message["error"], message["kind"])
        try:
            return self._close_job(job, "done", result=self._result(job, message))
        except TransferError as error:
            return self._fail(job, f"the result did not arrive whole: {error}", "transfer")

    def _greet(self, hello: dict[str, Any]) -> None:
        self._sign_of_work()
        if hello["protocol"] == PROTOCOL:
            self._hello = hello
            return
        self._end()
        self._fail(
            self._queue[0],
            f"the worker speaks protocol {hello['protocol']} (DLRecon {hello.get('version')}), wanted {PROTOCOL}; two "
            "versions of DLRecon are mixed: start the application again, or install one of them anew",
            "protocol",
        )

    def _result(self, job: Job, message: dict[str, Any]) -> Result:
        def back(record: dict[str, Any]) -> Volume:
            got = receive_volume(record, self._folder)
            return replace(job._source, array=got.array, geometry=got.geometry)

        uncertainty = message.get("uncertainty")
        return Result(
            volume=back(message["volume"]),
            source=job._source,
            noise=math.nan if message.get("noise") is None else message["noise"],
            provenance=message["provenance"],
            uncertainty=uncertainty and back(uncertainty),
        )

    def _cancel(self, job: Job) -> None:
        if job.finished or job._cancelled_at is not None:
            return
        if job.state == "queued":
            self._close_job(job, "cancelled")
            return
        job._cancelled_at, job.text = time.monotonic(), "cancelling"
        self._say({"do": "cancel", "id": job._number})

    def _sign_of_work(self) -> None:
        self._quiet = 0.0

    def _watch(self) -> None:
        """Has it ended, is it late with a cancel, does it hang?"""
        now = time.monotonic()
        # An application that was busy itself, or a machine that slept, is no reason to blame the worker.
        self._quiet += min(now - self._looked, 1.0)
        self._looked = now
        if self._process is None:
            return
        job = self._queue[0] if self._queue else None
        if self._process.ended():
            code = self._process.child.returncode
            self._end()
            if job is not None:
                self._lost(job, code)
        elif job is None:
            self._sign_of_work()
        elif job._cancelled_at is not None and now - job._cancelled_at > POLITE:
            self._end()
            self._close_job(job, "cancelled")
        elif self._quiet > self._silence:
            self._end()
            what = "computed nothing and said nothing new" if self._hello else "did not start"
            self._fail(job, f"the worker {what} for {self._silence:g} seconds and was ended; try again", "hung")

    def _lost(self, job: Job, code: int) -> None:
        if job._cancelled_at is not None:
            self._close_job(job, "cancelled")
            return
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            how = f"was ended by {name}"
            if name == "SIGKILL":
                how += " (the system does this when memory runs out: close other programs or take a smaller tile)"
        else:
            how = f"ended with code {code}"
        said = "\n".join(list(self._lines)[-15:])
        self._fail(job, f"the worker {how}" + (f"; it said last:\n{said}" if said else ""), "ended")

    def _fail(self, job: Job, error: str, kind: str) -> None:
        self._close_job(job, "failed", error, kind)

    def _close_job(self, job: Job, state: str, error: str = "", kind: str = "", result: Result | None = None) -> None:
        for part in ("volume", "mask"):
            if job._request.get(part):
                (self._folder / job._request[part]["array"]["file"]).unlink(missing_ok=True)
        self._queue.remove(job)
        job._finish(state, error, kind, result)

    def _end(self) -> None:
        if self._process is not None:
            self._stop_at_exit.detach()
            self._process.end()
        self._process, self._hello, self._warm = None, None, False
