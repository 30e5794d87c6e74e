"""The soft edge of a mask: nothing outside, everything deep inside, a straight line between."""

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib import Volume, reconstruct


@pytest.fixture(scope="module")
def results():
    volume = noisy_phantom("MR")
    inside = np.zeros(volume.array.shape, np.uint8)
    inside[3:17, 8:36, 6:32] = 1
    mask = Volume(inside, volume.geometry)
    options = {"mask": mask, "model": "classical/gaussian"}
    return volume.array, inside, *(reconstruct(volume, feather=f, **options).volume.array for f in (0.0, 5.0))


def test_nothing_outside_everything_deep_inside(results):
    source, inside, hard, soft = results
    assert np.array_equal(soft[inside == 0], source[inside == 0])
    # Five millimetres from every face: spacing is (0.8, 1.1, 2.9) mm along i, j, k.
    deep = (slice(4, 16), slice(12, 32), slice(12, 26))
    np.testing.assert_allclose(soft[deep], hard[deep], rtol=1e-5)


def test_straight_line_at_the_edge(results):
    source, _inside, hard, soft = results
    k, j = 10, 22
    for i in range(6, 12):
        share = min(1.0, 0.8 * (i - 5) / 5.0)
        wanted = source[k, j, i] + share * (hard[k, j, i] - source[k, j, i])
        assert soft[k, j, i] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("feather", [-1.0, float("nan"), float("inf")])
def test_impossible_width(feather):
    with pytest.raises(ValueError, match="feather"):
        reconstruct(noisy_phantom("MR"), model="classical/gaussian", feather=feather)
