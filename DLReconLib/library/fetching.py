"""A file from the internet, by its checksum: what breaks off is continued, what is wrong never gets its name."""

import hashlib
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import unquote, urlsplit

from DLReconLib.progress import Progress, silent

BLOCK = 2**18
LARGEST = 4 * 2**30
TIMEOUT = 30.0  # seconds without a byte
TRIES = 5


class FetchError(OSError):
    """A download that did not work; the message says why and what to do."""


def fetch(url: str, sha256: str, target: Path, progress: Progress = silent, pause: float = 1.0) -> Path:
    """Download to `target`, by way of `target`.part, which is continued where there is one.

    pause: seconds before the first new try; doubled each time. Nothing is done where the target has the checksum.

    Raises ValueError for another kind of URL or checksum; FileExistsError for a target that is another file; FetchError
    where the server refuses or keeps breaking off (the part is kept) or the checksum is wrong (the part is removed).
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"fetch {url}: wanted an address that begins with https:// or http://")
    sha256 = sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(
            f"fetch: checksum {sha256!r}; wanted 64 hexadecimal digits, which whoever offers the file tells"
        )
    if target.is_dir() or not target.name:
        target = target / (Path(unquote(parts.path)).name or "download")
    if target.exists():
        if digest_of(target) == sha256:
            progress(1.0, "there already")
            return target
        raise FileExistsError(f"{target}: exists already and is another file; remove it, or give another --out")
    part = target.with_name(target.name + ".part")
    for tried in range(TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, progress)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise FetchError(
                    f"fetch {url}: the server says {error.code} {error.reason}; check the address"
                ) from error
            said = f"{error.code} {error.reason}"
        except (OSError, HTTPException, EOFError) as error:
            said = f"{type(error).__name__}: {error}"
        if tried == TRIES - 1:
            kept = part.stat().st_size if part.exists() else 0
            raise FetchError(f"fetch {url}: broke off {TRIES} times ({said}); {kept} bytes are kept in {part}: give "
                             "the same command again to go on")  # fmt: skip
        gained = part.exists() and part.stat().st_size > before
        time.sleep(0.0 if gained else pause * 2**tried)
    found = digest_of(part)
    if found != sha256:
        part.unlink()
        raise FetchError(f"fetch {url}: SHA-256 is {found}, wanted {sha256}; what came was removed; check both with "
                         "whoever offers the file")  # fmt: skip
    part.rename(target)
    progress(1.0, "done")
    return target


def _continue(url: str, part: Path, progress: Progress) -> None:
    """Append to the part what is missing; from the beginning where the server cannot continue."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "dlrecon", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send: the checksum tells whether that is all
            whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if whole and int(whole[1]) == have:
                return
            part.unlink()
            raise EOFError("the part did not fit the file") from error
        raise
    with response:
        have, total = _place(response, have)
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            file.truncate()
            while block := response.read1(BLOCK):
                have += len(block)
                if have > min(total or LARGEST, LARGEST):
                    raise FetchError(f"fetch {url}: sends more than {total or LARGEST} bytes; refused")
                file.write(block)
                progress(min(0.99, have / total) if total else 0.0, f"{have / 2**20:.1f} MiB")
    if total and have < total:
        raise EOFError(f"{have} of {total} bytes came")


def _place(response: HTTPResponse, have: int) -> tuple[int, int]:
    """Where what comes begins in the file, and how long the file is in all, 0 where the server does not say."""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found and int(found[1]) == have:
            return have, 0 if found[2] == "*" else int(found[2])
        raise EOFError("the server continues elsewhere than was asked")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else 0


def digest_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()
