"""Batches: every case once, whatever ends the process; one bad case spoils nothing; the page tells it all."""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom
from test_io import write_dicom

from DLReconLib import Cancelled, read_series, read_volume, reconstruct, write_series, write_volume
from DLReconLib.batch import Outcome, run_batch, table
from DLReconLib.batch.cases import find_cases
from DLReconLib.batch.manifest import Manifest
from DLReconLib.volume import Volume

FAST = {"model": "classical/gaussian", "judge": False}
SHAPE = (12, 24, 20)
unix = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups")
interruptible = pytest.mark.skipif(
    sys.platform == "win32" or signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="Ctrl-C is no signal here, or is ignored (as in the background of a shell)",
)


def scan(path: Path, level: float = 40.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(noisy_phantom("MR", level, SHAPE), path, overwrite=True)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three images in two folders."""
    for number, name in enumerate(("a.nrrd", "b.nii.gz", "sub/c.nrrd")):
        scan(tmp_path / "in" / name, 20 + 10 * number)
    return tmp_path / "in"


def lines(target: Path) -> list[dict]:
    """The whole lines of the manifest."""
    found = []
    for line in (target / "manifest.jsonl").read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def again(source: Path, target: Path, **options) -> Outcome:
    return run_batch(source, target, resume=True, **FAST | options)


def command(source: Path, target: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "DLReconLib", "batch", str(source), str(target)]
    return [*start, "--model", "classical/gaussian", "--no-judge", "--progress", "none", *more]


def test_each_case_as_by_itself(scans: Path, tmp_path: Path) -> None:
    outcome = run_batch(scans, tmp_path / "out", **FAST)
    assert [r["name"] for r in outcome.records] == ["a.nrrd", "b.nii.gz", "sub/c.nrrd"]
    assert outcome.failed == outcome.before == 0
    for record in outcome.records:
        volume, result = read_volume(scans / record["name"]), read_volume(tmp_path / "out" / record["output"])
        assert np.array_equal(result.array, reconstruct(volume, **FAST).volume.array)
        assert result.geometry.matches(volume.geometry)
    in_header = json.loads(read_volume(tmp_path / "out/sub/c.nrrd").metadata["DLRecon.Provenance"])
    assert in_header == outcome.records[2]["provenance"] == lines(tmp_path / "out")[2]["provenance"]


def test_two_at_once_give_the_same(scans: Path, tmp_path: Path) -> None:
    one, two = (run_batch(scans, tmp_path / f"out{n}", jobs=n, **FAST) for n in (1, 2))
    assert [r["output_sha256"] for r in one.records] != []
    for name in ("a.nrrd", "b.nii.gz", "sub/c.nrrd"):
        pair = [read_volume(tmp_path / f"out{n}" / name).array for n in (1, 2)]
        assert np.array_equal(*pair)
    assert len(two.records) == 3 and two.failed == 0


@unix
def test_killed_twice_and_every_case_done_once(tmp_path: Path) -> None:
    for number in range(20):
        scan(tmp_path / "in" / f"case-{number:02}.nrrd", 10 + number)
    target, pids = tmp_path / "out", []
    for wanted in (4, 11):
        running = subprocess.Popen(command(tmp_path / "in", target, "--resume"), start_new_session=True)
        end = time.monotonic() + 120
        while not (target / "manifest.jsonl").exists() or len(lines(target)) < wanted:
            assert running.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
        pids.append(running.wait())
    assert pids == [-signal.SIGKILL] * 2 and len(lines(target)) < 20
    assert subprocess.run(command(tmp_path / "in", target, "--resume"), timeout=300).returncode == 0
    assert Counter(r["name"] for r in lines(target)) == Counter(f"case-{n:02}.nrrd" for n in range(20))
    for number in range(20):
        volume = read_volume(tmp_path / "in" / f"case-{number:02}.nrrd")
        result = read_volume(target / f"case-{number:02}.nrrd")
        assert np.array_equal(result.array, reconstruct(volume, **FAST).volume.array)
    assert [p.name for p in target.iterdir() if p.name.startswith(".")] == []


def test_bad_cases_spoil_nothing(scans: Path, tmp_path: Path) -> None:
    whole = (scans / "b.nii.gz").read_bytes()
    (scans / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_volume(Volume(np.zeros(SHAPE, np.float32)), scans / "flat.nrrd")
    done = subprocess.run(command(scans, tmp_path / "out"), capture_output=True, text=True, timeout=300)
    assert done.returncode == 3
    states = {r["name"]: r["state"] for r in lines(tmp_path / "out")}
    assert states == {"a.nrrd": "done", "b.nii.gz": "failed", "flat.nrrd": "failed", "sub/c.nrrd": "done"}
    assert "constant" in done.stdout and "2 done (0 of them before), 2 failed" in done.stdout
    assert not (tmp_path / "out/b.nii.gz").exists() and read_volume(tmp_path / "out/sub/c.nrrd")
    (scans / "b.nii.gz").write_bytes(whole)
    (scans / "flat.nrrd").unlink()
    outcome = again(scans, tmp_path / "out")
    assert (outcome.before, outcome.failed, len(outcome.records)) == (2, 0, 3)


def test_only_what_changed_is_done_again(scans: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run_batch(scans, target, **FAST)
    assert again(scans, target).before == 3
    scan(scans / "a.nrrd", 80)  # another input
    (target / "b.nii.gz").write_bytes(b"damaged")
    outcome = again(scans, target)
    assert outcome.before == 1 and Counter(r["name"] for r in lines(target)) == {
        "a.nrrd": 2, "b.nii.gz": 2, "sub/c.nrrd": 1}  # fmt: skip
    assert np.array_equal(
        read_volume(target / "a.nrrd").array, reconstruct(read_volume(scans / "a.nrrd"), **FAST).volume.array
    )
    assert again(scans, target, strength=0.5).before == 0  # other options
    assert again(scans, target, strength=0.5).before == 3


def test_torn_line_costs_one_case(scans: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run_batch(scans, target, **FAST)
    manifest = (target / "manifest.jsonl").read_bytes()
    (target / "manifest.jsonl").write_bytes(manifest[:-200])
    (target / "sub/c.nrrd").rename(target / "sub/.c.part.nrrd")  # it had not got its name yet
    assert again(scans, target).before == 2
    assert again(scans, target).before == 3


def test_result_that_had_not_got_its_name_is_kept(scans: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run_batch(scans, target, **FAST)
    (target / "sub/c.nrrd").rename(target / "sub/.c.part.nrrd")
    assert again(scans, target).before == 3 and len(lines(target)) == 3
    assert read_volume(target / "sub/c.nrrd") and not (target / "sub/.c.part.nrrd").exists()


def test_dicom_series_are_cases(tmp_path: Path) -> None:
    for uid in ("1.2.3.4", "1.2.3.5"):
        (tmp_path / "in/study/both").mkdir(parents=True, exist_ok=True)
        for n in range(9):
            write_dicom(tmp_path / "in/study/both" / f"{uid}-{n}.dcm", 2.0 * n, series=uid)
    (tmp_path / "in/study/one").mkdir()
    for n in range(9):
        write_dicom(tmp_path / "in/study/one" / f"IM{n}", 3.0 * n)
    outcome = run_batch(tmp_path / "in", tmp_path / "out", **FAST)
    assert [r["output"] for r in outcome.records] == [
        "study/both/1.2.3.4.nrrd", "study/both/1.2.3.5.nrrd", "study/one.nrrd"]  # fmt: skip
    assert outcome.failed == 0, table(outcome)
    result = read_volume(tmp_path / "out/study/one.nrrd")
    assert result.array.shape == (9, 8, 6) and result.geometry.spacing[2] == pytest.approx(3)
    assert "Doe" not in (tmp_path / "out/manifest.jsonl").read_text() + (tmp_path / "out/index.html").read_text()
    (tmp_path / "in/study/one/IM4").unlink()
    outcome = again(tmp_path / "in", tmp_path / "out")
    assert outcome.before == 2 and "gap" in outcome.records[2]["error"]


def test_time_series_stay_series(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    frames = [noisy_phantom("MR", level, SHAPE) for level in (10, 20, 30)]
    write_series(frames, tmp_path / "in/bold.nii.gz")
    outcome = run_batch(tmp_path / "in", tmp_path / "out", **FAST)
    result = read_series(tmp_path / "out/bold.nii.gz")
    for before, after in zip(read_series(tmp_path / "in/bold.nii.gz"), result, strict=True):
        assert np.array_equal(after.array, reconstruct(before, **FAST).volume.array)
    assert len(outcome.records[0]["provenance"]["time_points"]) == 3
    outcome = run_batch(tmp_path / "in", tmp_path / "flat", form=".tif", **FAST)
    assert "holds no time series" in outcome.records[0]["error"]


def test_names_patterns_and_formats(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("s/scan.nrrd", "s/scan.nii.gz", "s/other.mha", "t/scan.nrrd", ".hidden.nrrd", "out/old.nrrd"):
        scan(source / name)
    (source / "notes.txt").write_text("no image")

    def outputs(*arguments) -> list[str]:
        return [c.output for c in find_cases(source, *arguments)]

    assert outputs("*", source / "out") == ["s/other.mha", "s/scan.nii.gz", "s/scan.nrrd", "t/scan.nrrd"]
    assert outputs("*", source / "out", ".nrrd") == [
        "s/other.nrrd", "s/scan.nii.gz.nrrd", "s/scan.nrrd.nrrd", "t/scan.nrrd"]  # fmt: skip
    assert outputs("scan.n*") == ["s/scan.nii.gz", "s/scan.nrrd", "t/scan.nrrd"]
    assert outputs("t/*") == ["t/scan.nrrd"]


def test_pictures_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture = np.clip(noisy_phantom("US").array[10:11] / 4, 0, 255).astype(np.uint8)
    write_volume(Volume(picture), tmp_path / "in/us.png")
    assert run_batch(tmp_path / "in", tmp_path / "out", **FAST).failed == 0
    assert read_volume(tmp_path / "out/us.png").array.dtype == np.uint8


BAD = {
    "no folder": (["{in}/a.nrrd", "{out}"], "wanted a folder"),
    "nothing fits": (["{in}", "{out}", "--pattern", "*.xyz"], "no image fits"),
    "unknown model": (["{in}", "{out}", "--model", "none"], "unknown; wanted one of"),
    "strength": (["{in}", "{out}", "--strength", "7"], "strength"),
    "format": (["{in}", "{out}", "--format", ".jpg"], "format '.jpg'; wanted"),
    "jobs": (["{in}", "{out}", "--jobs", "0"], "jobs 0"),
    "onto the inputs": (["{in}", "{in}", "--overwrite"], "would replace an input"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_usage_ends_with_two_and_changes_nothing(
    arguments: list[str], message: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from DLReconLib.cli import main

    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert main(["batch", *(a.format_map({"in": scans, "out": tmp_path / "out"}) for a in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_nothing_is_replaced_unasked(scans: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "a.nrrd").write_bytes(b"precious")
    outcome = run_batch(scans, target, **FAST)
    assert outcome.failed == 1 and "overwrite" in outcome.records[0]["error"]
    assert (target / "a.nrrd").read_bytes() == b"precious"
    with pytest.raises(ValueError, match="resume to go on"):
        run_batch(scans, target, **FAST)
    assert run_batch(scans, target, overwrite=True, **FAST).failed == 0
    assert read_volume(target / "a.nrrd") and len(lines(target)) == 3


def test_one_batch_at_a_time(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with Manifest(tmp_path / "out/manifest.jsonl"), pytest.raises(OSError, match="another batch"):
        run_batch(scans, tmp_path / "out", **FAST)
    assert run_batch(scans, tmp_path / "out", **FAST).failed == 0


def test_cancelled_batch_goes_on_later(scans: Path, tmp_path: Path) -> None:
    told = []

    def stop(fraction: float, text: str) -> None:
        told.append(fraction)
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        run_batch(scans, tmp_path / "out", progress=stop, **FAST)
    done = len(lines(tmp_path / "out"))
    assert told == sorted(told) and done == 1
    assert "not begun" in (tmp_path / "out/index.html").read_text()
    assert again(scans, tmp_path / "out", progress=lambda f, t: told.append(f)).before == done
    assert told[-1] == 1


@interruptible
def test_ctrl_c_ends_with_130_and_leaves_no_process(scans: Path, tmp_path: Path) -> None:
    for number in range(30):
        shutil.copy(scans / "a.nrrd", scans / f"copy-{number}.nrrd")
    running = subprocess.Popen(command(scans, tmp_path / "out"), stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out/manifest.jsonl").exists() or len(lines(tmp_path / "out")) < 2:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130 and "cancelled" in errors
    assert 2 <= len(lines(tmp_path / "out")) < 33
    assert list((tmp_path / "out").rglob(".*")) == []


def test_page_shows_every_case_and_needs_nothing_else(tmp_path: Path) -> None:
    scan(tmp_path / "in/good.nrrd")
    scan(tmp_path / "in/a & b.nrrd")
    (tmp_path / "in/<bad>.nrrd").write_bytes(b"NRRD0004\nbroken")
    outcome = run_batch(tmp_path / "in", tmp_path / "out", **FAST | {"judge": True})
    text = (tmp_path / "out/index.html").read_text()
    assert "&lt;bad&gt;.nrrd" in text and "<bad>" not in text and "a &amp; b.nrrd" in text
    assert "2</b> done" in text and "1</b> failed" in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    pictures = [s for s in sources if s.startswith("data:image/png;base64,")]
    assert len(pictures) == 2 and not any("//" in s for s in sources if s not in pictures)
    (tmp_path / "one.png").write_bytes(base64.b64decode(pictures[0].split(",")[1]))
    before, after, removed = np.split(read_volume(tmp_path / "one.png").array[0][:, : 3 * 70].astype(float), 3, axis=1)
    assert before.std() > 20 and after.std() > 20 and removed.std() > 0
    done = next(r for r in outcome.records if r["state"] == "done")
    for name in ("noise_sigma", "snr"):
        assert all(f"{done['figures'][when][name]:.4g}" in text for when in ("before", "after"))
    assert f'class="dot {done["trust"]["light"]}"' in text
