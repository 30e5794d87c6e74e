"""Job: one volume, or the frames of a series, in the hands of a Client, and the error it may end with."""

import time
from collections.abc import Sequence
from typing import Any

from DLReconLib.progress import Cancelled, Progress, silent
from DLReconLib.result import Result
from DLReconLib.volume import Volume


class WorkerError(RuntimeError):
    """The work failed; the message is made for the user.

    kind: the name of the exception in the worker ("ValueError", "OutOfMemory", ...), or what befell the worker:
    "ended", "hung", "transfer" or "protocol".
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class Job:
    """One volume to be worked on; made by Client.submit().

    state: queued, running, done, failed or cancelled. fraction: 0 to 1, never falling; text: what is being done.
    result, results: where state is done, of the volume, of all frames of a series. error, kind:
    where it is failed, see WorkerError.
    """

    def __init__(self, client: Any, number: int, frames: Sequence[Volume]) -> None:
        self.state, self.fraction, self.text, self.error, self.kind = "queued", 0.0, "waiting", "", ""
        self.results: tuple[Result, ...] = ()
        self.number, self.frames = number, frames
        self.mask: Volume | None = None
        self.request: dict[str, Any] = {}
        self.heard = False  # whether the worker has begun with it
        self.cancelled_at: float | None = None
        self._client = client
        self._began: float | None = None  # when the first piece was begun
        self._told = 0.0

    @property
    def finished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def result(self) -> Result | None:
        return self.results[0] if self.results else None

    @property
    def remaining(self) -> float | None:
        """Seconds to go, as far as the pieces done so far tell; None before."""
        if self.state != "running" or self._began is None or self.fraction <= 0:
            return None
        whole = (self._told - self._began) / self.fraction
        return max(0.0, whole - (time.monotonic() - self._began))

    def cancel(self) -> None:
        """Ask it to stop: between two pieces, or, where that takes longer than two seconds, by ending the worker."""
        self._client.cancel(self)

    def wait(self, progress: Progress = silent) -> Result:
        """Poll until it is finished. Raises Cancelled and WorkerError.

        Whatever `progress` raises, and Ctrl-C, stops the job first.
        """
        told = None
        try:
            while not self.finished:
                self._client.poll(0.05)
                if self.state == "running" and told != (self.fraction, self.text):
                    told = self.fraction, self.text
                    progress(*told)
        except BaseException:
            self.cancel()
            while not self.finished:
                self._client.poll(0.05)
            raise
        if self.state == "cancelled":
            raise Cancelled
        if self.state == "failed":
            raise WorkerError(self.error, self.kind)
        progress(1.0, "done")
        return self.result

    def tell(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        if fraction <= 0 or self._began is None:  # before the first piece there is loading, which foretells nothing
            self._began = now
        self.fraction, self.text, self._told = max(self.fraction, min(fraction, 1.0)), text, now

    def finish(self, state: str, error: str = "", kind: str = "", results: Sequence[Result] = ()) -> None:
        self.state, self.error, self.kind, self.results, self.request = state, error, kind, tuple(results), {}
        self.text = {"failed": error}.get(state, state)
        if state == "done":
            self.fraction = 1.0
