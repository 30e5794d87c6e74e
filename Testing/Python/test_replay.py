"""A record is enough to repeat its run, and a run that comes out otherwise is told from one that does not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import read_series, read_volume, write_series, write_volume
from DLReconLib.cli import main
from DLReconLib.fingerprint import fingerprint, samples
from DLReconLib.replay import DIFFERS, EQUAL, IDENTICAL, read_record, replay, script

FAST = ("--model", "classical/gaussian", "--progress", "none")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan, its result and the record of the run, named without their folder."""
    monkeypatch.chdir(tmp_path)
    write_volume(noisy_phantom("MR", shape=(8, 24, 20)), tmp_path / "scan.nrrd", metadata={"modality": "MR"})
    assert main(["run", "scan.nrrd", "out.nrrd", *FAST, "--strength", "0.7", "--report", "run.json"]) == 0
    return tmp_path


def rewritten(folder: Path, **changes) -> dict:
    record = read_record(folder / "run.json") | changes
    (folder / "run.json").write_text(json.dumps(record))
    return record


@pytest.mark.parametrize("name", ["run.json", "out.nrrd"])
def test_repeated_run_is_identical(folder: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["replay", name, "--output", "again.nrrd"]) == 0
    assert capsys.readouterr().out.startswith("identical")
    assert np.array_equal(read_volume("again.nrrd").array, read_volume("out.nrrd").array)
    assert read_record(Path("again.nrrd"))["output"] == read_record(Path(name))["output"]


def test_record_moves_with_its_files(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("scan.nrrd", "run.json"):
        shutil.move(folder / name, elsewhere / name)
    record = read_record(elsewhere / "run.json")
    assert replay(record, beside=elsewhere).verdict == IDENTICAL
    with pytest.raises(FileNotFoundError, match="--input FILE"):
        replay(record)
    assert replay(record, input=elsewhere / "scan.nrrd").verdict == IDENTICAL


def test_missing_input_is_bad_usage(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "scan.nrrd").unlink()
    assert main(["replay", "run.json"]) == 2
    assert "scan.nrrd is gone; give --input" in capsys.readouterr().err


def test_another_input_is_found_out_and_not_run(folder: Path, capsys: pytest.CaptureFixture) -> None:
    volume = read_volume("scan.nrrd")
    array = volume.array.copy()
    array[0, 0, 0] += 1
    write_volume(volume.with_array(array), "scan.nrrd", overwrite=True)
    assert main(["replay", "run.json", "--json", "--output", "again.nrrd"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == DIFFERS
    assert "another image" in found["changed"][0]
    assert not Path("again.nrrd").exists()


@pytest.mark.parametrize("kept", [True, False], ids=["output file there", "output file gone"])
@pytest.mark.parametrize(("size", "verdict"), [(1e-5, EQUAL), (1e-2, DIFFERS)])
def test_rounding_is_told_from_another_result(folder: Path, size: float, verdict: str, kept: bool) -> None:
    """The record is changed as if another machine had made it: all values off by `size` of the range."""
    before, after = read_volume("scan.nrrd"), read_volume("out.nrrd")
    spread = float(np.subtract(*np.percentile(before.array, (99.5, 0.5))))
    other = after.with_array(after.array + np.float32(size * spread))
    record = read_record(folder / "run.json")
    output = record["output"] | {"sha256": fingerprint(other)}
    output["samples"] = [v + size * spread for v in output["samples"]]
    if kept:
        write_volume(other, "out.nrrd", overwrite=True)
        output["samples"] = samples(other.array)
    else:
        Path("out.nrrd").unlink()
    found = replay(rewritten(folder, output=output))
    assert found.verdict == verdict
    assert found.difference == pytest.approx(size * spread, rel=0.02)
    assert (found.compared == "the output file") == kept
    assert main(["replay", "run.json"]) == (0 if verdict == EQUAL else 3)


def test_what_changed_is_named(folder: Path) -> None:
    record = read_record(folder / "run.json")
    record["versions"]["numpy"] = "1.0"
    record["model"]["sha256"] = "ab" * 32
    record["device"] = "cuda"
    text = replay(record).text
    for words in ("numpy: 1.0 then", "weights: abababababababab then", "device: cuda then"):
        assert words in text


def test_mask_is_used_and_checked(folder: Path) -> None:
    volume = read_volume("scan.nrrd")
    write_volume(volume.with_array((volume.array > 300).astype(np.uint8)), "mask.nrrd")
    assert main(["run", "scan.nrrd", "masked.nrrd", *FAST, "--mask", "mask.nrrd", "--report", "masked.json"]) == 0
    record = read_record(folder / "masked.json")
    assert replay(record).verdict == IDENTICAL
    write_volume(volume.with_array((volume.array > 400).astype(np.uint8)), "mask.nrrd", overwrite=True)
    found = replay(record)
    assert found.verdict == DIFFERS
    assert found.changed[0].startswith("mask: another image")


def test_time_series_is_repeated_whole(folder: Path) -> None:
    write_series([noisy_phantom("MR", level, (8, 20, 16)) for level in (10, 30)], "series.nii.gz")
    assert main(["run", "series.nii.gz", "better.nii.gz", *FAST, "--report", "series.json"]) == 0
    found = replay(read_record(folder / "series.json"))
    assert (found.verdict, len(found.results)) == (IDENTICAL, 2)
    record = read_record(folder / "series.json")
    record["time_points"][1]["output"]["sha256"] = "00"
    assert replay(record).verdict == EQUAL


@pytest.mark.parametrize("kind", ["volume", "masked", "series"])
def test_script_does_the_same(folder: Path, kind: str) -> None:
    arguments = ["run", "scan.nrrd", "first.nrrd", *FAST, "--report", "first.json"]
    if kind == "series":
        write_series([noisy_phantom("MR", level, (8, 20, 16)) for level in (10, 30)], "series.nrrd")
        arguments[1] = "series.nrrd"
    if kind == "masked":
        volume = read_volume("scan.nrrd")
        write_volume(volume.with_array((volume.array > 300).astype(np.uint8)), "mask.nrrd")
        arguments += ["--mask", "mask.nrrd"]
    assert main(arguments) == 0
    first = [v.array for v in read_series("first.nrrd")]
    Path("first.nrrd").unlink()
    Path("again.py").write_text(script(read_record(folder / "first.json")))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "again.py"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("True") == 2 and "False" not in done.stdout
    for a, b in zip(first, read_series("first.nrrd"), strict=True):
        assert np.array_equal(a, b.array)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": {}}'])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    assert main(["replay", str(tmp_path / "r.json")]) == 2


def test_image_without_record_is_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["replay", "scan.nrrd"]) == 2
    assert "carries no record" in capsys.readouterr().err


def test_option_of_another_version_is_refused(folder: Path) -> None:
    record = read_record(folder / "run.json")
    rewritten(folder, options=record["options"] | {"magic": 3})
    assert main(["replay", "run.json"]) == 2


def test_output_is_not_replaced(folder: Path) -> None:
    before = Path("scan.nrrd").read_bytes()
    assert main(["replay", "run.json", "--output", "scan.nrrd"]) == 2
    assert Path("scan.nrrd").read_bytes() == before
