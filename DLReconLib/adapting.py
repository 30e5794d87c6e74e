"""A trained model adapted to one image: it goes on learning from the image alone, and is kept only if that helped.

Pairs are made of the image and drawn noise as it is in the image, see recorrupted.py. The error to expect on squares
that were kept from learning decides.
"""

import time
from copy import copy, deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from DLReconLib.inference import Model
from DLReconLib.models import ModelError
from DLReconLib.networks.context import Context
from DLReconLib.networks.noise_spectrum import block_depth, find_noise
from DLReconLib.networks.recorrupted import Recorrupted, middle
from DLReconLib.pieces import MULTIPLE

Array = np.ndarray
NETWORKS = ("noise-unet", "monai", "imported")
PATCH = (16, 48, 48)
BATCH = 2
PAIRS = 4
JUDGED = (24, 192, 192)  # of a larger image the middle is learned from and judged by
RATE = 2e-4
AVERAGE = 0.98  # of the averaged weights
MOST = 1000  # steps
WORTH = 0.15  # of the risk: where it is smaller the model knows such images, and adapting it did harm
LEAST_GAIN = 0.002  # of the risk, in variances of the noise
IMPOSSIBLE = -0.03  # an error is not negative: the noise is not as it was found, and was learned
SHARE = 0.8  # of the budget that is for learning
CORRELATED = 0.2  # of the noise of neighbours, above which structure is taken for noise, and risks mean nothing


def adapt(model: Model, image: Array, context: Context) -> Model:
    """The model adapted to the image (k, j, i) float32 in the unit of the card, or the same model if that is no gain,
    or if the noise is so correlated that it cannot be known, or the model knows such images already.

    It takes about context.budget seconds, or context.steps steps. Notes: {"adapted": {"kept", "steps", "noise",
    "correlation", "risk": {"before", "after"}}}, the risk being the mean squared error to expect, in variances of the
    noise. Raises ModelError for models that cannot be adapted.
    """
    if model.card.network not in NETWORKS or model.card.task != "denoise":
        raise ModelError(f"model {model.card.id}: {model.card.task} by {model.card.network} cannot be adapted; wanted "
                         f"a denoiser by one of: {', '.join(NETWORKS)}")  # fmt: skip
    started = time.monotonic()
    noise = find_noise(image, block_depth(len(image), context.spacing))
    if noise.sigma <= 1e-6 * float(np.ptp(image)) or noise.correlation > CORRELATED:
        correlation = round(noise.correlation, 3)
        context.notes["adapted"] = {"kept": False, "steps": 0, "noise": noise.sigma, "correlation": correlation}
        return model
    part = Recorrupted(np.ascontiguousarray(image[middle(image.shape, JUDGED)]), noise)
    judged, *pairs = [part.draw() for _ in range(1 + PAIRS)]
    flag = float(model.magnitude(image))
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = deepcopy(model.network).float().requires_grad_(True)
        before = part.risk(answer_of(network, judged[0], flag), judged[1])
        steps, after = 0, before
        if before > WORTH:
            steps = learn(network, part, pairs, flag, context, started)
            network.requires_grad_(False)
            after = part.risk(answer_of(network, judged[0], flag), judged[1])
    kept = IMPOSSIBLE < after < before - LEAST_GAIN
    context.notes["adapted"] = {
        "kept": kept, "steps": steps, "noise": noise.sigma, "correlation": round(noise.correlation, 3),
        "risk": {"before": round(before, 4), "after": round(after, 4)},
    }  # fmt: skip
    if not kept:
        return model
    adapted = copy(model)
    adapted.network, adapted._ready = network, ((), None)
    return adapted


def learn(
    network: nn.Module, part: Recorrupted, pairs: list, flag: float, context: Context, started: float
) -> int:  # fmt: skip
    """Puts the averaged weights into the network; how many steps were made."""
    learned = [p for p in network.parameters() if p.requires_grad]
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.Adam(learned, RATE, betas=(0.9, 0.99))
    wanted, done = context.steps or MOST, 0
    begun, limit = time.monotonic() - started, SHARE * context.budget
    with torch.enable_grad():
        while done < wanted and (context.steps or time.monotonic() - started < limit or done == 0):
            spent = (time.monotonic() - started - begun) / max(limit - begun, 1e-3)
            context.progress(min(1.0, done / wanted if context.steps else spent), f"adapting, step {done + 1}")
            seen, target = pairs[int(part.rng.integers(len(pairs)))]
            rows = [patch_of(part, seen, target, where) for where in part.windows(BATCH, PATCH)]
            x, y, weight = (torch.from_numpy(np.stack(c)).to(device_of(network)) for c in zip(*rows, strict=True))
            residual, _ = network(x[:, None], x.new_full((len(x),), flag))
            loss = (weight * (x - residual[:, 0] - y).square()).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            done += 1
            keep = min(AVERAGE, done / (done + 10))
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value.detach(), 1 - keep)
    network.load_state_dict(average)
    return done


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def patch_of(part: Recorrupted, seen: Array, target: Array, where: tuple[slice, ...]) -> list[Array]:
    """Input, target and weight, extended to multiples of 8; the weight is 0 where the image is kept from learning."""
    weight = np.where(part.held[where[1:]], 0, 1 / part.scale[where] ** 2)
    return [fill(a[where], mode) for a, mode in ((seen, "symmetric"), (target, "symmetric"))] + [
        fill(weight, "constant")
    ]


def fill(array: Array, mode: str) -> Array:
    missing = [(0, (-n % MULTIPLE)) for n in array.shape]
    return np.pad(array, missing, mode).astype(np.float32)


def answer_of(network: nn.Module, image: Array, flag: float) -> Array:
    """What the network makes of the image, (k, j, i) float32."""
    x: Tensor = torch.from_numpy(fill(image, "symmetric")).to(device_of(network))[None, None]
    with torch.no_grad():
        residual, _ = network(x, x.new_full((1,), flag))
    inside = tuple(slice(n) for n in image.shape)
    return image - residual[0, 0].cpu().numpy()[inside]
