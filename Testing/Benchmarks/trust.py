"""How good is the trust light? Does the uncertainty cover the true error? Which inputs are recognised as foreign?

python Testing/Benchmarks/trust.py --data DATA          all tables on test subjects: trust.md, trust.json, a figure
python Testing/Benchmarks/trust.py --data DATA --cards  find the numbers of judging on training and validation
                                                        subjects and put them into the cards; after new weights
--quick                                                 fewer conditions and failures, a smoke test
--cache FOLDER                                          keeps the results of the models between runs
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
from denoise import say  # noqa: E402
from trust_cases import MODELS, Run, Store, runs  # noqa: E402
from trust_failures import FAILURES, contrasts, plant, strangers  # noqa: E402
from trust_fit import calibrate, check, domain, limits, parts, samples, write_card  # noqa: E402
from trust_tables import draw_calibration, write_tables  # noqa: E402

from DLReconLib.inference import Model  # noqa: E402
from DLReconLib.models import find_card  # noqa: E402
from DLReconLib.pipeline import reconstruct  # noqa: E402
from DLReconLib.trust.domain import distance, measure  # noqa: E402
from DLReconLib.uncertainty import Calibration, error_deviation  # noqa: E402

HERE = Path(__file__).parent
# Curvature diffusion and the median are good for much noise only; the Gaussian blurs edges always, which the light is
# there to tell, so it is no good run.
LEAST_GAIN = {"classical/nlm": 1.2, "classical/tv": 1.2, "classical/curvature": 1.5, "classical/median": 1.5}
BANDS = (0.5, 0.683, 0.8, 0.9, 0.95)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLRECON_DATA"), help="folder of the images")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of trust.md, trust.json and figures/")
    parser.add_argument("--cards", action="store_true", help="fit, and write into the cards, instead of reporting")
    parser.add_argument("--quick", action="store_true", help="a quarter of the images and failures")
    parser.add_argument("--cache", type=Path, help="folder that keeps the results of the models")
    parser.add_argument("--modality", default="MR,CT", help="which models, by commas")
    chosen = parser.parse_args()
    if not chosen.data:
        parser.error("where are the images? give --data FOLDER or set DLRECON_DATA")
    chosen.data = Path(chosen.data)
    return chosen


def good(run: Run) -> bool:
    return run.card.learned or run.gain() >= LEAST_GAIN[run.card.id]


def fit_cards(options: argparse.Namespace) -> None:
    """Limits, domain and calibration of every card. Classical methods share their limits over MR and CT."""
    store, shared = Store(options.cache), {name: [] for name in LEAST_GAIN}
    for modality in options.modality.split(","):
        name = MODELS[modality]
        say(f"{name}: training images")
        card = find_card(name)
        write_card(card, {"domain": domain(modality, options.data)})
        held: list[Run] = []
        for role in ("validation", "train"):
            methods, spread = (name, *LEAST_GAIN), role == "validation"
            held += runs(modality, role, options.data, store, methods, spread=spread, quick=options.quick)
            say(f"{name}: {role} done")
        checked = [check(run) for run in held if good(run)]
        own = [c for c in checked if c.run.card.id == name]
        known = [c.run for c in own if c.run.spread is not None]
        write_card(card, {"weights": card.sha256, "limits": limits(own), "uncertainty": calibrate(known, card)})
        for entry in checked:
            if entry.run.card.id in shared:
                shared[entry.run.card.id].append(entry)
    for name, entries in shared.items():
        if entries:
            write_card(find_card(name), {"weights": "", "limits": limits(entries)})
    say("cards written")


def coverage(held: list[Run]) -> list[dict[str, Any]]:
    """Share of true errors inside bands of the estimated deviation, a row for each run."""
    from scipy.stats import norm

    rows = []
    for run in held:
        error, spread, noise = parts(run)
        deviation = error_deviation(spread, noise, Calibration.of_card(run.card))
        inside = {str(b): float(np.mean(np.abs(error) <= norm.ppf(0.5 + b / 2) * deviation)) for b in BANDS}
        bare = float(np.mean(np.abs(error) <= norm.ppf(0.95) * spread))
        rows.append({"run": run.name, "model": run.card.id, "inside": inside, "bare": bare})
    return rows


def failures(held: list[Run], quick: bool) -> list[dict[str, Any]]:
    rows = []
    for kind in list(FAILURES)[:: 3 if quick else 1]:
        found = [check(spoiled) for run in held if (spoiled := plant(run, kind))]
        caught = [c for c in found if c.light != "green"]
        by = Counter(name for c in caught for name in c.reasons).most_common(3)
        missed = [c.run.name for c in found if c.light == "green"]
        red = sum(c.light == "red" for c in found)
        rows.append({"kind": kind, "runs": len(found), "caught": len(caught), "red": red, "by": [n for n, _ in by],
                     "missed": missed})  # fmt: skip
        say(f"{kind}: {len(caught)} of {len(found)}")
    return rows


def sensitivity(held: list[Run]) -> list[dict[str, Any]]:
    """Down to which contrast lesions and vessels are seen."""
    rows = []
    for name, (contrast, failure) in contrasts().items():
        found = [check(failure(run, contrast, name)) for run in held]
        share = sum(c.light != "green" for c in found) / len(found)
        rows.append({"what": name, "contrast": contrast, "caught": share, "runs": len(found)})
    return rows


def foreign(modality: str, crops: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Images that the model is not made for, run through it all the same: score of the domain, light of the result."""
    from skimage import color, data

    pictures = {"astronaut": color.rgb2gray(data.astronaut()) * 255, "camera": data.camera(), "moon": data.moon()}
    pictures |= {"coins": data.coins(), "coffee": color.rgb2gray(data.coffee()) * 255, "page": data.page()}
    pictures = {name: np.asarray(p, np.float32)[:160, :160] for name, p in pictures.items()}
    model = Model(find_card(MODELS[modality]), "cpu", "float32")
    rows = []
    for name, volume in strangers(modality, crops, pictures).items():
        done = reconstruct(volume, loaded=model, modality=modality)
        trust = done.provenance["trust"]
        by = [r["check"] for r in trust["reasons"] if r["light"] != "green"]
        score = distance(volume.array, model.card).score
        rows.append({"model": model.card.id, "input": name, "score": score, "light": trust["light"], "by": by})
    return rows


def swapped(held: list[Run]) -> dict[str, Any]:
    """The weights of the other model under the card of this one."""
    own = held[0].card
    other = find_card(next(m for m in MODELS.values() if m != own.id))
    model = Model(replace(own, folder=other.folder, sha256=other.sha256, arguments=other.arguments), "cpu", "float32")
    found = []
    for run in held:
        done = reconstruct(run.source, loaded=model, modality=own.modalities[0], judge=False)
        found.append(check(replace(run, result=done.volume, noise=done.noise)))
    caught = [c for c in found if c.light != "green"]
    by = Counter(name for c in caught for name in c.reasons).most_common(3)
    return {"kind": "weights of the other model", "runs": len(found), "caught": len(caught),
            "red": sum(c.light == "red" for c in found), "by": [n for n, _ in by],
            "missed": [c.run.name for c in found if c.light == "green"]}  # fmt: skip


def main() -> int:
    options = arguments()
    if options.cards:
        fit_cards(options)
        return 0
    started, store = time.perf_counter(), Store(options.cache)
    record: dict[str, Any] = {"models": {}, "coverage": [], "foreign": []}
    crops: dict[str, Any] = {}
    held: dict[str, list[Run]] = {}
    for modality in options.modality.split(","):
        methods = (MODELS[modality], *LEAST_GAIN)
        held[modality] = list(runs(modality, "test", options.data, store, methods, spread=True, quick=options.quick))
        own = [r for r in held[modality] if r.card.learned]
        crops[modality] = own[0].source
        say(f"{modality}: {len(held[modality])} runs")
    for modality, entries in held.items():
        name = MODELS[modality]
        own = [r for r in entries if r.card.learned]
        deep = [r for r in own if r.spread is not None]
        known = [check(r) for r in entries if good(r)]
        alarms = [{"run": c.run.name, "light": c.light, "by": list(c.reasons)} for c in known if c.light != "green"]
        learned = [c for c in known if c.run.card.learned]
        real = [check(run) for run in real_runs(modality, options)]
        spoiled = deep
        record["models"][name] = {
            "good": len(known), "good_learned": len(learned), "alarms": alarms,
            "failures": [*failures(spoiled, options.quick), swapped(spoiled)], "sensitivity": sensitivity(spoiled),
            "real_noise": [{"run": c.run.name, "light": c.light, "by": list(c.reasons)} for c in real],
            "real": real_scores(modality, options),
        }  # fmt: skip
        record["coverage"] += coverage(deep)
        if len(crops) > 1:
            record["foreign"] += foreign(modality, crops, options)
    record["judging"] = judging_time()
    record["seconds"] = time.perf_counter() - started
    (options.out / "figures").mkdir(parents=True, exist_ok=True)
    (options.out / "trust.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    draw_calibration(record["coverage"], options.out / "figures" / "trust-calibration.png")
    print(write_tables(record, options.out / "trust.md"))
    return 0


def real_runs(modality: str, options: argparse.Namespace) -> list[Run]:
    """Our model on images whose noise a scanner made."""
    from real_cases import real_cases

    model, found = Model(find_card(MODELS[modality]), "cpu", "float32"), []
    for case in real_cases(options.data, options.quick):
        if case.model == model.card.id:
            volume = replace(case.volume, modality=modality)
            done = reconstruct(volume, loaded=model, judge=False)
            found.append(Run(case.name, model.card, volume, done.volume, done.noise, case.reference, role="test"))
    return found


def real_scores(modality: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Scores of the domain of images of test and validation subjects, and of crops of them with noise."""
    card = find_card(MODELS[modality])
    found = {}
    for role in ("validation", "test"):
        found[role] = [measure(row, card.trust["domain"]).score for _, row in samples(modality, role, options.data)]
    return found


def judging_time() -> dict[str, float]:
    """Processor seconds of judging a volume of 160 x 256 x 256, and of what it judges."""
    from DLReconLib.trust import judge
    from DLReconLib.volume import Volume

    rng = np.random.default_rng(0)
    clean = np.kron(rng.random((20, 32, 32)), np.ones((8, 8, 8))).astype(np.float32) * 500 + 200
    volume = Volume(clean + 20 * rng.standard_normal(clean.shape, np.float32), modality="MR")
    started = time.process_time()
    judge(volume, volume.with_array(clean), find_card("mr-denoise"), 20.0, modality="MR")
    return {"voxels": float(clean.size), "seconds": time.process_time() - started}


if __name__ == "__main__":
    sys.exit(main())
