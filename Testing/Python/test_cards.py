"""What a reader of a card learns: everything that it holds, in words and as HTML."""

import base64
import json
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from DLReconLib.card_text import RESEARCH, describe, page
from DLReconLib.cli import main
from DLReconLib.models import ModelCard, ModelError

PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    )
)
VOID = {"br", "img"}


class Reader(HTMLParser):
    """The words and pictures of a fragment; raises where a tag is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.pictures: list[bytes] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        if tag == "img":
            assert values["alt"]
            head, _, data = values["src"].partition(",")
            assert head == "data:image/png;base64"
            self.pictures.append(base64.b64decode(data, validate=True))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def words(text: str) -> str:
    return " ".join(text.replace("- ", "").split())


def test_every_card_says_what_it_is_for_and_not_for(card: ModelCard) -> None:
    assert card.intended_use and card.not_for
    for text in (describe(card), Reader(page(card)).text):
        plain = words(text)
        for sentence in (card.title, card.summary, card.intended_use, *card.not_for, RESEARCH, card.licence):
            assert words(sentence) in plain
        for failure in card.failures:
            assert words(failure["text"]) in plain
    assert max(len(line) for line in describe(card).splitlines() if "  " not in line) <= 88


def test_learned_card_shows_figures_data_and_pictures(card: ModelCard) -> None:
    if not card.learned:
        pytest.skip("a classical method")
    fragment = Reader(page(card))
    rows = [name for name, row in card.results.items() if isinstance(row, dict)]
    assert rows
    for text in (words(describe(card)), fragment.text):
        for name in rows:
            assert words(name) in text
        for licence in {i.partition(" (")[2][:-1] for i in card.training["images"]}:
            assert words(licence) in text
    assert card.failures
    for failure in card.failures:
        assert (card.folder / failure["picture"]).read_bytes() in fragment.pictures
        assert failure["weights"] == card.sha256, "new weights: run Testing/Benchmarks/failures.py --cards"


def written(folder: Path, like: ModelCard, **changes) -> Path:
    values = like.to_dict() | {"weights": "", "sha256": ""} | changes
    (folder / "card.json").write_text(json.dumps(values))
    return folder / "card.json"


def test_intervals_numbers_and_hostile_words(tmp_path: Path, card: ModelCard) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    failure = {"title": "<b>Spots", "text": 'lost & "gone"', "picture": "a.png", "weights": "0ld"}
    results = {
        "dose": {"ours": {"mean": 31.25, "low": 30.0, "high": 32.5}, "gain": [0.5, 1.5], "n": 5},
        "date": "today",
    }
    path = written(tmp_path, card, failures=[failure, failure | {"picture": ""}], results=results)
    one = ModelCard.read(path)
    fragment = Reader(page(one))
    for text in (words(describe(one)), fragment.text):
        assert "31.25 (30 to 32.5)" in text and "0.5 to 1.5" in text and "date: today" in text
        assert 'lost & "gone"' in text and "<b>Spots" in text
        assert "earlier weights" in text
    assert fragment.pictures == [PNG]


def test_cards_without_the_new_fields_stay_valid(tmp_path: Path, card: ModelCard) -> None:
    path = written(tmp_path, card)
    values = json.loads(path.read_text())
    for name in ("intended_use", "not_for", "failures"):
        del values[name]
    path.write_text(json.dumps(values))
    one = ModelCard.read(path)
    assert one.failures == () and RESEARCH in describe(one)


@pytest.mark.parametrize(
    "wrong", [["text"], [{"title": "a", "text": "b"}], [{"title": 1, "text": "", "picture": "", "weights": ""}]]
)
def test_wrong_failures_are_refused(tmp_path: Path, card: ModelCard, wrong: list) -> None:
    with pytest.raises(ModelError, match="failures"):
        ModelCard.read(written(tmp_path, card, failures=wrong))


def test_show_prints_it(capsys: pytest.CaptureFixture, card: ModelCard) -> None:
    assert main(["show", card.id]) == 0
    assert capsys.readouterr().out == describe(card) + "\n"
    assert main(["show", card.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["not_for"] == list(card.not_for)
