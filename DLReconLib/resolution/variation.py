"""Total variation where the acquisition leaves the choice: of all images that it maps to the same coarse one, those
with fewer and sharper edges.

Minimises sum sqrt(|grad x|^2 + e^2) over x = base + (1 - P A) d (for TV: Rudin, Osher & Fatemi, Physica D 1992; for its
use in super-resolution: Shi et al., "LRTV", IEEE TMI 2015, without the low-rank term, and with A x = y exactly),
by the accelerated gradient method (Beck & Teboulle, SIAM J. Imaging Sci. 2009). Only numpy is used.
"""

from collections.abc import Callable, Sequence

import numpy as np

from DLReconLib.resolution.acquisition import Acquisition, Array
from DLReconLib.resolution.detail import hidden

LEVELS = ((0.06, 6), (0.04, 8), (0.015, 10))  # e in the unit of the image (about its brightest tissue), and iterations


def variation_gradient(image: Array, edge: float) -> Array:
    """The gradient of sum sqrt(|grad x|^2 + edge^2); forward differences, nothing beyond the faces. float32."""
    found = np.zeros_like(image)
    for start in range(0, len(image), 8):  # slabs stay in the cache
        slab = image[max(0, start - 1) : start + 9]
        flows, norm = [], np.full(slab.shape, np.float32(edge) ** 2, np.float32)
        for n in range(3):
            flow = np.zeros_like(slab)
            here = [slice(None)] * 3
            here[n] = slice(0, -1)
            flow[tuple(here)] = np.diff(slab, axis=n)
            norm += flow * flow
            flows.append(flow)
        np.sqrt(norm, norm)
        first = start - max(0, start - 1)
        stop = min(first + 8, len(slab))
        part = found[start : start + 8]
        for n, flow in enumerate(flows):
            flow /= norm
            part -= flow[first:stop]
            if n == 0:
                begin = 1 - first
                part[begin:] += flow[max(first - 1, 0) : stop - 1]
            else:
                near, far = [slice(None)] * 3, [slice(None)] * 3
                near[n], far[n] = slice(1, None), slice(0, -1)
                part[tuple(near)] += flow[first:stop][tuple(far)]
    return found


def fewer_edges(
    base: Array, acquisition: Acquisition, levels: Sequence[tuple[float, int]] = LEVELS,
    rising: Callable[[float], None] = lambda fraction: None,
) -> list[Array]:  # fmt: skip
    """What is to be added to the base, the consistent spline (k, j, i), after each of the levels; float32."""
    answers, image, done = [], base, 0
    total = sum(count for _, count in levels)
    for edge, count in levels:
        ahead, weight = image, 1.0
        for _ in range(count):
            rising(done / total)
            # The second derivative of each of the three terms is at most 4 / edge.
            moved = ahead - np.float32(edge / 12) * hidden(acquisition, variation_gradient(ahead, edge))
            after = (1 + np.sqrt(1 + 4 * weight**2)) / 2
            ahead = moved + np.float32((weight - 1) / after) * (moved - image)
            image, weight, done = moved, after, done + 1
        answers.append(image - base)
    return answers
