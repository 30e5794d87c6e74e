"""Runs that are good, and runs that were spoiled on purpose: what the trust light is measured on.

A good run is a model applied to a reference with known noise, as it is meant to be used. A planted failure is a
good run whose input, result or record was changed in a known way. References come from the subjects of one role
of the split files (train, validation or test); arrays are (k, j, i) float32.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cases import CT_SOURCES, MR_SOURCES, ZOO, Array, Source, block_average, ct_noise, generator

from DLReconLib.inference import Model
from DLReconLib.io import read_volume
from DLReconLib.models import ModelCard, find_card
from DLReconLib.pipeline import reconstruct
from DLReconLib.result import Result
from DLReconLib.training.patches import locate
from DLReconLib.uncertainty import flip_spread
from DLReconLib.volume import Volume

MR_CONDITIONS = (("rician", 2), ("gaussian", 4), ("rician", 6), ("rician", 10))
CT_CONDITIONS = (("soft", "quarter"), ("soft", "tenth"), ("sharp", "quarter"), ("sharp", "tenth"))
MODELS = {"MR": "mr-denoise", "CT": "ct-denoise"}
DEPTH = {"MR": 24, "CT": 16}
WIDTH = {"MR": 64, "CT": 96}


@dataclass(frozen=True)
class Run:
    """What judge() gets, and what is known of it.

    clean: the image without the noise that was put on it. failure: what was planted, "" for a good run.
    spread: standard deviation over mirrored passes, where it was asked for. role: of the subject.
    """

    name: str
    card: ModelCard
    source: Volume
    result: Volume
    noise: float
    clean: Array
    failure: str = ""
    strength: float = 1.0
    spread: Array | None = None
    role: str = ""

    def gain(self) -> float:
        """Error of the source over error of the result, root mean square outside of air."""
        mask = body(self.clean, self.card)
        before, after = ((v.array - self.clean)[mask] for v in (self.source, self.result))
        return float(np.sqrt(np.mean(before**2) / np.mean(after**2)))


@dataclass(frozen=True)
class Reference:
    """A clean image of a subject, cropped, with the whole slices it was cut from (for the noise of CT)."""

    name: str
    subject: str
    crop: Volume
    whole: Volume
    box: tuple[slice, slice, slice]


def references(modality: str, role: str, data: Path) -> Iterator[Reference]:
    """The images of a role; those of the test subjects are averaged as for the benchmark of denoising."""
    entries = json.loads((ZOO / MODELS[modality] / "split.json").read_text(encoding="utf-8"))["images"]
    fixed = {s.path: s for s in (MR_SOURCES if modality == "MR" else CT_SOURCES)}
    for entry in entries:
        if entry["role"] != role or entry.get("labels"):
            continue
        if role == "test":
            if entry["path"] not in fixed:
                continue
            source: Source = fixed[entry["path"]]
            average, name = source.average, source.name
        else:
            average, name = tuple(entry["averages"][0]), entry["path"].split("/")[-1].split(".")[0]
        volume = replace(read_volume(locate(entry["path"], data)), modality=modality)
        volume = block_average(volume, average)
        box = middle(volume.array, DEPTH[modality], WIDTH[modality], modality)
        slab = volume.crop(((box[0].start, box[0].stop), (0, volume.array.shape[1]), (0, volume.array.shape[2])))
        cut = volume.crop(tuple((b.start, b.stop) for b in box))
        yield Reference(name, entry["subject"], cut, slab, box)


def middle(array: Array, depth: int, width: int, modality: str) -> tuple[slice, slice, slice]:
    """A box around the centre of what is not air."""
    body = array > (-500 if modality == "CT" else 0.15 * np.percentile(array, 99.5))
    centre = [int(np.median(axis)) for axis in np.nonzero(body)]
    box = []
    for n, c, size in zip(array.shape, centre, (depth, width, width), strict=True):
        start = min(max(0, c - size // 2), max(0, n - size))
        box.append(slice(start, min(n, start + size)))
    return tuple(box)


def noisy(reference: Reference, modality: str, condition: tuple, salt: str = "trust") -> Array:
    """The crop with noise of a condition, the same for the same names."""
    rng = generator(salt, reference.name, *condition)
    clean = reference.crop.array
    if modality == "CT":
        kernel, dose = condition
        return clean + ct_noise(reference.whole, kernel, dose, rng)[:, reference.box[1], reference.box[2]]
    kind, level = condition
    sigma = level / 100 * float(np.percentile(clean, 99.9))
    real, imaginary = rng.standard_normal((2, *clean.shape), np.float32) * np.float32(sigma)
    return clean + real if kind == "gaussian" else np.hypot(clean + real, imaginary)


def body(clean: Array, card: ModelCard) -> Array:
    """Voxels that are not air."""
    return clean > (-500 if card.offset else 0.1 * np.percentile(clean, 99.9))


@dataclass(frozen=True)
class Store:
    """Keeps sources and results between runs of the script, in a folder; without one, keeps nothing."""

    folder: Path | None

    def path(self, label: str, sha256: str) -> Path | None:
        if self.folder is None:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", label.lower())
        return self.folder / f"{name}-{sha256[:8]}.npz"

    def read(self, label: str, sha256: str = "") -> dict[str, Array]:
        path = self.path(label, sha256)
        return dict(np.load(path)) if path and path.exists() else {}

    def write(self, label: str, sha256: str = "", **arrays: Array) -> None:
        path = self.path(label, sha256)
        if path:
            temporary = path.with_suffix(".part.npz")
            np.savez(temporary, **arrays)
            temporary.replace(path)


def runs(
    modality: str, role: str, data: Path, store: Store, methods: tuple[str, ...], *, spread: bool = False,
    quick: bool = False,
) -> Iterator[Run]:  # fmt: skip
    """Good runs on all references of a role: every condition, and one of a single slice; quick: every fourth
    reference under two conditions."""
    models = {name: Model(find_card(name), "cpu", "float32") for name in methods}
    conditions = MR_CONDITIONS if modality == "MR" else CT_CONDITIONS
    for place, reference in enumerate(references(modality, role, data)):
        if quick and place % 4:
            continue
        for number, condition in enumerate(conditions[1::2] if quick else conditions):
            yield from _runs(reference, modality, condition, models, store, role, spread)
            if number == 0 and len(reference.crop.array) > 1:
                yield from _runs(one_slice(reference), modality, condition, models, store, role, False)


def one_slice(reference: Reference) -> Reference:
    k = len(reference.crop.array) // 2
    shape = reference.crop.array.shape
    thin = reference.crop.crop(((k, k + 1), (0, shape[1]), (0, shape[2])))
    slab = reference.whole.array.shape
    whole = reference.whole.crop(((k, k + 1), (0, slab[1]), (0, slab[2])))
    return replace(reference, name=f"{reference.name} one slice", crop=thin, whole=whole)


def _runs(
    reference: Reference, modality: str, condition: tuple, models: dict[str, Model], store: Store, role: str,
    spread: bool,
) -> Iterator[Run]:  # fmt: skip
    source = None
    spoken = f"{reference.name}, {condition[0]} {condition[1]}"
    for name, model in models.items():
        label = f"{spoken}, {name}"
        known = store.read(label, model.card.sha256)
        wanted = spread and model.card.learned
        if wanted and "spread" not in known:
            known = {}
        if source is None:
            kept = store.read(f"{spoken}, source")
            array = kept["array"] if kept else noisy(reference, modality, condition).astype(np.float32)
            if not kept:
                store.write(f"{spoken}, source", array=array)
            source = reference.crop.with_array(array)
        if not known:
            known = measure(model, source, modality, wanted)
            store.write(label, model.card.sha256, **known)
        yield Run(
            label, model.card, source, reference.crop.with_array(known["result"]), float(known["noise"]),
            reference.crop.array, spread=known.get("spread"), role=role,
        )  # fmt: skip


def measure(model: Model, source: Volume, modality: str, spread: bool) -> dict[str, Array]:
    """Result, noise found and, if asked for, the spread of the mirrored passes."""

    def answer(array: Array) -> Result:
        volume = source.with_array(np.ascontiguousarray(array))
        return reconstruct(volume, loaded=model, modality=modality, judge=False)

    done = answer(source.array)
    found = {"result": done.volume.array, "noise": np.float64(done.noise)}
    if spread:
        found["spread"] = flip_spread(source.array, done.volume.array, lambda a, which: answer(a).volume.array)
    return found
