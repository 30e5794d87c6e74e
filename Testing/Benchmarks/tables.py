"""denoise.json -> the denoising section of RESULTS.md. A function for each table; nothing is measured here."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from contest import TITLES

BM4D = "bm4d"
BIG = {"seconds": ".1f", "loading": ".1f", "peak_mb": ".0f", "input_mb": ".0f", "outside": ".1%"}
NOT_RIVALS = ("noisy", "ours")


def write_section(path: Path, name: str, text: str) -> None:
    """Put the text between the markers of its section of a Markdown file, which other sections share."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Measured results\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    head, rest = old.split(begin, 1)
    tail = rest.split(end, 1)[1]
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


def markdown(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def title(method: str) -> str:
    return f"**{method}**" if method == "ours" else TITLES.get(method, method)


def unique(values: Iterable) -> list:
    return list(dict.fromkeys(values))


def mean_of(scores: list[dict], what: str, **where: str) -> float | None:
    """Mean over images of a figure, for the rows that agree with `where`."""
    found = [s[what] for s in scores if all(s[k] == v for k, v in where.items()) and s.get(what) is not None]
    return float(np.mean(found)) if found else None


def best_classical(scores: list[dict], what: str = "psnr", **where: str) -> tuple[str, float] | None:
    """The rival (or classical method of ours) with the best mean."""
    methods = unique(s["method"] for s in scores if s["method"] not in NOT_RIVALS)
    means = [(m, mean_of(scores, what, method=m, **where)) for m in methods]
    return max(((m, v) for m, v in means if v is not None), key=lambda pair: pair[1], default=None)


def number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def pair(scores: list[dict], **where: str) -> str:
    psnr, ssim = mean_of(scores, "psnr", **where), mean_of(scores, "ssim", **where)
    return number(psnr) + (f" / {ssim:.3f}" if ssim is not None else "")


def grid(scores: list[dict], group: str, key: str, chosen: Callable[[str], bool] = lambda _: True) -> str:
    """Methods down, conditions (or images) across: PSNR / SSIM, means over the rest; below, what we gain."""
    rows = [s for s in scores if s["group"] == group and chosen(s["condition"])]
    columns = unique(s[key] for s in rows)
    methods = unique(s["method"] for s in rows)
    ordered = [m for m in methods if m != "ours"] + ["ours"]
    lines = [[title(m), *(pair(rows, method=m, **{key: c}) for c in columns), pair(rows, method=m)] for m in ordered]
    for text, gain in (("ours - best classical, dB", gain_over_best), ("ours - BM4D, dB", gain_over_bm4d)):
        lines.append([text, *(number(gain(rows, **{key: c}), "+.2f") for c in columns), number(gain(rows), "+.2f")])
    return markdown(["", *columns, "mean"], lines)


def gain_over_best(rows: list[dict], **where: str) -> float | None:
    ours, best = mean_of(rows, "psnr", method="ours", **where), best_classical(rows, **where)
    return None if ours is None or best is None else ours - best[1]


def gain_over_bm4d(rows: list[dict], what: str = "psnr", **where: str) -> float | None:
    ours, rival = mean_of(rows, what, method="ours", **where), mean_of(rows, what, method=BM4D, **where)
    return None if ours is None or rival is None else ours - rival


def mr_tables(scores: list[dict]) -> str:
    parts = []
    for kind in ("gaussian", "rician"):
        parts.append(f"**{kind.capitalize()} noise**, PSNR (dB) / SSIM, means over the images\n")
        parts.append(grid(scores, "mr", "condition", lambda c, kind=kind: c.startswith(kind)))
    parts.append("**The same by image**, means over levels and kinds\n")
    parts.append(grid(scores, "mr", "image"))
    return "\n".join(parts)


def ct_tables(scores: list[dict]) -> str:
    parts = ["PSNR (dB) / SSIM, means over the images\n", grid(scores, "ct", "condition")]
    parts += ["**The same by image**\n", grid(scores, "ct", "image")]
    rows = [s for s in scores if s["group"] == "ct"]
    lines = []
    for method in unique(s["method"] for s in rows):
        own = [s for s in rows if s["method"] == method]
        shifts = [s["shift"] for s in own if s["shift"] is not None]
        moves = [s["moved"] for s in own if s["moved"] is not None]
        structures = [abs(s["structure"]) for s in own if s.get("structure") is not None]
        lines.append([title(method), number(np.mean(shifts)), number(np.max(shifts)), number(np.max(moves)),
                      number(np.mean(structures) if structures else None, ".3f")])  # fmt: skip
    parts.append("**HU and anatomy**: shift of the mean in homogeneous soft tissue, HU; correlation of what was "
                 "removed with the detail of the reference (0: only noise was removed)\n")  # fmt: skip
    parts.append(markdown(["", "mean shift", "largest", "largest from the input", "structure removed"], lines))
    return "\n".join(parts)


def real_table(scores: list[dict]) -> str:
    rows = []
    for s in (s for s in scores if s["group"] == "real"):
        place = f"{s['image']}, {s['condition']}" if "phantom" in s["image"] else s["image"]
        rows.append(s | {"place": place})
        rows += [s | {"place": f"{place}, {k}", "psnr": v, "ssim": None} for k, v in (s["further"] or {}).items()]
    return "PSNR (dB) / SSIM, means over frames and directions\n\n" + grid(rows, "real", "place")


def clean_table(scores: list[dict]) -> str:
    rows = [s for s in scores if s["group"] == "clean"]
    lines = [[s["image"], title(s["method"]), number(s["psnr"])] for s in rows]
    return markdown(["clean image", "method", "PSNR of output against input, dB"], lines)


def reference_table(references: list[dict]) -> str:
    lines = []
    for r in references:
        own, peak = r["own_noise"], r["peak"]
        ceiling = 20 * np.log10(peak / own) if own else None
        shape, spacing = (" x ".join(map(str, r[k])) for k in ("shape", "spacing"))
        lines.append([r["group"], r["image"], shape, spacing, f"{r['scored_share']:.0%}",
                      number(own, ".3g") if own else "", number(ceiling, ".1f")])  # fmt: skip
    head = ["", "reference", "voxels (k, j, i)", "mm (i, j, k)", "scored", "own noise up to", "ceiling from, dB"]
    return markdown(head, lines)


def speed_tables(speed: dict) -> str:
    ours = next(m["seconds"] for m in speed["methods"] if m["name"] == "ours")
    lines = [[m["name"], number(m["seconds"], ".3f"), number(m["cpu"], ".2f"), f"{m['seconds'] / ours:.1f}",
              number(m["peak_mb"], ".0f")] for m in speed["methods"]]  # fmt: skip
    kept = f"Times and memory are those of an earlier run, of {speed['kept']}. " if "kept" in speed else ""
    size = " x ".join(map(str, speed["crop"]))
    parts = [f"{kept}One crop of {size} voxels, not cached, each method in a fresh process\n",
             markdown(["", "seconds", "processor seconds", "times ours", "peak memory, MB"], lines)]  # fmt: skip
    lines = []
    for b in speed["big"]:
        figures = [number(b[key], form) for key, form in BIG.items()]
        lines.append([b["name"], b["precision"], *figures])
    head = [
        "whole volume",
        "precision",
        "seconds",
        "of them loading",
        "peak memory, MB",
        "input, MB",
        "outside the network",
    ]
    parts.append(markdown(head, lines))
    lines = [[f["precision"], number(f["network_gflops"], ".1f"), number(f["plain_gflops"], ".1f"),
              f"{f['network_gflops'] / f['plain_gflops']:.0%}", number(f["gflop_per_megavoxel"], ".1f")]
             for f in speed["forward"]]  # fmt: skip
    head = ["forward pass", "network, GFLOP/s", "plain convolution, GFLOP/s", "share", "GFLOP per million voxels"]
    return "\n".join([*parts, markdown(head, lines)])


def summary(scores: list[dict]) -> list[dict]:
    """For model cards: means over the images for each group and condition."""
    lines = []
    for group, condition in unique((s["group"], s["condition"]) for s in scores):
        where = {"group": group, "condition": condition}
        rows = [s for s in scores if s["group"] == group and s["condition"] == condition]
        line = where | {"images": unique(s["image"] for s in rows)}
        for method in ("noisy", BM4D, "ours"):
            line[method] = {what: mean_of(rows, what, method=method) for what in ("psnr", "ssim")}
        best = best_classical(rows)
        line["best_classical"] = best and {"method": best[0], "psnr": best[1]}
        lines.append(line)
    return lines


def write_results(record: dict, path: Path) -> None:
    """Write the section "denoise" of RESULTS.md."""
    from targets import target_table

    scores, world = record["scores"], record["environment"]
    cached = [s for s in scores if s.get("cached")]
    rivals = [s for s in scores if "cached" in s]
    versions = ", ".join(f"{k} {v}" for k, v in world["versions"].items())
    intro = [
        "## Denoising",
        f"`Testing/Benchmarks/denoise.py`, {world['date']}: {world['processor']}, {world['threads']} threads, "
        f"Python {world['python']}, {versions}. {'**A quick run of few cases.** ' if world['quick'] else ''}"
        "All images have the role test: no model was trained or tuned on their subjects. Ours gets the image and "
        "nothing else; the rivals get the true noise and, for every image, their best setting against the reference.",
        f"{len(cached)} of the rivals' {len(rivals)} answers were kept from an earlier run of the same code, input, "
        "settings and versions (`--cache`); times were measured in this run." if cached else "",
    ]  # fmt: skip
    text = "\n\n".join(filter(None, intro)) + "\n\n### Targets\n\n" + target_table(record) + "\n"
    groups = {s["group"] for s in scores}
    chapters = {
        "mr": ("MR, simulated noise", mr_tables),
        "ct": ("CT, simulated dose", ct_tables),
        "real": ("Real noise", real_table),
        "clean": ("Clean input", clean_table),
    }
    for group, (heading, table) in chapters.items():
        if group in groups:
            text += f"### {heading}\n\n{NOTES[group]}\n\n{table(scores)}\n"
    if record.get("speed"):
        text += f"### Time and memory\n\n{speed_tables(record['speed'])}\n"
    if record.get("figures"):
        pictures = "\n\n".join(f"![{name}](figures/{name})" for name in record["figures"])
        text += f"### Pictures\n\nBelow: the noise, and what was removed (input minus output).\n\n{pictures}\n\n"
    text += f"### References\n\n{NOTES['references']}\n\n{reference_table(record['references'])}"
    write_section(path, "denoise", text)


NOTES = {
    "mr": "Noise of 1 to 13 % of the reference's 99.9th percentile, which is the peak too; scored above 10 % of it. "
    "Rician: both channels get that noise, the magnitude is taken; every rival may also be corrected by "
    "sqrt(x^2 - s^2), by sqrt(x^2 - 2 s^2), or by inverting the Rician mean (Koay & Basser 2006), from 9 % on BM4D "
    "also between a variance-stabilising transform and its inverse (Foi 2011): what is best counts.",
    "ct": "Added to the reference: the sinogram noise of a quarter and a tenth of 10^5 photons, filtered by a soft "
    "(Hann) or a sharp (Butterworth) kernel and scaled to twice and 3.16 times 12 HU (soft) or 25 HU (sharp) in soft "
    "tissue; only this noise is added, the reference keeps its own. Peak 2000 HU, scored above -500 HU. BM4D is "
    "tried with 1 and 1.5 times (soft: 1.5 and 2.2 times) the true standard deviation, because the noise is "
    "correlated, and in a row of its own with the true power spectrum (1 and 1.3 times).",
    "real": "fMRI: a frame against the mean of the other 29. Diffusion: a volume against the linear combination of "
    "the other twelve that fits it best (no repeat exists; the error of this reference is the same for all). CT "
    "phantom: 1 mm slices against 5 mm ones where the phantom does not vary along z. The 5 mm slices share rays and "
    "noise with the 1 mm ones (correlation 0.6 to 0.9 for the soft kernel), so the main reference is the 5 mm slice "
    "averaged inside the homogeneous material; the plain 5 mm slices are given beside it. For the sharp kernel edges "
    "do not count, because its resolution differs: a test of noise and HU only, which a strong smoother wins.",
    "clean": "Nothing is added; the phantom's 5 mm slices hold about 5 HU of noise, which may go.",
    "references": "Own noise: the lowest decile of the standard deviation in 5 x 5 pixels, an upper bound where the "
    "tissue has texture. No method can come nearer to the truth than the reference itself.",
}
