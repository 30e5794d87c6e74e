"""Which voxels of the input made this place of the output?

Only the piece around the place is worked on, with the halo that the card asks for, at the noise level found in it.
The attribution is that of the method itself, input minus residual; what the card demands afterwards (HU keep their
local mean, values out of reach are kept) is not part of it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib.inference import Execution, Method, Model
from DLReconLib.inputs import advise, check_input, recognise
from DLReconLib.pieces import MULTIPLE, filled
from DLReconLib.pipeline import Options, choose_model, provenance
from DLReconLib.progress import Progress, silent
from DLReconLib.result import Result
from DLReconLib.transforms import LinearIntensity, SlicesFirst
from DLReconLib.volume import Volume

Array = np.ndarray
METHODS = ("gradient", "integrated", "occlusion")
STEPS = 16
BASELINE = 4.0  # voxels: the baseline is the piece smoothed by this
REACH, CELL = 8, 4  # occlusion: voxels around the place, and the side of what is covered at once


@dataclass(frozen=True)
class Piece:
    """The piece around the place.

    patch: (k, j, i) in the model's unit, sides multiples of 8. region: (k, j, i) bool, the output looked at.
    outer: where the piece lies in the volume with slices first. inside: what of the patch is not padding.
    """

    patch: Array
    region: Array
    outer: tuple[slice, ...]

    @property
    def inside(self) -> tuple[slice, ...]:
        return tuple(slice(0, o.stop - o.start) for o in self.outer)


def explain(
    volume: Volume, *, point: tuple[int, int, int], method: str = "gradient", radius: int = 0,
    progress: Progress = silent, loaded: Model | None = None, **options: Any,
) -> Result:  # fmt: skip
    """Attribution of the output at a place to the voxels of the input.

    Args:
        volume: (k, j, i), scalar.
        point: voxel indices (i, j, k). radius: voxels; the mean of the output within it is explained, 0: one voxel.
        method: "gradient": change of the output by a change of the voxel (Simonyan et al., ICLR workshop 2014), no
            unit. "integrated": integrated gradients (Sundararajan et al., ICML 2017, eq. 1) against a smoothed image,
            unit of the image; they add up to the difference of the outputs. "occlusion": change of the output when
            4 x 4 x 4 voxels are covered by their smoothed values, unit of the image (Zeiler & Fergus, ECCV 2014);
            works for methods without gradients too.
        options: task, model, modality, device, precision as in pipeline.Options.

    Returns a Result: volume is the map, float32, on the grid of the input, 0 outside the piece; provenance has the
    key "explanation".

    Raises ValueError for a point outside, a colour image, an unknown method, or gradients of a classical method.
    """
    chosen = Options(**options)
    check_input(volume, None)
    if method not in METHODS:
        raise ValueError(f"explain: method {method!r}; wanted one of: {', '.join(METHODS)}")
    if volume.array.ndim != 3:
        raise ValueError(f"explain: image of shape {volume.array.shape}; wanted one component, (k, j, i)")
    place = tuple(int(p) for p in point)[::-1]
    if len(place) != 3 or not all(0 <= p < n for p, n in zip(place, volume.array.shape, strict=True)):
        raise ValueError(f"explain: point {tuple(point)} is outside the image; wanted (i, j, k) below "
                         f"{volume.array.shape[::-1]}")  # fmt: skip
    modality, why = recognise(volume, chosen.modality)
    card, reason = (loaded.card, "loaded by the caller") if loaded else choose_model(chosen, modality, why)
    progress(0.0, f"loading {card.id}")
    model = loaded or Model(card, chosen.device, chosen.precision)
    if model.network is None and method != "occlusion":
        raise ValueError(f"explain: {card.id} has no gradients; wanted the method occlusion, or a learned model")
    turn = card.slices_first or 1 in volume.array.shape
    first = SlicesFirst.of_grid(volume.geometry, volume.array.shape) if turn else SlicesFirst(0)
    whole = first(volume.array)
    intensity = LinearIntensity.of_card(card, whole)
    here = list(place)
    here.insert(0, here.pop(first.axis))
    piece = cut(whole, tuple(here), radius, max(card.halo, REACH), intensity)
    found: dict[str, Any] = {"method": method, "point": list(point), "radius": radius}
    if method == "occlusion":
        way = model.bind(whole, intensity)(Execution(model.device, model.precision, piece.patch.shape))
        values = occlusion(way, piece, progress)
    else:
        values, gap = gradients(model, piece, model.magnitude(whole), STEPS if method == "integrated" else 1, progress)
        found["completeness_gap"] = gap if method == "integrated" else None
    unit = 1.0 if method == "gradient" else intensity.unit
    answer = np.zeros(whole.shape, np.float32)
    answer[piece.outer] = values[piece.inside] * np.float32(unit)
    execution = Execution(model.device, model.precision, piece.patch.shape)
    record = provenance(volume, card, chosen, execution) | {
        "modality": {"used": modality, "why": why}, "model_chosen": reason, "warnings": advise(card, modality, why),
        "explanation": found,
    }  # fmt: skip
    progress(1.0, "done")
    return Result(replace(volume, array=first.inverse(answer)), volume, 0.0, record)


def cut(whole: Array, place: tuple[int, ...], radius: int, halo: int, intensity: LinearIntensity) -> Piece:
    """The piece with `halo` voxels around the place; its start is a multiple of 8, as when the volume is run."""
    outer = tuple(
        slice(max(0, (p - radius - halo) // MULTIPLE * MULTIPLE), min(n, p + radius + halo + 1))
        for p, n in zip(place, whole.shape, strict=True)
    )
    patch = filled(intensity(whole[outer]))
    grid = np.indices(patch.shape)
    distance = sum((g - (p - o.start)) ** 2 for g, p, o in zip(grid, place, outer, strict=True))
    region = distance <= radius**2
    for axis, o in enumerate(outer):  # the mirrored margin is not part of the image
        region &= grid[axis] < o.stop - o.start
    return Piece(patch, region, outer)


def baseline(patch: Array) -> Array:
    return ndimage.gaussian_filter(patch, BASELINE, mode="nearest")


def gradients(model: Model, piece: Piece, magnitude: float, steps: int, progress: Progress) -> tuple[Array, float]:
    """Gradient at the input (steps = 1), or integrated gradients from the smoothed piece to the piece, by the
    midpoints of `steps` parts. Returns the map in the model's unit, and what is missing to the difference of the
    outputs, as a share of the largest of both terms (0 for steps = 1)."""
    import torch

    network, device = model.network, model.device
    flag = torch.full((1,), magnitude, device=device)
    region = torch.from_numpy(piece.region).to(device)
    image = torch.from_numpy(np.ascontiguousarray(piece.patch)).to(device)[None, None]
    start = torch.from_numpy(baseline(piece.patch)).to(device)[None, None]
    with torch.no_grad():
        _, noise = network(image, flag)  # the noise level is held: its estimate has no gradient

    def output(x: torch.Tensor) -> torch.Tensor:
        residual, _ = network(x, flag, noise)
        return (x - residual)[0, 0][region].mean()

    total = torch.zeros_like(image)
    for number in range(steps):
        progress(number / steps, f"gradient {number + 1} of {steps}")
        share = (number + 0.5) / steps if steps > 1 else 1.0
        x = (start + share * (image - start)).requires_grad_(True)
        total += torch.autograd.grad(output(x), x)[0] / steps
    if steps == 1:
        return total[0, 0].cpu().numpy(), 0.0
    total = total * (image - start)
    with torch.no_grad():
        whole = float(output(image) - output(start))
    added = float(total.sum())
    size = max(abs(whole), float(total.abs().max()), 1e-12)
    return total[0, 0].detach().cpu().numpy(), abs(whole - added) / size


def occlusion(way: Method, piece: Piece, progress: Progress) -> Array:
    """Output minus the output with a cell covered, written into the cell; in the model's unit."""
    smooth, region = baseline(piece.patch), piece.region
    # Held: what is covered shall not change it.
    noise = None if way.sigma is not None else way.settle(way.features(piece.patch))
    usual = float((piece.patch - way.denoise(piece.patch, noise))[region].mean())
    values = np.zeros_like(piece.patch)
    centre = np.argwhere(region)
    spans = []
    for axis, n in enumerate(region.shape):
        low, high = int(centre[:, axis].min()) - REACH + CELL // 2, int(centre[:, axis].max()) + REACH - CELL // 2
        low = max(0, low)
        spans.append([slice(s, min(n, s + CELL)) for s in range(low, min(n, high + 1), CELL)])
    cells = [(k, j, i) for k in spans[0] for j in spans[1] for i in spans[2]]
    for number, cell in enumerate(cells):
        progress(number / len(cells), f"covering {number + 1} of {len(cells)}")
        covered = piece.patch.copy()
        covered[cell] = smooth[cell]
        values[cell] = usual - float((covered - way.denoise(covered, noise))[region].mean())
    return values
