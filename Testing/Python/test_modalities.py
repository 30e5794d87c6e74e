"""Ultrasound, PET, microscopy and time series: the physics against known answers, and what the methods promise."""

import numpy as np
import pytest
from scipy import ndimage

from DLReconLib import reconstruct
from DLReconLib.degradations import counting, speckle, structures
from DLReconLib.models import ZOO
from DLReconLib.networks import despeckle
from DLReconLib.networks.context import Context
from DLReconLib.networks.mppca import FEWEST, marchenko_pastur, mppca, window_for
from DLReconLib.series import reconstruct_series, record_of
from DLReconLib.volume import Geometry, Volume


def series(count: int = 24, level: float = 30.0, shape: tuple = (6, 16, 18), seed: int = 0) -> tuple:
    """Frames of three components, clean and with white noise."""
    rng = np.random.default_rng(seed)
    k, j, i = np.indices(shape)
    maps = np.stack([np.sin(i / 5), np.cos(j / 4), np.sin(k / 2 + j / 7)]) * 200
    clean = (800 + np.einsum("nc,ckji->nkji", rng.standard_normal((count, 3)), maps)).astype(np.float32)
    return clean, clean + rng.normal(0, level, clean.shape).astype(np.float32)


def volumes(frames: np.ndarray) -> list[Volume]:
    return [Volume(f, Geometry((1.5, 1.5, 3.0)), "MR") for f in frames]


def test_speckle_is_rayleigh_on_a_log_scale() -> None:
    """The logarithm of an exponential variable: mean lower by 2.51 dB, standard deviation 5.57 dB."""
    scanner = speckle.Scanner(1.0, 1.5, 1, 80.0)
    image, clean = speckle.speckle(np.full((256, 256), -20.0), scanner, np.random.default_rng(0))
    assert (clean.mean() - 1) * 80 == pytest.approx(-22.51, abs=0.02)
    assert (image - clean).std() * 80 == pytest.approx(5.57, abs=0.1)
    assert (image - clean).mean() * 80 == pytest.approx(0, abs=0.3)


def test_looks_make_speckle_weaker() -> None:
    """The deviation of the logarithm of the mean of L looks is the square root of the trigamma function of L."""
    from scipy.special import polygamma

    for count in (2, 5):
        scanner = speckle.Scanner(1.0, 1.5, count, 80.0)
        image, clean = speckle.speckle(np.full((200, 200), -20.0), scanner, np.random.default_rng(1))
        wanted = float(np.sqrt(polygamma(1, count))) * 10 / np.log(10)
        assert (image - clean).std() * 80 == pytest.approx(wanted, rel=0.05)
        assert (image - clean).mean() * 80 == pytest.approx(0, abs=0.3)


def test_thinned_counts_have_poisson_variance_and_the_same_mean() -> None:
    activity = np.full((24, 40, 40), 3.0, np.float32)
    noisy = counting.thinned(activity, 25.0, (0, 0, 0), np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(3, rel=0.005)
    assert noisy.var() == pytest.approx(3 / 25, rel=0.05)
    filtered = counting.thinned(activity, 25.0, (1.0, 1.0, 1.0), np.random.default_rng(0))
    assert filtered.var() == pytest.approx(3 / 25 / (2 * np.sqrt(np.pi)) ** 3, rel=0.15)


def test_pet_noise_has_the_level_asked_for() -> None:
    clean = ndimage.gaussian_filter(np.pad(np.full((20, 28, 28), 4.0), 6), 1).astype(np.float32)
    for level in (0.1, 0.3):
        noise = counting.pet_noise(clean, (4.0, 4.0, 4.0), np.random.default_rng(2), level) - clean
        assert noise[10:-10, 10:-10, 10:-10].std() / 4 == pytest.approx(level, rel=0.35)


def test_poisson_gaussian_variance() -> None:
    for value in (0.2, 0.8):
        noisy = counting.poisson_gaussian(np.full((300, 300), value), 50, 0.05, 0.0, np.random.default_rng(0))
        assert noisy.mean() == pytest.approx(value, abs=0.002)
        assert noisy.var() == pytest.approx(value / 50 + 0.05**2, rel=0.03)


def test_drawn_structures_stay_in_range() -> None:
    for seed in range(6):
        picture = structures.micrograph((48, 40), np.random.default_rng(seed))
        assert picture.shape == (48, 40) and 0 <= picture.min() < picture.max() <= 1
        body = structures.uptake((16, 18, 20), np.random.default_rng(seed))
        assert body.shape == (16, 18, 20) and body.min() >= 0 and 0.1 < body.max() < 25


@pytest.mark.parametrize("filtering", [despeckle.lee, despeckle.srad])
def test_speckle_filters_smooth_tissue_and_keep_brightness(filtering) -> None:
    echo = np.where(np.indices((96, 96))[1] < 48, -15.0, -35.0)
    image, clean = speckle.speckle(echo, speckle.Scanner(0.8, 1.2, 1, 60.0), np.random.default_rng(0))
    after = filtering(image[None], Context())[0]
    for half in (np.s_[10:86, 10:38], np.s_[10:86, 58:86]):
        assert after[half].std() < 0.6 * image[half].std()
        assert after[half].mean() == pytest.approx(image[half].mean(), abs=0.015)
    assert np.abs(after - clean).mean() < 0.6 * np.abs(image - clean).mean()


def test_marchenko_pastur_tells_noise_from_signal() -> None:
    """Eigenvalues of white noise are noise, all of them; a strong component is none."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((40, 125, 20))
    data[20:] += 3 * rng.standard_normal((20, 125, 1)) * rng.standard_normal((20, 1, 20))
    values = np.linalg.eigvalsh(data.swapaxes(1, 2) @ data) / 125
    variance, count = marchenko_pastur(values, 125)
    assert np.mean(count[:20] == 20) > 0.8 and np.mean(count[20:] == 19) > 0.8
    np.testing.assert_allclose(variance, 1, atol=0.1)


def test_components_of_a_series_are_found_and_its_noise_goes() -> None:
    clean, noisy = series()
    context = Context()
    after = mppca(noisy, context)
    assert (after - clean).std() < 0.5 * (noisy - clean).std()
    assert context.notes["noise"] == pytest.approx(30, rel=0.05)
    assert context.notes["components"] in (3, 4) and context.notes["frames"] == 24
    np.testing.assert_allclose(mppca(clean, Context()), clean, atol=0.05)


def test_more_frames_than_voxels_in_a_window() -> None:
    clean, noisy = series(60, 30.0, (1, 9, 10))
    after = mppca(noisy, Context())
    assert (after - clean).std() < 0.6 * (noisy - clean).std()
    assert window_for((1, 9, 10), 60, 5) == (1, 9, 9)


def test_series_goes_down_the_road_as_one() -> None:
    """All frames at once, results frame by frame, the mask and the strength as ever."""
    clean, noisy = series()
    frames = volumes(noisy)
    results = reconstruct_series(frames, model="classical/mppca")
    after = np.stack([r.volume.array for r in results])
    assert (after - clean).std() < 0.5 * (noisy - clean).std()
    assert all(r.volume.geometry == v.geometry for r, v in zip(results, frames, strict=True))
    assert all(r.provenance["found"]["frames"] == 24 for r in results)
    assert len(record_of(results)["time_points"]) == 24 and results[3].provenance["model_chosen"] == "asked for"
    half = reconstruct_series(frames, model="classical/mppca", strength=0.5, judge=False)
    np.testing.assert_allclose(half[2].volume.array, (noisy[2] + after[2]) / 2, atol=0.01)
    mask = np.zeros(noisy.shape[1:], np.uint8)
    mask[1:4, 3:12, 3:12] = 1
    some = reconstruct_series(frames, model="classical/mppca", mask=frames[0].with_array(mask), judge=False)
    np.testing.assert_array_equal(some[5].volume.array[mask == 0], noisy[5][mask == 0])
    assert (some[5].volume.array[mask > 0] != noisy[5][mask > 0]).any()


def test_a_series_method_refuses_what_is_no_series() -> None:
    _, noisy = series(FEWEST - 1)
    with pytest.raises(ValueError, match="all frames of a time series"):
        reconstruct(volumes(noisy)[0], model="classical/mppca")
    with pytest.raises(ValueError, match=f"wanted at least {FEWEST}"):
        reconstruct_series(volumes(noisy), model="classical/mppca")
    colour = [v.with_array(np.stack([v.array] * 3, 3)) for v in volumes(series(8)[1])]
    with pytest.raises(ValueError, match="one value a voxel"):
        reconstruct_series(colour, model="classical/mppca")
    with pytest.raises(ValueError, match="uncertainty"):
        reconstruct_series(volumes(series(8)[1]), model="classical/mppca", uncertainty=True)


def test_series_through_the_worker() -> None:
    from DLReconLib.client import Client

    _, noisy = series(8)
    with Client() as client:
        job = client.submit(volumes(noisy), model="classical/mppca", judge=False)
        job.wait()
    here = reconstruct_series(volumes(noisy), model="classical/mppca", judge=False)
    assert len(job.results) == 8 and job.result is job.results[0]
    for there, mine in zip(job.results, here, strict=True):
        np.testing.assert_allclose(there.volume.array, mine.volume.array, atol=1e-3)


@pytest.fixture
def speckled() -> tuple[Volume, np.ndarray]:
    rng = np.random.default_rng(5)
    echo = speckle.tissue((96, 96), None, rng)
    image, clean = speckle.speckle(echo, speckle.Scanner(1.0, 1.6, 1, 60.0), rng)
    return Volume((255 * image[None]).astype(np.float32), Geometry(), "US"), 255 * clean[None]


@pytest.mark.skipif(not (ZOO / "us-speckle").is_dir(), reason="the model is not there")
def test_speckle_goes_and_a_clean_picture_is_left_alone(speckled) -> None:
    pytest.importorskip("torch", reason="learned models need torch")
    volume, clean = speckled
    result = reconstruct(volume, task="artifact-reduction")
    assert result.provenance["model"]["id"] == "us-speckle" and result.provenance["found"]["artifact"] == "speckle"
    assert np.abs(result.volume.array - clean).mean() < 0.5 * np.abs(volume.array - clean).mean()
    assert result.volume.array.mean() == pytest.approx(clean.mean(), abs=3)
    again = reconstruct(volume.with_array(clean), task="artifact-reduction")
    assert again.provenance["found"]["artifact"] == "none"
    np.testing.assert_array_equal(again.volume.array, clean)


@pytest.mark.skipif(not (ZOO / "pet-denoise").is_dir(), reason="the model is not there")
def test_uptake_is_kept() -> None:
    """Regional means within 1 %, no peak raised, nothing negative."""
    pytest.importorskip("torch", reason="learned models need torch")
    clean = structures.uptake((32, 36, 36), np.random.default_rng(11))
    noisy = counting.pet_noise(clean, (4.0, 4.0, 4.0), np.random.default_rng(12), 0.2)
    after = reconstruct(Volume(noisy, Geometry((4.0, 4.0, 4.0)), "PT")).volume.array
    body = clean > 0.2 * np.percentile(clean, 99)
    assert after[body].mean() == pytest.approx(noisy[body].mean(), rel=0.01)
    assert after.max() <= noisy.max() and after.min() >= 0
    assert np.abs(after - clean)[body].mean() < 0.85 * np.abs(noisy - clean)[body].mean()


@pytest.mark.skipif(not (ZOO / "micro-denoise").is_dir(), reason="the model is not there")
def test_colours_of_a_slide_do_not_shift() -> None:
    pytest.importorskip("torch", reason="learned models need torch")
    better = []
    for seed in range(4, 10):
        rng = np.random.default_rng(seed)
        clean = np.stack([structures.micrograph((64, 64), rng) * s for s in (0.9, 0.6, 0.8)], -1)
        noisy = np.stack([counting.poisson_gaussian(clean[..., n], 40, 0.03, 0, rng) for n in range(3)], -1)
        volume = Volume((255 * noisy[None]).astype(np.float32), Geometry())
        after = reconstruct(volume, model="micro-denoise", modality="SM").volume.array[0] / 255
        np.testing.assert_allclose(after.mean((0, 1)), noisy.mean((0, 1)), atol=0.004)
        better.append(np.abs(after - clean).mean((0, 1)) / np.abs(noisy - clean).mean((0, 1)))
    assert np.exp(np.log(better).mean()) < 0.6
