"""How a patient moved, line by line of k-space, told from slices and from what networks expect of them.

A patient who lay d = (d_j, d_i) pixels aside while the line k was acquired turned its samples by phases alone, so
undoing it is Y(k, k_i) exp(2 pi i (k d_j / J + k_i d_i / I)) (Atkinson et al., IEEE TMI 1997, eq. 1). The magnitude
image has lost which of the lines k and -k was displaced: its spectrum Y has the mean of both. So one displacement is
looked for per pair, in two ways: both lines displaced by d, which turns Y by exp(-i a), a = 2 pi (k d_j / J + k_i d_i /
I); or one of them by 2 d, which makes it X (1 + exp(-2 i a)) / 2 = X exp(-i a) cos a. Rotations are not undone.

In a multi-slice scan all slices see the same movement, so many slices tell it together. explain() asks which
displacements explain a change that is wanted of the slices; follow() goes outwards from the centre of k-space and asks
which displacements make the next lines fit to what is expected of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

REACH, STEP = 6.0, 0.25  # pixels: displacements d that are tried, along both axes
# How much of the right change a network dares. Below a fifth, lines that it merely weakens look displaced.
SHARES = (0.2, 0.4, 0.8)
STAYS = 0.8  # chance that the next line has the displacement of this one
DAMPING = 0.15  # share of noise with which a line is divided by cos a, as by a Wiener filter
STILL = 0.9  # chance that a line that follows is not displaced, where it does not have the displacement of the last
FIRST, BEGIN = 4, 0.03  # lines that count as not displaced: at least so many, and this share
GROWTH, WIDER = 1.25, 1.5  # from one part of k-space to the next, and to what is predicted
ANCHOR = 1000.0  # the most that a line counts, times the square of its share of the lines: drifts begin near the centre
NOISE = 0.15  # least share of a line's power that a prediction misses
WEIGHT = 0.3  # of a sample: neighbours, and slices of one patient, err alike
TINY = 1e-12


def series(wave: Callable[[np.ndarray], np.ndarray], smooth: bool) -> dict[int, float]:
    """exp(i a) wave(a), of an even wave with odd harmonics, as a sum of coefficients times exp(i n a), by n; smooth:
    with Lanczos factors against ringing."""
    a, found = np.arange(4096) * (2 * np.pi / 4096), {}
    for m in (1, 3, 5):
        half = float((wave(a) * np.cos(m * a)).mean()) * (np.sinc(m / 7) if smooth else 1)
        found[1 + m], found[1 - m] = half, half
    return found


# What undoes a displacement, t(a) as a sum over n of coefficients times exp(i n a); and with |t| = 1, which is enough
# to recognise it.
WAYS = ({1: 1.0}, series(lambda a: np.cos(a) / (np.cos(a) ** 2 + DAMPING), False))
SIGNED = ({1: 1.0}, series(lambda a: np.sign(np.cos(a)), True))


@dataclass(frozen=True)
class Explanation:
    """factors: (lines, i) complex64, what the lines 0, 1, ... of the half spectrum along j are to be multiplied with;
    the less is known of the displacement, the nearer to 1. evidence: log-likelihood of the displacements above that of
    none."""

    factors: Tensor
    evidence: float


@lru_cache(16)
def turns(height: int, width: int) -> tuple[Tensor, Tensor]:
    """exp(i a) of displacements from -REACH to REACH: along j (lines, shifts) and along i (i, shifts), complex64."""
    shifts = np.arange(-REACH, REACH + STEP / 2, STEP)
    along = np.exp(2j * np.pi * np.outer(np.arange(height // 2 + 1) / height, shifts))
    across = np.exp(2j * np.pi * np.outer(np.fft.fftfreq(width), shifts))
    return torch.from_numpy(along.astype(np.complex64)), torch.from_numpy(across.astype(np.complex64))


def total(samples: Tensor, parts: dict[int, float], along: Tensor, across: Tensor) -> Tensor:
    """Real part of the sum over k_i of samples (lines, i) times the sum over n of parts times exp(i n a): (lines,
    shifts along j, shifts along i)."""
    return sum(p * (along.pow(n)[:, :, None] * (samples @ across.pow(n))[:, None]).real for n, p in parts.items())


def factors_of(chances: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """The mean of WAYS over chances (lines, WAYS, shifts, shifts), and what is missing to 1: (lines, i)."""
    factors = torch.zeros((), dtype=along.dtype)
    for number, way in enumerate(WAYS):
        for n, part in way.items():
            told = along.pow(n)[:, None] @ chances[:, number].to(along.dtype)
            factors = factors + part * (told[:, 0] @ across.pow(n).T)
    return factors + (1 - factors.abs()).clamp(min=0)


def explain(slices: Tensor, changes: Tensor) -> Explanation:
    """Displacements, the same for all slices, that explain the changes that are wanted of them; both (n, j, i) float32,
    lines of k-space along j."""
    along, across = turns(*slices.shape[1:])
    found = sum(likelihoods(s, c, along, across) for s, c in zip(slices, changes, strict=True))
    found = found.logsumexp(1) - np.log(len(SHARES))
    chances, evidence, _ = smoothed(found.flatten(1), torch.full((found[0].numel(),), 1 / found[0].numel()))
    return Explanation(factors_of(chances.reshape(found.shape), along, across), evidence)


def likelihoods(slice_: Tensor, change: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """(lines, SHARES, WAYS, shifts, shifts): log-likelihood of change = share (t - 1) slice + white noise of unknown
    strength, line by line, above that of a line that is not displaced, but may have been weakened by as much as
    explains it best."""
    lines, width, still = len(along), slice_.shape[1], along.shape[1] // 2
    spectrum, wanted = torch.fft.fft2(slice_)[:lines], torch.fft.fft2(change)[:lines]
    crossed, power = wanted.conj() * spectrum, spectrum.abs().square().to(along.dtype)
    alike, energy, unexplained = (x.sum(1).real for x in (crossed, power, wanted.abs().square()))
    unexplained = unexplained + TINY
    weaker = alike.clamp(max=0).square() / ((energy + TINY) * unexplained)
    agreement, size = [], []
    for way in WAYS:
        less, squared = {**way, 0: way.get(0, 0.0) - 1}, {}
        for n, p in less.items():
            for m, q in less.items():
                squared[abs(n - m)] = squared.get(abs(n - m), 0.0) + p * q
        agreement.append(total(crossed, less, along, across))
        size.append(total(power, squared, along, across).clamp(min=0))
    share = torch.tensor(SHARES)[None, :, None, None, None]
    gained = 2 * share * torch.stack(agreement, 1)[:, None] - share**2 * torch.stack(size, 1)[:, None]
    left = 1 - gained / unexplained[:, None, None, None, None]
    alone = (1 - weaker)[:, None, None, None, None]
    left[..., still, still] = alone[..., 0, 0]
    return width * (alone.clamp(min=1e-3).log() - left.clamp(min=1e-3).log())


def smoothed(found: Tensor, jumps: Tensor, begin: Tensor | None = None) -> tuple[Tensor, float, Tensor]:
    """A hidden Markov chain that stays in its state or jumps to any, by the forward-backward algorithm (Rabiner, Proc.
    IEEE 1989, eqs. 19 to 27).

    found: log-likelihood (lines, states); jumps: chances of the states after a jump; begin: chances before the first
    line. Returns the chances (lines, states), the log-likelihood of all, and the chances as the last line leaves them.
    """
    top = found.amax(1, keepdim=True)
    seen, evidence, forward = (found - top).exp(), float(top.sum()), []
    before = jumps if begin is None else STAYS * begin + (1 - STAYS) * jumps
    for now in seen:
        now = now * before
        sum_ = now.sum()
        evidence += float(sum_.log())
        forward.append(now / sum_)
        before = STAYS * forward[-1] + (1 - STAYS) * jumps
    behind, chances = torch.ones_like(jumps), []
    for now, mine in zip(seen.flip(0), reversed(forward), strict=True):
        mine = mine * behind
        chances.append(mine / mine.sum())
        heard = now * behind
        behind = STAYS * heard + (1 - STAYS) * (jumps * heard).sum()
        behind = behind / behind.mean()
    return torch.stack(chances[::-1]), evidence, forward[-1]


def follow(slices: Tensor, predict: Callable[[Tensor], Tensor], trust: float) -> Tensor:
    """Displacements, the same for all slices, from the centre of k-space outwards: factors (lines, i).

    slices: (n, j, i) float32, lines of k-space along j.
    predict: gets the slices on a coarse grid (n, 2 m, i), of which the inner lines are known and the outer ones 0, and
    adds what it expects of these. trust: the most that a line may count, in units of log-likelihood: what is expected
    errs in the same way for all samples of a line.
    """
    height, width = slices.shape[1:]
    along, across = turns(height, width)
    last, shifts = len(along) - 1, along.shape[1]
    spectrum = torch.fft.fft2(slices)[:, : last + 1]
    factors = torch.ones(last + 1, width, dtype=along.dtype)
    jumps = torch.full((len(WAYS) * shifts**2,), (1 - STILL) / (len(WAYS) * shifts**2))
    jumps[shifts**2 // 2] += STILL
    known, chances = max(FIRST, round(BEGIN * (last + 1))), None
    while known < last:
        end = min(max(known + 2, round(GROWTH * known)), last)
        size = 2 * min(max(known + 2, round(WIDER * known)), last)
        lines = torch.zeros(len(slices), size // 2 + 1, width, dtype=along.dtype)
        lines[:, :known] = torch.fft.ifft(spectrum[:, :known] * factors[:known])
        coarse = torch.fft.irfft(lines, size, dim=1) * (size / height)
        expected = torch.fft.fft(torch.fft.rfft(predict(coarse), dim=1)[:, known:end] * (height / size))
        own, turn = spectrum[:, known:end], along[known:end]
        power, told = around(own), around(expected)
        missed = torch.maximum(power - told, NOISE * power) + TINY
        crossed = (expected.conj() * own / missed).sum(0)
        found = 2 * WEIGHT * torch.stack([total(crossed, way, turn, across) for way in SIGNED], 1)
        most = (ANCHOR * (torch.arange(known, end) / last) ** 2).clamp(max=trust)[:, None, None, None]
        found = found * (most / found.amax((1, 2, 3), keepdim=True).clamp(min=TINY)).clamp(max=1)
        part, _, chances = smoothed(found.flatten(1), jumps, chances)
        factors[known:end] = factors_of(part.reshape(found.shape), turn, across)
        known = end
    return factors


def around(samples: Tensor) -> Tensor:
    """Mean power of samples (n, lines, i) over the slices, half of it over the lines, too, and over neighbours along
    i."""
    power = samples.abs().square().mean(0)
    weights = torch.hann_window(13, periodic=False)[1:-1]
    power = functional.pad(power[:, None], (5, 5), mode="circular")
    power = functional.conv1d(power, (weights / weights.sum())[None, None])[:, 0]
    return (power + power.mean(0)) / 2


def turned(slices: Tensor, factors: Tensor) -> Tensor:
    """The slices (n, j, i) with their lines multiplied by factors (lines, i)."""
    height, width = slices.shape[1:]
    half = torch.fft.rfft2(slices.transpose(1, 2)).transpose(1, 2) * factors
    return torch.fft.irfft2(half.transpose(1, 2), (width, height)).transpose(1, 2)
