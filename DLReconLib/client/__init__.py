"""Client: volumes to a worker process and results back, without ever waiting. No Qt, no torch.

    client = Client()
    job = client.submit(volume, task="denoise")
    while client.poll():        # or a timer calls poll() a few times a second
        show(job.fraction, job.text)
    job.result

The road runs in a process of its own because importing torch can crash an application, and a lack of memory would
take it along. One process serves many jobs, one after the other, and keeps the last model loaded. Use a client
from one thread only.
"""

import math
import shutil
import signal
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from DLReconLib.client.job import Job, WorkerError
from DLReconLib.client.launch import Process, choose_python
from DLReconLib.client.protocol import PROTOCOL, TransferError, decode, encode, receive_volume, send_volume
from DLReconLib.models import list_cards
from DLReconLib.result import Result, label_of
from DLReconLib.volume import Volume

__all__ = ["Client", "Job", "WorkerError"]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
STARTING = 180.0  # seconds at least that a worker has to say hello: a cold disk and a virus scanner are no hang
POLITE = 2.0  # seconds that a worker has to stop after a cancel before it is ended
PATIENCE = 0.005  # seconds that poll() gives to the threads that listen
LOG_LINES = 2000
SIGN_OF_WORK = 0.1  # seconds of processor time; the thread that says so uses far less in a minute
VERBS = ("run", "explain")
# After these a worker is not used again: it is about to end, or a library that ran out of memory stays broken
# (oneDNN then computes nothing any more, even when there is memory again).
LAST_WORDS = ("KeyboardInterrupt", "MemoryError", "OutOfMemory")


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
        self._hello: dict[str, Any] | None = None
        self._folder: Path | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._number, self._warm = 0, False
        self._quiet = self._cpu = 0.0
        self._looked = time.monotonic()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """The last lines that workers printed and that were no messages."""
        return "\n".join(self._log)

    def status(self) -> dict[str, Any]:
        """pid: of the worker, or None; warm: it has answered a job; protocol; queued: number of unfinished jobs."""
        pid = self._process and self._process.pid
        return {"pid": pid, "warm": self._warm, "protocol": PROTOCOL, "queued": len(self._queue)}

    def submit(
        self, volume: Volume | list[Volume], *, mask: Volume | None = None, box: Box | None = None, verb: str = "run",
        **options: Any,
    ) -> Job:  # fmt: skip
        """Queue a volume, or a list of the frames of a time series that are to be worked on as one.

        mask: on the same grid, see pipeline.reconstruct. box: start and stop along k, j, i; both are cropped to it
        first (a preview). verb: run, or explain (one volume). options: of pipeline.Options or of explain.explain.

        Raises ValueError for another verb, a box outside the volume, an option that is no JSON value. Whatever else
        is wrong becomes the job's error.
        """
        if verb not in VERBS:
            raise ValueError(f"verb {verb!r}; wanted one of: {', '.join(VERBS)}")
        frames = volume if isinstance(volume, list) else [volume]
        if box is not None:
            frames, mask = [v.crop(box) for v in frames], mask and mask.crop(box)
        options = _for_another_folder(options)
        self._number += 1
        job = Job(self, self._number, frames)
        job.mask = mask
        verb = "series" if verb == "run" and isinstance(volume, list) else verb
        job.request = {"do": verb, "id": job.number, "options": options}
        try:
            encode(job.request)
        except TypeError as error:
            raise ValueError(f"options {options}: {error}; wanted numbers, texts and lists of them") from None
        self._queue.append(job)
        try:
            folder = self._private_folder()
            sent = [send_volume(v, folder, f"volume-{n}-{job.number}") for n, v in enumerate(frames)]
            job.request |= {"frames": sent} if verb == "series" else {"volume": sent[0]}
            job.request["mask"] = mask and send_volume(mask, folder, f"mask-{job.number}")
        except OSError as error:
            text = f"the volume could not be handed to the worker ({error}); free space on the disk"
            self._close_job(job, "failed", text, "transfer")
        return job

    def poll(self, patience: float = PATIENCE) -> bool:
        """Take in what the worker said; True while a job is unfinished.

        patience: seconds to wait at most for something new; reading a result takes its own time.
        """
        self._start()
        if self._process is not None:
            for name, line in self._process.lines(patience if self._queue else 0.0):
                message = decode(line, "say") if name == "stdout" else None
                if message is None:
                    self._note(line)
                else:
                    self._handle(message)
                if self._process is None:  # ended by what it said
                    break
            self._watch()
        self._start()
        return bool(self._queue)

    def cancel(self, job: Job) -> None:
        """See Job.cancel()."""
        if job.finished or job.cancelled_at is not None:
            return
        if job.state == "queued":
            self._close_job(job, "cancelled")
            return
        job.cancelled_at, job.text = time.monotonic(), "cancelling"
        self._process.send(encode({"do": "cancel", "id": job.number}))

    def close(self) -> None:
        """End the worker and its children, cancel what is unfinished, remove the private folder."""
        self._end()
        for job in list(self._queue):
            self._close_job(job, "cancelled")
        if self._folder is not None:
            self._remove()
        self._folder = None

    def _private_folder(self) -> Path:
        if self._folder is None:  # mkdtemp makes it readable by this user only
            self._folder = Path(tempfile.mkdtemp(prefix="DLRecon-")).resolve()
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _note(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._log.append(text)

    def _start(self) -> None:
        """Send the first job of the queue, starting a worker where there is none."""
        if not self._queue or self._queue[0].state != "queued":
            return
        job = self._queue[0]
        if self._process is not None and self._process.dead():  # while it had nothing to do
            self._end()
        if self._process is None:
            try:
                self._process = Process(self._python or choose_python(), self._folder, self._environment)
            except OSError as error:
                self._close_job(job, "failed", f"the worker could not be started: {error}", "ended")
                return
            self._stop = weakref.finalize(self, self._process.end)
            self._quiet = self._cpu = 0.0
        if self._hello is None:
            job.text = "starting the worker"
            return
        job.state, job.text, self._quiet = "running", "handing over", 0.0
        self._process.send(encode(job.request))

    def _handle(self, message: dict[str, Any]) -> None:
        if message["say"] == "hello":
            self._greet(message)
            return
        job = self._queue[0] if self._queue else None
        if job is None or job.state != "running" or message.get("id") != job.number:
            return
        if message["say"] == "alive":
            if message["cpu"] > self._cpu + SIGN_OF_WORK:
                self._cpu, self._quiet = message["cpu"], 0.0
            return
        self._quiet, job.heard = 0.0, True
        if message["say"] == "progress":
            if job.cancelled_at is None:
                job.tell(message["fraction"], message["text"])
            return
        self._warm = True
        if message.get("kind") in LAST_WORDS:
            self._end()
        if job.cancelled_at is not None or message["say"] == "cancelled":
            self._close_job(job, "cancelled")
        elif message["say"] == "failed":
            self._close_job(job, "failed", message["error"], message["kind"])
        else:
            try:
                answers = message.get("frames") or [message]
                results = [self._result(job, *pair) for pair in zip(job.frames, answers, strict=True)]
            except TransferError as error:
                self._close_job(job, "failed", f"the result did not arrive whole: {error}", "transfer")
            else:
                self._close_job(job, "done", results=results)

    def _greet(self, hello: dict[str, Any]) -> None:
        self._quiet = 0.0
        if hello["protocol"] == PROTOCOL:
            self._hello, self._process.pid = hello, hello["pid"]
            return
        self._end()
        if self._queue:
            text = (
                f"the worker speaks protocol {hello['protocol']} (DLRecon {hello.get('version')}), wanted {PROTOCOL}: "
                "two versions of DLRecon are mixed; start the application again, or install DLRecon anew"
            )
            self._close_job(self._queue[0], "failed", text, "protocol")

    def _result(self, job: Job, source: Volume, message: dict[str, Any]) -> Result:
        def back(record: dict[str, Any]) -> Volume:
            got = receive_volume(record, self._folder)
            return replace(source, array=got.array, geometry=got.geometry)

        uncertainty, noise = message["uncertainty"], message["noise"]
        return Result(
            volume=back(message["volume"]),
            source=source,
            noise=math.nan if noise is None else noise,
            provenance=message["provenance"],
            uncertainty=uncertainty and back(uncertainty),
            invented=label_of(job.mask) if message["provenance"].get("synthetic") else None,
        )

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
            if job is not None and (job.state, job.heard, job.cancelled_at) == ("running", False, None):
                job.state, job.heard = "queued", True  # it was dying when the job was sent; once is enough
            elif job is not None:
                self._lost(job, code)
        elif job is None:
            self._quiet = 0.0
        elif job.cancelled_at is not None and now - job.cancelled_at > POLITE:
            self._end()
            self._close_job(job, "cancelled")
        elif self._quiet > (limit := self._silence if self._hello else max(self._silence, STARTING)):
            what = "computed nothing and said nothing new" if self._hello else "did not start"
            self._end()
            text = f"the worker {what} for {limit:g} seconds and was ended; try again, or with another device"
            self._close_job(job, "failed", text, "hung")

    def _lost(self, job: Job, code: int) -> None:
        if job.cancelled_at is not None:
            self._close_job(job, "cancelled")
            return
        how = f"ended with code {code}"
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name if -code in set(signal.Signals) else f'signal {-code}'}"
        if code == -9:
            how += " (the system does so when memory runs out: close other programs, or take a smaller tile)"
        lines = list(self._log)
        crash = [n for n, line in enumerate(lines) if line.startswith("Fatal Python error")]
        said = "\n".join(lines[crash[-1] :][:15] if crash else lines[-15:])
        self._close_job(job, "failed", f"the worker {how}" + (f"; it said last:\n{said}" if said else ""), "ended")

    def _close_job(self, job: Job, state: str, error: str = "", kind: str = "", results: Sequence[Result] = ()) -> None:
        for path in self._folder.glob(f"*-{job.number}.npy") if self._folder else ():
            path.unlink(missing_ok=True)
        self._queue.remove(job)
        job.finish(state, error, kind, results)

    def _end(self) -> None:
        if self._process is not None:
            self._stop.detach()
            self._process.end()
        self._process, self._hello, self._warm = None, None, False


def _for_another_folder(options: dict[str, Any]) -> dict[str, Any]:
    """The worker runs in a folder of its own: the path of a card must not depend on the current one."""
    model = options.get("model")
    if isinstance(model, str | Path) and Path(model).exists() and model not in {c.id for c in list_cards()}:
        return options | {"model": str(Path(model).resolve())}
    return options
