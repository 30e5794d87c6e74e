"""What learning from the image alone is worth: against non-local means at its best setting, on microscopy and CT; and
what --adapt is worth, which begins with a trained model: on MR and CT, and of mr-denoise on microscopy.

  python Testing/Benchmarks/self_supervised.py --data DATA [--steps N]   writes self_supervised.md and .json
  python Testing/Benchmarks/self_supervised.py --rivals PYTHON           an environment with dipy; else without it
  python Testing/Benchmarks/self_supervised.py --only adapted            only the models adapted; the rest is kept
  python Testing/Benchmarks/self_supervised.py --only dipy               only non-local means of dipy; the rest is kept
  python Testing/Benchmarks/self_supervised.py --cards                   the figures of an earlier run into the cards

Microscopy: crops of real images count as the truth, white or Poisson noise is put on them. CT: the simulated doses of
cases.py on test subjects. Non-local means (scikit-image's and dipy's) may try every setting with the true noise level;
the best PSNR counts.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import ZOO, Array, ct_cases, generator, mr_cases  # noqa: E402
from contest import Worker  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.io import read_volume  # noqa: E402
from DLReconLib.metrics import psnr, ssim  # noqa: E402
from DLReconLib.volume import Volume  # noqa: E402

HERE = Path(__file__).parent
MICRO = {"lung, SEM": "micro/lung_sem_01.png", "cells, fluorescence": "micro/bbbc007_17P1_POS0013_D_1UL.tif"}
CROP = np.s_[:, 40:296, 40:296]
OURS = ("classical/nlm", "classical/cosine", "self-supervised")
ADAPTED = {"MR": "mr-denoise", "CT": "ct-denoise", "OT": "mr-denoise"}
CT_EVERY, MR_EVERY = 5, 19  # of the cases of cases.py, one in so many
DIPY = "best non-local means of dipy"


@dataclass(frozen=True)
class Case:
    name: str
    volume: Volume
    reference: Array
    mask: Array
    peak: float

    @property
    def modality(self) -> str:
        return self.name[:2] if self.name[:2] in ("MR", "CT") else "OT"


def cases(data: Path) -> Iterator[Case]:
    for name, path in MICRO.items():
        clean = read_volume(data / path).array[CROP].astype(np.float32)
        peak = float(np.percentile(clean, 99.9))
        for condition in ("Gaussian 5 %", "Gaussian 12 %", "Poisson 40"):
            rng, level = generator(name, condition), float(condition.split()[1])
            if "Poisson" in condition:
                noisy = rng.poisson(np.maximum(clean, 0) / peak * level) / level * peak
            else:
                noisy = clean + rng.normal(0, level / 100 * peak, clean.shape)
            mask = np.ones(clean.shape, bool)
            yield Case(f"{name}, {condition}", Volume(noisy.astype(np.float32)), clean, mask, peak)
    chosen = {"CT": list(ct_cases(data))[1::CT_EVERY], "MR": list(mr_cases(data))[::MR_EVERY]}
    for modality, found in chosen.items():
        for case in found:
            yield Case(f"{modality} {case.name}", case.volume, case.reference, case.mask, case.peak)


def best_nlm(case: Case) -> tuple[Array, dict]:
    """scikit-image's, told the true level of the noise: the setting with the best PSNR."""
    from skimage.restoration import denoise_nl_means

    noisy, found = case.volume.array, []
    sigma = float((noisy - case.reference)[case.mask].std())
    for factor in (0.4, 0.6, 0.8, 1.0, 1.3):
        for side, distance in ((3, 3), (5, 5)):
            for told in (0.0, sigma):
                image = noisy[0] if len(noisy) == 1 else noisy
                answer = denoise_nl_means(image, side, distance, factor * sigma, fast_mode=True, sigma=told)
                answer = answer.reshape(noisy.shape)
                found.append((psnr(answer, case.reference, case.peak, case.mask), answer,
                              {"h": factor, "patch": side, "distance": distance, "sigma": told}))  # fmt: skip
    _, answer, setting = max(found, key=lambda f: f[0])
    return answer, setting


def best_of_dipy(case: Case, worker: Worker) -> tuple[Array, float, dict]:
    """The same of dipy's: classic and blockwise, three levels about the true one."""
    lowest, found = case.volume.array.min(), []
    noisy = case.volume.array - lowest  # what is negative it takes for air
    sigma = float((case.volume.array - case.reference)[case.mask].std())
    started = time.perf_counter()
    for method, reach in (("classic", 2), ("classic", 5), ("blockwise", 2)):
        for factor in (0.8, 1.0, 1.25):
            settings = {"method": method, "patch_radius": 1, "block_radius": reach, "rician": False}
            answer, _ = worker.run("nlmeans", settings | {"sigma": factor * sigma}, noisy)
            answer = answer + lowest
            setting = {"kind": method, "distance": reach, "factor": factor}
            found.append((psnr(answer, case.reference, case.peak, case.mask), answer, setting))
    _, answer, setting = max(found, key=lambda f: f[0])
    return answer, time.perf_counter() - started, setting


def measure(case: Case, options: argparse.Namespace, worker: Worker | None) -> list[dict]:
    rows: list[dict] = []
    learning = {"steps": options.steps, "budget": options.budget}

    def row(method: str, answer: Array, seconds: float, more: dict) -> None:
        reached = psnr(answer, case.reference, case.peak, case.mask)
        alike = ssim(answer, case.reference, case.peak, case.mask)
        rows.append({"case": case.name, "method": method, "psnr": reached, "ssim": alike, "seconds": seconds, **more})
        print(f"{case.name:45} {method:20} {reached:6.2f} {alike:.3f} {seconds:6.1f} s {more}", flush=True)

    row("input", case.volume.array, 0.0, {})
    works: dict[str, tuple[str, dict]] = {}
    if case.modality != "MR" and worker and options.only != "adapted":
        try:
            row(DIPY, *best_of_dipy(case, worker))
        except RuntimeError as error:  # it wants more than a slice
            print(f"{case.name}: {error}", flush=True)
    if options.only == "dipy":
        return rows
    if case.modality != "MR" and not options.only:
        started = time.perf_counter()
        answer, setting = best_nlm(case)
        row("best non-local means", answer, time.perf_counter() - started, setting)
        works = {m: (m, learning if m == "self-supervised" else {}) for m in OURS}
    model = ADAPTED[case.modality]
    works |= {model: (model, {}), f"{model}, adapted": (model, {"adapt": True, **learning})}
    for name, (model, options) in works.items():
        started = time.perf_counter()
        result = reconstruct(case.volume, model=model, modality=case.modality, judge=False, device="cpu", **options)
        row(name, result.volume.array, time.perf_counter() - started, result.provenance.get("found", {}))
    return rows


def as_markdown(rows: list[dict]) -> str:
    of = {(r["case"], r["method"]): r for r in rows}
    names = list(dict.fromkeys(r["case"] for r in rows))

    def cell(case: str, method: str) -> str:
        row = of.get((case, method))
        return f"{row['psnr']:.2f} / {row['ssim']:.3f}" if row else ""

    methods = [m for m in ("input", "best non-local means", DIPY, *OURS) if any((c, m) in of for c in names)]
    lines = ["# Learning from the image alone", "", "PSNR (dB) / SSIM; steps made, and what was given.", "",
             f"| | {' | '.join(methods)} | steps | given |", "|---" * (len(methods) + 3) + "|"]  # fmt: skip
    for case in names:
        if (case, "self-supervised") in of:
            own = of[case, "self-supervised"]
            cells = " | ".join(cell(case, m) for m in methods)
            lines.append(f"| {case} | {cells} | {own.get('steps', 0)} | {own.get('given', '')} |")
    lines += ["", "## Trained models adapted to the image", "",
              "| | input | the model | adapted | kept | steps | s |", "|---" * 7 + "|"]  # fmt: skip
    for case in names:
        for model in dict.fromkeys(ADAPTED.values()):
            own = of.get((case, f"{model}, adapted"))
            if own:
                found = own["adapted"]
                cells = " | ".join(cell(case, m) for m in ("input", model, f"{model}, adapted"))
                kept = "yes" if found["kept"] else "no"
                lines.append(f"| {case} | {cells} | {kept} | {found['steps']} | {own['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


def write_cards(rows: list[dict], date: str) -> None:
    for model in OURS[1:]:
        path = ZOO / model / "card.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        card["results"] = {"script": "Testing/Benchmarks/self_supervised.py", "date": date}
        for case in dict.fromkeys(r["case"] for r in rows):
            kept = ("input", "best non-local means", DIPY, model)
            own = {r["method"]: f"{r['psnr']:.2f} dB, SSIM {r['ssim']:.3f}" for r in rows
                   if r["case"] == case and r["method"] in kept}  # fmt: skip
            if model in own:
                card["results"][case] = own
        path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLRECON_DATA"), help="folder of the images")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--steps", type=int, default=0, help="of learning; 0: what the budget allows")
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--only", default="", choices=("adapted", "dipy"), help="this alone; the rest is kept")
    parser.add_argument("--rivals", type=Path, help="interpreter of an environment with dipy")
    parser.add_argument("--cards", action="store_true")
    options = parser.parse_args()
    store = options.out / "self_supervised.json"
    if options.cards:
        record = json.loads(store.read_text(encoding="utf-8"))
        write_cards(record["scores"], record["date"])
        return 0
    if not options.data:
        parser.error("where are the images? give --data FOLDER or set DLRECON_DATA")
    rows: list[dict] = []
    with contextlib.ExitStack() as stack:
        worker = None
        if options.rivals:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            worker = stack.enter_context(Worker(options.rivals, folder))
        for case in cases(Path(options.data)):
            rows += measure(case, options, worker)
            write(kept(rows, options) + rows, options)
    print(as_markdown(kept(rows, options) + rows))
    return 0


def kept(rows: list[dict], options: argparse.Namespace) -> list[dict]:
    """With --only, what an earlier run measured and this one did not."""
    store, new = options.out / "self_supervised.json", {(r["case"], r["method"]) for r in rows}
    if not (options.only and store.exists()):
        return []
    return [r for r in json.loads(store.read_text(encoding="utf-8"))["scores"] if (r["case"], r["method"]) not in new]


def write(rows: list[dict], options: argparse.Namespace) -> None:
    record = {"date": time.strftime("%Y-%m-%d"), "steps": options.steps, "budget": options.budget, "scores": rows}
    (options.out / "self_supervised.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    (options.out / "self_supervised.md").write_text(as_markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
