"""Streaks, rings and metal in CT: the physics, the classical methods, the model."""

import numpy as np
import pytest
from scipy import ndimage

from DLReconLib import reconstruct
from DLReconLib.degradations import ct_artifacts as physics
from DLReconLib.metrics import psnr
from DLReconLib.models import find_card, list_cards
from DLReconLib.networks.context import Context
from DLReconLib.networks.metal import bridge, correct_slices, find_metal, metal_interpolation
from DLReconLib.networks.rings import find_centre, from_polar, middle, polar_median, to_polar
from DLReconLib.volume import Volume

LEARNED = any(c.id == "ct-artifacts" for c in list_cards())


def body(count: int = 2, shape: tuple[int, int] = (96, 104)) -> np.ndarray:
    """A limb of fat, muscle and bone, relative to water; (k, j, i) float32."""
    j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = np.zeros(shape)
    parts = (
        (0.9, (0, 0), (0.85, 0.85)),
        (1.05, (0.05, 0), (0.7, 0.7)),
        (1.9, (0.1, 0.15), (0.16, 0.16)),
        (1.0, (0.1, 0.15), (0.08, 0.08)),
        (0.93, (-0.3, -0.3), (0.15, 0.2)),
    )
    for value, (y, x), (a, b) in parts:
        image[np.hypot((j - y) / a, (i - x) / b) < 1] = value
    image = ndimage.gaussian_filter(image, 0.7)
    return np.stack([np.roll(image, 2 * n, 1) for n in range(count)]).astype(np.float32)


def with_metal(count: int = 2, material: str = "steel") -> physics.Broken:
    clean = body(count)
    metal = np.zeros_like(clean)
    metal[:, 26:31, 34:40] = metal[:, 62:67, 64:69] = 1
    broken = physics.metal_artifacts(clean, metal, material, 2.0, 1e5, np.random.default_rng(1))
    return physics.Broken(np.clip(broken.image, -0.024, 4.071), clean, metal)


def error(image: np.ndarray, broken: physics.Broken) -> float:
    far = (broken.clean > 0.5) & ~ndimage.binary_dilation(broken.metal > 0, np.ones((1, 5, 5)))
    return float(np.sqrt(np.mean((image - broken.clean)[far] ** 2)))


def test_fewer_views_leave_more_streaks() -> None:
    errors = []
    for views in (30, 60, 120):
        broken = physics.sparse_views(body(), views, 360 // views)
        errors.append(np.std(broken.image - broken.clean))
        assert np.mean(broken.image - broken.clean) == pytest.approx(0, abs=0.005)  # streaks have no mean
    assert errors[0] > 1.5 * errors[1] > 2.5 * errors[2] > 0
    everything = physics.limited_angle(body(), 120, 1.0)
    np.testing.assert_allclose(everything.image, everything.clean, atol=1e-5)


def test_no_metal_leaves_no_trace() -> None:
    clean = body(1)
    broken = physics.metal_artifacts(clean, 0 * clean, "steel", 1.0, 1e5, np.random.default_rng(0))
    np.testing.assert_allclose(broken.image, clean, atol=1e-3)


def test_metal_shines_and_darkens_what_lies_between() -> None:
    broken = with_metal()
    assert np.median(broken.image[broken.metal == 1]) > 3.5
    between = np.s_[0, 35:38, 42:46]  # on the way from one piece to the other
    assert np.mean((broken.image - broken.clean)[between]) < -0.05  # 50 HU


def test_rings_are_round_about_their_centre() -> None:
    for seed in range(8):
        pattern = physics.rings((70, 80), (30.0, 45.0), np.random.default_rng(seed))
        assert np.std(pattern) == pytest.approx(1, rel=0.01)
    whole = next(p for p in (physics.rings((71, 71), (35, 35), np.random.default_rng(s)) for s in range(20))
                 if np.corrcoef(p.ravel(), p[::-1, ::-1].ravel())[0, 1] > 0.95)  # fmt: skip
    polar = to_polar(whole, (35, 35))[:, 3:33]
    assert np.nanstd(polar, 0).mean() < 0.5 * np.nanstd(np.nanmean(polar, 0))


def test_metal_is_what_shines_in_company() -> None:
    image = body(3)
    image[0, 20:23, 30:33], image[0, 23, 30] = 4.0, 3.2  # bright, and a neighbour of half as much
    image[1, 50, 50] = 4.0  # alone
    metal = find_metal(image)
    assert metal[0].sum() == 10
    assert not metal[1:].any()


def test_bridge_is_straight() -> None:
    line = np.arange(10.0)[None, None]
    hidden = np.zeros((1, 1, 10), bool)
    hidden[..., 4:7] = True
    np.testing.assert_allclose(bridge(np.where(hidden, 99, line), hidden), line)


@pytest.mark.parametrize("material", ["titanium", "steel"])
def test_interpolation_mends_and_keeps_the_metal(material: str) -> None:
    broken, context = with_metal(material=material), Context()
    metal = find_metal(broken.image)
    plain = metal_interpolation(broken.image, context, passes=0)
    better = metal_interpolation(broken.image, context)
    assert error(better, broken) < (0.7 if material == "steel" else 1.1) * error(broken.image, broken)
    assert error(better, broken) < 0.8 * error(plain, broken)
    np.testing.assert_array_equal(better[metal], broken.image[metal])
    assert context.notes["artifact"] == "metal"
    assert context.notes["metal_slices"] == 2


def test_slices_without_metal_are_untouched() -> None:
    image = with_metal(3).image
    image[1] = body(1)[0]
    after = metal_interpolation(image, Context())
    np.testing.assert_array_equal(after[1], image[1])
    assert (after[[0, 2]] != image[[0, 2]]).any()
    np.testing.assert_allclose(correct_slices(body(1), np.zeros((1, 96, 104), bool)), body(1), atol=1e-6)


def test_polar_coordinates_there_and_back() -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((60, 70)), 4).astype(np.float32)
    centre = (28.0, 37.5)
    back = from_polar(np.nan_to_num(to_polar(smooth, centre)), centre, smooth.shape)
    assert np.abs(back - smooth)[4:-4, 4:-4].max() < 0.03 * np.ptp(smooth)


def ringed(centre: tuple[float, float], seed: int = 3) -> np.ndarray:
    return body() + 0.03 * physics.rings((96, 104), centre, np.random.default_rng(seed))


def test_polar_median_removes_rings_and_little_else() -> None:
    clean, broken = body(), ringed(middle((96, 104)))
    after = polar_median(broken, Context())
    inside = clean > 0.5
    assert psnr(after, clean, 2, inside) > psnr(broken, clean, 2, inside) + 2
    assert np.std((polar_median(clean, Context()) - clean)[inside]) < 0.01


def test_centre_of_rings_is_found_where_it_lies() -> None:
    centre = (41.0, 60.0)
    broken, context = ringed(centre), Context()
    assert np.hypot(*np.subtract(find_centre(broken), centre)) < 1
    clean = body()
    after = polar_median(broken, context)
    assert (
        psnr(after, clean, 2, clean > 0.5)
        > psnr(polar_median(broken, Context(), centre="middle"), clean, 2, clean > 0.5) + 1
    )
    np.testing.assert_allclose(context.notes["ring_centre"], centre, atol=1.5)
    assert find_centre(clean) == middle(clean.shape)
    with pytest.raises(ValueError, match="left"):
        polar_median(clean, context, centre="left")


def test_training_pairs_are_the_same_twice(tmp_path, monkeypatch) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.training import ct_artifacts as training
    from DLReconLib.training.patches import Source

    monkeypatch.setattr(training, "COUNTS", dict.fromkeys(training.KINDS, 4))
    sources = [Source(body(4, (60, 52)), False, False, 1.0)]
    made = {}
    for again in range(2):
        folder = tmp_path / str(again)
        folder.mkdir()
        maker = training.CtArtifactMaker({k: training.degraded(sources, k, folder) for k in training.KINDS}, 48)
        made[again] = [maker.draw(np.random.default_rng(n), n % 3) for n in range(6)]
    for first, second in zip(made[0], made[1], strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        assert first.image.shape == (2, 48, 48)
        assert (first.image[1] != first.clean).any()
        assert first.kind in (1, 2, 3)
    kinds = [maker.draw(np.random.default_rng(n)) for n in range(60)]
    assert any(p.kind == 0 and (p.image == p.clean).all() for p in kinds)


@pytest.mark.skipif(not LEARNED, reason="the model is not in the zoo")
class TestModel:
    """ct-artifacts, down the road."""

    def run(self, relative: np.ndarray, **options: object):
        pytest.importorskip("torch", reason="learned models need torch")
        volume = Volume((relative - 1) * 1000, modality="CT")
        return reconstruct(volume, model="ct-artifacts", task="artifact-reduction", judge=False, **options)

    def test_nothing_is_done_where_nothing_is_wrong(self) -> None:
        result = self.run(body())
        assert result.provenance["found"]["artifact"] == "none"
        assert not result.residual.array.any()

    @pytest.mark.parametrize("kind", ["streak", "ring", "metal"])
    def test_artifact_is_named_and_mended(self, kind: str) -> None:
        broken = {
            "streak": lambda: physics.sparse_views(body(), 50, 6),
            "ring": lambda: physics.Broken(ringed(middle((96, 104))), body()),
            "metal": with_metal,
        }[kind]()
        result = self.run(broken.image)
        assert result.provenance["found"]["artifact"] == kind
        after = result.volume.array / 1000 + 1
        metal = find_metal(broken.image)
        np.testing.assert_array_equal(result.residual.array[metal], 0)
        counted = (broken.clean > 0.5) & ~ndimage.binary_dilation(metal, np.ones((1, 5, 5)))
        gain = psnr(after, broken.clean, 2, counted) - psnr(broken.image, broken.clean, 2, counted)
        assert gain > 2
        assert np.mean((after - broken.clean)[counted]) == pytest.approx(0, abs=0.01)  # 10 HU

    def test_asked_for_metal_where_there_is_none_it_does_nothing(self) -> None:
        assert not self.run(body(), artifact="metal").residual.array.any()


def test_cards_name_their_artifacts() -> None:
    assert find_card("classical/metal-interpolation").artifacts == ("metal",)
    assert find_card("classical/polar-median").artifacts == ("ring",)
