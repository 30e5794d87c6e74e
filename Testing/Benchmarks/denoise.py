"""How good is denoising? Ours against BM4D, dipy, ANTs, ITK and scikit-image, all in one run.

  python Testing/Benchmarks/denoise.py --data DATA          everything: writes RESULTS.md, denoise.json, figures
  python Testing/Benchmarks/denoise.py --quick              a smoke test of a few cases
  python Testing/Benchmarks/denoise.py --render             tables anew from denoise.json, nothing measured

DATA (or the environment variable DLRECON_DATA) is the folder of images that the split files of the models name.
The rivals live in an environment of their own, made on first use (requirements-rivals.txt); ours are blind,
rivals are given the true level of the noise and their best setting for every single image.
"""

import argparse
import json
import os
import platform
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import Array, Case, ct_cases, mr_cases  # noqa: E402
from contest import RIVALS, Entry, Worker, compete, make_environment  # noqa: E402
from real_cases import clean_cases, real_cases  # noqa: E402
from scores import score  # noqa: E402

HERE = Path(__file__).parent
GROUPS = {"mr": mr_cases, "ct": ct_cases, "real": real_cases, "clean": clean_cases}
CLASSICAL = tuple(f"classical/{name}" for name in ("nlm", "tv", "curvature", "gaussian", "median"))
OURS = "ours"
SHOWN = (
    ("Colin27 T1", "gaussian 7 %"),
    ("niivue head T2", "rician 9 %"),
    ("torchio head FLAIR", "rician 5 %"),
    ("STS_001 thigh", "quarter dose, soft"),
    ("STS_004 thigh", "tenth dose, sharp"),
    ("liver, one slice", "tenth dose, soft"),
    ("fMRI cervical spine", "frame 15"),
    ("diffusion brain", "direction 3"),
    ("CT phantom 1 mm", "sharp"),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLRECON_DATA"), help="folder of the images")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of RESULTS.md, denoise.json, figures/")
    parser.add_argument("--cases", default="mr,ct,real,clean,speed", help="which groups, by commas")
    parser.add_argument("--quick", action="store_true", help="a few cases, a smoke test")
    parser.add_argument("--cache", type=Path, help="folder that keeps the rivals' answers")
    parser.add_argument("--jobs", type=int, default=1, help="rivals' processes at a time, one thread each")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every method in the speed case")
    parser.add_argument("--rivals-python", type=Path, help="interpreter of an environment that has the rivals")
    parser.add_argument("--rivals-venv", type=Path, default=HERE.parents[1] / "build" / "rivals-venv")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--no-classical", action="store_true", help="leave out our own classical methods")
    parser.add_argument("--no-large", action="store_true", help="leave out the volume of 512 x 512 x 600 (10 minutes)")
    parser.add_argument("--warm", action="store_true", help="only fill the cache of the rivals")
    parser.add_argument("--cards", action="store_true", help="put the figures of an earlier run into the models' cards")
    parser.add_argument("--render", action="store_true", help="only write the tables of an earlier run")
    chosen = parser.parse_args()
    unknown = set(chosen.cases.split(",")) - {*GROUPS, "speed"}
    if unknown:
        parser.error(f"--cases {','.join(sorted(unknown))}: unknown; choose among {', '.join(GROUPS)}, speed")
    if not (chosen.render or chosen.cards) and not chosen.data:
        parser.error("where are the images? give --data FOLDER or set DLRECON_DATA")
    return chosen


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def run_rivals(cases: list[Case], python: Path, options: argparse.Namespace, folder: Path) -> list[list[Entry]]:
    """Every rival on every case, `jobs` cases at a time; one list for each case, in order."""
    workers: queue.Queue[Worker] = queue.Queue()
    started = [Worker(python, folder / str(number)) for number in range(options.jobs)]
    for worker in started:
        workers.put(worker)

    def one(case: Case) -> list[Entry]:
        worker = workers.get()
        try:
            entries = [e for e in (compete(m, case, worker, options.cache) for m in RIVALS) if e]
        finally:
            workers.put(worker)
        best = max(entries, key=lambda e: e.score.psnr)
        say(f"{case.name}: {best.method} {best.score.psnr:.2f} dB{' (cached)' if best.cached else ''}")
        return entries

    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            return list(pool.map(one, cases))
    finally:
        for worker in started:
            worker.__exit__()


def run_ours(case: Case, model: str, precision: str) -> tuple[Array, dict]:
    """The answer and the provenance of one of our models."""
    from DLReconLib import reconstruct

    result = reconstruct(case.volume, task="denoise", model=model, device="cpu", precision=precision)
    return result.volume.array, result.provenance


def row(case: Case, method: str, output: Array, **more: object) -> dict:
    place = {"group": case.group, "image": case.image, "condition": case.condition, "method": method}
    return place | score(output, case).as_dict() | more


def measure(case: Case, entries: list[Entry], options: argparse.Namespace) -> tuple[list[dict], dict[str, Array]]:
    """All rows of the case, and what the methods gave out."""
    rows = [row(case, "noisy", case.volume.array)] if case.sigma else []
    outputs = {entry.method: entry.output for entry in entries}
    for e in entries:
        more = {"seconds": e.seconds, "settings": e.settings, "cached": e.cached}
        rows.append(row(case, e.method, e.output, **more))
    names = {OURS: case.model} | ({} if options.no_classical else {name: name for name in CLASSICAL})
    for title, model in names.items():
        output, provenance = run_ours(case, model, options.precision)
        outputs[title] = output
        noise = {"noise_found": provenance["noise"], "noise_true": case.sigma}
        rows.append(row(case, title, output, seconds=provenance["seconds"]["total"], **noise))
    ours = next(r for r in rows if r["method"] == OURS)
    say(f"{case.name}: ours {ours['psnr']:.2f} dB")
    return rows, outputs


def environment(options: argparse.Namespace) -> dict:
    """What the figures depend on besides the code."""
    packages = ("torch", "numpy", "scipy", "scikit-image", "monai")
    versions = {name: metadata.version(name) for name in packages}
    lines = (line for line in _cpu_lines() if line.startswith("model name"))
    processor = next(lines, platform.processor()).split(":")[-1].strip()
    return {
        "date": time.strftime("%Y-%m-%d"), "processor": processor, "cores": os.cpu_count(),
        "threads": options.threads, "python": platform.python_version(), "versions": versions, "quick": options.quick,
    }  # fmt: skip


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def references(cases: list[Case]) -> list[dict]:
    """One line for each reference: its size and the noise that it has itself."""
    found = {}
    for case in cases:
        found[case.group, case.image] = {
            "group": case.group, "image": case.image, "shape": list(case.reference.shape),
            "spacing": [round(s, 2) for s in case.volume.geometry.spacing], "peak": case.peak,
            "own_noise": case.own_noise, "scored_share": float(case.mask.mean()),
        }  # fmt: skip
    return list(found.values())


def write_cards(record: dict) -> None:
    """The summary of the run into the field "results" of each model's card: means over images, dB and SSIM."""
    from cases import ZOO

    for model, own in (("mr-denoise", "mr"), ("ct-denoise", "ct")):
        found = {}
        for line in record["summary"]:
            about = "ct" if any("phantom" in image for image in line["images"]) else "mr"
            if own not in (line["group"], about if line["group"] in ("real", "clean") else ""):
                continue
            name = line["condition"] if line["group"] in ("mr", "ct") else f"{line['images'][0]}, {line['condition']}"
            rival = line["best_classical"]
            found[name] = {m: _rounded(line[m]) for m in ("noisy", "bm4d", "ours") if line.get(m, {}).get("psnr")}
            found[name]["images"] = len(line["images"])
            if rival:
                found[name]["best classical"] = f"{rival['method']} {rival['psnr']:.2f} dB"
        path = ZOO / model / "card.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        card["results"] = {"script": "Testing/Benchmarks/denoise.py", "date": record["environment"]["date"]} | found
        path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _rounded(figures: dict) -> str:
    return f"{figures['psnr']:.2f} dB" + (f", SSIM {figures['ssim']:.3f}" if figures.get("ssim") else "")


def main() -> int:
    options = arguments()
    from tables import summary, write_results

    store = options.out / "denoise.json"
    if options.cards:
        write_cards(json.loads(store.read_text(encoding="utf-8")))
        return 0
    if options.render:
        write_results(json.loads(store.read_text(encoding="utf-8")), options.out / "RESULTS.md")
        return 0
    started = time.perf_counter()
    groups = options.cases.split(",")
    python = options.rivals_python or make_environment(options.rivals_venv)
    cases = [case for group in GROUPS if group in groups for case in GROUPS[group](Path(options.data), options.quick)]
    say(f"{len(cases)} cases")
    record = {"environment": environment(options), "references": references(cases), "scores": [], "figures": []}
    with tempfile.TemporaryDirectory(prefix="denoise-") as folder:
        noisy = [case for case in cases if case.sigma]
        entries = dict(zip([c.name for c in noisy], run_rivals(noisy, python, options, Path(folder)), strict=True))
        if options.warm:
            say(f"cache filled in {time.perf_counter() - started:.0f} s")
            return 0
        from figures import draw

        for case in cases:
            rows, outputs = measure(case, entries.get(case.name, []), options)
            record["scores"] += rows
            if (case.image, case.condition) in SHOWN:
                record["figures"].append(draw(case, outputs, rows, options.out / "figures").name)
        if "speed" in groups:
            from speed import measure_speed

            size = (options.quick, not options.no_large)
            record["speed"] = measure_speed(Path(options.data), python, Path(folder), options.threads, *size)
    earlier = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    if "speed" not in groups and "speed" in earlier:
        record["speed"] = {"kept": earlier["environment"]["date"]} | earlier["speed"]
    record["environment"]["seconds"] = time.perf_counter() - started
    record["summary"] = summary(record["scores"])
    options.out.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps(record, indent=1), encoding="utf-8")
    write_results(record, options.out / "RESULTS.md")
    say(f"done in {time.perf_counter() - started:.0f} s: {options.out / 'RESULTS.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
