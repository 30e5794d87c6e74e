"""How good are the denoisers of ultrasound, PET, microscopy and time series? Each against its classical neighbours.

  python Testing/Benchmarks/modalities.py --data DATA      writes modalities.md, modalities.json, figures/modality-*.png
  python Testing/Benchmarks/modalities.py --only us,pet     of us, pet, micro, series; the others keep their figures
  python Testing/Benchmarks/modalities.py --quick           a case or two of each
  python Testing/Benchmarks/modalities.py --rivals PYTHON   the interpreter of an environment with dipy, for the series
  python Testing/Benchmarks/modalities.py --cards           the figures of an earlier run into the models' cards

DATA (or the environment variable DLRECON_DATA) is the folder of images that the split files of the models name; only
images whose role is "test" are opened. "best" and "true level": told by the truth what nobody knows, which is generous.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from cases import ZOO, Array  # noqa: E402
from modality_cases import Case, micro_cases, pet_cases, us_cases  # noqa: E402
from modality_series import SeriesCase, series_cases  # noqa: E402
from modality_tables import as_markdown, draw  # noqa: E402
from modality_ultrasound import real_ultrasound  # noqa: E402

from DLReconLib import reconstruct  # noqa: E402
from DLReconLib.metrics import psnr, ssim  # noqa: E402
from DLReconLib.models import find_card  # noqa: E402
from DLReconLib.series import reconstruct_series  # noqa: E402

HERE = Path(__file__).parent
CASES = {"us": us_cases, "pet": pet_cases, "micro": micro_cases}
MODELS = {"us": "us-speckle", "pet": "pet-denoise", "micro": "micro-denoise", "series": "classical/mppca"}
NEIGHBOURS = {
    "us": ("median", "nlm", "curvature", "lee", "srad"),
    "pet": ("median", "nlm", "tv", "gaussian", "cosine"),
    "micro": ("median", "nlm", "tv", "gaussian", "cosine"),
}
KNOWN = {
    "us": (
        "Faint lines as narrow as the speckle are lost",
        "Where speckle breaks a faint line into grains, the grains go, and the line with them or in parts.",
        ("drawn tissue 2", "coarse speckle"),
    ),
    "pet": (
        "The outline of a hot place is moved by strong noise",
        "What the noise broke off or added to a hot place stays so, and faint warm places are lost.",
        ("drawn body 2", "noise 40 %"),
    ),
    "micro": (
        "Fine structure as weak as the noise is smoothed",
        "Chromatin and fibres that the noise hides come back as soft patches.",
        ("colon, stained", "dim"),
    ),
}
JUDGED = 5  # of a series every fifth frame is compared
WIDTHS = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)
SHOWN = (
    "Colin27, slice 80, fine speckle",
    "drawn tissue 2, coarse speckle",
    "STS_001, noise 20 %",
    "drawn body 2, noise 40 %",
    "cell, phase contrast, dim",
    "colon, stained, dim",
)


def components(function: Callable[[Array], Array], image: Array) -> Array:
    return function(image) if image.ndim == 3 else np.stack([function(p) for p in np.moveaxis(image, 3, 0)], 3)


def told(case: Case) -> dict[str, Callable[[], Array]]:
    """Rivals that know the truth: the best width of a Gaussian, the level of the noise for non-local means."""
    given, flat = case.volume.array, case.volume.array.shape[0] == 1

    def smooth(width: float) -> Array:
        return components(lambda p: ndimage.gaussian_filter(p, (0 if flat else width, width, width)), given)

    def best() -> Array:
        return max((smooth(w) for w in WIDTHS), key=lambda a: psnr(a, case.reference, case.peak, case.mask))

    def means() -> Array:
        from skimage.restoration import denoise_nl_means

        level = float((given - case.reference)[case.mask].std())
        return components(lambda p: denoise_nl_means(p[0] if flat else p, 3, 5 if flat else 3, 0.8 * level, sigma=level)
                          .reshape(p.shape), given)  # fmt: skip

    return {"Gaussian, best width": best, "NLM, true level": means}


def measure(case: Case) -> tuple[list[dict], dict[str, Array]]:
    def by(model: str) -> Callable[[], Array]:
        return lambda: reconstruct(case.volume, task=find_card(model).task, model=model, judge=False).volume.array

    methods = {"given": lambda: case.volume.array}
    methods |= (
        {name: by(f"classical/{name}") for name in NEIGHBOURS[case.theme]} | told(case) | {"ours": by(case.model)}
    )
    rows, outputs = [], {}
    for method, work in methods.items():
        started = time.perf_counter()
        output = outputs[method] = work()
        row = {"theme": case.theme, "image": case.image, "condition": case.condition, "method": method}
        row |= {"seconds": time.perf_counter() - started, "psnr": psnr(output, case.reference, case.peak, case.mask)}
        planes = [(output, case.reference, case.mask)]
        if output.ndim == 4:
            planes = [tuple(a[..., n] for a in planes[0]) for n in range(output.shape[3])]
        row["ssim"] = float(np.mean([ssim(a, b, case.peak, m) for a, b, m in planes]))
        rows.append(row | (uptake(case, output) if case.theme == "pet" else colour(case, output)))
    print(f"{time.strftime('%H:%M:%S')} {case.name}: " + ", ".join(f"{r['method']} {r['psnr']:.2f}" for r in rows),
          flush=True)  # fmt: skip
    return rows, outputs


def uptake(case: Case, output: Array) -> dict[str, float]:
    """Mean SUV of hot places (half of the maximum and more) and of the rest of the body, as parts of those of the given
    volume; the maximum as a part of the given one and of the true one."""
    hot = case.reference > 0.5 * case.reference.max()
    body = case.mask & ~ndimage.binary_dilation(hot, iterations=2)
    given = case.volume.array
    return {
        "hot": float(output[hot].mean() / given[hot].mean() - 1),
        "body": float(output[body].mean() / given[body].mean() - 1),
        "peak_of_given": float(output.max() / given.max()),
        "peak_of_true": float(output.max() / case.reference.max()),
    }


def colour(case: Case, output: Array) -> dict[str, float]:
    """Of colour images: how far the means of blocks of 16 x 16 pixels move, in the worst component, in parts of 255."""
    if output.ndim == 3:
        return {}
    moved = ndimage.uniform_filter(output - case.volume.array, (1, 16, 16, 1))
    return {"shift": float(np.abs(moved).mean((0, 1, 2)).max() / 255)}


def measure_series(case: SeriesCase, rivals: Path | None) -> list[dict]:
    given = np.stack([f.array for f in case.frames])

    def together(model: str) -> Callable[[], Array]:
        return lambda: np.stack([r.volume.array for r in reconstruct_series(case.frames, model=model, judge=False)])

    def alone(model: str) -> Array:
        """Only the frames that are judged."""
        chosen = case.frames[::JUDGED]
        some = [reconstruct(v, model=model, judge=False).volume.array for v in chosen]
        return np.repeat(np.stack(some), JUDGED, 0)[: len(given)]

    methods = {"given": lambda: given, "mr-denoise, frame by frame": lambda: alone("mr-denoise")}
    if rivals:
        methods |= {f"dipy {m}": (lambda m=m: rival(m, given, case.weights, rivals)) for m in ("mppca", "patch2self")}
    methods["ours"] = together("classical/mppca")
    rows = []
    for method, work in methods.items():
        started = time.perf_counter()
        output = work()
        pairs = list(zip(output, case.reference, strict=True))[::JUDGED]
        values = [psnr(a, b, case.peak, case.mask) for a, b in pairs]
        also = [ssim(a, b, case.peak, case.mask) for a, b in pairs]
        row = {"theme": "series", "image": case.image, "condition": case.condition, "method": method}
        row |= {"psnr": float(np.mean(values)), "ssim": float(np.mean(also)), "seconds": time.perf_counter() - started}
        rows.append(row)
    print(f"{time.strftime('%H:%M:%S')} {case.image}, {case.condition}: "
          + ", ".join(f"{r['method']} {r['psnr']:.2f}" for r in rows), flush=True)  # fmt: skip
    return rows


def rival(method: str, frames: Array, weights: list[float], python: Path) -> Array:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npy", Path(folder) / "out.npy"
        np.save(source, frames)
        command = [str(python), str(HERE / "series_rivals.py"), method, str(source), str(target), json.dumps(weights)]
        subprocess.run(command, check=True, capture_output=True)
        return np.load(target)


def write_cards(record: dict) -> None:
    """Means over the images of each condition into the field "results" of each model's card."""
    for theme, model in MODELS.items():
        rows = [r for r in record["scores"] if r["theme"] == theme]
        path = ZOO / model / "card.json"
        if not rows or not path.is_file():
            continue
        card = json.loads(path.read_text(encoding="utf-8"))
        card["results"] = {"script": "Testing/Benchmarks/modalities.py", "date": record["date"]}
        for condition in dict.fromkeys(r["condition"] for r in rows):
            mine = [r for r in rows if r["condition"] == condition]
            means = {m: [np.mean([r[f] for r in mine if r["method"] == m]) for f in ("psnr", "ssim")]
                     for m in dict.fromkeys(r["method"] for r in mine)}  # fmt: skip
            found = {m: f"{p:.2f} dB, SSIM {s:.3f}" for m, (p, s) in means.items()}
            card["results"][condition] = found | {"images": len({r["image"] for r in mine})}
        if card["sha256"] and theme in KNOWN:
            card["failures"] = [failure(rows, path.parent, card["sha256"], *KNOWN[theme])]
        path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def failure(rows: list[dict], folder: Path, weights: str, title: str, text: str, case: tuple[str, str]) -> dict:
    """A known failure for the card, with its figures and the picture that the benchmark drew of it."""
    image, condition = case
    found = {r["method"]: r["psnr"] for r in rows if (r["image"], r["condition"]) == case}
    words = "".join(c if c.isalnum() else " " for c in f"{image} {condition}".lower()).split()
    name = f"failure-{'-'.join(words)}.png"
    shutil.copyfile(HERE / "figures" / name.replace("failure-", "modality-"), folder / name)
    figures = f" On {image}, {condition}: {found['ours']:.1f} dB, {found['given']:.1f} dB before."
    return {"title": title, "text": text + figures, "picture": name, "weights": weights}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLRECON_DATA"), help="folder of the images")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of modalities.md, modalities.json and figures/")
    parser.add_argument("--only", default="us,pet,micro,series", help="themes, with commas")
    parser.add_argument("--rivals", type=Path, help="interpreter of an environment with dipy")
    parser.add_argument("--quick", action="store_true", help="a few cases, a smoke test")
    parser.add_argument("--cards", action="store_true", help="put the figures of an earlier run into the models' cards")
    options = parser.parse_args()
    store, themes = options.out / "modalities.json", options.only.split(",")
    record: dict = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {"scores": [], "real": []}
    if options.cards:
        write_cards(record)
        return 0
    if not options.data:
        parser.error("where are the images? give --data FOLDER or set DLRECON_DATA")
    record["date"] = time.strftime("%Y-%m-%d")
    record["scores"] = [r for r in record["scores"] if r["theme"] not in themes]
    for theme in (t for t in CASES if t in themes):
        for case in CASES[theme](Path(options.data), options.quick):
            rows, outputs = measure(case)
            record["scores"] += rows
            if case.name in SHOWN:
                draw(case, outputs, rows, options.out / "figures")
    if "us" in themes:
        record["real"] = real_ultrasound(Path(options.data))
    if "series" in themes:
        for case in series_cases(Path(options.data), options.quick):
            record["scores"] += measure_series(case, options.rivals)
    store.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.out / "modalities.md").write_text(as_markdown(record), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
