"""Downloads by checksum, against a server that breaks off in the middle."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from DLReconLib.cli import main
from DLReconLib.library.fetching import FetchError, fetch
from DLReconLib.progress import Cancelled

DATA = np.random.default_rng(3).integers(0, 256, 1_500_000, np.uint8).tobytes()
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Sends DATA; `limits`: bytes after which the next answers break off; `ranges`: whether it can continue."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.limits: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.safetensors"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        if self.path != "/weights.safetensors":
            self.send_error(404)
            return
        start = 0
        if self.server.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(DATA):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(DATA)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        end = start + self.server.limits.pop(0) if self.server.limits else len(DATA)
        self.wfile.write(DATA[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_breaking_off_is_continued_where_it_was(server: Server, tmp_path: Path) -> None:
    server.limits = [400_000, 300_000]
    seen: list[float] = []
    path = fetch(server.url, SHA.upper(), tmp_path, lambda f, t: seen.append(f), pause=0)
    assert path == tmp_path / "weights.safetensors"
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=400000-", "bytes=700000-"]
    assert seen[-1] == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_giving_up_keeps_the_part_for_the_next_time(server: Server, tmp_path: Path) -> None:
    server.limits = [1000] * 5
    target = tmp_path / "w.safetensors"
    with pytest.raises(FetchError, match="5000 bytes are kept"):
        fetch(server.url, SHA, target, pause=0)
    assert not target.exists()
    assert (tmp_path / "w.safetensors.part").read_bytes() == DATA[:5000]
    assert fetch(server.url, SHA, target).read_bytes() == DATA
    assert server.asked[-1] == "bytes=5000-"


def test_a_server_that_cannot_continue_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges, server.limits = False, [500_000]
    assert fetch(server.url, SHA, tmp_path / "w", pause=0).read_bytes() == DATA
    assert len(server.asked) == 2


@pytest.mark.parametrize("part", [DATA, DATA + b"more", DATA[:100] + b"wrong"])
def test_a_part_that_is_whole_too_long_or_wrong(server: Server, tmp_path: Path, part: bytes) -> None:
    """What is wrong in it shows in the checksum; then it goes, and the next time begins anew."""
    (tmp_path / "w.part").write_bytes(part)
    if b"wrong" in part:
        with pytest.raises(FetchError, match="SHA-256"):
            fetch(server.url, SHA, tmp_path / "w", pause=0)
        assert list(tmp_path.iterdir()) == []
    assert fetch(server.url, SHA, tmp_path / "w", pause=0).read_bytes() == DATA


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="what came was removed"):
        fetch(server.url, "0" * 64, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "w"
    target.write_bytes(DATA)
    assert fetch(server.url, SHA, target) == target
    assert server.asked == []
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="another file"):
        fetch(server.url, SHA, target)
    assert target.read_bytes() == b"precious"


def test_cancelling_keeps_the_part(server: Server, tmp_path: Path) -> None:
    def stop(fraction: float, text: str) -> None:
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(server.url, SHA, tmp_path / "w", stop)
    assert [p.name for p in tmp_path.iterdir()] == ["w.part"]


def test_refusals(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for url, sha in ((f"file://{tmp_path}/x", SHA), ("weights", SHA), (server.url, "123")):
        with pytest.raises(ValueError, match="wanted"):
            fetch(url, sha, tmp_path / "w")
    assert main(["fetch", server.url + "x", "--sha256", SHA, "--out", str(tmp_path / "w")]) == 3
    assert "404" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
