"""Two or three thick stacks of one patient, along different axes, become one isotropic volume.

Each stack y_i is the acquisition A_i of the volume x, seen on its own grid by S_i. Found is the x that minimises
sum |A_i S_i x - y_i|^2 + prior |x - x0|^2 (as in Gholipour et al., IEEE TMI 2010, eq. 8, without its weights for
motion between slices), x0 being the mean of the stacks enlarged for themselves, by conjugate gradients.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from DLReconLib.enlarging import enlarge
from DLReconLib.fingerprint import fingerprint, trace
from DLReconLib.fusion.sampling import Sampling, sampling
from DLReconLib.inference import Execution, Model
from DLReconLib.inputs import check_input, recognise
from DLReconLib.models import ModelCard
from DLReconLib.pipeline import Options, choose_model, provenance
from DLReconLib.progress import Progress, silent
from DLReconLib.resolution import Enlargement, acquired
from DLReconLib.resolution.acquisition import Acquisition, Array
from DLReconLib.result import Result
from DLReconLib.volume import Geometry, Volume

PRIOR = 0.03  # weight of the prior
ROUNDS = 15  # of conjugate gradients


@dataclass(frozen=True)
class Stack:
    """values: (k, j, i) float32 as measured, in the unit of the first stack. acquisition: what made it of its own fine
    grid; sample: from the result to that grid. measured: 1 where all that a voxel saw lies in the result, else 0."""

    values: Array
    acquisition: Acquisition
    sample: Sampling
    measured: Array

    def seen(self, image: Array) -> Array:
        return self.measured * self.acquisition.degrade(self.sample.forward(image))

    def spread(self, values: Array) -> Array:
        return self.sample.adjoint(self.acquisition.adjoint(self.measured * values))


def fuse(
    stacks: Sequence[Volume], *, spacing: float | None = None, register: str = "mutual-information",
    prior: float = PRIOR, model: str = "auto", modality: str = "auto", device: str = "auto", precision: str = "auto",
    thickness: float | None = None, progress: Progress = silent, load: Callable[..., Model] = Model,
) -> Result:  # fmt: skip
    """One volume of several stacks.

    Args:
        stacks: (k, j, i) each, in one frame of reference; the result covers the box of the first and keeps its axes.
        spacing: of the result in mm along all axes; by default the finest of the stacks.
        register: metric of the rigid registration of the others to the first, see registration.METRICS, or "off".
        prior: weight of the enlarged stacks against the measured voxels.
        model, modality, device, precision: of the super-resolution that makes the prior, see pipeline.Options.
        thickness: of the slices in mm, where it is neither in the header nor the spacing.

    Raises ValueError for stacks that cannot be fused, and whatever `progress` raises.
    """
    started = time.perf_counter()
    if len(stacks) < 2:
        raise ValueError(f"fusion: {len(stacks)} stack; wanted two or more")
    for stack in stacks:
        check_input(stack, None)
        if stack.array.ndim != 3:
            raise ValueError(f"fusion: a stack of {stack.array.shape} values; wanted one value a voxel (k, j, i)")
    chosen = Options(task="super-resolution", model=model, modality=modality, device=device, precision=precision)
    kind, why = recognise(stacks[0], modality)
    card, reason = choose_model(chosen, kind, why)
    side = float(spacing or min(s for stack in stacks for s in stack.geometry.spacing))
    if not 0 < side < np.inf:
        raise ValueError(f"fusion: spacing {spacing}; wanted millimetres above 0")
    progress(0.0, f"loading {card.id}")
    loaded = load(card, device, precision)
    fine, geometry = grid(stacks[0], side)
    wanted = [enlargement(stack, kind, side, thickness) for stack in stacks]
    bases = [w.geometry for w in wanted]
    enlarged, gains = [], [1.0]
    for n, (stack, one) in enumerate(zip(stacks, wanted, strict=True)):
        execution = Execution(loaded.device, loaded.precision, card.tile or (128,) * 3)

        def part(fraction: float, text: str, n: int = n) -> None:
            progress(0.05 + 0.45 * (n + fraction) / len(stacks), f"stack {n + 1}: {text}")

        enlarged.append(enlarge(stack.array, one, loaded, execution, 1.0, part)[0])
    motions = [np.eye(4)] + [motion(bases, enlarged, n, register, progress) for n in range(1, len(stacks))]
    parts, images = [], []
    for n, (stack, one, moved) in enumerate(zip(stacks, wanted, motions, strict=True)):
        there = places(geometry, one.geometry, moved)
        image, covered = resampled(enlarged[n], fine, np.linalg.inv(there))
        if n:
            gains.append(gain(images[0], image, covered))
        images.append((image * np.float32(gains[n]), covered))
        sample = sampling(fine, one.acquisition.fine, there)
        measured = (one.acquisition.degrade(sample.covered) > 0.999).astype(np.float32)
        values = stack.array.astype(np.float32) * np.float32(gains[n])
        parts.append(Stack(values, one.acquisition, sample, measured))
    weight = np.sum([c for _, c in images], 0, dtype=np.float32)
    start = np.sum([i * c for i, c in images], 0) / np.maximum(weight, 1)
    array = solve(parts, start, prior, lambda f: progress(0.6 + 0.38 * f, "fusing"))
    result = Volume(array, geometry, kind, stacks[0].origin_format, dict(stacks[0].metadata))
    misfits = [misfit(p, array) for p in parts]
    record = fusion_record(stacks, chosen, execution, card, result) | {
        "modality": {"used": kind, "why": why}, "model_chosen": reason, "warnings": warnings_of(wanted, images),
        "fusion": {
            "spacing": side, "register": register, "prior": prior, "rounds": ROUNDS, "gains": gains,
            "motions": [m.tolist() for m in motions], "misfit": misfits,
            "acquisitions": [p.acquisition.to_dict() for p in parts],
        },
        "seconds": {"total": time.perf_counter() - started},
    }  # fmt: skip
    progress(1.0, "done")
    return Result(result, stacks[0], 0.0, record)


def grid(first: Volume, side: float) -> tuple[tuple[int, ...], Geometry]:
    """Shape (k, j, i) and geometry of the result: the box of the first stack in voxels of about this side."""
    shape = first.array.shape
    fine = tuple(max(1, round(n * s / side)) for n, s in zip(shape, first.geometry.spacing[::-1], strict=True))
    return fine, first.geometry.resampled(shape[::-1], fine[::-1])


def enlargement(stack: Volume, modality: str, side: float, thickness: float | None) -> Enlargement:
    """Of one stack, to voxels of this side where they are larger."""
    shape = stack.array.shape
    fine = tuple(max(n, round(n * s / side)) for n, s in zip(shape, stack.geometry.spacing[::-1], strict=True))
    geometry = stack.geometry.resampled(shape[::-1], fine[::-1])
    return Enlargement(acquired(stack, modality, fine, thickness), geometry)


def motion(grids: list[Geometry], enlarged: list[Array], number: int, register: str, progress: Progress) -> Array:
    """LPS millimetres of the first stack to those of another."""
    if register == "off":
        return np.eye(4)
    from DLReconLib.registration import rigid

    progress(0.5 + 0.1 * (number - 1) / (len(grids) - 1), f"registering stack {number + 1}")
    return rigid(Volume(enlarged[0], grids[0]), Volume(enlarged[number], grids[number]), register)


def places(result: Geometry, other: Geometry, moved: Array) -> Array:
    """Indices (k, j, i, 1) of another grid to those of the result, the patient having moved; 4 x 4."""
    matrix = np.linalg.inv(moved @ result.matrix()) @ other.matrix()
    order = [2, 1, 0, 3]
    return matrix[np.ix_(order, order)]


def resampled(image: Array, shape: tuple[int, ...], there: Array) -> tuple[Array, Array]:
    """An image by cubic splines on a grid of `shape` whose indices `there` maps to the image's, and where it lies in
    the image; float32 and bool."""
    found = ndimage.affine_transform(image, there[:3, :3], there[:3, 3], shape, np.float32, 3, "mirror")
    index = np.indices(shape, np.float32, sparse=True)
    covered = np.ones(shape, bool)
    for n, size in enumerate(image.shape):
        at = sum(np.float32(there[n, m]) * index[m] for m in range(3)) + np.float32(there[n, 3])
        covered &= (at > -0.501) & (at < size - 0.499)
    return found, covered


def gain(first: tuple[Array, Array], image: Array, covered: Array) -> float:
    """By which a stack is to be multiplied to have the brightness of the first: least squares where both are."""
    both = covered & first[1]
    square = float(np.square(image[both], dtype=np.float64).sum())
    if not square:
        raise ValueError("fusion: two stacks have no voxel in common; wanted stacks of the same place")
    found = float((first[0][both].astype(np.float64) * image[both]).sum()) / square
    return found if 0.2 < found < 5 else 1.0


def solve(stacks: list[Stack], start: Array, prior: float, rising: Callable[[float], None] = lambda f: None) -> Array:
    """Conjugate gradients for (sum S^T A^T A S + prior) x = sum S^T A^T y + prior x0, from x0; float32."""

    def normal(x: Array) -> Array:
        return sum(s.spread(s.seen(x)) for s in stacks) + np.float32(prior / len(stacks)) * x

    image = start.astype(np.float32)
    left = sum(s.spread(s.measured * s.values - s.seen(image)) for s in stacks)
    step, power = left.copy(), float(np.vdot(left, left))
    for n in range(ROUNDS):
        rising(n / ROUNDS)
        if power <= 1e-12 * float(np.vdot(image, image)):
            break
        moved = normal(step)
        length = np.float32(power / float(np.vdot(step, moved)))
        image, left = image + length * step, left - length * moved
        before, power = power, float(np.vdot(left, left))
        step = left + np.float32(power / before) * step
    return image


def misfit(stack: Stack, image: Array) -> float:
    """Root mean square of the difference between a stack and the result acquired as it was, as a part of its range."""
    inside = stack.measured > 0
    error = (stack.seen(image) - stack.values)[inside]
    return float(np.sqrt(np.mean(np.square(error))) / max(float(np.ptp(stack.values)), 1e-12)) if inside.any() else 0.0


def warnings_of(wanted: list[Enlargement], images: list[tuple[Array, Array]]) -> list[str]:
    found = []
    for n, (one, (_, covered)) in enumerate(zip(wanted, images, strict=True)):
        factor = max(a.scale for a in one.acquisition.axes)
        if factor > 4.05:
            found.append(f"the slices of stack {n + 1} are {factor:.1f} times thicker than the result's voxels: no "
                         "model was trained for more than 4")  # fmt: skip
        if covered.mean() < 0.9:
            found.append(f"stack {n + 1} covers {100 * covered.mean():.0f} % of the result")
    return found


def fusion_record(
    stacks: Sequence[Volume], chosen: Options, execution: Execution, card: ModelCard, result: Volume
) -> dict[str, Any]:
    inputs = [{"sha256": fingerprint(s), "shape": list(s.array.shape), "spacing": list(s.geometry.spacing),
               "dtype": str(s.array.dtype), "format": s.origin_format} for s in stacks]  # fmt: skip
    return provenance(stacks[0], card, chosen, execution) | {"inputs": inputs, "output": trace(result)}
