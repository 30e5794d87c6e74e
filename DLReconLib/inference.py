"""Load a model, run it piece by piece: each piece with a halo of context that is discarded, nothing blended.

A learned method looks twice: first for the noise, of which all pieces together make a map of the whole image; then
the pieces are denoised by that map, so that neighbours agree about the noise.
"""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from DLReconLib.devices import bfloat16_is_right, choose_device, choose_precision
from DLReconLib.metrics import noise_sigma
from DLReconLib.models import ModelCard, ModelError
from DLReconLib.networks import CLASSICAL, build_network, find_classical
from DLReconLib.progress import Progress

Array = np.ndarray
MULTIPLE = 8
SMALLEST_TILE = 32
LOOKING = 0.1  # the share of the time that finding the noise takes


class OutOfMemory(MemoryError):
    """Even the smallest pieces do not fit."""


@dataclass
class Execution:
    """How a model is run. The ladder of mend() makes it smaller when memory runs out.

    tile: (k, j, i) voxels worked on at once, without the halo.
    """

    device: str
    precision: str
    tile: tuple[int, int, int]
    fallbacks: list[str] = field(default_factory=list)
    first: tuple[int, ...] = ()

    def mend(self) -> bool:
        """The next smaller way: half the tile, then bfloat16 where it is right, then the CPU, in float32 with the
        first tile. False where there is none."""
        self.first = self.first or self.tile
        if max(self.tile) > SMALLEST_TILE:
            smaller = tuple(max(SMALLEST_TILE, t // 2 // MULTIPLE * MULTIPLE) for t in self.tile)
            self.tile = tuple(min(a, b) for a, b in zip(smaller, self.tile, strict=True))
            self.fallbacks.append(f"out of memory: tile {self.tile}")
        elif self.precision == "float32" and self.device != "none" and bfloat16_is_right():
            self.precision = "bfloat16"
            self.fallbacks.append("out of memory: bfloat16")
        elif self.device not in ("cpu", "none"):
            self.device, self.precision, self.tile = "cpu", "float32", self.first
            self.fallbacks.append("out of memory: CPU")
        else:
            return False
        return True


class Model:
    """A card with its method loaded. For a learned model this imports torch.

    Raises ModelError for weights that are missing, damaged, of another kind or for another network, and for
    torch that is not installed.
    """

    def __init__(self, card: ModelCard, device: str = "auto", precision: str = "auto") -> None:
        self.card = card
        self.network: Any = None
        if card.network in CLASSICAL:
            self.device, self.precision = "none", "float32"
            find_classical(card.network)
            return
        try:
            import safetensors  # noqa: F401
            import torch
        except ImportError as error:
            raise ModelError(
                f"model {card.id} needs PyTorch and safetensors, which are not installed ({error}); install them with "
                "pip install 'dlrecon[learned]', or choose a classical method: they need no PyTorch"
            ) from error
        self.device = choose_device(device)
        try:
            network = build_network(card.network, card.arguments)
        except TypeError as error:
            raise ModelError(
                f"model {card.id}: network {card.network} does not take {card.arguments} ({error}); correct the card"
            ) from error
        if card.weights:
            load_weights(card, network)
        network.eval().requires_grad_(False)
        layout = torch.channels_last_3d
        self.network = network.to(self.device, memory_format=layout)
        self.precision = choose_precision(precision, self.device)

    def bind(self, whole: Array, normalise: Callable[[Array], Array]) -> Callable[[Execution], "Method"]:
        """A maker of methods for this image. What a model must know of the image as a whole is measured here:
        whether it is a magnitude image, and for classical methods the noise."""
        if self.network is None:
            filtering, arguments = find_classical(self.card.network), self.card.arguments
            sigma = noise_sigma(normalise(central_part(whole)))

            def classical(patch: Array, noise: Array) -> Array:
                try:
                    return patch - np.asarray(filtering(patch, sigma, **arguments), np.float32)
                except TypeError as error:
                    raise ModelError(f"model {self.card.id}: {error}; correct the arguments in the card") from error

            def level(patch: Array) -> Array:
                return np.full([1, *(n // MULTIPLE for n in patch.shape)], sigma, np.float32)

            return lambda execution: Method(level, lambda found: found, classical)
        magnitude = self.magnitude(whole)
        return lambda execution: self._network_method(magnitude, execution)

    def magnitude(self, whole: Array) -> float:
        """1 for a magnitude image, whose noise is Rician; 0 for a signed one."""
        signed = np.count_nonzero(whole < 0) > 1e-3 * whole.size or self.card.offset != 0
        return 0.0 if signed else 1.0

    def bind_detail(self, execution: Execution) -> Callable[[Array, Array], Array]:
        """For a network of super-resolution: (patch, place maps) -> detail, (k, j, i) float32 in the model's unit."""
        import torch

        kind = torch.bfloat16 if execution.precision == "bfloat16" else torch.float32
        network = deepcopy(self.network).to(execution.device, kind)

        def add(patch: Array, maps: Array) -> Array:
            with torch.inference_mode():
                x, places = (torch.from_numpy(np.ascontiguousarray(a)).to(execution.device) for a in (patch, maps))
                return network(x[None, None], places[None])[0, 0].float().cpu().numpy()

        return add

    def _network_method(self, magnitude: float, execution: Execution) -> "Method":
        import torch

        kind = torch.bfloat16 if execution.precision == "bfloat16" else torch.float32
        network = deepcopy(self.network).to(execution.device, kind)  # the model itself keeps its precision
        flag = torch.full((1,), magnitude, device=execution.device, dtype=kind)

        def tensor(array: Array) -> Any:
            return torch.from_numpy(np.ascontiguousarray(array)).to(execution.device)[None]

        def features(patch: Array) -> Array:
            with torch.inference_mode():
                return network.estimator.features(tensor(patch)[None])[0].cpu().numpy()

        def settle(found: Array) -> Array:
            with torch.inference_mode():
                return network.estimator.settle(tensor(found))[0].cpu().numpy()

        def denoise(patch: Array, noise: Array) -> Array:
            with torch.inference_mode():
                residual, _ = network(tensor(patch)[None], flag, tensor(noise))
            return residual[0, 0].float().cpu().numpy()

        return Method(features, settle, denoise)


@dataclass(frozen=True)
class Method:
    """A model made ready for an image. Patches are (k, j, i) float32 in the model's unit, sides multiples of 8.

    features: patch -> (features, k/8, j/8, i/8), what tells of the noise.
    settle: the features of the whole image -> noise (1 or more, k/8, j/8, i/8), first its standard deviation.
    denoise: (patch, noise) -> residual of the shape of the patch; the denoised patch is patch - residual.
    """

    features: Callable[[Array], Array]
    settle: Callable[[Array], Array]
    denoise: Callable[[Array, Array], Array]


def load_weights(card: ModelCard, network: Any) -> None:
    """Put the weights of the card into the network. Raises ModelError where they do not fit it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(card.checked_weights()))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"model {card.id}: {card.weights} does not fit network {card.network} with {card.arguments} ({error}); "
            "correct the card or take the weights that belong to it"
        ) from error


def central_part(whole: Array, limit: float = 8e6) -> Array:
    """The middle slices of a volume (k, j, i), at most `limit` voxels."""
    count = max(2, int(limit / max(1, whole[0].size)))
    start = max(0, (len(whole) - count) // 2)
    return whole[start : start + count]


def pieces(shape: tuple[int, ...], tile: tuple[int, ...], halo: int) -> Iterator[tuple[tuple[slice, ...], ...]]:
    """(outer, inner) slices: the piece with its halo, and the piece inside that. Starts are multiples of 8."""
    axes = []
    for size, length in zip(shape, tile, strict=True):
        count = -(-size // length)
        length = -(-size // count // MULTIPLE) * MULTIPLE
        spans = []
        for start in range(0, size, length):
            stop = min(start + length, size)
            outer = slice(max(0, start - halo), min(size, stop + halo))
            spans.append((outer, slice(start, stop)))
        axes.append(spans)
    for k in axes[0]:
        for j in axes[1]:
            for i in axes[2]:
                yield tuple(zip(k, j, i, strict=True))


def filled(patch: Array) -> Array:
    """Mirrored at the far ends up to multiples of 8."""
    missing = [(0, -n % MULTIPLE) for n in patch.shape]
    return np.pad(patch, missing, mode="symmetric") if any(m for _, m in missing) else patch


@dataclass
class Run:
    """What run_model gives: residual (k, j, i) float32 in the model's unit; noise, median standard deviation
    where there is tissue; seconds inside the method; the execution that worked."""

    residual: Array
    noise: float
    seconds: float
    execution: Execution


def run_model(
    model: Model, whole: Array, normalise: Callable[[Array], Array], execution: Execution, progress: Progress
) -> Run:
    """Run the model over an image.

    Args:
        whole: (k, j, i), any numeric type; only the piece at work is converted.
        normalise: values to the model's unit.
        execution: changed in place by the ladder when memory runs out.

    Raises OutOfMemory where even the smallest pieces do not fit, and whatever `progress` raises.
    """
    make_method = model.bind(whole, normalise)

    def attempt(rising: Progress) -> Run:
        return _run(make_method(execution), whole, normalise, execution, model.card.halo, rising)

    return persist(attempt, model, whole.shape, execution, progress)


def run_detail(
    model: Model,
    base: Array,
    normalise: Callable[[Array], Array],
    places: Callable[[tuple[slice, ...]], Array],
    execution: Execution,
    progress: Progress,
) -> Run:
    """Run a model of super-resolution over an interpolated image; arguments and errors as of run_model.

    base: (k, j, i) on the fine grid. places: slices of it -> maps (channels, k, j, i), see Acquisition.places().
    The residual is the detail to be added; the noise is not looked for (0).
    """

    def attempt(rising: Progress) -> Run:
        add = model.bind_detail(execution)
        todo, clock = list(pieces(base.shape, execution.tile, model.card.halo)), Clock()
        detail = np.zeros(base.shape, np.float32)
        for number, (outer, inner) in enumerate(todo):
            rising(0.98 * number / len(todo), f"piece {number + 1} of {len(todo)}")
            patch = normalise(base[outer])
            if patch.min() != patch.max():
                maps = np.stack([filled(m) for m in places(outer)])
                detail[inner] = clock(add, filled(patch), maps)[inside(outer, inner)]
        return Run(detail, 0.0, clock.seconds, execution)

    return persist(attempt, model, base.shape, execution, progress)


def persist(
    attempt: Callable[[Progress], Run], model: Model, shape: tuple[int, ...], execution: Execution, progress: Progress
) -> Run:
    """Try, and where memory runs out try again a smaller way, down the ladder of Execution.mend()."""
    execution.tile = tuple(min(t, -(-n // MULTIPLE) * MULTIPLE) for t, n in zip(execution.tile, shape, strict=True))
    highest = 0.0

    def rising(fraction: float, text: str) -> None:
        nonlocal highest
        highest = max(highest, fraction)
        progress(highest, text)

    while True:
        try:
            return attempt(rising)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # The traceback holds the tensors of the failed attempt.
            error.__traceback__ = None
        if execution.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()
        if not execution.mend():
            raise OutOfMemory(
                f"model {model.card.id}: no memory for a tile of {execution.tile} voxels on {execution.device}; close "
                "other programs, or crop the volume"
            )


def is_out_of_memory(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    # The last is oneDNN's: on CPUs it fails so where its buffers do not fit.
    words = ("out of memory", "not enough memory", "allocate memory", "alloc_failed", "could not create a primitive")
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(w in text for w in words)


def _run(method: Method, whole: Array, normalise: Callable, execution: Execution, halo: int, progress: Progress) -> Run:
    todo = list(pieces(whole.shape, execution.tile, halo))
    clock = Clock()

    def patch_of(where: tuple[slice, ...]) -> Array | None:
        """None where the image is constant: there is nothing to do."""
        patch = normalise(whole[where])
        return None if patch.min() == patch.max() else filled(patch)

    found, tissue = None, np.zeros([-(-n // MULTIPLE) for n in whole.shape], bool)
    for number, (outer, inner) in enumerate(todo):
        progress(LOOKING * number / len(todo), f"noise, piece {number + 1} of {len(todo)}")
        patch = patch_of(outer)
        if patch is None:
            continue
        features = clock(method.features, patch)
        found = np.zeros((len(features), *tissue.shape), np.float32) if found is None else found
        within = inside(outer, inner)
        found[(slice(None), *cells(inner))] = features[(slice(None), *cells(within))]
        middle = patch[MULTIPLE // 2 :: MULTIPLE, MULTIPLE // 2 :: MULTIPLE, MULTIPLE // 2 :: MULTIPLE]
        tissue[cells(inner)] = middle[cells(within)] > 0.1
    residual = np.zeros(whole.shape, np.float32)
    if found is None:
        return Run(residual, 0.0, clock.seconds, execution)
    noise = clock(method.settle, found)
    for number, (outer, inner) in enumerate(todo):
        done = number / len(todo)
        progress(LOOKING + (1 - LOOKING) * done, f"piece {number + 1} of {len(todo)}")
        patch = patch_of(outer)
        if patch is None:
            continue
        removed = clock(method.denoise, patch, noise[(slice(None), *cells(outer))])
        residual[inner] = removed[inside(outer, inner)]
    seen = noise[0][tissue] if tissue.any() else noise[0]
    return Run(residual, float(np.median(seen)), clock.seconds, execution)


def inside(outer: tuple[slice, ...], inner: tuple[slice, ...]) -> tuple[slice, ...]:
    """Where the inner part lies in a piece cut out by `outer`."""
    return tuple(slice(i.start - o.start, i.stop - o.start) for o, i in zip(outer, inner, strict=True))


def cells(where: tuple[slice, ...]) -> tuple[slice, ...]:
    """The cells of 8 voxels that slices, which start at multiples of 8, touch."""
    return tuple(slice(s.start // MULTIPLE, -(-s.stop // MULTIPLE)) for s in where)


class Clock:
    """Calls functions and adds up the seconds they take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable, *arguments: Any) -> Any:
        started = time.perf_counter()
        answer = function(*arguments)
        self.seconds += time.perf_counter() - started
        return answer
