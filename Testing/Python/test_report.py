"""The page of a run: whole, self-contained, true to the record and to the images."""

import base64
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from importlib.util import find_spec
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import read_volume, write_series, write_volume
from DLReconLib.cli import main
from DLReconLib.replay import read_record
from DLReconLib.report import images_of, report
from DLReconLib.report.pictures import planes, png, window_of
from DLReconLib.volume import Geometry, Volume

FAST = ("--model", "classical/gaussian", "--progress", "none")
VOID = {"meta", "img", "br", "rect", "line", "polyline"}


class Page(HTMLParser):
    """Tags, attributes, words and pictures; raises where a tag is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def pictures(self) -> dict[str, np.ndarray]:
        return {a["alt"]: decoded(a["src"]) for tag, a in self.tags if tag == "img"}


def decoded(uri: str) -> np.ndarray:
    """(rows, columns) of a greyscale PNG in a data URI."""
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    raw, chunks, at = base64.b64decode(data, validate=True), {}, 8
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(raw):
        length, kind = struct.unpack(">I4s", raw[at : at + 8])
        body = raw[at + 8 : at + 8 + length]
        assert struct.unpack(">I", raw[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind], at = body, at + 12 + length
    columns, rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    return lines[:, 1:]


def check_self_contained(text: str) -> Page:
    found = Page(text)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "form", "base"}
    for _, attributes in found.tags:
        for name, value in attributes.items():
            assert name not in ("href", "srcset", "xlink:href", "action") and not name.startswith("on")
            assert name != "src" or value.startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_volume(noisy_phantom("MR", shape=(12, 30, 26)), "scan.nrrd", metadata={"modality": "MR"})
    assert main(["run", "scan.nrrd", "out.nrrd", *FAST, "--report", "run.json"]) == 0
    return tmp_path


def page_of(folder: Path, **changes) -> Page:
    record = read_record(folder / "run.json") | changes
    return check_self_contained(report(record, *images_of(record, folder)))


def test_page_tells_what_the_record_holds(folder: Path) -> None:
    assert main(["report", "run.json", "-o", "page.html"]) == 0
    record, text = read_record(folder / "run.json"), check_self_contained(Path("page.html").read_text()).text
    for words in ("classical/gaussian", "Research use only", "dlrecon replay run.json", record["input"]["sha256"],
                  record["output"]["sha256"], record["software"], f"numpy {record['versions']['numpy']}",
                  "from DLReconLib import", "Blurs edges as much as noise."):  # fmt: skip
        assert words in text
    for reason in record["trust"]["reasons"]:
        assert " ".join(reason["text"].split()) in text
    assert f"Trust: {record['trust']['light']}" in text
    assert "In short: Noise fell by" in text


def test_pictures_are_those_of_the_images(folder: Path) -> None:
    before, after = (read_volume(n).array.astype(float) for n in ("scan.nrrd", "out.nrrd"))
    low, high, _ = window_of(read_volume("scan.nrrd"))
    pictures = {k: v for k, v in page_of(folder).pictures().items() if k.endswith(("before", "after", "removed"))}
    assert len(pictures) == 9
    for plane in planes(read_volume("scan.nrrd")):
        shown = [pictures[f"{plane.name}, slice {plane.index}, {name}"] for name in ("before", "after", "removed")]
        for image, array in zip(shown[:2], (before, after), strict=True):
            expected = 255 * (np.clip(plane.cut(array), low, high) - low) / (high - low)
            assert np.abs(image - expected).max() <= 0.51
        removed = plane.cut(before - after)
        inside = (shown[2] > 0) & (shown[2] < 255)
        assert inside.mean() > 0.97
        slope, middle = np.polyfit(removed[inside], shown[2][inside].astype(float), 1)
        assert slope > 0 and middle == pytest.approx(127.5, abs=0.6)


def test_pictures_do_not_depend_on_how_the_image_is_stored() -> None:
    """The same patient, axes swapped and turned round in every way: what is shown, where, and its letters stay."""
    base = Volume(noisy_phantom("MR", shape=(9, 14, 12)).array, Geometry((0.8, 1.1, 2.9), (5, -7, 9)))
    expected = planes(base)
    assert [p.name for p in expected] == ["Axial", "Coronal", "Sagittal"]
    assert [p.letters for p in expected] == [tuple("RLAP"), tuple("RLSI"), tuple("APSI")]
    assert np.array_equal(expected[0].cut(base.array), base.array[expected[0].index])  # LPS is how it is shown
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        matrix = base.geometry.matrix()
        array = base.array.transpose(order)
        matrix[:, :3] = matrix[:, [2 - order[2], 2 - order[1], 2 - order[0]]]
        for axis, flip in enumerate(flips):
            if flip:
                array = np.flip(array, axis)
                matrix[:, 3] += matrix[:, 2 - axis] * (array.shape[axis] - 1)
                matrix[:, 2 - axis] *= -1
        turned = Volume(array, Geometry.from_matrix(matrix))
        for a, b in zip(expected, planes(turned), strict=True):
            assert (a.name, a.letters) == (b.name, b.letters)
            assert b.size_mm == pytest.approx(a.size_mm)
            shown = np.array_equal(a.cut(base.array), b.cut(array))
            # The middle is rounded down; turned round it may be the next slice.
            assert shown or abs(a.index - (array.shape[b.axis] - 1 - b.index)) <= 1


def test_png_is_what_other_programs_read(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 21)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(image))
    assert np.array_equal(read_volume(tmp_path / "a.png").array[0], image)


@pytest.mark.parametrize("gone", ["scan.nrrd", "out.nrrd"])
def test_missing_image_is_told(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    found = page_of(folder)
    assert "There are no pictures" in found.text and gone in found.text
    assert not [k for k in found.pictures() if k.endswith("removed")]


@pytest.mark.parametrize(
    ("name", "words"), [("scan.nrrd", "The input file is not"), ("out.nrrd", "The output file is")]
)
def test_changed_image_is_told(folder: Path, name: str, words: str) -> None:
    volume = read_volume(name)
    write_volume(volume.with_array(volume.array[::-1]), name, overwrite=True)
    assert words in page_of(folder).text


def test_untouched_images_raise_no_warning(folder: Path) -> None:
    assert images_of(read_record(folder / "run.json"), folder)[2] == []


@pytest.mark.parametrize("light", ["green", "amber", "red", None])
def test_trust_comes_first_and_names_its_reasons(folder: Path, light: str | None) -> None:
    reason = {"check": "edges", "light": light, "value": 2.0, "limit": 1.0, "text": "An edge of 3 <b>HU</b> is gone."}
    text = page_of(folder, trust={"light": light, "reasons": [reason]} if light else None).text
    assert (f"Trust: {light}." if light else "Trust: not judged.") in text
    top = text[: text.index("Figures")]
    assert ("An edge of 3 <b>HU</b> is gone." in top) == (light in ("amber", "red"))


def test_words_of_the_record_cannot_become_page(folder: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=1>"
    record = read_record(folder / "run.json")
    found = page_of(folder, warnings=[evil], created=evil, software=evil, model_chosen=evil,
                    versions={evil: evil}, files=record["files"] | {"series": evil},
                    model=record["model"] | {"title": evil}, modality={"used": evil, "why": evil})  # fmt: skip
    assert found.text.count("alert(1)") >= 6


def test_record_with_little_in_it_still_makes_a_page(folder: Path) -> None:
    record = read_record(folder / "run.json")
    bare = {name: record[name] for name in ("model", "options", "input")}
    bare["model"] = {"id": "gone-model"}
    text = check_self_contained(report(bare)).text
    assert "its card is not installed here" in text and "Trust: not judged" in text


@pytest.mark.parametrize("kind", ["series", "colour", "slice", "CT"])
def test_other_kinds_of_images(folder: Path, kind: str) -> None:
    volume = noisy_phantom("CT" if kind == "CT" else "MR", shape=(9, 24, 20))
    if kind == "series":
        write_series([volume, volume], "odd.nrrd")
    else:
        array = {"colour": np.stack([volume.array] * 3, 3), "slice": volume.array[:1]}.get(kind, volume.array)
        write_volume(Volume(array, volume.geometry, volume.modality), "odd.nrrd")
    assert main(["run", "odd.nrrd", "result.nrrd", *FAST, "--report", "odd.json"]) == 0
    assert main(["report", "odd.json", "-o", "odd.html"]) == 0
    found = check_self_contained(Path("odd.html").read_text())
    shown = [k for k in found.pictures() if k.endswith("removed")]
    assert len(shown) == (1 if kind == "slice" else 3)
    assert "time points" in found.text or kind != "series"
    assert "HU" in found.text or kind != "CT"


def test_page_is_not_written_over_anything(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Path("page.html").write_text("precious")
    assert main(["report", "run.json", "-o", "page.html"]) == 2
    assert Path("page.html").read_text() == "precious"
    assert main(["report", "run.json", "-o", "run.json", "--overwrite"]) == 2
    assert "ends in .html" in capsys.readouterr().err
    assert main(["report", "run.json", "-o", "page.html", "--overwrite"]) == 0
    assert main(["report", "run.json", "-o", "b.html", "--input", "gone.nrrd"]) == 2
    assert not Path("b.html").exists()


RENDER = """
import os, sys
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--no-sandbox --disable-gpu " + sys.argv[3]
from {qt} import QtCore, QtWebEngineCore, QtWebEngineWidgets, QtWidgets
app = QtWidgets.QApplication(["render"])
class Watched(QtWebEngineCore.QWebEnginePage):
    def javaScriptConsoleMessage(self, level, text, line, source):
        print("console:", text)
view = QtWebEngineWidgets.QWebEngineView()
view.setPage(Watched(view))
view.resize(1000, 1400)
view.show()
def measured(answer):
    print(answer)
    view.grab().save(sys.argv[2])
    app.quit()
def loaded(ok):
    print("loaded", ok)
    look = ("[document.documentElement.scrollWidth <= innerWidth, [...document.images].filter("
            "i => i.complete && i.naturalWidth).length, document.images.length].join()")
    QtCore.QTimer.singleShot(800, lambda: view.page().runJavaScript(look, measured))
view.loadFinished.connect(loaded)
view.load(QtCore.QUrl.fromLocalFile(os.path.abspath(sys.argv[1])))
QtCore.QTimer.singleShot(60000, app.quit)
app.exec()
"""
RENDERERS = [qt for qt in ("PyQt6", "PySide6") if find_spec(qt) and find_spec(f"{qt}.QtWebEngineWidgets")]


@pytest.mark.skipif(not RENDERERS, reason="no browser engine: pip install PyQt6-WebEngine")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_browser_shows_it(folder: Path, dark: bool) -> None:
    """Chromium loads it without a complaint, draws every picture, and nothing sticks out at the side."""
    assert main(["report", "run.json", "-o", "page.html"]) == 0
    Path("render.py").write_text(RENDER.replace("{qt}", RENDERERS[0]))
    flags = "--blink-settings=preferredColorScheme=0" if dark else ""
    done = subprocess.run([sys.executable, "render.py", "page.html", "page.png", flags], capture_output=True,
                          text=True, timeout=120, env=os.environ | {"QT_QPA_PLATFORM": "offscreen"})  # fmt: skip
    assert "loaded True" in done.stdout, done.stderr
    assert "console:" not in done.stdout
    assert "true,9,9" in done.stdout
    shot = read_volume("page.png").array[0, ..., :3].astype(float)
    assert shot.std() > 20
    corner = shot[:20, :10].mean()
    assert corner < 60 if dark else corner > 240


def test_record_in_the_header_is_enough(folder: Path) -> None:
    (folder / "run.json").unlink()
    assert main(["report", "out.nrrd", "-o", "page.html"]) == 0
    assert json.loads(read_volume("out.nrrd").metadata["DLRecon.Provenance"])["figures"]
    assert "In short" in check_self_contained(Path("page.html").read_text()).text
