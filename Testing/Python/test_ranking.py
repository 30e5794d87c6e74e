"""The estimate of the error without a reference, against the error itself."""

import numpy as np
import pytest
from conftest import phantom
from scipy import ndimage, stats

from DLReconLib import reconstruct
from DLReconLib.quality.ranking import error_left, probe
from DLReconLib.volume import Volume

SIGMA, SPACING = 20.0, (1.0, 1.0, 1.0)


def clean():
    return ndimage.gaussian_filter(phantom((20, 60, 60)), (0, 0.6, 0.6)) + 300


@pytest.fixture(scope="module")
def images():
    truth = clean()
    return truth, truth + np.random.default_rng(3).normal(0, SIGMA, truth.shape).astype(np.float32)


def estimate(noisy, method):
    drawn = probe(noisy, SPACING)
    return error_left(noisy, method(noisy), method(drawn.disturbed(noisy)), drawn), drawn


def test_the_noise_is_found_and_drawn_again(images):
    drawn = probe(images[1], SPACING)
    assert drawn.sigma == pytest.approx(SIGMA, rel=0.2)  # the phantom has edges in every plane
    assert drawn.noise.std() == pytest.approx(drawn.sigma, rel=0.02)
    assert drawn.white
    assert np.array_equal(drawn.noise, probe(images[1], SPACING).noise)


def test_the_colour_of_the_noise_is_drawn_again():
    def neighbours(a):
        return float(np.mean(a[:, :, 1:] * a[:, :, :-1]) / np.mean(a**2))

    noise = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((16, 96, 96)), (0, 0.8, 0.8))
    drawn = probe((500 + SIGMA * noise / noise.std()).astype(np.float32), SPACING)
    assert not drawn.white
    assert drawn.sigma == pytest.approx(SIGMA, rel=0.15)
    assert neighbours(drawn.noise) == pytest.approx(neighbours(noise), abs=0.05)


def test_untouched_image_keeps_its_noise(images):
    error, drawn = estimate(images[1], lambda image: image)
    assert error == pytest.approx(drawn.sigma, rel=0.02)


@pytest.mark.parametrize("width", [0.5, 0.8, 1.2, 2.0])
def test_a_linear_filter(images, width):
    """Noise that is left and image that was lost, together."""
    truth, noisy = images

    def blur(image):
        return ndimage.gaussian_filter(image, width)

    error, drawn = estimate(noisy, blur)
    assert error == pytest.approx(float((blur(noisy) - truth)[drawn.tissue].std()), rel=0.15)


def test_only_the_region_counts(images):
    _truth, noisy = images
    mask = np.zeros(noisy.shape, np.uint8)
    mask[:, 20:40, 20:40] = 1
    drawn = probe(noisy, SPACING, mask)
    assert drawn.tissue.any()
    assert not drawn.tissue[mask == 0].any()


@pytest.mark.parametrize("kind", ["gauss", "rice", "blurred"])
@pytest.mark.parametrize("level", [15, 50])
def test_methods_come_in_the_order_of_their_true_errors(kind, level):
    rng, truth = np.random.default_rng(level), clean() - 300 + 50
    noise = rng.normal(0, level, (2, *truth.shape))
    if kind == "blurred":
        noise = ndimage.gaussian_filter(noise, (0, 0, 0.6, 0.6))
        noise *= level / noise.std()
    noisy = (np.hypot(truth + noise[0], noise[1]) if kind == "rice" else truth + noise[0]).astype(np.float32)
    found, true = [], []
    for model in ("classical/nlm", "classical/tv", "classical/curvature", "classical/median", "classical/gaussian"):

        def method(image, model=model):
            return reconstruct(Volume(image, modality="MR"), model=model, judge=False).volume.array

        error, drawn = estimate(noisy, method)
        found.append(error)
        true.append(float((method(noisy) - truth)[drawn.tissue].std()))
    assert stats.spearmanr(found, true)[0] >= 0.7
    assert true[int(np.argmin(found))] <= 1.15 * min(true)


def test_shapes_must_agree(images):
    drawn = probe(images[1], SPACING)
    with pytest.raises(ValueError, match="wanted the same shape"):
        error_left(images[0], images[1][1:], images[1], drawn)


def test_an_image_without_a_quiet_place_is_not_ranked():
    assert probe(np.zeros((4, 6, 6), np.float32), SPACING) is None
