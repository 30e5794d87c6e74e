"""Missing slices from their neighbours, weighted as the image itself asks for.

How a slice follows from those around it depends on slice thickness, noise and anatomy; the slices that are there tell:
each of them is predicted from its neighbours by least squares, and the missing one with the weights found (Wiener
interpolation with the statistics of the image, after Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary
Time Series", 1949).
"""

import numpy as np
from scipy import ndimage

Array = np.ndarray
REACH = 3  # slices to each side
WIDTHS = (0.0, 0.7, 1.5)  # of Gaussians in the plane, in pixels: distant slices count by what is coarse
LEAST = 3  # slices that have to be there for the fit
PIXELS = 200_000  # looked at in all
RIDGE = 1e-4


def fitted(image: Array, hole: Array) -> dict[int, Array]:
    """The slices that are wholly in the hole, by number, each (j, i) float32, where enough others are wholly known.

    image, hole: (k, j, i); what the image holds inside the hole is not looked at.
    """
    known, missing = ~hole.any((1, 2)), np.flatnonzero(hole.all((1, 2)))
    smooth = {}

    def features(k: int, steps: list[int]) -> Array:
        """(features, pixels): at each distance the sum of what lies on both sides, or what lies on the one."""
        rows = []
        for distance in sorted({abs(s) for s in steps}):
            for width in WIDTHS:
                parts = []
                for step in (s for s in steps if abs(s) == distance):
                    place = (k + step, width)
                    if place not in smooth:
                        smooth[place] = ndimage.gaussian_filter(image[k + step], width) if width else image[k + step]
                    parts.append(smooth[place].ravel())
                rows.append(np.mean(parts, 0))
        return np.stack(rows).astype(np.float64)

    def like(k: int) -> tuple[list[int], list[int]]:
        """Steps to known neighbours of a slice on both sides, as far as enough others have them, and these others."""
        for reach in range(REACH, 0, -1):
            steps = [s for s in range(-reach, reach + 1) if 0 <= k + s < len(image) and known[k + s]]
            both = any(s < 0 for s in steps) and any(s > 0 for s in steps)
            alike = [n for n in np.flatnonzero(known) if all(0 <= n + s < len(image) and known[n + s] for s in steps)]
            if both and len(alike) >= LEAST:
                return steps, alike
        return [], []

    answers = {}
    for k in missing:
        steps, alike = like(k)
        if not alike:
            continue
        alike = sorted(alike, key=lambda n: abs(n - k))[:16]
        every = max(1, len(alike) * image[0].size // PIXELS)
        seen = np.concatenate([features(n, steps)[:, ::every] for n in alike], 1)
        wanted = np.concatenate([image[n].ravel()[::every] for n in alike]).astype(np.float64)
        middle = wanted.mean()
        x, y = seen - middle, wanted - middle
        gram = x @ x.T
        weights = np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), x @ y)
        answers[int(k)] = (middle + weights @ (features(k, steps) - middle)).reshape(image.shape[1:]).astype(np.float32)
    return answers
