"""The command line as a process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import read_series, read_volume, write_series, write_volume
from DLReconLib.models import list_cards
from DLReconLib.volume import Volume

FAST = ("--model", "classical/gaussian")


def dlrecon(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "DLReconLib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nrrd"
    write_volume(noisy_phantom("MR"), path, metadata={"modality": "MR"})
    return path


def test_list_shows_every_model() -> None:
    done = dlrecon("list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [c.id for c in list_cards()]
    cards = json.loads(dlrecon("list", "--modality", "CT", "--json").stdout)
    assert "ct-denoise" in {c["id"] for c in cards}
    assert "mr-denoise" not in {c["id"] for c in cards}


def test_show_prints_the_card() -> None:
    assert "MR noise removal" in dlrecon("show", "mr-denoise").stdout
    assert json.loads(dlrecon("show", "mr-denoise", "--json").stdout)["task"] == "denoise"


def test_run_writes_result_residual_and_report(scan: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the automatic choice is a learned model")
    out, residual, report = (tmp_path / name for name in ("out.nrrd", "residual.nii.gz", "report.json"))
    done = dlrecon("run", scan, out, "--residual", residual, "--report", report)
    assert done.returncode == 0, done.stderr
    assert "mr-denoise (made for MR" in done.stdout
    before, after, removed = read_volume(scan), read_volume(out), read_volume(residual)
    assert after.geometry.matches(before.geometry)
    np.testing.assert_allclose(before.array - after.array, removed.array, atol=1e-3)
    record = json.loads(report.read_text())
    assert record["model"]["id"] == "mr-denoise"
    assert record["noise"] == pytest.approx(40, rel=0.5)
    assert record["figures"]["after"]["noise_sigma"] < record["figures"]["before"]["noise_sigma"]
    in_header = json.loads(after.metadata["DLRecon.Provenance"])
    assert in_header["input"]["sha256"] == record["input"]["sha256"]


def test_progress_as_json_lines(scan: Path, tmp_path: Path) -> None:
    done = dlrecon("run", scan, tmp_path / "out.nrrd", *FAST, "--progress", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["progress"] for line in lines] == sorted(line["progress"] for line in lines)
    assert lines[-1]["progress"] == 1


def test_existing_output_is_kept_without_overwrite(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nrrd"
    out.write_bytes(b"precious")
    done = dlrecon("run", scan, out, *FAST)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert out.read_bytes() == b"precious"
    assert dlrecon("run", scan, out, *FAST, "--overwrite").returncode == 0


def test_time_series_comes_back_as_one(tmp_path: Path) -> None:
    frames = [noisy_phantom("MR", level) for level in (10, 20, 30)]
    write_series(frames, tmp_path / "series.nii.gz")
    done = dlrecon("run", tmp_path / "series.nii.gz", tmp_path / "out.nii.gz", *FAST, "--report", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert len(read_series(tmp_path / "out.nii.gz")) == 3
    assert len(json.loads((tmp_path / "r.json").read_text())["time_points"]) == 3


def test_png_in_and_png_out(tmp_path: Path) -> None:
    picture = np.clip(noisy_phantom("US").array[10:11] / 4, 0, 255).astype(np.uint8)
    write_volume(Volume(picture), tmp_path / "in.png")
    done = dlrecon("run", tmp_path / "in.png", tmp_path / "out.png")
    assert done.returncode == 0, done.stderr
    assert "a classical method" in done.stdout
    assert read_volume(tmp_path / "out.png").array.dtype == np.uint8
    done = dlrecon("run", tmp_path / "in.png", tmp_path / "o.png", "--residual", tmp_path / "r.png")
    assert done.returncode == 2
    assert not (tmp_path / "o.png").exists()


def test_ct_by_mr_model_is_warned_of(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="learned model")
    write_volume(noisy_phantom("CT"), tmp_path / "ct.nrrd", metadata={"modality": "CT"})
    report = tmp_path / "r.json"
    done = dlrecon("run", tmp_path / "ct.nrrd", tmp_path / "o.nrrd", "--model", "mr-denoise", "--report", report)
    assert done.returncode == 0
    assert "made for MR, the image is CT" in done.stderr
    assert "do not trust" in json.loads(report.read_text())["warnings"][0]


def test_metrics_against_a_reference(scan: Path, tmp_path: Path) -> None:
    volume = read_volume(scan)
    write_volume(volume.with_array(volume.array + np.float32(5)), tmp_path / "other.nrrd")
    figures = json.loads(dlrecon("metrics", tmp_path / "other.nrrd", "--reference", scan, "--json").stdout)
    assert figures["rmse"] == pytest.approx(5, rel=1e-3)
    assert set(figures) >= {"psnr", "ssim", "nrmse", "mae", "noise_sigma", "snr", "peak"}
    labels = (volume.array > 300).astype(np.uint8) + (volume.array > 800)
    write_volume(volume.with_array(labels), tmp_path / "labels.nrrd")
    figures = json.loads(dlrecon("metrics", scan, "--mask", tmp_path / "labels.nrrd", "--json").stdout)
    assert figures["cnr"]["1-2"] > 1


def test_metrics_of_other_grids_are_refused(scan: Path, tmp_path: Path) -> None:
    write_volume(Volume(noisy_phantom("MR").array), tmp_path / "elsewhere.nrrd")
    done = dlrecon("metrics", scan, "--reference", tmp_path / "elsewhere.nrrd")
    assert done.returncode == 2
    assert "another grid" in done.stderr


def test_doctor_finds_everything_in_order() -> None:
    findings = json.loads(dlrecon("doctor", "--json").stdout)
    weights = [f for f in findings if f["what"].startswith("weights of")]
    assert weights
    assert all(f["ok"] for f in weights)


def test_demo_makes_picture_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the demo runs a learned model")
    done = dlrecon("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "demo" / "report.json").read_text())["figures"]
    assert figures["after"]["psnr"] > figures["before"]["psnr"] + 6
    picture = read_volume(tmp_path / "demo" / "demo.png").array
    assert picture.std() > 20


def test_bad_usage_ends_with_two() -> None:
    assert dlrecon("run").returncode == 2
    assert dlrecon("nonsense").returncode == 2


@pytest.mark.skipif(
    sys.platform == "win32" or signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="Ctrl-C is no signal here, or the tests run where it is ignored",
)
def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    write_volume(noisy_phantom("MR", shape=(96, 160, 160)), tmp_path / "large.nrrd")
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "DLReconLib", "run", str(tmp_path / "large.nrrd"), str(out / "o.nrrd")]
    command += ["--model", "classical/nlm", "--tile", "16,32,32", "--progress", "json"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(3):
        running.stdout.readline()
    time.sleep(0.2)
    os.kill(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "cancelled" in errors
    assert list(out.iterdir()) == []
