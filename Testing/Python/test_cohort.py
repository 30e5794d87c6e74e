"""Many cases: plans and folders, pairing, tests, tasks, pages."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom, oblique, phantom

from DLReconLib.cli import main
from DLReconLib.cohort import Outcome, dice, evaluate_cohort, run_plan
from DLReconLib.cohort.plan import read_plan
from DLReconLib.cohort.statistics import reach, summarise
from DLReconLib.io import write_volume
from DLReconLib.progress import Cancelled
from DLReconLib.quality.intervals import bootstrap, holm, of_mean, wilcoxon
from DLReconLib.volume import Geometry, Volume

SHAPE = (6, 40, 44)


def make_folder(folder: Path, cases: int = 6) -> Path:
    """input: noise of 60; method half: half of it, exactly; labels: what is brighter than 400."""
    clean = phantom(SHAPE)
    for name in ("input", "reference", "labels", "half"):
        (folder / name).mkdir(parents=True)
    for n in range(cases):
        noise = np.random.default_rng(n).normal(0, 60 + n, SHAPE).astype(np.float32)
        images = {"input": clean + noise, "reference": clean, "half": clean + noise / 2}
        images["labels"] = (clean > 400).astype(np.uint8)
        for name, array in images.items():
            write_volume(Volume(array, oblique(), "MR"), folder / name / f"case{n}.nrrd")
    return folder


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    folder = make_folder(tmp_path_factory.mktemp("cohort"))
    return evaluate_cohort(folder, folder.parent / "out"), folder.parent / "out"


def test_half_the_noise_is_six_decibel(six: tuple[Outcome, Path]) -> None:
    outcome, _ = six
    result = next(r for r in outcome.results if r.name == "psnr")
    (found,) = result.comparisons
    assert len(result.cases) == 6
    assert found.test.difference == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert found.p == pytest.approx(2 / 2**6)
    assert found.better == "half"
    assert not outcome.failures


def test_the_task_is_better_with_less_noise(six: tuple[Outcome, Path]) -> None:
    outcome, _ = six
    result = next(r for r in outcome.results if r.name == "dice")
    assert result.comparisons[0].better == "half"
    assert outcome.notes["half"]["case0"]["segmentation"].endswith("(Otsu of this image)")
    assert all(0.9 < v <= 1 for v in result.values["half"])


def test_the_files_say_the_same(six: tuple[Outcome, Path]) -> None:
    outcome, out = six
    rows = list(csv.DictReader((out / "figures.csv").open()))
    here = [r for r in rows if (r["case"], r["method"], r["figure"]) == ("case3", "half", "psnr")]
    assert [float(r["value"]) for r in here] == [outcome.figures["half"]["case3"]["psnr"]]
    assert float(here[0]["low"]) < float(here[0]["value"]) < float(here[0]["high"])
    summary = list(csv.DictReader((out / "summary.csv").open()))
    test = next(r for r in summary if r["figure"] == "psnr" and r["against"])
    assert (test["method"], test["against"], float(test["p"])) == ("half", "input", 2 / 2**6)
    assert json.loads((out / "evaluation.json").read_text())["failures"] == []
    assert not list(out.glob("*.part"))


def test_the_page_needs_nothing_beside_it(six: tuple[Outcome, Path]) -> None:
    page = (six[1] / "evaluation.html").read_text(encoding="utf-8")
    assert "half is better" in page
    assert "<script" not in page and "http" not in page and "url(" not in page
    if pytest.importorskip("matplotlib", reason="box plots"):
        assert page.count("data:image/svg+xml;base64,") > 8


def test_names_are_escaped(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", 2)
    (folder / "half").rename(folder / "<b>half")
    evaluate_cohort(folder, tmp_path / "out")
    page = (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;half" in page and "<b>half" not in page


def test_what_fails_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", 4)
    (folder / "half" / "case1.nrrd").unlink()
    (folder / "half" / "case2.nrrd").write_bytes(b"no image")
    clean = Volume(phantom(SHAPE), Geometry())
    write_volume(clean, folder / "reference" / "case3.nrrd", overwrite=True)
    outcome = evaluate_cohort(folder, tmp_path / "out")
    failed = {(f.case, f.method): f.reason for f in outcome.failures}
    assert set(failed) == {("case1", "half"), ("case2", "half"), ("case3", "")}
    assert "no file case1.nrrd" in failed["case1", "half"]
    assert "another grid" in failed["case3", ""]
    result = next(r for r in outcome.results if r.name == "psnr")
    assert result.cases == ["case0"]
    assert "it takes 6" in reach(result)
    page = (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert "What failed" in page and "case3" in page


def test_a_plan_runs_models(tmp_path: Path) -> None:
    write_volume(noisy_phantom("MR", shape=(12, 40, 40)), tmp_path / "a.nrrd")
    write_volume(Volume(phantom((12, 40, 40)), oblique()), tmp_path / "clean.nrrd")
    plan = {
        "title": "smoothing",
        "threshold": 800,
        "cases": [{"id": "a", "image": "a.nrrd", "reference": "clean.nrrd", "peak": 1000}],
        "methods": [
            {"name": "smooth", "model": "classical/gaussian"},
            {"name": "nothing", "model": "classical/gaussian", "options": {"strength": 0}},
        ],
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    outcome = run_plan(read_plan(tmp_path / "plan.json"))
    assert not outcome.failures
    figures = {m: cases["a"] for m, cases in outcome.figures.items()}
    assert figures["nothing"]["psnr"] == pytest.approx(figures["input"]["psnr"])
    assert figures["smooth"]["noise_white"] < 0.3 * figures["input"]["noise_white"]
    assert figures["smooth"]["mtf50"] < figures["input"]["mtf50"]


def test_given_segmentations_are_judged(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", 2)
    truth = phantom(SHAPE) > 400
    for method, moved in (("input", 4), ("half", 1)):
        (folder / "segmentations" / method).mkdir(parents=True)
        for n in range(2):
            drawn = np.roll(truth, moved, axis=2).astype(np.uint8)
            write_volume(Volume(drawn, oblique()), folder / "segmentations" / method / f"case{n}.nrrd")
    outcome = run_plan(read_plan(folder))
    assert outcome.figures["half"]["case0"]["dice"] == pytest.approx(dice(np.roll(truth, 1, axis=2), truth))
    assert outcome.figures["input"]["case1"]["dice"] < outcome.figures["half"]["case1"]["dice"]


GOOD = {"cases": [{"id": "a", "image": "a.nrrd"}], "methods": [{"name": "m", "model": "classical/gaussian"}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"case": []}, "unknown \\['case'\\]"),
        ({"cases": []}, "no cases"),
        ({"cases": [{"id": "a"}]}, "lacks \\['image'\\]"),
        ({"cases": GOOD["cases"] * 2}, "named twice"),
        ({"methods": [{"name": "input", "model": "x"}]}, "named twice"),
        ({"methods": [{"name": "m"}]}, "either a model or a folder"),
        ({"methods": [{"name": "m", "results": "nowhere"}]}, "no folder"),
        ({"methods": [{"name": "m", "model": "classical/gaussian", "options": {"power": 2}}]}, "unknown option power"),
        ({"methods": [{"name": "m", "model": "no-such-model"}]}, "no-such-model"),
        ({"threshold": "high"}, "wanted a number or 'otsu'"),
    ],
)
def test_a_slip_in_the_plan_is_told_before_the_work(tmp_path: Path, change: dict, words: str) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(GOOD | change))
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        evaluate_cohort(tmp_path / "plan.json", tmp_path / "out")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="wanted input/ID"):
        read_plan(tmp_path)


def test_cancelling_writes_nothing(tmp_path: Path) -> None:
    def stop(fraction: float, text: str) -> None:
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_cohort(make_folder(tmp_path / "f", 2), tmp_path / "out", progress=stop)
    assert not list((tmp_path / "out").iterdir())


def test_progress_rises_to_one(tmp_path: Path) -> None:
    told: list[float] = []
    run_plan(read_plan(make_folder(tmp_path / "f", 2)), progress=lambda f, _: told.append(f))
    assert told == sorted(told)
    assert told[-1] == 1


def test_pairing_keeps_common_cases_only() -> None:
    table = {
        "input": {c: {"psnr": v} for c, v in zip("abc", (20.0, 21.0, 30.0), strict=True)},
        "one": {"a": {"psnr": 22.0}, "b": {"psnr": float("inf")}, "c": {"psnr": 31.0}},
        "none": {},
    }
    (result,) = summarise(table)
    assert result.cases == ["a", "c"]
    assert result.left_out == ["none"]
    assert [s.mean for s in result.summaries] == [25.0, 26.5]


def test_wilcoxon_agrees_with_its_table() -> None:
    """Six pairs that all rise: 2 / 2^6; five cannot reach 0.05; equal pairs carry no rank."""
    assert wilcoxon([1, 2, 3, 4, 5, 6], [0.0] * 6).p == pytest.approx(0.03125)
    five = wilcoxon([1, 2, 3, 4, 5], [0.0] * 5)
    assert five.p == five.smallest == pytest.approx(0.0625)
    assert wilcoxon([3.0, 3.0], [3.0, 3.0]).p is None
    assert wilcoxon([1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 0, 0, 0, 7]).differing == 6
    # Conover 1999, example of twins: scipy.stats.wilcoxon as the other implementation, with a tie.
    stats = pytest.importorskip("scipy.stats")
    x, y = [86, 71, 77, 68, 91, 72, 77, 91, 70, 71, 88, 87], [88, 77, 76, 64, 96, 72, 65, 90, 65, 80, 81, 72]
    differences = [a - b for a, b in zip(x, y, strict=True) if a != b]
    assert wilcoxon(x, y).p == pytest.approx(stats.wilcoxon(differences, method="asymptotic").pvalue)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, None, 0.2]) == pytest.approx([0.04, 0.09, 0.09, None, 0.2])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_interval_of_a_mean_by_hand() -> None:
    """1, 2, 3: 2 +- 4.3027 * 1 / sqrt(3)."""
    assert of_mean([1.0, 2.0, 3.0]) == pytest.approx([2 - 2.4841, 2 + 2.4841], abs=1e-3)
    assert of_mean([1.0]) is None


def test_bootstrap_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    low, high = bootstrap(400, lambda t: {"mean": float(np.average(values, weights=t))}, 1000)["mean"]
    half = 1.96 * values.std() / 20
    assert [low, high] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.15 * half)
    assert bootstrap(4, lambda t: {"mean": 0.0}) == {}


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = make_folder(tmp_path / "f", 2)
    assert main(["evaluate", str(folder), "--out", str(tmp_path / "out"), "--progress", "none"]) == 0
    said = capsys.readouterr().out
    assert "2 common cases" in said and "it takes 6" in said and "evaluation.html" in said
    assert main(["evaluate", str(tmp_path / "nowhere.json")]) == 2
    names = {n: str(folder / n / "case0.nrrd") for n in ("half", "reference", "labels")}
    sections = ["metrics", names["half"], "--reference", names["reference"], "--labels", names["labels"]]
    assert main([*sections, "--plots", str(tmp_path / "plots")]) == 0
    said = capsys.readouterr().out
    assert all(title in said for title in ("Against the reference", "Noise", "Structure", "Labels"))
    assert (tmp_path / "plots").is_dir()
    assert main([*sections, "--peak", "1000", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["peak"], figures["peak_is"]) == (1000, "given")
    assert figures["labels"]["1"]["psnr"] == pytest.approx(20 * np.log10(1000 / 30), abs=0.3)
