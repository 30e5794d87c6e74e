"""What is wrong with CT slices, by the signs that the geometry of the scanner leaves in them.

Images are (k, j, i) float32, attenuation relative to water's, that is HU / 1000 + 1.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft, ndimage

from DLReconLib.networks.rings import find_centre, ring_energy

Array = np.ndarray
DIRECTIONS = 2048
SPOKES = 30.0  # clean slices have up to 23, those with 60 to 200 views hundreds
RINGS = 3.0  # clean slices have up to 2.8, but where anatomy is round about the centre; so
FAINT = 0.0039**2  # rings below 4 HU are none
LOOKED_AT = 12  # slices
BODY = 0.5
FEWEST, MOST = 24, 450  # views


def spokes(slice_: Array) -> tuple[float, int]:
    """How clearly the spectrum of a (j, i) slice has the spokes of few views, and how many there are.

    A projection measures the spectrum along a line through its origin (the Fourier slice theorem, Kak & Slaney 1988,
    section 3.2); between the lines of few views there is next to nothing. Returned are the highest peak of the
    spectrum of the logarithmic power over the angle, relative to the median about it, and its frequency in half a
    turn.
    """
    height, width = slice_.shape
    size = max(height, width, 64)
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    spectrum = fft.fftshift(fft.fft2((slice_ - slice_.mean()) * window, (2 * size, 2 * size)))
    power = np.log(np.abs(spectrum) ** 2 + 1e-12)
    angle = np.arange(DIRECTIONS) * (np.pi / DIRECTIONS)
    radius = np.arange(0.15, 0.45, 0.5 / size)[:, None] * (2 * size)
    lines = ndimage.map_coordinates(power, (size + radius * np.sin(angle), size + radius * np.cos(angle)), order=1)
    profile = lines.mean(0)
    profile -= ndimage.uniform_filter1d(profile, 64, mode="wrap")
    beats = np.abs(fft.rfft(profile))[FEWEST:MOST] ** 2
    clear = beats / (ndimage.median_filter(beats, 41) + 1e-12)
    best = int(clear.argmax())
    return float(clear[best]), FEWEST + best


def ring_prominence(slice_: Array, centre: tuple[float, float]) -> float:
    """How much stronger the rings of a (j, i) slice about a centre are than those about eight points around it; 0 for
    faint ones."""
    strength = ring_energy(slice_, centre)
    if strength < FAINT:
        return 0.0
    far = 0.2 * min(slice_.shape)
    others = [
        ring_energy(slice_, (centre[0] + far * np.sin(a), centre[1] + far * np.cos(a)))
        for a in np.arange(8) * (np.pi / 4)
    ]
    return strength / (float(np.median(others)) + 1e-9)


def name_artifact(image: Array, metal: Array, told: Callable[[float], None]) -> tuple[str, dict]:
    """What is there: "metal", "streak", "ring" or "none", and what tells so: {"confidence": share of the slices that
    show it, or that show nothing}, and of streaks the number of "views".

    Metal is what find_metal() gave; streaks and rings must be seen in half of the slices, of which 12 are looked at.
    """
    if metal.any():
        return "metal", {"confidence": 1.0}
    seen = np.flatnonzero(np.mean(image > BODY, (1, 2)) > 0.05)
    seen = seen if len(seen) else np.arange(len(image))
    seen = seen[np.unique(np.linspace(0, len(seen) - 1, LOOKED_AT).astype(int))]
    centre, found = find_centre(image), []
    for number, k in enumerate(seen):
        told(number / len(seen))
        found.append((*spokes(image[k]), ring_prominence(image[k], centre)))
    clear, views, rings = np.array(found).T
    shares = {"streak": float(np.mean(clear > SPOKES)), "ring": float(np.mean(rings > RINGS))}
    name = max(shares, key=shares.get)
    if shares[name] < 0.5:
        return "none", {"confidence": round(1 - shares[name], 3)}
    more = {"views": int(np.median(views[clear > SPOKES]))} if name == "streak" else {}
    return name, {"confidence": round(shares[name], 3)} | more
