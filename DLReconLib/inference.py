"""Load a model, run it piece by piece: each piece with a halo of context that is discarded, nothing blended.

A method becomes a Step: (patch) -> (residual, noise), patch (k, j, i) float32 in the model's unit with sides
that are multiples of 8; residual the same shape; noise (k/8, j/8, i/8), its standard deviation. The denoised
patch is patch - residual.
"""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from DLReconLib.metrics import noise_sigma
from DLReconLib.models import ModelCard, ModelError
from DLReconLib.networks import CLASSICAL, build_network, find_classical
from DLReconLib.progress import Progress

Array = np.ndarray
Step = Callable[[Array], tuple[Array, Array]]
MULTIPLE = 8
SMALLEST_TILE = 32


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
        elif self.precision == "float32" and self.device != "none" and _bfloat16_is_right():
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
        self._ready: tuple[Any, Any] = (), None
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

    def bind(self, whole: Array, normalise: Callable[[Array], Array]) -> Callable[[Execution], Step]:
        """A maker of steps for this image. What a model must know of the image as a whole is measured here:
        whether it is a magnitude image, and for classical methods the noise."""
        if self.network is None:
            filtering, arguments = find_classical(self.card.network), self.card.arguments
            sigma = noise_sigma(normalise(central_part(whole)))

            def classical(patch: Array) -> tuple[Array, Array]:
                try:
                    filtered = np.asarray(filtering(patch, sigma, **arguments), np.float32)
                except TypeError as error:
                    raise ModelError(f"model {self.card.id}: {error}; correct the arguments in the card") from error
                return patch - filtered, np.full([n // MULTIPLE for n in patch.shape], sigma, np.float32)

            return lambda execution: classical
        magnitude = self.magnitude(whole)
        return lambda execution: self._network_step(magnitude, execution)

    def magnitude(self, whole: Array) -> float:
        """1 for a magnitude image, whose noise is Rician; 0 for a signed one."""
        signed = np.count_nonzero(whole < 0) > 1e-3 * whole.size or self.card.offset != 0
        return 0.0 if signed else 1.0

    def _network_step(self, magnitude: float, execution: Execution) -> Step:
        import torch

        kind = torch.bfloat16 if execution.precision == "bfloat16" else torch.float32
        if self._ready[0] != (execution.device, kind):  # the model itself keeps its precision
            self._ready = (), None
            self._ready = (execution.device, kind), deepcopy(self.network).to(execution.device, kind)
        network = self._ready[1]
        flag = torch.full((1,), magnitude, device=execution.device, dtype=kind)

        def step(patch: Array) -> tuple[Array, Array]:
            x = torch.from_numpy(np.ascontiguousarray(patch)).to(execution.device)[None, None]
            with torch.inference_mode():
                residual, noise = network(x, flag)
            return residual[0, 0].float().cpu().numpy(), noise[0, 0].float().cpu().numpy()

        return step


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


def choose_device(device: str) -> str:
    """ "auto" is the best there is. Raises ValueError for a device that this machine has not."""
    import torch

    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if has_mps and _mps_is_complete() else "cpu"
    kind, _, number = device.partition(":")
    present = {"cpu": not number, "mps": has_mps and not number, "cuda": torch.cuda.is_available()}
    if kind == "cuda" and number and present["cuda"]:
        present["cuda"] = number.isdigit() and int(number) < torch.cuda.device_count()
    if not present.get(kind, False):
        here = ["auto", *(k for k, there in present.items() if there and k != device)]
        raise ValueError(f"device {device!r} is not on this machine; wanted one of: {', '.join(here)}")
    return device


def _mps_is_complete() -> bool:
    """Whether this torch has the three-dimensional operations on Apple's GPU; older ones lack some."""
    import torch
    from torch.nn import functional

    try:
        x = torch.ones(1, 1, 8, 8, 8, device="mps")
        functional.interpolate(functional.avg_pool3d(x, 4), scale_factor=4, mode="trilinear")
        functional.conv_transpose3d(functional.pad(x, (1,) * 6, mode="replicate"), x[:, :, :2, :2, :2], stride=2)
    except (NotImplementedError, RuntimeError):
        return False
    return True


def choose_precision(precision: str, device: str) -> str:
    """ "auto" is bfloat16 where the hardware computes it natively and a convolution in it comes out right.

    float16 is never used: on CPUs it is slow and has given wrong results.
    """
    import torch

    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision {precision!r}; wanted auto, float32 or bfloat16")
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bfloat16" if device == "cpu" and native and _bfloat16_is_right() else "float32"


def _bfloat16_is_right() -> bool:
    """Whether a convolution in bfloat16 agrees with float32; on some CPUs it has not."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 8, 8, 8, generator=generator)
    weight = torch.randn(16, 16, 3, 3, 3, generator=generator) / 20
    exact = torch.nn.functional.conv3d(x, weight)
    rough = torch.nn.functional.conv3d(x.bfloat16(), weight.bfloat16()).float()
    return bool((exact - rough).abs().max() < 0.03 * exact.abs().max())


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
    make_step = model.bind(whole, normalise)
    execution.tile = tuple(
        min(t, -(-n // MULTIPLE) * MULTIPLE) for t, n in zip(execution.tile, whole.shape, strict=True)
    )
    highest = 0.0

    def rising(fraction: float, text: str) -> None:
        nonlocal highest
        highest = max(highest, fraction)
        progress(highest, text)

    while True:
        try:
            return _run(make_step(execution), whole, normalise, execution, model.card.halo, rising)
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


def _run(step: Step, whole: Array, normalise: Callable, execution: Execution, halo: int, progress: Progress) -> Run:
    residual = np.zeros(whole.shape, np.float32)
    todo = list(pieces(whole.shape, execution.tile, halo))
    seconds, levels, dark = 0.0, [], []
    for number, (outer, inner) in enumerate(todo):
        progress(number / len(todo), f"piece {number + 1} of {len(todo)}")
        patch = normalise(whole[outer])
        if patch.min() == patch.max():
            continue
        patch = filled(patch)
        started = time.perf_counter()
        removed, noise = step(patch)
        seconds += time.perf_counter() - started
        place = tuple(slice(i.start - o.start, i.stop - o.start) for o, i in zip(outer, inner, strict=True))
        residual[inner] = removed[place]
        cells = tuple(slice(p.start // MULTIPLE, -(-p.stop // MULTIPLE)) for p in place)
        tissue = patch[MULTIPLE // 2 :: MULTIPLE, MULTIPLE // 2 :: MULTIPLE, MULTIPLE // 2 :: MULTIPLE][cells] > 0.1
        levels.append(noise[cells][tissue])
        dark.append(noise[cells][~tissue])
    found = np.concatenate(levels or [np.zeros(0)])
    found = found if found.size else np.concatenate(dark or [np.zeros(1)])
    return Run(residual, float(np.median(found)), seconds, execution)
