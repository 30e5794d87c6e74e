"""What the worker process costs: `python Testing/Benchmarks/worker.py`, on a 256 x 256 x 256 MR volume.

The same run in this process and in a worker, both with the model loaded; hand-over is what the worker adds. The
second run of a warm worker: how long until its first piece is begun.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2])]

from DLReconLib import Volume, reconstruct  # noqa: E402
from DLReconLib.client import Client  # noqa: E402
from DLReconLib.inference import Model  # noqa: E402
from DLReconLib.models import find_card  # noqa: E402


def noisy(side: int) -> Volume:
    """A ball of tissue with Rician noise; the values do not matter for the time."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    ball = np.hypot(np.hypot(axis[:, None, None], axis[None, :, None]), axis) < 0.9
    real, imaginary = (rng.standard_normal(ball.shape, np.float32) * np.float32(20) for _ in range(2))
    return Volume(np.hypot(real + ball * np.float32(400), imaginary), modality="MR")


class Watch:
    """Runs a job and notes the moments: submitted, first piece begun, done; and the longest poll()."""

    def __init__(self, client: Client, volume: Volume, **options) -> None:
        start = time.perf_counter()
        job = client.submit(volume, **options)
        self.submit = time.perf_counter() - start
        self.begun, self.longest = 0.0, 0.0
        while True:
            before = time.perf_counter()
            busy = client.poll()
            now = time.perf_counter()
            self.longest = max(self.longest, now - before)
            if not self.begun and job.text.startswith("piece"):
                self.begun = now - start
            if not busy:
                break
        self.total = time.perf_counter() - start
        if job.state != "done":
            raise SystemExit(job.error)
        self.inside = job.result.provenance["seconds"]["total"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mr-denoise")
    parser.add_argument("--side", type=int, default=256)
    arguments = parser.parse_args()
    options = {"model": arguments.model, "device": "cpu"}
    volume = noisy(arguments.side)
    with Client() as client:
        first = Watch(client, volume, **options)
        second = Watch(client, volume, **options)
    direct = time.perf_counter()
    model = Model(find_card(arguments.model), "cpu")
    loading = time.perf_counter() - direct
    direct = time.perf_counter()
    reconstruct(volume, loaded=model, device="cpu")
    direct = time.perf_counter() - direct
    handed = second.total - second.inside
    print(f"{arguments.model}, {arguments.side}^3 float32 ({volume.array.nbytes / 2**20:.0f} MiB)")
    print(f"in this process, model loaded        {direct:8.2f} s (loading {loading:.2f} s)")
    print(f"first run of a worker                {first.total:8.2f} s, first piece after {first.begun:.2f} s")
    print(f"second run, warm                     {second.total:8.2f} s, first piece after {second.begun:.2f} s")
    print(f"hand-over, both ways                 {handed:8.2f} s, {100 * handed / second.inside:.1f} % of the run")
    print(f"submit() took {second.submit:.2f} s, the longest poll() {second.longest:.2f} s (it reads the result)")


if __name__ == "__main__":
    main()
