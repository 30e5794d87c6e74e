"""Classical repairs of MR slices in and around k-space: Gibbs ringing by local shifts, spikes by their stripes."""

import numpy as np
from scipy import fft, ndimage, signal

from DLReconLib.networks.context import Context

Array = np.ndarray
STEPS = 8  # shifts tried within half a pixel
# A shift has to bring the differences below this part of what they are without: ringing falls far, texture does not,
# and is left alone. Chosen on validation images (0.2 to 1 dB better than 1 in every one of their cases).
CALMER = 0.3
WINDOW = 3  # differences taken into account on each side, the nearest left out
OUTLIER = 1.9  # of the logarithm of an amplitude above its surroundings
MOST = 24  # spikes of a slice
ROUNDS = 4  # of looking for spikes
WEAKER = 0.4  # spikes weaker than this part of the strongest wait for the next round
ITERATIONS = 5
ENOUGH = 10000  # gradients for a fit
EDGE = 1.55  # amplitude before the edge of zero-filled k-space over that beyond it


def acquired_share(slices: Array, axis: int) -> float:
    """Which part of k-space along an axis of (k, j, i) was acquired, the rest being zero-filled: 0.4 to 1.

    The edge is where the amplitude of the lines falls at once, EDGE times more than it falls anyway with the
    frequency, and stays low: it need not be zero beyond, because the magnitude of ringing around zero puts some energy
    there.
    """
    spectrum = np.abs(fft.rfft(slices, axis=axis)) ** 2
    power = np.sqrt(spectrum.mean(tuple(a for a in range(3) if a != axis))) + 1e-6 * float(np.abs(slices).max()) + 1e-30
    count, width = len(power), max(3, len(power) // 16)
    best, found = EDGE, 1.0
    for edge in range(max(width + 1, int(0.4 * count)), count - 2):
        inside = np.median(power[edge - width : edge])
        usual = ((edge + 1 + width / 2) / (edge - width / 2)) ** 1.5
        drop = inside / np.median(power[edge + 1 : edge + 1 + width]) / usual
        if drop > best and inside > EDGE * np.median(power[edge + 1 :]):
            best, found = drop, edge / count
    return found


def shifted(slices: Array, offsets: Array, axis: int) -> list[Array]:
    """The slices at x + offset, by the Fourier shift theorem, along an axis of (k, j, i)."""
    count = slices.shape[axis]
    spectrum = fft.rfft(slices, axis=axis)
    shape = [1, 1, 1]
    shape[axis] = -1
    f = fft.rfftfreq(count).reshape(shape)
    return [fft.irfft(spectrum * np.exp(2j * np.pi * f * o), count, axis) for o in offsets]


def unring_axis(slices: Array, axis: int) -> Array:
    """Local subvoxel shifts along one axis of (k, j, i) float64 (Kellner et al., MRM 2016, section "1D").

    At every pixel that shift of the sampling grid, of at most half a pixel, is taken at which the absolute differences
    on one side of it are least, if they fall far (CALMER, not in the paper): there the grid meets the zeros of the
    ringing. The value at the pixel is interpolated linearly between the two nearest of the shifted samples.
    """
    images = shifted(slices, np.arange(-STEPS, STEPS + 1) / (2 * STEPS), axis)
    best = np.full(slices.shape, np.inf)
    output, still = slices.copy(), best
    for tried in sorted(range(-STEPS, STEPS + 1), key=abs):  # no shift where nothing is gained by one
        image = images[tried + STEPS]
        change = np.abs(image - np.roll(image, 1, axis))  # between a pixel and the one before
        left = sum(np.roll(change, n, axis) for n in range(1, WINDOW))
        right = sum(np.roll(change, -n, axis) for n in range(2, WINDOW + 1))
        variation = np.minimum(left, right)
        still = variation if tried == 0 else still
        better = variation < (best if tried == 0 else np.minimum(best, CALMER * still))
        share = abs(tried) / (2 * STEPS)
        value = (1 - share) * image + share * np.roll(image, 1 if tried > 0 else -1, axis)
        output = np.where(better, value, output)
        best = np.where(better, variation, best)
    return output


def unring(slices: Array, shares: tuple[float, float] = (1.0, 1.0)) -> Array:
    """Both directions of slices (k, j, i) on the grid of their acquisition, of which `shares` (j, i) of the present
    one were sampled. The spectrum is split by G_j = (1 + cos k_i) / (2 + cos k_j + cos k_i) and its counterpart, so
    that each part rings along one axis only (the paper, section "2D")."""
    native = slices.astype(float)
    for axis, share in zip((1, 2), shares, strict=True):
        if share < 1:
            native = signal.resample(native, max(8, int(np.ceil(share * slices.shape[axis]))), axis=axis)
    height, width = native.shape[1:]
    cj = 1 + np.cos(2 * np.pi * fft.fftfreq(height))[:, None]
    ci = 1 + np.cos(2 * np.pi * fft.rfftfreq(width))[None]
    spectrum = fft.rfft2(native, axes=(1, 2))
    first = fft.irfft2(spectrum * ((ci + 1e-6) / (cj + ci + 2e-6)), (height, width), axes=(1, 2))
    output = unring_axis(first, 1) + unring_axis(native - first, 2)
    for axis, share in zip((1, 2), shares, strict=True):
        if share < 1:
            output = signal.resample(output, slices.shape[axis], axis=axis)
    return output.astype(np.float32)


def acquired_shares(slices: Array) -> tuple[float, float]:
    """acquired_share() along j and i; 1 along axes too short to tell."""
    return tuple(acquired_share(slices, axis) if slices.shape[axis] >= 16 else 1.0 for axis in (1, 2))


def gibbs_shifts(image: Array, context: Context) -> Array:
    """Less Gibbs ringing in (k, j, i), slice by slice, any unit; zero-filling is recognised and taken into account.
    Notes the acquired part of k-space (j, i)."""
    shares = acquired_shares(image)
    context.notes["acquired_share"] = [round(s, 3) for s in shares]
    output = np.empty_like(image, dtype=np.float32)
    for k in range(len(image)):
        context.progress(k / len(image), f"slice {k + 1} of {len(image)}")
        output[k] = unring(image[k : k + 1].astype(np.float32), shares)[0]
    return output


def spike_filter(image: Array, context: Context) -> Array:
    """Spikes of k-space removed from (k, j, i), slice by slice, any unit; slices without spikes stay as they are.
    Notes how many slices had some."""
    output, hit = np.array(image, np.float32), 0
    for k in range(len(image)):
        context.progress(k / len(image), f"slice {k + 1} of {len(image)}")
        output[k], places = without_spikes(output[k])
        hit += len(places) > 0
    context.notes["slices_with_spikes"] = hit
    return output


def kspace_repair(image: Array, context: Context) -> Array:
    """(k, j, i) without spikes or ringing, as context.artifact says. "auto" looks for spikes, which stand out beyond
    doubt, and leaves an image without them as it is: ringing cannot be told from fine structure by a rule. Notes what
    was found."""
    if context.artifact == "gibbs":
        return gibbs_shifts(image, context)
    output = spike_filter(image, context)
    found = context.notes["slices_with_spikes"] > 0
    context.notes |= {"artifact": "spike" if found else "none", "looked_for": ["spike"]}
    return output


def without_spikes(slice_: Array) -> tuple[Array, Array]:
    """The slice (j, i) mended, and the samples (n, 2) of its spectrum that held spikes. The strongest are looked for
    first, since the magnitude makes harmonics of them that vanish with them."""
    places, mended = np.empty((0, 2), int), slice_
    for _ in range(ROUNDS):
        more = find_spikes(mended)
        known = {tuple(p) for p in places}
        more = [p for p in more if tuple(p) not in known]
        if not more or len(places) + len(more) > MOST:
            break
        places = np.concatenate([places, more])
        mended = without_stripes(slice_, places)
    return mended, places


def find_spikes(slice_: Array) -> Array:
    """Samples (n, 2) of the spectrum of (j, i), one of each conjugate pair, that stand out of their surroundings, and
    are not far weaker than the strongest of them.

    The logarithm of the amplitude is compared with its median over the 9 x 9 neighbours and over 15 neighbours along
    j and along i (the lines through the centre are bright in every image): of a Rayleigh distribution one in 10^20 lies
    OUTLIER above its median.
    """
    height, width = slice_.shape
    if min(slice_.shape) < 16:
        return np.empty((0, 2), int)
    spectrum = fft.fft2(slice_ - slice_.mean())
    log = np.log(np.abs(spectrum) + 1e-6 * float(np.abs(spectrum).max()) + 1e-12)
    around = [ndimage.median_filter(log, size, mode="wrap") for size in ((9, 9), (1, 15), (15, 1))]
    excess = log - np.max(around, axis=0)
    fj, fi = fft.fftfreq(height, 1 / height)[:, None], fft.fftfreq(width, 1 / width)[None]
    centre = np.hypot(fj, fi) < 4
    found = (excess > OUTLIER) & ~centre
    if not found.any():
        return np.empty((0, 2), int)
    places = np.argwhere(found)
    number, partner = places @ [width, 1], (-places % slice_.shape) @ [width, 1]
    places = places[(number < partner) | ((number > partner) & ~found[tuple((-places % slice_.shape).T)])]
    if not len(places):
        return places
    strength = np.abs(spectrum[tuple(places.T)])
    return places[strength > WEAKER * strength.max()][:MOST]


def without_stripes(slice_: Array, places: Array) -> Array:
    """(j, i) without the stripe patterns of samples of its spectrum.

    Amplitudes and phases are those at which the gradients of what is left are least in the mean of absolute values
    (iteratively reweighted least squares) where there is signal, so that what the image itself has at these frequencies
    stays. A magnitude image is m = |c + E| with the stripes E complex: c = sqrt(m^2 - Im(E)^2) - Re(E).
    """
    height, width = slice_.shape
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    phases = [2 * np.pi * (a * y / height + b * x / width) for a, b in places]
    stripes = np.stack([f(p) for p in phases for f in (np.cos, np.sin)]).astype(np.float32)
    smooth = ndimage.gaussian_filter(slice_, 2)
    bright = smooth > smooth.mean()

    def gradients(images: Array) -> Array:
        down, right = (bright & np.roll(bright, -1, axis) for axis in (0, 1))
        pair = (np.roll(images, -1, -2) - images)[..., down], (np.roll(images, -1, -1) - images)[..., right]
        both = np.concatenate(pair, axis=-1)
        return both[..., :: 1 + both.shape[-1] // ENOUGH]

    matrix, target = gradients(stripes), gradients(slice_)
    amplitudes = np.zeros(len(stripes), np.float32)
    for _ in range(ITERATIONS):
        left = np.abs(target - amplitudes @ matrix)
        weighted = matrix / (left + 0.3 * np.median(left) + 1e-12)
        square = (weighted @ matrix.T).astype(float)
        square += 1e-6 * np.trace(square) / len(square) * np.eye(len(square))
        amplitudes = np.linalg.solve(square, weighted @ target).astype(np.float32)
    real = np.tensordot(amplitudes, stripes, 1)
    if slice_.min() < 0:
        return slice_ - real
    # Each spike lies at its sample or at the conjugate one: the sign of its imaginary part.
    parts = [
        a * stripes[n + 1] - b * stripes[n]
        for n, (a, b) in zip(range(0, len(stripes), 2), amplitudes.reshape(-1, 2), strict=True)
    ]
    order = np.argsort([-np.abs(p).max() for p in parts], kind="stable")
    imaginary = parts[order[0]]
    for n in order[1:]:
        tried = [_from_magnitude(slice_, real, imaginary + sign * parts[n], (1, 4)) for sign in (1, -1)]
        costs = [np.abs(np.diff(t, axis=0)).mean() + np.abs(np.diff(t, axis=1)).mean() for t in tried]
        imaginary = imaginary + (1 if costs[0] <= costs[1] else -1) * parts[n]
    return _from_magnitude(slice_, real, imaginary)


def _from_magnitude(magnitude: Array, real: Array, imaginary: Array, widths: tuple[int, ...] = (1, 2, 4, 8)) -> Array:
    """c >= 0 of m = |c + E|. Where Re(E) < 0 there are two roots: the one nearer to what the unambiguous pixels around
    say is taken."""
    root = np.sqrt(np.maximum(magnitude**2 - imaginary**2, 0))
    high, low = np.maximum(root - real, 0), np.maximum(-root - real, 0)
    sure = (real >= 0).astype(np.float32)
    total, weight = np.zeros_like(high), np.full_like(high, 1e-9)
    for width in widths:  # the nearest count most
        total += ndimage.gaussian_filter(high * sure, width) / width**3
        weight += ndimage.gaussian_filter(sure, width) / width**3
    around = total / weight
    possible = root < 0.1 * float(np.abs(real).max()) - 1.5 * real
    take_low = (real < 0) & possible & (np.abs(low - around) < np.abs(high - around))
    return np.where(take_low, low, high).astype(np.float32)
