"""superres.json -> superres.md and the cards of the models. Nothing is measured here."""

import json
from pathlib import Path

import numpy as np
from cases import ZOO
from tables import markdown, unique

PLAIN = ("B-spline", "Lanczos")
ASSUMED = ("slices x2", "slices x3", "slices x4", "in-plane x2")  # what the models were made for
SHARP = "ours, sharper"
FAILURES = {
    "slices x4": "Nothing replaces what was not measured: at four times, structures thinner than a slice come out "
    "blurred, doubled or not at all. On {image} it has {psnr:.1f} dB, {gain:+.1f} dB against the better rival.",
    "slices x3, 1 % noise": "Noise stays, and is sharpened with the image: with 1 % of noise the result on {image} "
    "has {psnr:.1f} dB, {gain:+.1f} dB against the better rival. Remove the noise first.",
}
TITLES = {"slices x4": "Four times finer", "slices x3, 1 % noise": "A noisy image"}


def summary(rows: list[dict]) -> list[dict]:
    """Means over the images, for each modality and condition, and how ours compares with the better rival."""
    found = []
    for modality, condition in unique((r["modality"], r["condition"]) for r in rows):
        mine = [r for r in rows if (r["modality"], r["condition"]) == (modality, condition)]
        images, methods = unique(r["image"] for r in mine), unique(r["method"] for r in mine)
        of = {(r["image"], r["method"]): r for r in mine}
        means = {m: {f: float(np.mean([of[i, m][f] for i in images])) for f in ("psnr", "ssim", "edges", "seconds")}
                 for m in methods}  # fmt: skip
        gains = [of[i, "ours"]["psnr"] - max(of[i, p]["psnr"] for p in PLAIN) for i in images]
        better = [of[i, "ours"]["ssim"] - max(of[i, p]["ssim"] for p in PLAIN) for i in images]
        found.append({"modality": modality, "condition": condition, "images": len(images), "means": means,
                      "model": of[images[0], "ours"]["model"], "gain": float(np.mean(gains)), "least": min(gains),
                      "ssim_least": min(better)})  # fmt: skip
    return found


def fusion_gains(rows: list[dict]) -> dict[str, list[float]]:
    """For each condition, of every image: fused above the mean of the stacks, dB."""
    of = {(r["image"], r["condition"], r["method"]): r["psnr"] for r in rows}
    return {c: [of[i, c, "fused"] - of[i, c, "mean"] for i in unique(r["image"] for r in rows)]
            for c in unique(r["condition"] for r in rows)}  # fmt: skip


def targets(record: dict) -> list[list[str]]:
    rows = []
    for modality in unique(line["modality"] for line in record["summary"]):
        lines = [x for x in record["summary"] if x["modality"] == modality and x["condition"] in ASSUMED]
        mean, least = float(np.mean([x["gain"] for x in lines])), min(x["least"] for x in lines)
        similar = min(x["ssim_least"] for x in lines)
        rows += [
            [f"{modality}: 1.5 dB above the better of B-spline and Lanczos on average", f"{mean:+.2f} dB", mean >= 1.5],
            [f"{modality}: better in every case", f"{least:+.2f} dB at worst", least > 0],
            [f"{modality}: SSIM better in every case", f"{similar:+.4f} at worst", similar > 0],
        ]
        sharp = [x for x in lines if SHARP in x["means"]]
        if sharp:
            cost = max(x["means"]["ours"]["psnr"] - x["means"][SHARP]["psnr"] for x in sharp)
            edges = [x["means"][SHARP]["edges"] for x in sharp]
            worst = max(edges, key=lambda e: abs(e - 1))
            rows += [
                [f"{modality}, sharper: edges within 10 % of the truth's", f"{worst:.2f} of them at worst",
                 abs(worst - 1) <= 0.1],
                [f"{modality}, sharper: at most 1 dB below ours", f"{cost:.2f} dB at worst", cost <= 1],
            ]  # fmt: skip
    if record["fusion"]:
        worst = min(min(g) for g in fusion_gains(record["fusion"]).values())
        rows.append(["fusion: 2 dB above the mean of the stacks", f"{worst:+.2f} dB at worst", worst >= 2])
    return [[name, found, "yes" if met else "**no**"] for name, found, met in rows]


def as_markdown(record: dict) -> str:
    both = "{psnr:.2f} / {ssim:.3f}".format_map
    methods = unique(r["method"] for r in record["scores"])
    means, edges = [], []
    for line in record["summary"]:
        name, found = f"{line['modality']} {line['condition']}", line["means"]
        gains = [f"{line['gain']:+.2f}", f"{line['least']:+.2f}", f"{line['ssim_least']:+.4f}"]
        means.append([name, str(line["images"]), *(both(found[m]) if m in found else "" for m in methods), *gains])
        edges.append([name, *(f"{found[m]['edges']:.2f}" if m in found else "" for m in methods),
                      *(f"{found[m]['seconds']:.1f}" for m in ("variation", "ours"))])  # fmt: skip
    of = {(r["image"], r["condition"], r["method"]): r for r in record["scores"]}
    every = [
        [image, condition, *(both(of[image, condition, m]) if (image, condition, m) in of else "" for m in methods)]
        for image, condition in unique((r["image"], r["condition"]) for r in record["scores"])
    ]
    models = ", ".join(f"{m} {k}" for m, k in unique((x["modality"], x["model"]) for x in record["summary"]))
    joined = {(r["image"], r["condition"], r["method"]): r for r in record["fusion"]}
    fused = [
        [image, condition, both(joined[image, condition, "mean"]), both(joined[image, condition, "fused"]),
         f"{joined[image, condition, 'fused']['psnr'] - joined[image, condition, 'mean']['psnr']:+.2f}",
         f"{joined[image, condition, 'fused']['seconds']:.0f}"]
        for image, condition in unique((r["image"], r["condition"]) for r in record["fusion"])
    ]  # fmt: skip
    return "\n".join([
        "# Super-resolution", "",
        f"`Testing/Benchmarks/superres.py`, {record['date']}. All images have the role test: no model was trained or "
        f"tuned on their subjects. Ours is what `--model auto` takes: {models}.", "",
        f"**{len(unique(r['image'] for r in record['scores']))} of 13 images and "
        f"{len(unique(r['image'] for r in record['fusion']))} of 4 fused ones are measured so far; the targets speak "
        "of these alone.**", "",
        "## Targets", "", markdown(["target", "measured", "met"], targets(record)),
        "Conditions that the models assume; those with another slice profile and with noise are honest rows below.", "",
        "## Means", "",
        "PSNR (dB) / SSIM over the object. Gain: ours above the better of B-spline and Lanczos in dB, mean and least "
        "over the images; the same for SSIM, least.", "",
        markdown(["", "images", *methods, "gain", "least", "SSIM least"], means),
        "## Sharpness and time", "",
        "Mean gradient magnitude divided by that of the truth, 1 is right; then seconds an image of variation and "
        "ours.", "", markdown(["", *methods, "s, variation", "s, ours"], edges),
        "## Fusion of stacks that are four times too thick", "",
        "PSNR / SSIM of the mean of the interpolated stacks, in the places that registration found, and of `dlrecon "
        "fuse`.", "", markdown(["image", "condition", "mean of the stacks", "fused", "gain", "s"], fused),
        "## Every case", "", markdown(["image", "condition", *methods], every),
    ])  # fmt: skip


def write_cards(record: dict, figures: Path, shown: tuple[str, ...]) -> None:
    """The means into the field "results" of each model's card, and the worst images into "failures"."""
    from superres import file_name

    for modality, suffix, method in (("MR", "", "ours"), ("CT", "", "ours"), ("MR", "-gan", SHARP)):
        folder = ZOO / f"{modality.lower()}-superres{suffix}"
        if not folder.is_dir():
            continue
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        card["results"] = {"script": "Testing/Benchmarks/superres.py", "date": record["date"]}
        for line in (line for line in record["summary"] if line["modality"] == modality):
            kept = {m: v for m, v in line["means"].items() if m in (*PLAIN, "variation", method)}
            found = {m: f"{v['psnr']:.2f} dB, SSIM {v['ssim']:.3f}, edges {v['edges']:.2f}" for m, v in kept.items()}
            card["results"][line["condition"]] = found | {"images": line["images"]}
        card["failures"] = []
        for condition, text in FAILURES.items():
            of = {(r["image"], r["method"]): r["psnr"] for r in record["scores"]
                  if (r["modality"], r["condition"]) == (modality, condition)}  # fmt: skip
            gains = {i: of[i, method] - max(of[i, p] for p in PLAIN) for i, _ in of if i in shown}
            image = min(gains, key=gains.get)
            picture = file_name(image, condition).replace("superres-", "failure-")
            (folder / picture).write_bytes((figures / file_name(image, condition)).read_bytes())
            text = text.format(image=image, psnr=of[image, method], gain=gains[image])
            card["failures"].append({"title": TITLES[condition], "text": text, "picture": picture,
                                     "weights": card["sha256"]})  # fmt: skip
        (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
