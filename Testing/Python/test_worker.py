"""The worker process and its client, on the real process: what it gives, and all that can befall it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom, oblique

from DLReconLib import Cancelled, reconstruct
from DLReconLib.client import Client, Job, WorkerError
from DLReconLib.client.protocol import encode
from DLReconLib.models import ZOO
from DLReconLib.volume import Volume

FAST = {"model": "classical/gaussian"}
unix = pytest.mark.skipif(sys.platform == "win32", reason="signals")
interruptible = pytest.mark.skipif(
    sys.platform == "win32" or signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="Ctrl-C is no signal here, or is ignored (as in the background of a shell)",
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of another process")

# A filter that does what libraries do on bad days. It is put into the worker by way of PYTHONPATH.
DEEDS = """
import hashlib, os, subprocess, sys, time
import numpy as np

def act(patch, sigma, deed):
    if deed == "wait for ever":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    elif deed == "compute for long":
        end = time.monotonic() + 9
        while time.monotonic() < end:
            hashlib.sha256(bytes(1 << 22)).digest()
    elif deed == "linger":
        time.sleep(0.25)
    elif deed == "babble":
        os.write(1, b"no line end")
        print('{"say": "done", "id": 1}')
        subprocess.run([sys.executable, "-c", "print('a child speaks'); print(repr(input()))"])
    elif deed == "crash":
        os.kill(os.getpid(), 11)
    elif deed == "want memory":
        np.ones(patch.size * 250)
    return patch
"""
SITE = """
import os
import DLReconLib.networks, DLReconLib.client.protocol as protocol
os.write(1, b"welcome to this machine, no line end")
DLReconLib.networks.CLASSICAL["deeds"] = "deeds:act"
if os.environ.get("SPOIL") == "protocol":
    protocol.PROTOCOL = 99
if os.environ.get("SPOIL") == "result":
    send = protocol.send_array
    def cut(array, folder, name):
        record = send(array, folder, name)
        os.truncate(folder / record["file"], os.path.getsize(folder / record["file"]) - 7)
        return record
    protocol.send_array = cut
if os.environ.get("SPOIL") == "byte":
    send = protocol.send_array
    def other(array, folder, name):
        record = send(array, folder, name)
        with open(folder / record["file"], "r+b") as file:
            file.seek(-2, 2)
            file.write(b"?")
        return record
    protocol.send_array = other
"""


@pytest.fixture(scope="module")
def deeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deeds")
    (folder / "deeds.py").write_text(DEEDS)
    (folder / "sitecustomize.py").write_text(SITE)
    values = json.loads((ZOO / "classical/gaussian/card.json").read_text())
    for deed in ("wait for ever", "compute for long", "linger", "babble", "crash", "want memory"):
        values |= {"id": deed, "network": "deeds", "arguments": {"deed": deed}, "tile": [64, 64, 64], "halo": 0}
        (folder / f"{deed}.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def make(deeds: Path) -> Iterator[Callable[..., Client]]:
    clients = []

    def new(spoil: str = "", **options) -> Client:
        clients.append(Client(environment={"PYTHONPATH": str(deeds), "SPOIL": spoil}, **options))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()


@pytest.fixture
def deed(deeds: Path) -> Callable[[str], dict]:
    return lambda name: {"model": str(deeds / f"{name}.json")}


def small(shape: tuple[int, int, int] = (16, 24, 20)) -> Volume:
    return noisy_phantom("MR", shape=shape)


def until(condition: Callable[[], object], client: Client | None = None, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        if client is not None:
            client.poll()
        else:
            time.sleep(0.02)


def started(client: Client, job: Job) -> int:
    """Wait until it is at work; the worker's pid."""
    until(lambda: "piece" in job.text, client)
    return client.status()["pid"]


def alive(pid: int) -> bool:
    """Whether it runs; a process that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# What it gives


def test_result_is_that_of_the_road(client: Client) -> None:
    volume = Volume(small().array, oblique(), "MR", "dicom", {"0010|0010": "Doe^Jane"})
    mask = volume.with_array((np.arange(20) < 9) & np.ones((16, 24, 1), bool))
    options = FAST | {"strength": 0.5, "tile": (16, 16, 16)}
    expected = reconstruct(volume, mask=mask, **options)
    result = client.submit(volume, mask=mask, **options).wait()
    assert np.array_equal(result.volume.array, expected.volume.array)
    assert np.array_equal(result.residual.array, expected.residual.array)
    assert result.volume.geometry == volume.geometry
    assert result.volume.metadata == volume.metadata
    assert result.noise == expected.noise
    changing = ("created", "seconds")
    known = json.loads(json.dumps({k: v for k, v in expected.provenance.items() if k not in changing}))
    assert {k: v for k, v in result.provenance.items() if k not in changing} == known


def test_metadata_stays_here(client: Client) -> None:
    volume = Volume(small().array, metadata={"0010|0010": "Doe^Jane"})
    assert b"Doe" not in encode(client.submit(volume, **FAST).request)


@pytest.mark.parametrize("kind", ["colour", "big-endian", "strided", "int16", "one slice"])
def test_arrays_of_every_kind(client: Client, kind: str) -> None:
    array = small().array
    array = {
        "colour": np.stack([array, array + 1], 3),
        "big-endian": array.astype(">f4"),
        "strided": array[:, ::-1, ::2],
        "int16": array.astype(np.int16),
        "one slice": array[8:9],
    }[kind]
    volume = Volume(array, oblique())
    expected = reconstruct(volume, **FAST, dtype="input").volume.array
    assert np.array_equal(client.submit(volume, **FAST, dtype="input").wait().volume.array, expected)


def test_preview_of_a_box(client: Client) -> None:
    volume, box = Volume(small().array, oblique(), "MR"), ((2, 14), (4, 20), (0, 16))
    result = client.submit(volume, box=box, **FAST).wait()
    expected = reconstruct(volume.crop(box), **FAST).volume
    assert np.array_equal(result.volume.array, expected.array)
    assert result.volume.geometry == expected.geometry
    assert result.residual.array.shape == (12, 16, 16)


def test_requests_queue_up_and_one_process_serves_them(client: Client) -> None:
    volumes = [small(), small((12, 16, 16)), small((9, 30, 20))]
    jobs = [client.submit(v, **FAST) for v in volumes]
    assert client.status()["queued"] == 3 and client.status()["pid"] is None
    pids = set()
    while client.poll():
        assert [j.state for j in jobs].count("running") <= 1
        pids.add(client.status()["pid"])
    assert [j.result.volume.array.shape for j in jobs] == [v.array.shape for v in volumes]
    assert len(pids - {None}) == 1 and client.status()["warm"]


def test_progress_rises_and_foretells_the_end(client: Client, deed: Callable) -> None:
    job = client.submit(small((16, 128, 64)), **deed("linger"), tile=(16, 16, 32), judge=False)
    began, seen, told = time.monotonic(), [], []
    while client.poll():
        seen.append(job.fraction)
        if job.remaining is not None and job.fraction < 0.9:
            told.append((time.monotonic(), job.remaining))
    end = time.monotonic()
    assert seen == sorted(seen) and len(set(seen)) > 8 and job.fraction == 1
    assert np.median([abs(at + remaining - end) for at, remaining in told]) < 0.3 * (end - began)
    assert job.remaining is None


def test_model_is_loaded_once(identity_card: Path) -> None:
    pytest.importorskip("torch", reason="a network is loaded")
    from DLReconLib.models import ModelCard
    from DLReconLib.worker import Worker

    worker = Worker(None, None, Path(), False, None)
    first = worker.load(ModelCard.read(identity_card), "cpu", "float32")
    assert worker.load(ModelCard.read(identity_card), "cpu", "float32") is first
    assert worker.load(ModelCard.read(identity_card), "cpu", "bfloat16") is not first


def test_bad_options_and_bad_images_are_explained(client: Client) -> None:
    with pytest.raises(WorkerError, match=r"unknown; wanted one of: .*mr-denoise") as error:
        client.submit(small(), model="no-such-model").wait()
    assert error.value.kind == "ModelError"
    pid = client.status()["pid"]
    with pytest.raises(WorkerError, match="constant"):
        client.submit(Volume(np.zeros((9, 9, 9), np.float32)), **FAST).wait()
    with pytest.raises(WorkerError, match="colour"):
        client.submit(small(), colour="blue").wait()
    with pytest.raises(ValueError, match="JSON"):
        client.submit(small(), strength=np.array(1))
    assert client.submit(small(), **FAST).wait() and client.status()["pid"] == pid


def test_path_of_a_card_is_meant_from_here(
    client: Client, deeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(deeds)
    assert client.submit(small(), model="linger.json").wait().provenance["model"]["id"] == "linger"


def test_nothing_is_imported_from_the_current_folder(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    assert client.submit(small(), **FAST).wait()


def test_folder_is_private_and_removed(client: Client) -> None:
    client.submit(small(), **FAST).wait()
    folder = client._folder
    assert list(folder.iterdir()) == []
    assert sys.platform == "win32" or folder.stat().st_mode & 0o777 == 0o700
    pid = client.status()["pid"]
    job = client.submit(small(), **FAST)
    client.close()
    assert job.state == "cancelled" and not folder.exists() and not alive(pid)
    assert client.submit(small(), **FAST).wait(), "a closed client can begin again"


# What can befall it


@unix
def test_killed_in_the_middle(client: Client, deed: Callable) -> None:
    job, waiting = client.submit(small(), **deed("wait for ever")), client.submit(small(), **FAST)
    first = started(client, job)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(WorkerError, match="SIGKILL") as error:
        job.wait()
    assert error.value.kind == "ended"
    assert waiting.wait() and client.status()["pid"] != first


@linux
def test_worker_that_dies_as_the_job_is_sent(client: Client) -> None:
    """The job goes to the next one."""
    client.submit(small(), **FAST).wait()
    first = client.status()["pid"]
    os.kill(first, signal.SIGSTOP)
    job = client.submit(small(), **FAST)
    until(lambda: job.state == "running", client)
    os.kill(first, signal.SIGKILL)
    assert job.wait() and client.status()["pid"] != first


@unix
def test_killed_while_idle(client: Client) -> None:
    client.submit(small(), **FAST).wait()
    first = client.status()["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first))
    assert client.submit(small(), **FAST).wait() and client.status()["pid"] != first


@unix
def test_crash_in_a_library_tells_where(client: Client, deed: Callable) -> None:
    with pytest.raises(WorkerError, match="SIGSEGV") as error:
        client.submit(small(), **deed("crash")).wait()
    assert "deeds.py" in str(error.value)


@linux
def test_hang_is_ended_with_its_children(make: Callable, deed: Callable) -> None:
    """It says that it lives, and computes nothing."""
    client = make(silence=4)
    job = client.submit(small(), **deed("wait for ever"))
    family = [started(client, job)]
    until(lambda: children(family[0]))
    family += children(family[0])
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"for 4 seconds") as error:
        job.wait()
    assert error.value.kind == "hung" and time.monotonic() - began < 15
    until(lambda: not any(alive(pid) for pid in family))
    assert client.submit(small(), **FAST).wait()


@unix
def test_stopped_process_is_ended(make: Callable, deed: Callable) -> None:
    """Nothing comes from it."""
    client = make(silence=4)
    job = client.submit(small(), **deed("compute for long"))
    os.kill(started(client, job), signal.SIGSTOP)
    with pytest.raises(WorkerError) as error:
        job.wait()
    assert error.value.kind == "hung"


def test_long_piece_is_no_hang(make: Callable, deed: Callable) -> None:
    client = make(silence=4)
    job = client.submit(small(), **deed("compute for long"))
    assert job.wait().provenance["seconds"]["network"] > 8


def test_client_that_did_not_look_is_no_hang(make: Callable, deed: Callable) -> None:
    client = make(silence=4)
    job = client.submit(small(), **deed("compute for long"))
    started(client, job)
    time.sleep(6)
    assert job.wait()


def test_what_libraries_print_is_no_message(client: Client, deed: Callable) -> None:
    """Neither before the worker has its own channel nor after; and nobody else reads from it."""
    result = client.submit(small(), **deed("babble")).wait()
    assert result.provenance["model"]["id"] == "babble"
    for text in ("welcome to this machine", "no line end", '{"say": "done", "id": 1}', "a child speaks", "EOFError"):
        assert text in client.log
    assert client.submit(small(), **FAST).wait()


@pytest.mark.parametrize("spoil", ["result", "byte"])
def test_result_that_is_not_whole_is_refused(make: Callable, spoil: str) -> None:
    client = make(spoil)
    with pytest.raises(WorkerError, match="did not arrive whole") as error:
        client.submit(small(), **FAST).wait()
    assert error.value.kind == "transfer"
    assert list(client._folder.iterdir()) == []


def test_other_protocol_is_refused(make: Callable) -> None:
    client = make("protocol")
    with pytest.raises(WorkerError, match=r"protocol 99 .* wanted 2: two versions"):
        client.submit(small(), **FAST).wait()
    assert client.status()["pid"] is None


def test_python_that_is_not_there() -> None:
    with Client("no-such-python") as client, pytest.raises(WorkerError, match="could not be started"):
        client.submit(small(), **FAST).wait()


def limit_memory(pid: int, megabytes: int) -> None:
    import resource

    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    used = next(int(line.split()[1]) for line in lines if line.startswith("VmSize"))
    resource.prlimit(pid, resource.RLIMIT_AS, ((used << 10) + (megabytes << 20), resource.RLIM_INFINITY))


@linux
def test_less_memory_means_smaller_pieces(client: Client, deed: Callable) -> None:
    client.submit(small(), **FAST).wait()
    pid = client.status()["pid"]
    limit_memory(pid, 300)
    result = client.submit(small((64, 64, 64)), **deed("want memory")).wait()
    assert result.provenance["fallbacks"] == ["out of memory: tile (32, 32, 32)"]
    assert client.submit(small(), **FAST).wait() and client.status()["pid"] == pid


@linux
def test_too_little_memory_for_anything(client: Client, deed: Callable) -> None:
    client.submit(small(), **FAST).wait()
    limit_memory(client.status()["pid"], 50)
    with pytest.raises(WorkerError, match=r"memory.*crop the volume") as error:
        client.submit(small((64, 64, 64)), **deed("want memory")).wait()
    assert error.value.kind in ("OutOfMemory", "MemoryError")
    assert client.submit(small((64, 64, 64)), **deed("want memory")).wait().provenance["fallbacks"] == []


@linux
def test_network_without_memory_and_then_with(client: Client) -> None:
    pytest.importorskip("torch", reason="learned model")
    client.submit(small(), model="mr-denoise").wait()
    limit_memory(client.status()["pid"], 10)
    with pytest.raises(WorkerError, match="memory"):
        client.submit(small((64, 96, 96)), model="mr-denoise").wait()
    assert client.submit(small(), model="mr-denoise").wait()


# How it ends

PARENT = """
import sys
import numpy as np
from DLReconLib.client import Client
from DLReconLib.volume import Volume
client = Client()
job = client.submit(Volume(np.random.default_rng(0).random((16, 24, 20), np.float32)), model=sys.argv[1])
def told(fraction, text):
    if "piece" in text:
        print(client.status()["pid"], client._folder, flush=True)
job.wait(told)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", pytest.param("SIGINT", marks=interruptible)])
@linux
def test_end_of_the_parent_leaves_nothing(deeds: Path, deed: Callable, name: str) -> None:
    """Whether it was killed, ended, or interrupted at the keyboard; the worker and its files go with it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ZOO.parents[1]), str(deeds)])}
    command = [sys.executable, "-c", PARENT, deed("wait for ever")["model"]]
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pid, folder = parent.stdout.readline().removeprefix("welcome to this machine, no line end").split()
    assert alive(int(pid)) and Path(folder).exists()
    parent.send_signal(signal.Signals[name])
    _, errors = parent.communicate(timeout=30)
    assert parent.returncode != 0
    assert name != "SIGINT" or "KeyboardInterrupt" in errors
    until(lambda: not alive(int(pid)) and not Path(folder).exists())


@interruptible
def test_interrupted_worker(client: Client, deed: Callable) -> None:
    job = client.submit(small(), **deed("wait for ever"))
    os.kill(started(client, job), signal.SIGINT)
    with pytest.raises(WorkerError, match="interrupted"):
        job.wait()
    assert client.submit(small(), **FAST).wait()


def test_cancel_is_polite_first(client: Client, deed: Callable) -> None:
    """A worker that stops between two pieces stays warm."""
    job = client.submit(small((16, 64, 128)), **deed("linger"), tile=(16, 16, 16))
    pid = started(client, job)
    began = time.monotonic()
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait()
    assert time.monotonic() - began < 1.5 and job.result is None
    assert client.submit(small(), **FAST).wait() and client.status()["pid"] == pid


@linux
def test_cancel_ends_what_does_not_stop(client: Client, deed: Callable) -> None:
    job = client.submit(small(), **deed("wait for ever"))
    pid = started(client, job)
    began = time.monotonic()
    job.cancel()
    until(lambda: job.finished, client)
    assert job.state == "cancelled" and 1.5 < time.monotonic() - began < 4
    assert not alive(pid) and list(client._folder.iterdir()) == []
    assert client.submit(small(), **FAST).wait()


def test_cancel_of_what_waits(client: Client) -> None:
    first, second = client.submit(small(), **FAST), client.submit(small(), **FAST)
    second.cancel()
    assert second.state == "cancelled"
    assert first.wait()


def test_progress_that_raises_stops_the_job(client: Client, deed: Callable) -> None:
    job = client.submit(small((16, 64, 128)), **deed("linger"), tile=(16, 16, 16))

    def stop(fraction: float, text: str) -> None:
        if fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        job.wait(stop)
    assert job.state == "cancelled" and 0 < job.fraction < 0.5
