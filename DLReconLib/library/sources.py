"""What is to be added: a folder, a ZIP archive or a file, read without trusting it.

Nothing is unpacked: only the files that are asked for are read, each up to a limit. Names that lead outside, links,
encrypted or duplicate entries and archives that swell are refused before anything is read.
"""

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from DLReconLib.models import ModelError

FILES = 2000
LARGEST = 2 * 2**30  # bytes in all
RATIO = 200  # unpacked to packed
TEXT = 8 * 2**20  # bytes of a JSON file


class Source:
    """Files by their names below the root, "/" between the parts.

    Raises ModelError for what is neither folder nor ZIP archive nor file, and for what is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if self.path.is_symlink():
            raise ModelError(f"{path}: is a symbolic link; wanted the folder, archive or file itself")
        if not self.path.exists():
            raise ModelError(f"{path}: no such file or folder; wanted a model folder, a ZIP archive or a weight file")
        # A .pt file is a ZIP archive, too.
        self.zipped = self.path.is_file() and self.path.suffix.lower() == ".zip"
        if self.zipped:
            self.sizes = self._entries_of_zip()
        elif self.path.is_dir():
            self.sizes = self._entries_of_folder()
        else:
            self.sizes = {self.path.name: self.path.stat().st_size}
        if len(self.sizes) > FILES or sum(self.sizes.values()) > LARGEST:
            total = sum(self.sizes.values()) / 2**30
            raise ModelError(f"{path}: {len(self.sizes)} files, {total:.1f} GiB; wanted at most {FILES} files and "
                             f"{LARGEST // 2**30} GiB")  # fmt: skip

    def _entries_of_folder(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for entry in self.path.rglob("*"):
            name = entry.relative_to(self.path).as_posix()
            kind = entry.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise ModelError(f"{self.path}: {name} is a link or no plain file; wanted plain files; copy what it "
                                 "points to")  # fmt: skip
            if stat.S_ISREG(kind):
                sizes[name] = entry.stat().st_size
            if len(sizes) > FILES:
                break
        return sizes

    def _entries_of_zip(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ModelError(f"{self.path}: no readable ZIP archive ({error}); pack it again") from error
        for entry in entries:
            self._check_entry(entry, sizes)
            if not entry.is_dir():
                sizes[entry.filename] = entry.file_size
        return sizes

    def _check_entry(self, entry: zipfile.ZipInfo, sizes: dict[str, int]) -> None:
        name, kind = entry.filename, entry.external_attr >> 16
        reason = ""
        if name.startswith("/") or ".." in PurePosixPath(name).parts or set(name) & {"\\", ":", "\0"}:
            reason = "leads outside of the archive"
        elif kind and stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            reason = "is a link or no plain file"
        elif entry.flag_bits & 1:
            reason = "is encrypted"
        elif name in sizes:
            reason = "is there twice"
        elif entry.file_size > RATIO * max(entry.compress_size, 1024):
            reason = f"swells more than {RATIO} times"
        if reason:
            raise ModelError(f"{self.path}: {name!r} {reason}; refused; wanted an archive of plain files in it")

    @property
    def roots(self) -> list[str]:
        """Where the model may begin: the top, or the one folder at the top."""
        tops = {n.split("/")[0] for n in self.sizes}
        single = len(tops) == 1 and all("/" in n for n in self.sizes)
        return ["", f"{tops.pop()}/"] if single else [""]

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        if self.zipped:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as file:
                yield file
        else:
            with (self.path / name if self.path.is_dir() else self.path).open("rb") as file:
                yield file

    def text(self, name: str) -> str:
        """Raises ModelError where it is too long or no text."""
        try:
            with self.open(name) as file:
                found = file.read(TEXT + 1)
            if len(found) > TEXT:
                raise ModelError(f"{self.path}: {name} is longer than {TEXT >> 20} MiB; wanted a JSON file")
            return found.decode("utf-8")
        except (OSError, UnicodeDecodeError, zipfile.BadZipFile) as error:
            raise ModelError(f"{self.path}: {name} is not readable as text ({error})") from error

    def copy(self, name: str, target: Path) -> None:
        """Copy a file, no more bytes than were announced. Raises ModelError where there are more or it is damaged."""
        left = self.sizes[name]
        try:
            with self.open(name) as file, target.open("xb") as out:
                while block := file.read(min(2**20, left + 1)):
                    left -= len(block)
                    if left < 0:
                        raise ModelError(f"{self.path}: {name} is longer than it says; refused")
                    out.write(block)
        except (zipfile.BadZipFile, EOFError) as error:
            raise ModelError(f"{self.path}: {name} is damaged ({error}); fetch or pack it again") from error
