"""The tables and the figure of trust.py."""

from pathlib import Path
from typing import Any

import numpy as np

BAND = "0.9"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def write_tables(record: dict[str, Any], path: Path) -> str:
    lines = ["## Trust", ""]
    lines += lights(record) + planted(record) + contrast(record) + domains(record) + errors(record["coverage"])
    time = record["judging"]
    lines += ["", f"Judging {time['voxels'] / 1e6:.1f} million voxels takes {time['seconds']:.1f} s of one core.", ""]
    text = "\n".join(lines)
    path.write_text(text, encoding="utf-8")
    return text


def lights(record: dict[str, Any]) -> list[str]:
    lines = ["### False alarms: good runs on test subjects that are not green", "",
             "| model | good runs | not green | which, and by which check |", "|---|---|---|---|"]  # fmt: skip
    for name, model in record["models"].items():
        own = [a for a in model["alarms"] if a["run"].endswith(name)]
        rest = [a for a in model["alarms"] if not a["run"].endswith(name)]
        for label, count, alarms in (
            (name, model["good_learned"], own),
            ("classical methods on the same images", model["good"] - model["good_learned"], rest),
        ):
            which = "; ".join(f"{a['run']}: {', '.join(a['by'])}" for a in alarms[:6])
            lines.append(f"| {label} | {count} | {len(alarms)} ({percent(len(alarms), count)}) | {which} |")
        real = model["real_noise"]
        which = "; ".join(f"{a['run']}: {a['light']}, {', '.join(a['by'])}" for a in real if a["light"] != "green")
        raised = sum(a["light"] != "green" for a in real)
        lines.append(
            f"| {name}, noise of a scanner | {len(real)} | {raised} ({percent(raised, len(real))}) | {which} |"
        )
    return [*lines, ""]


def planted(record: dict[str, Any]) -> list[str]:
    names = list(record["models"])
    lines = ["### Planted failures on test subjects: share that is amber or red", "",
             "| failure | " + " | ".join(f"{n} | checks" for n in names) + " |",
             "|---|" + "---|---|" * len(names)]  # fmt: skip
    kinds = [row["kind"] for row in record["models"][names[0]]["failures"]]
    for number, kind in enumerate(kinds):
        rows = [record["models"][n]["failures"][number] for n in names]
        cells = [f"{r['caught']} of {r['runs']} | {', '.join(r['by'])}" for r in rows]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    total = [
        (
            sum(r["caught"] for r in record["models"][n]["failures"]),
            sum(r["runs"] for r in record["models"][n]["failures"]),
        )
        for n in names
    ]
    lines.append("| **all** | " + " | ".join(f"**{c} of {r} ({percent(c, r)})** | " for c, r in total) + " |")
    return [*lines, ""]


def contrast(record: dict[str, Any]) -> list[str]:
    lines = ["### Down to which contrast: share seen, by contrast in standard deviations of the noise", ""]
    for name, model in record["models"].items():
        rows = model["sensitivity"]
        levels = sorted({r["contrast"] for r in rows})
        lines += [f"| {name} | " + " | ".join(f"{x:g}" for x in levels) + " |", "|---|" + "---|" * len(levels)]
        for what in dict.fromkeys(r["what"].rsplit(",", 1)[0] for r in rows):
            found = {r["contrast"]: r["caught"] for r in rows if r["what"].rsplit(",", 1)[0] == what}
            lines.append(f"| {what} | " + " | ".join(f"{100 * found[x]:.0f} %" for x in levels) + " |")
        lines.append("")
    return lines


def domains(record: dict[str, Any]) -> list[str]:
    lines = ["### Foreign inputs, run with the expected modality written on them", "",
             "| model | input | distance (flagged above 1) | light | checks |", "|---|---|---|---|---|"]  # fmt: skip
    for row in record["foreign"]:
        cells = (row["model"], row["input"], f"{row['score']:.2f}", row["light"], ", ".join(row["by"][:4]))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for name, model in record["models"].items():
        for role, scores in model["real"].items():
            above = sum(s > 1 for s in scores)
            lines.append(f"- {name}, images and noisy crops of {role} subjects: {above} of {len(scores)} above 1 "
                         f"({percent(above, len(scores))}); median {np.median(scores):.2f}")  # fmt: skip
    return [*lines, ""]


def errors(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["### Uncertainty: share of true errors inside the 90 % band, test subjects", "",
             "| model | condition | inside | lowest and highest image | by the bare spread of the passes |",
             "|---|---|---|---|---|"]  # fmt: skip
    for model in dict.fromkeys(r["model"] for r in rows):
        own = [r for r in rows if r["model"] == model]
        groups = dict.fromkeys(r["run"].split(", ")[-2] for r in own)
        for condition in [*groups, "all"]:
            some = [r for r in own if condition in ("all", r["run"].split(", ")[-2])]
            inside, bare = [r["inside"][BAND] for r in some], [r["bare"] for r in some]
            lines.append(f"| {model} | {condition} | {100 * np.mean(inside):.0f} % | {100 * min(inside):.0f} to "
                         f"{100 * max(inside):.0f} % | {100 * np.mean(bare):.0f} % |")  # fmt: skip
    return [*lines, "", "![Calibration](figures/trust-calibration.png)"]


def draw_calibration(rows: list[dict[str, Any]], path: Path) -> None:
    """Nominal against found share of errors, a line for each run, the mean of each model in bold."""
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(r["model"] for r in rows))
    figure = Figure(figsize=(4.5 * len(models), 4.3), layout="constrained")
    for axis, model in zip(np.atleast_1d(figure.subplots(1, len(models), sharey=True)), models, strict=True):
        own = [r for r in rows if r["model"] == model]
        bands = [float(b) for b in own[0]["inside"]]
        for row in own:
            axis.plot(bands, list(row["inside"].values()), color="tab:blue", alpha=0.2, linewidth=0.8)
        mean = np.mean([list(r["inside"].values()) for r in own], 0)
        axis.plot(bands, mean, color="tab:blue", linewidth=2.5, marker="o", label="mean over images")
        axis.plot([0.4, 1], [0.4, 1], color="black", linestyle="--", linewidth=1, label="perfect")
        axis.fill_between([0.88, 0.92], 0.85, 0.95, color="tab:green", alpha=0.3, label="85 to 95 % at 90 %")
        axis.set(title=f"{model}, test subjects", xlabel="nominal share of errors", xlim=(0.45, 1), ylim=(0.3, 1))
        axis.grid(True, alpha=0.3)
        axis.legend(loc="lower right", fontsize=8)
    np.atleast_1d(figure.axes)[0].set_ylabel("share found inside")
    figure.savefig(path, dpi=110)
