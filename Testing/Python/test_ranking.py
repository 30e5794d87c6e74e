"""The estimate of the error without a reference, against the error itself."""

import numpy as np
import pytest
from conftest import phantom
from scipy import ndimage

from DLReconLib.metrics import tissue_mask
from DLReconLib.quality.ranking import error_left

SIGMA = 20.0


@pytest.fixture(scope="module")
def images():
    truth = phantom((20, 60, 60)) + 300
    return truth, truth + np.random.default_rng(3).normal(0, SIGMA, truth.shape).astype(np.float32)


def test_untouched_image_keeps_its_noise(images):
    _truth, noisy = images
    assert error_left(noisy, noisy, SIGMA, SIGMA) == SIGMA


def test_truth_has_no_error(images):
    truth, noisy = images
    assert error_left(noisy, truth, SIGMA, 0.0) < 0.15 * SIGMA


@pytest.mark.parametrize("width", [0.8, 1.2, 2.0])
def test_blur_that_takes_anatomy_along_is_found_out(images, width):
    """What is left of white noise after a Gaussian of this width is known; the rest of the error is lost image."""
    truth, noisy = images
    blurred = ndimage.gaussian_filter(noisy, width)
    noise = ndimage.gaussian_filter(noisy - truth, width).std()
    tissue = tissue_mask(ndimage.uniform_filter(noisy, 3))
    error = float(np.std((blurred - truth)[tissue]))
    assert error_left(noisy, blurred, SIGMA, float(noise)) == pytest.approx(error, rel=0.1)


def test_shapes_must_agree(images):
    with pytest.raises(ValueError, match="wanted the same shape"):
        error_left(images[0], images[1][1:], 1.0, 1.0)
