"""What a training leaves in its work folder: weights, card, the log and a picture of it."""

import csv
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from DLReconLib.training import Trainer


LARGEST = 8_000_000  # bytes of a weight file; a larger one is kept in half precision


def write_model(trainer: "Trainer", template: Path) -> None:
    """Weights and card into the work folder, each whole or not at all."""
    from safetensors.torch import save_file

    weights = trainer.work / "weights.safetensors"
    temporary = weights.with_suffix(".part")
    values = {k: v.detach().float().cpu().contiguous() for k, v in trainer.averaged.items()}
    if sum(4 * v.numel() for v in values.values()) > LARGEST:
        values = {k: v.half() for k, v in values.items()}
    save_file(values, temporary)
    temporary.replace(weights)
    card = json.loads(template.read_text())
    images = trainer.split["images"]
    used = {role: sorted({e["subject"] for e in images if e["role"] == role}) for role in ("train", "validation")}
    named = [f"{e['path']} ({e['licence']})" for e in images if e["role"] == "train"]
    card["network"], card["arguments"] = trainer.plan.network, trainer.plan.arguments
    card["weights"], card["sha256"] = weights.name, hashlib.sha256(weights.read_bytes()).hexdigest()
    card["training"] = used | {"images": named, "split": trainer.plan.split, "steps": trainer.step}
    card["training"] |= {"degradation": trainer.plan.degradation, "seconds": round(trainer.seconds)}
    temporary = trainer.work / "card.part"
    temporary.write_text(json.dumps(card, indent=2) + "\n")
    temporary.replace(trainer.work / "card.json")


def plot_log(work: Path) -> None:
    """log.csv as log.png: training loss and the first figure of validation over the steps."""
    from matplotlib.figure import Figure

    with (work / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = [int(r["step"]) for r in rows]
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    first = list(rows[0])[4]
    names = {"loss": "training loss", first: first.replace("_", " ")}
    for axis, (name, title) in zip(axes, names.items(), strict=True):
        axis.plot(steps, [float(r[name]) for r in rows])
        axis.set_ylabel(title)
        axis.grid(True, alpha=0.3)
    axes[1].set_xlabel("step")
    figure.savefig(work / "log.png", dpi=100)
