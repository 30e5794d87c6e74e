"""A denoiser that learns from the given image alone, within a time budget.

The noise is found first (noise_spectrum.py), pairs are made of the image and drawn noise (recorrupted.py), and a small
network learns what to add to the answer of the cosine filter.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from DLReconLib.networks.context import Context
from DLReconLib.networks.cosine import cosine_filter
from DLReconLib.networks.noise_spectrum import block_depth, find_noise
from DLReconLib.networks.recorrupted import Recorrupted, middle
from DLReconLib.networks.slice_unet import SliceUNet

Array = np.ndarray
BATCH, PATCH = 4, 64
PAIRS = 8
LEARNED = (24, 320, 320)  # of a larger image the middle is learned from
WIDE = 31  # pixels over which the mean is taken from what the network sees
AVERAGE = 0.99  # of the averaged weights
CORRELATED = 0.2  # lag-1 autocorrelation; what is found of white noise stays below
IMPOSSIBLE = -0.03  # an error is not negative: the noise is not as it was found, and was learned
NOTHING = 1e-6  # of the range: less is no noise


class SelfSupervised(nn.Module):
    """See restore().

    Args:
        channels: of the SliceUNet.
        rate: learning rate.
        steps: the most steps; 0: one for 100 voxels, at least 200 and at most 4000.
    """

    def __init__(self, channels: Sequence[int] = (32, 48, 64), rate: float = 2e-3, steps: int = 0) -> None:
        super().__init__()
        self.channels, self.rate, self.steps = tuple(channels), rate, steps

    def restore(self, image: Array, context: Context) -> Array:
        """The image (k, j, i) float32, any unit, without the noise that was found.

        It takes about context.budget seconds, less where all steps are made; the same number of steps gives the same
        answer. On squares that are kept from learning, the image as it is, the cosine filter and the network are
        compared, and the best is given; the network never where its error would be negative. Correlated noise is left
        to the cosine filter: the slightest error in its spectrum is learned, too. Notes: {"noise", "correlation",
        "steps", "risk": {...}, "given"}; see Recorrupted.risk.
        """
        # What calls this computes without gradients.
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Learning(self, image, context).run()


class Learning:
    """One image and what is learned of it."""

    def __init__(self, plan: SelfSupervised, image: Array, context: Context) -> None:
        self.started, self.plan, self.image, self.context = time.monotonic(), plan, image, context
        self.depth = block_depth(len(image), context.spacing)
        self.device = "cpu" if context.device == "none" else context.device
        self.wanted = context.steps or plan.steps or int(np.clip(image.size / 100, 200, 4000))

    def run(self) -> Array:
        context, notes = self.context, self.context.notes
        context.progress(0.0, "finding the noise")
        noise = find_noise(self.image, self.depth)
        notes |= {"noise": noise.sigma, "correlation": round(noise.correlation, 3)}
        if noise.sigma <= NOTHING * float(np.ptp(self.image)):
            notes |= {"steps": 0, "given": "input"}
            return self.image
        front = cosine_filter(self.image, noise)
        filtering = self.seconds()
        part = Recorrupted(np.ascontiguousarray(self.image[middle(self.image.shape, LEARNED)]), noise)
        if noise.correlation > CORRELATED:
            return self.filtered(part, front)
        pairs = [self.pair(part, number) for number in range(PAIRS)]
        seen, filtered, target = pairs.pop(0)  # of which nothing is learned
        network, steps = self.learn(part, pairs, filtering)
        risk = {"input": 1.0, "cosine filter": part.risk(filtered, target)}
        risk["network"] = part.risk(self.apply(network, seen, filtered, part.scale), target)
        possible = [name for name, value in risk.items() if name != "network" or value > IMPOSSIBLE]
        given = min(possible, key=risk.__getitem__)
        notes |= {"steps": steps, "risk": {k: round(v, 4) for k, v in risk.items()}, "given": given}
        if given == "network":
            return self.apply(network, self.image, front, noise.levels(self.image) * np.float32(noise.sigma))
        return front if given == "cosine filter" else self.image

    def filtered(self, part: Recorrupted, front: Array) -> Array:
        """The answer of the cosine filter, or the image where that is better by the error to expect."""
        _, filtered, target = self.pair(part, 0)
        risk = {"input": 1.0, "cosine filter": part.risk(filtered, target)}
        given = min(risk, key=risk.__getitem__)
        self.context.notes |= {"steps": 0, "risk": {k: round(v, 4) for k, v in risk.items()}, "given": given}
        return front if given == "cosine filter" else self.image

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def pair(self, part: Recorrupted, number: int) -> tuple[Array, Array, Array]:
        """The image with more noise, its answer of the cosine filter, and the target."""
        self.context.progress(0.05 + 0.1 * number / PAIRS, "making pairs")
        seen, target = part.draw()
        return seen, cosine_filter(seen, part.noise_of_seen), target

    def maps(self, seen: Array, front: Array, scale: Array) -> tuple[Array, Array]:
        """What the network is told of, (k, j, i) in deviations of the noise: what the filter removed, and the detail
        that it left."""
        smooth = ndimage.uniform_filter(front, (0, WIDE, WIDE), mode="nearest")
        return (seen - front) / scale, (front - smooth) / scale

    def channels(self, maps: tuple[Array, Array], where: tuple[slice, ...]) -> Array:
        """Both maps of one slice and of its neighbours, (C, j, i)."""
        k, most = where[0].start, len(maps[0]) - 1
        ks = [min(max(k + d, 0), most) for d in ((0, -1, 1) if self.depth > 1 else (0,))]
        return np.stack([a[n][where[1:]] for n in ks for a in maps])

    def learn(self, part: Recorrupted, pairs: list, filtering: float) -> tuple[SliceUNet, int]:
        """The averaged network and how many steps were made. The network is small enough to be asked at the end in
        about the time that the filter took."""
        network = SliceUNet((), self.plan.channels, 6 if self.depth > 1 else 2).to(self.device)
        average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        optimizer = torch.optim.Adam(network.parameters(), self.plan.rate, betas=(0.9, 0.99))
        told = [(self.maps(seen, front, part.scale), (front - target) / part.scale) for seen, front, target in pairs]
        begun, done = self.seconds(), 0
        limit = max(0.9 * self.context.budget - filtering, begun)
        while done < self.wanted and (self.context.steps or self.seconds() < limit or done == 0):
            spent = done / self.wanted
            if not self.context.steps:
                spent = max(spent, (self.seconds() - begun) / max(limit - begun, 1e-3))
            self.context.progress(0.15 + 0.7 * min(1.0, spent), f"learning, step {done + 1}")
            x, y, w = (torch.from_numpy(a).to(self.device) for a in self.batch(part, told, network.multiple))
            loss = (w * (network(x)[0] - y).square()).sum() / w.sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            done += 1
            keep = min(AVERAGE, done / (done + 10))
            for name, value in network.state_dict().items():
                average[name].lerp_(value.detach(), 1 - keep)
        network.load_state_dict(average)
        return network.eval(), done

    def batch(self, part: Recorrupted, told: list, multiple: int) -> tuple[Array, Array, Array]:
        """Patches, what is to be taken from the filter's answer, and weights (0 where the image is kept from
        learning), flipped alike at random."""
        sides = [min(PATCH, -(-n // multiple) * multiple) for n in part.image.shape[1:]]
        rows = []
        for where in part.windows(BATCH, (1, *sides)):
            maps, surplus = told[part.rng.integers(len(told))]
            inside = where[1:]
            row = [self.channels(maps, where), surplus[where], ~part.held[inside][None]]
            row = [filled(np.asarray(a, np.float32), sides) for a in row]
            row[2] *= inside_of(sides, part.held[inside].shape)
            for flip in (np.s_[..., ::-1], np.s_[..., ::-1, :]):
                row = [a[flip] for a in row] if part.rng.random() < 0.5 else row
            if sides[0] == sides[1] and part.rng.random() < 0.5:
                row = [a.swapaxes(1, 2) for a in row]
            rows.append(row)
        return tuple(np.ascontiguousarray(np.stack(column)) for column in zip(*rows, strict=True))

    def apply(self, network: SliceUNet, seen: Array, front: Array, scale: Array) -> Array:
        """The network over whole slices, mean of two flips; in the unit of the image."""
        output, told = np.empty_like(seen), self.maps(seen, front, scale)
        height, width = seen.shape[1:]
        sides = [-(-n // network.multiple) * network.multiple for n in (height, width)]
        with torch.no_grad():
            for k in range(len(seen)):
                self.context.progress(0.85 + 0.15 * k / len(seen), f"slice {k + 1} of {len(seen)}")
                maps = self.channels(told, (slice(k, k + 1), slice(None), slice(None)))
                x = torch.from_numpy(filled(maps, sides)).to(self.device)[None]
                removed = (network(x)[0] + network(x.flip(3))[0].flip(3)) / 2
                output[k] = front[k] - removed[0, 0, :height, :width].cpu().numpy() * scale[k]
        return output


def filled(array: Array, sides: Sequence[int]) -> Array:
    """(C, j, i) mirrored up to the sides asked for, where it is smaller."""
    missing = [s - n for s, n in zip(sides, array.shape[1:], strict=True)]
    return np.pad(array, ((0, 0), (0, missing[0]), (0, missing[1])), "symmetric")


def inside_of(sides: Sequence[int], shape: Sequence[int]) -> Array:
    """1 where the image is, 0 where it was mirrored."""
    return np.pad(np.ones(shape, np.float32), [(0, s - n) for s, n in zip(sides, shape, strict=True)])
