"""reconstruct(): the one road from a volume to a better one."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from scipy import ndimage

import DLReconLib
from DLReconLib.enlarging import enlarge, judge_resolution
from DLReconLib.fingerprint import fingerprint, trace
from DLReconLib.inference import Execution, Model, run_model
from DLReconLib.inputs import advise, check_input, recognise
from DLReconLib.models import ModelCard
from DLReconLib.networks.context import Context
from DLReconLib.options import Options, choose_model, further_models
from DLReconLib.progress import Progress, silent
from DLReconLib.quality import quality
from DLReconLib.resolution import Enlargement
from DLReconLib.result import Result, label_of
from DLReconLib.transforms import LinearIntensity, SlicesFirst
from DLReconLib.trust import Reason, judge, judge_change
from DLReconLib.trust.invention import invention
from DLReconLib.uncertainty import PASSES, Calibration, error_deviation, flip_spread, noise_maps
from DLReconLib.volume import Volume

Array = np.ndarray
LIFTED = (
    "What looks like the feature was made brighter: the values are no longer those of a scanner; texture and round "
    "spots can be taken for the feature."
)
ADAPTING = 0.8  # the share of the time that adapting a model takes


def reconstruct(
    volume: Volume,
    *,
    mask: Volume | None = None,
    progress: Progress = silent,
    loaded: Model | None = None,
    load: Callable[[ModelCard, str, str], Model] = Model,
    **options,
) -> Result:
    """Make a better volume.

    Args:
        volume: (k, j, i), or (k, j, i, components), each component for itself.
        mask: (k, j, i) on the same grid; only where it is not 0 is anything changed.
        progress: told the fraction done; raising Cancelled from it stops the work within a piece.
        loaded: a Model to use again instead of loading one.
        load: makes the Model of a card, a device and a precision; a caller that keeps models passes its own.
        options: the fields of Options.

    Raises:
        ValueError (ModelError among them): bad input or options; the message says what to do.
        OutOfMemory: nothing fits, not even in the smallest pieces.
    """
    started = time.perf_counter()
    chosen = Options(**options)
    check_input(volume, mask)
    modality, why = recognise(volume, chosen.modality)
    card, reason = (loaded.card, "loaded by the caller") if loaded else choose_model(chosen, modality, why)
    warnings = advise(card, modality, why)
    invents = card.task == "inpaint" and chosen.strength > 0
    if card.task == "inpaint":
        check_hole(mask, chosen)
    finer = enlargement(volume, modality, chosen) if card.task == "super-resolution" else None
    if finer and not chosen.consistent:
        warnings.append("consistency was switched off: nothing guarantees that the result agrees with the input")
    if chosen.uncertainty and card.task != "denoise":
        raise ValueError(f"uncertainty: it is not known for the task {card.task}; run without it")
    progress(0.0, f"loading {card.id}")
    model = loaded or load(card, chosen.device, chosen.precision)
    longest = max(finer.acquisition.fine if finer else volume.array.shape[:3])
    tile = (chosen.tile or card.tile) if card.tile else (-(-longest // 8) * 8,) * 3
    execution = Execution(model.device, model.precision, tile)
    planes = [volume.array] if volume.array.ndim == 3 else list(np.moveaxis(volume.array, 3, 0))
    outputs, deviations, noises, inside, kinds = [], [], [], 0.0, set()
    notes: dict[str, Any] = {}
    lifts = []
    passes = PASSES if chosen.uncertainty else 1
    others = [] if loaded else further_models(chosen, modality, card)  # who is asked where this one finds nothing
    share = 1 / (1 + len(others))
    for number, plane in enumerate(planes):

        def answer(plane: Array, which: int = 0, number: int = number) -> tuple[Array, float, float]:
            def part(fraction: float, text: str) -> None:
                progress((number + (which + fraction) / passes) / len(planes) * share * 0.98, text)

            if finer:
                return enlarge(plane, finer, model, execution, chosen.strength, part)
            return enhance(plane, volume, model, execution, chosen, mask, notes, part)

        output, noise, seconds = answer(plane)
        outputs.append(output)
        kinds.add(notes.get("artifact"))
        noises.append(noise)
        inside += seconds
        lifts.append(notes.pop("lift", 0.0))  # of each component its own; 0 where one is constant
        if chosen.uncertainty:
            again = partial(lambda answer, flipped, which: answer(flipped, which)[0], answer)
            deviations.append(deviation(volume, plane, output, noise, card, chosen.strength, mask, again))
    if others and kinds == {"none"}:
        looked = notes.setdefault("looked_for", list(card.artifacts))
        for number, other in enumerate(others, 1):
            asked = options | {"model": other.id, "modality": modality}
            rest = partial(lambda number, f, t: progress((number + f) * share * 0.98, t), number)
            found = reconstruct(volume, mask=mask, progress=rest, load=load, **asked)
            looked += other.artifacts
            if found.provenance["found"]["artifact"] != "none":
                found.provenance["found"]["looked_for"] = looked
                found.provenance["modality"] = {"used": modality, "why": why}
                found.provenance["model_chosen"] = f"{card.id} found nothing, this one did"
                found.provenance["seconds"]["total"] = time.perf_counter() - started
                progress(1.0, "done")
                return found
    if any(lifts):
        notes["lift"] = lifts[0] if volume.array.ndim == 3 else lifts
    array = outputs[0] if volume.array.ndim == 3 else np.stack(outputs, axis=3)
    before, region = volume, None if mask is None else mask.array
    if finer and (mask is not None or chosen.strength == 0):
        before = replace(volume, array=finer.interpolated(volume.array), geometry=finer.geometry)
        region = None if mask is None else finer.nearest(mask.array)
    if mask is not None and chosen.feather > 0:
        array = fade_in(array, before, region, chosen.feather)
    if chosen.dtype == "input":
        array = cast(array, volume.array.dtype)
    if chosen.strength == 0:
        array[...] = cast(before.array, array.dtype) if finer else volume.array
    elif mask is not None:
        keep = region == 0
        array[keep] = cast(before.array[keep], array.dtype) if finer else volume.array[keep]
    record = provenance(volume, card, chosen, execution) | {
        "modality": {"used": modality, "why": why},
        "model_chosen": reason,
        "mask": mask is not None,
        **({} if mask is None else {"mask_sha256": fingerprint(mask)}),
        "noise": float(np.median(noises)),
        "warnings": warnings,
        **({"found": notes} if notes else {}),
    }
    doubts: tuple[Reason, ...] = ()
    if invents:
        found, doubt = invention(mask.array, volume.geometry.spacing)
        record |= {"synthetic": True, "invented": found}
        doubts = (doubt,)
    if any(lifts):
        doubts = (Reason("lifted", "amber", None, None, LIFTED),)
    result = replace(volume, array=array, geometry=finer.geometry) if finer else volume.with_array(array)
    if finer:
        record["super_resolution"] = finer.record()
    uncertainty = None
    if chosen.uncertainty:
        error = deviations[0] if volume.array.ndim == 3 else np.stack(deviations, axis=3)
        uncertainty = volume.with_array(error)
        record["uncertainty"] = {"passes": passes, **asdict(Calibration.of_card(card))}
    if chosen.judge:
        progress(0.99, "judging")
        if finer:
            record |= assess_finer(volume, result, finer, record["noise"])
        else:
            record |= assess(volume, result, card, record["noise"], chosen.strength, mask, modality, doubts)
    record["output"] = trace(result)
    record["seconds"] = {"total": time.perf_counter() - started, "network": inside}
    progress(1.0, "done")
    return Result(result, volume, record["noise"], record, uncertainty, label_of(mask) if invents else None)


def deviation(
    volume: Volume, plane: Array, output: Array, noise: float, card: ModelCard, strength: float, mask: Volume | None,
    again: Callable,
) -> Array:  # fmt: skip
    """Standard deviation of the error of one component, (k, j, i) float32; where nothing is changed, the noise."""
    spread = flip_spread(plane, output, again)
    first = SlicesFirst.of_grid(volume.geometry, plane.shape)
    removed = np.subtract(plane, output, dtype=np.float32) / max(strength, 1e-3)
    maps = noise_maps(first(plane), first(removed), noise, card)
    error = error_deviation(first(spread), maps, Calibration.of_card(card), strength)
    if mask is not None:
        keep = first(mask.array) == 0
        error[keep] = maps.found[keep]
    return np.ascontiguousarray(first.inverse(error))


def assess(
    source: Volume, result: Volume, card: ModelCard, noise: float, strength: float, mask: Volume | None, modality: str,
    doubts: tuple[Reason, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """For the record: figures without a reference before and after, and how far to trust the result."""
    # Both at the edges and in the tissue of the cleaner one, else they could not be compared.
    guide = result.array if result.array.shape == source.array.shape else None
    pair = (("before", source), ("after", result))
    figures = {when: quality(v.array, v.geometry.spacing, guide=guide) for when, v in pair}
    inside = None if mask is None else mask.array
    look = judge if card.task == "denoise" else judge_change
    trust = look(source, result, card, noise, strength=strength, mask=inside, modality=modality)
    return {"figures": figures, "trust": trust.joined(doubts).to_dict()}


def check_hole(mask: Volume | None, chosen: Options) -> None:
    """Raises ValueError where there is no hole to be filled, nothing around it, or an option that has no meaning."""
    wanted = "wanted a label image, not 0 in the voxels that are to be filled"
    if mask is None:
        raise ValueError(f"task inpaint: no mask; {wanted}")
    if not mask.array.any():
        raise ValueError(f"task inpaint: the mask is empty; {wanted}")
    if mask.array.all():
        raise ValueError(f"task inpaint: the mask covers the whole image, so nothing is known; {wanted}, 0 elsewhere")
    if chosen.feather > 0:
        raise ValueError(f"feather {chosen.feather}: inpaint keeps nothing of what lies inside the mask; wanted 0")


def enlargement(volume: Volume, modality: str, chosen: Options) -> Enlargement:
    names = ("scale", "spacing", "thickness", "consistent")
    return Enlargement.of_volume(volume, modality, **{name: getattr(chosen, name) for name in names})


def assess_finer(source: Volume, result: Volume, finer: Enlargement, noise: float) -> dict[str, Any]:
    """The same of a result on a finer grid; each image at its own edges."""
    pair = (("before", source), ("after", result))
    figures = {when: quality(v.array, v.geometry.spacing) for when, v in pair}
    return {"figures": figures, "trust": judge_resolution(source.array, result.array, finer, noise)}


def enhance(
    plane: Array, volume: Volume, model: Model, execution: Execution, chosen: Options, mask: Volume | None,
    notes: dict[str, Any], progress: Progress,
) -> tuple[Array, float, float]:  # fmt: skip
    """One component (k, j, i) through normalise, pieces, inverse and the rules of the card.

    What a method found out is added to `notes`. Returns the output (k, j, i) float32, the noise found in the unit of
    the input, seconds in the method.
    """
    card = model.card
    turn = card.slices_first or 1 in plane.shape
    first = SlicesFirst.of_grid(volume.geometry, plane.shape) if turn else SlicesFirst(0)
    source = first(plane)
    intensity = LinearIntensity.of_card(card, source)
    low, high = card.reach or (-np.inf, np.inf)

    def normalise(patch: Array) -> Array:
        return intensity(np.clip(patch, low, high) if card.reach else patch)

    spacing = volume.geometry.spacing[::-1]
    inside = None if mask is None else first(mask.array) != 0
    # Further components, and passes, learn as long as the first did.
    steps = chosen.steps or notes.get("steps") or notes.get("adapted", {}).get("steps", 0)
    context = Context(first.order(spacing), inside, chosen.artifact, chosen.budget, steps, notes=notes)
    if chosen.adapt:
        from DLReconLib.adapting import adapt

        context.progress = lambda f, t: progress(ADAPTING * f, t)
        model = adapt(model, normalise(source), context)
    begun = ADAPTING if chosen.adapt else 0.0
    run = run_model(model, source, normalise, execution, lambda f, t: progress(begun + (0.98 - begun) * f, t), context)
    output = run.residual
    in_plane = [s for axis, s in enumerate(volume.geometry.spacing[::-1]) if axis != first.axis]
    flat = card.flat_mm / min(in_plane)
    for k in range(len(output)):  # slice by slice, so that no second volume is needed
        residual = output[k] * np.float32(intensity.unit)
        if flat:
            residual = without_mean(residual, flat)
        kept = source[k].astype(np.float32)
        if card.reach:
            residual[(source[k] < low) | (source[k] > high)] = 0
        output[k] = kept - np.float32(chosen.strength) * residual
    return first.inverse(output), run.noise * intensity.unit, run.seconds


def without_mean(residual: Array, width: float) -> Array:
    """(j, i) minus its local mean over about `width` pixels: the noise of filtered back-projection has no power
    at low frequencies (Riederer et al., PMB 1978), so what is left there is not noise but HU."""
    size = max(3, round(width / 1.5) // 2 * 2 + 1)
    mean = residual
    for _ in range(2):
        mean = ndimage.uniform_filter(mean, size, mode="nearest")
    return residual - mean


def fade_in(array: Array, volume: Volume, mask: Array, feather: float) -> Array:
    """The source outside the mask, the result `feather` mm inside it, between them a straight line; float32."""
    distance = ndimage.distance_transform_edt(mask != 0, sampling=volume.geometry.spacing[::-1])
    weight = np.minimum(distance / feather, 1).astype(np.float32)
    weight = weight.reshape(weight.shape + (1,) * (array.ndim - 3))
    return volume.array.astype(np.float32) * (1 - weight) + array * weight


def cast(array: Array, dtype: np.dtype) -> Array:
    """float32 to the type asked for; integers are rounded and clipped to their range."""
    if not np.issubdtype(dtype, np.integer):
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(array.astype(np.float64)), limits.min, limits.max).astype(dtype)


def provenance(volume: Volume, card: ModelCard, options: Options, execution: Execution) -> dict[str, Any]:
    """The record of a run, JSON values only; figures are added by reconstruct()."""
    versions = {"python": platform.python_version()}
    for package in ("numpy", "SimpleITK", "torch", "monai"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "software": f"DLRecon {DLReconLib.__version__}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {"id": card.id, "sha256": card.sha256, "title": card.title},
        "options": {name: getattr(options, name) for name in options.__dataclass_fields__},
        "device": execution.device,
        "precision": execution.precision,
        "tile": list(execution.tile),
        "fallbacks": execution.fallbacks,
        "versions": versions,
        "input": {
            "sha256": fingerprint(volume),
            "shape": list(volume.array.shape),
            "spacing": list(volume.geometry.spacing),
            "dtype": str(volume.array.dtype),
            "format": volume.origin_format,
        },
    }
