"""What does the trust light say of PET and micrographs? Its limits, found on training and validation images.

  python Testing/Benchmarks/modality_light.py --data DATA --cards   find the limits of green and put them into the cards
  python Testing/Benchmarks/modality_light.py --data DATA           what the light says of good runs and of planted
                                                                    failures on test images: modality_light.md, .json

The limits come from images as training draws them, of both roles; the test opens images whose role is "test" alone.
Failures are those of trust_failures.py.
"""

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from harness import arguments, write_page  # noqa: E402
from modality_cases import micro_cases, pet_cases  # noqa: E402
from trust_cases import Run  # noqa: E402
from trust_failures import FAILURES, plant  # noqa: E402
from trust_fit import check, limits, write_card  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.inference import Model  # noqa: E402
from DLReconLib.models import find_card  # noqa: E402
from DLReconLib.training.modalities import MicroscopyMaker, PetMaker  # noqa: E402
from DLReconLib.training.patches import load_sources  # noqa: E402
from DLReconLib.volume import Geometry, Volume  # noqa: E402

# Of each model: who draws, the shape of a draw, spacing (mm), modality, what 1 is there, and the cases of the test.
KINDS = {
    "pet-denoise": (PetMaker, (40, 40, 40), 4.0, "PT", 10.0, pet_cases),
    "micro-denoise": (MicroscopyMaker, (1, 192, 192), 1.0, "SM", 255.0, micro_cases),
}
DRAWS = 60  # of each role
LEAST_GAIN = 1.3  # a run that hardly makes the error smaller is no good one


def run_of(name: str, model: Model, volume: Volume, clean: np.ndarray, role: str) -> Run:
    done = reconstruct(volume, loaded=model, modality=volume.modality, judge=False)
    return Run(name, model.card, volume, done.volume, float(done.noise), clean, role=role)


def drawn_runs(model: Model, data: Path) -> Iterator[Run]:
    """Good runs on images as training draws them, of the training and the validation subjects."""
    maker, shape, spacing, modality, one, _ = KINDS[model.card.id]
    split = json.loads((model.card.folder / "split.json").read_text(encoding="utf-8"))
    for role in ("train", "validation"):
        with tempfile.TemporaryDirectory() as folder:
            sources = load_sources(split, role, modality, data, Path(folder))
        drawing = maker(sources, "", shape)
        for number in range(DRAWS):
            pair = drawing.draw(np.random.default_rng([number, role == "train", 83]))
            image, clean = (np.float32(one) * a.reshape(shape).astype(np.float32) for a in (pair.image[0], pair.clean))
            run = run_of(f"{role} {number}", model, Volume(image, Geometry((spacing,) * 3), modality), clean, role)
            if run.gain() > LEAST_GAIN:
                yield run


def test_runs(model: Model, data: Path) -> Iterator[Run]:
    """Runs on the test images; of those with colours the first component."""
    for case in KINDS[model.card.id][-1](data):
        arrays = [a if a.ndim == 3 else np.ascontiguousarray(a[..., 0]) for a in (case.volume.array, case.reference)]
        yield run_of(case.name, model, case.volume.with_array(arrays[0]), arrays[1], "test")


def write_limits(data: Path) -> None:
    for name in KINDS:
        model = Model(find_card(name), "cpu", "float32")
        checked = [check(run) for run in drawn_runs(model, data)]
        green = sum(c.light == "green" for c in checked)
        write_card(model.card, {"weights": model.card.sha256, "limits": limits(checked)})
        print(f"{name}: limits from {len(checked)} runs, of which {green} were green before")


def work(options: Namespace, record: dict) -> None:
    for name in KINDS:
        model = Model(find_card(name), "cpu", "float32")
        for run in test_runs(model, Path(options.data)):
            for kind in ("", *FAILURES):
                tried = plant(run, kind) if kind else run
                if tried is not None:
                    found = check(tried)
                    record["scores"].append({"model": name, "run": run.name, "failure": kind, "light": found.light,
                                             "by": list(found.reasons)})  # fmt: skip
            print(f"{name}, {run.name}: done", flush=True)


def summary(rows: list[dict]) -> list[dict]:
    """Of each model and kind: how many runs, and how many of them were not green."""
    found = []
    for model, kind in dict.fromkeys((r["model"], r["failure"]) for r in rows):
        mine = [r for r in rows if (r["model"], r["failure"]) == (model, kind)]
        lit = sum(r["light"] != "green" for r in mine)
        found.append({"model": model, "failure": kind, "runs": len(mine), "lit": lit})
    return found


def as_markdown(record: dict) -> str:
    lines = ["# The light of PET and micrographs", "", "Test images. Good runs should stay green, failures should not.",
             "", "| | " + " | ".join(f"{name}, not green" for name in KINDS) + " |", "|---" * 3 + "|"]  # fmt: skip
    of = {(r["model"], r["failure"]): r for r in record["summary"]}
    for kind in ("", *FAILURES):
        cells = [of.get((name, kind)) for name in KINDS]
        shown = " | ".join(f"{c['lit']} of {c['runs']}" if c else "" for c in cells)
        lines.append(f"| {kind or '**good runs**'} | {shown} |")
    return "\n".join(lines) + "\n"


def write_cards(record: dict, options: Namespace) -> None:
    if not options.data:
        raise SystemExit("where are the images? give --data FOLDER or set DLRECON_DATA")
    write_limits(Path(options.data))


def main() -> int:
    return write_page(arguments(__doc__, "modality_light"), "modality_light", work, summary, as_markdown, write_cards)


if __name__ == "__main__":
    sys.exit(main())
