"""Load a model, run it piece by piece: each piece with a halo of context that is discarded, nothing blended.

A learned method looks twice: first for the noise, of which all pieces together make a map of the whole image; then
the pieces are denoised by that map, so that neighbours agree about the noise.
"""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from DLReconLib.devices import choose_device, choose_precision
from DLReconLib.execution import Execution, OutOfMemory, is_out_of_memory
from DLReconLib.metrics import noise_sigma
from DLReconLib.models import ModelCard, ModelError
from DLReconLib.networks import CLASSICAL, SERIES, WHOLE, build_network, find_classical, find_whole, memory_layout
from DLReconLib.networks.context import Context
from DLReconLib.pieces import MULTIPLE, cells, central_part, filled, inside, pieces
from DLReconLib.progress import Progress

Array = np.ndarray
LOOKING = 0.1  # the share of the time that finding the noise takes


class Model:
    """A card with its method loaded. For a learned model this imports torch.

    Raises ModelError for weights that are missing, damaged, of another kind or for another network, and for
    torch that is not installed.
    """

    def __init__(self, card: ModelCard, device: str = "auto", precision: str = "auto") -> None:
        self.card = card
        self.network: Any = None
        self._ready: tuple[Any, Any] = (), None
        if card.network in (*CLASSICAL, *WHOLE, *SERIES):
            self.device, self.precision = "none", "float32"
            return
        try:
            import safetensors  # noqa: F401
            import torch  # noqa: F401
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
        self.network = network.to(self.device, memory_format=memory_layout(network))
        self.precision = choose_precision(precision, self.device)

    def bind(self, whole: Array, normalise: Callable[[Array], Array]) -> Callable[[Execution], "Method"]:
        """A maker of methods for this image. What a model must know of the image as a whole is measured here:
        whether it is a magnitude image, and for classical methods the noise."""
        if self.network is None:
            filtering, arguments = find_classical(self.card.network), self.card.arguments
            sigma = noise_sigma(normalise(central_part(whole)))

            def classical(patch: Array, noise: Array | None) -> Array:
                try:
                    return patch - np.asarray(filtering(patch, sigma, **arguments), np.float32)
                except TypeError as error:
                    raise ModelError(f"model {self.card.id}: {error}; correct the arguments in the card") from error

            return lambda execution: Method(classical, sigma)
        magnitude = self.magnitude(whole)
        return lambda execution: self._network_method(magnitude, execution)

    @property
    def sees_whole(self) -> bool:
        """Whether it works on the image at once, with its Context."""
        return self.card.network in (*WHOLE, *SERIES) or hasattr(self.network, "restore")

    def restore(self, image: Array, context: Context) -> Array:
        """The answer of a method that sees the whole image; float32 (k, j, i) in the unit of the card."""
        if self.network is not None:
            import torch

            network = self._in_precision(context.device, context.precision)
            with torch.inference_mode():
                return np.asarray(network.restore(image, context), np.float32)
        if self.card.network in SERIES:
            raise ModelError(
                f"model {self.card.id}: works on all frames of a time series at once, got one volume; wanted a 4D file "
                "or a sequence; choose another model for a single volume"
            )
        try:
            return np.asarray(find_whole(self.card.network)(image, context, **self.card.arguments), np.float32)
        except TypeError as error:
            raise ModelError(f"model {self.card.id}: {error}; correct the arguments in the card") from error

    def magnitude(self, whole: Array) -> float:
        """1 for a magnitude image, whose noise is Rician; 0 for a signed one."""
        signed = np.count_nonzero(whole < 0) > 1e-3 * whole.size or self.card.offset != 0
        return 0.0 if signed else 1.0

    def bind_detail(self, execution: Execution) -> Callable[[Array, Array], Array]:
        """For a network of super-resolution: (patch (k, j, i), changes (n, k, j, i)) -> detail, (k, j, i) float32, all
        in the model's unit."""
        import torch

        network = self._in_precision(execution.device, execution.precision)

        def add(patch: Array, changes: Array) -> Array:
            with torch.inference_mode():
                x, more = (torch.from_numpy(np.ascontiguousarray(a)).to(execution.device) for a in (patch, changes))
                return network(x[None, None], more[None])[0, 0].float().cpu().numpy()

        return add

    def _in_precision(self, device: str, precision: str) -> Any:
        """The network where and how it is to compute, kept for the next image; the model itself keeps its own."""
        import torch

        kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
        if self._ready[0] != (device, kind):
            self._ready = (), None
            self._ready = (device, kind), deepcopy(self.network).to(device, kind)
        return self._ready[1]

    def _network_method(self, magnitude: float, execution: Execution) -> "Method":
        import torch

        network = self._in_precision(execution.device, execution.precision)
        flag = torch.full((1,), magnitude, device=execution.device, dtype=network_dtype(network))

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

        return Method(denoise, None, features, settle)


def network_dtype(network: Any) -> Any:
    import torch

    return next((p.dtype for p in network.parameters()), torch.float32)


@dataclass(frozen=True)
class Method:
    """A model made ready for an image. Patches are (k, j, i) float32 in the model's unit, sides multiples of 8.

    denoise: (patch, noise or None) -> residual of the shape of the patch; the denoised patch is patch - residual.
    sigma: standard deviation of the noise where one number was found before; else None, and it is looked for with
    features: patch -> (features, k/8, j/8, i/8), what tells of the noise, and
    settle: the features of the whole image -> noise (1 or more, k/8, j/8, i/8), first its standard deviation.
    """

    denoise: Callable[[Array, Array | None], Array]
    sigma: float | None = None
    features: Callable[[Array], Array] | None = None
    settle: Callable[[Array], Array] | None = None


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


@dataclass
class Run:
    """What run_model gives: residual (k, j, i) float32 in the model's unit; noise, median standard deviation
    where there is tissue; seconds inside the method; the execution that worked."""

    residual: Array
    noise: float
    seconds: float
    execution: Execution


def run_model(
    model: Model, whole: Array, normalise: Callable[[Array], Array], execution: Execution, progress: Progress,
    context: Context | None = None,
) -> Run:  # fmt: skip
    """Run the model over an image.

    Args:
        whole: (k, j, i), any numeric type; only the piece at work is converted.
        normalise: values to the model's unit.
        execution: changed in place by the ladder when memory runs out.
        context: for a method that sees the whole image; by default nothing is known of it.

    Raises OutOfMemory where even the smallest pieces do not fit, and whatever `progress` raises.
    """
    if model.sees_whole:
        return _run_whole(model, whole, normalise, execution, progress, context or Context())
    make_method = model.bind(whole, normalise)

    def attempt(rising: Progress) -> Run:
        return _run(make_method(execution), whole, normalise, execution, model.card.halo, rising)

    return persist(attempt, model, whole.shape, execution, progress)


def _run_whole(
    model: Model, whole: Array, normalise: Callable, execution: Execution, progress: Progress, context: Context
) -> Run:
    def attempt(rising: Progress) -> Run:
        clock, image = Clock(), np.ascontiguousarray(normalise(whole), np.float32)
        if image.min() == image.max():  # there is nothing to do
            return Run(np.zeros(whole.shape, np.float32), 0.0, 0.0, execution)
        context.progress, context.device, context.precision = rising, execution.device, execution.precision
        context.magnitude = bool(model.magnitude(whole))
        answer = clock(model.restore, image, context)
        if answer.shape != image.shape:
            raise ModelError(
                f"model {model.card.id} gave {answer.shape} voxels for {image.shape}; wanted the same grid"
            )
        return Run(image - answer, float(noise_sigma(central_part(image))), clock.seconds, execution)

    return persist(attempt, model, whole.shape, execution, progress)


def run_detail(model: Model, base: Array, changes: list[Array], execution: Execution, progress: Progress) -> Run:
    """Run a model of super-resolution over an interpolated image; errors as of run_model.

    base: (k, j, i) on the fine grid, unit of the model. changes: what total variation adds to it, ever more.
    The residual is the detail to be added; the noise is not looked for (0).
    """

    def attempt(rising: Progress) -> Run:
        add = model.bind_detail(execution)
        todo, clock = list(pieces(base.shape, execution.tile, model.card.halo)), Clock()
        detail = np.zeros(base.shape, np.float32)
        for number, (outer, inner) in enumerate(todo):
            rising(0.98 * number / len(todo), f"piece {number + 1} of {len(todo)}")
            patch = base[outer]
            if patch.min() != patch.max():
                more = np.stack([filled(c[outer]) for c in changes])
                detail[inner] = clock(add, filled(patch), more)[inside(outer, inner)]
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


def _run(method: Method, whole: Array, normalise: Callable, execution: Execution, halo: int, progress: Progress) -> Run:
    todo = list(pieces(whole.shape, execution.tile, halo))
    clock = Clock()

    def patch_of(where: tuple[slice, ...]) -> Array | None:
        """None where the image is constant: there is nothing to do."""
        patch = normalise(whole[where])
        return None if patch.min() == patch.max() else filled(patch)

    residual = np.zeros(whole.shape, np.float32)
    noise, sigma, begun = None, method.sigma, 0.0
    if sigma is None:
        noise, sigma = _look(method, whole.shape, todo, patch_of, clock, progress)
        begun = LOOKING
    for number, (outer, inner) in enumerate(todo):
        done = number / len(todo)
        progress(begun + (1 - begun) * done, f"piece {number + 1} of {len(todo)}")
        patch = patch_of(outer)
        if patch is None:
            continue
        removed = clock(method.denoise, patch, None if noise is None else noise[(slice(None), *cells(outer))])
        residual[inner] = removed[inside(outer, inner)]
    return Run(residual, sigma, clock.seconds, execution)


def _look(
    method: Method, shape: tuple[int, ...], todo: list, patch_of: Callable, clock: "Clock", progress: Progress
) -> tuple[Array | None, float]:
    """The noise of all cells, and the median of its standard deviation where there is tissue; (None, 0) where every
    piece is constant."""
    found, tissue = None, np.zeros([-(-n // MULTIPLE) for n in shape], bool)
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
    if found is None:
        return None, 0.0
    noise = clock(method.settle, found)
    return noise, float(np.median(noise[0][tissue] if tissue.any() else noise[0]))


class Clock:
    """Calls functions and adds up the seconds they take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable, *arguments: Any) -> Any:
        started = time.perf_counter()
        answer = function(*arguments)
        self.seconds += time.perf_counter() - started
        return answer
