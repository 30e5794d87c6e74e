"""The output contract, over every model of the zoo. A new model is tested by being listed."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import WARM, noisy_phantom, phantom
from scipy import ndimage

import DLReconLib
from DLReconLib.inference import Execution, Model, run_model
from DLReconLib.models import ModelCard
from DLReconLib.networks import SERIES
from DLReconLib.networks.context import Context
from DLReconLib.progress import Cancelled
from DLReconLib.resolution import Enlargement
from DLReconLib.resolution.acquisition import Acquisition
from DLReconLib.result import Result
from DLReconLib.series import reconstruct_series
from DLReconLib.transforms import LinearIntensity
from DLReconLib.volume import Geometry, Volume

MATERIAL = np.s_[8:12, 26:31, 16:22]  # inside the brightest ellipsoid of the phantom
_loaded: dict[str, Model] = {}


@pytest.fixture
def model(card: ModelCard) -> Model:
    """Each model is loaded once, in float32: laws are about the method, not about rounding."""
    if card.id not in _loaded:
        if card.learned:
            pytest.importorskip("torch", reason="learned models need torch")
        if card.network == "self-supervised":  # which goes by the clock unless it is told
            card = replace(card, arguments=card.arguments | {"steps": 15})
        _loaded[card.id] = Model(card, "cpu", "float32")
    return _loaded[card.id]


def hole_in(shape: tuple[int, ...]) -> np.ndarray:
    """Two holes, one at the edge of the image, none in MATERIAL; (k, j, i) uint8."""
    hole = np.zeros(shape[:3], np.uint8)
    hole[tuple(slice(n // 5, n // 5 + max(1, n // 4)) for n in shape[:3])] = 1
    hole[:, -3:, -4:] = 3
    return hole


def series_of(volume: Volume) -> list[Volume]:
    """The volume as the first of ten frames of the same thing; of the others the fine detail is thrown about."""
    smooth = ndimage.uniform_filter(volume.array.astype(np.float32), 3)
    rng, fine = np.random.default_rng(3), (volume.array - smooth).ravel()
    frames = [smooth + rng.permutation(fine).reshape(smooth.shape) for _ in range(9)]
    whole = np.issubdtype(volume.array.dtype, np.integer)
    return [volume, *(volume.with_array((np.rint(f) if whole else f).astype(volume.array.dtype)) for f in frames)]


def reconstruct(volume: Volume, **options) -> Result:
    """What is made to fill holes gets some where the test gives none, what works on time series gets one."""
    loaded = options.get("loaded")
    if loaded and loaded.card.network in SERIES:
        return reconstruct_series(series_of(volume), **options)[0]
    if loaded and loaded.card.task == "inpaint" and "mask" not in options:
        options["mask"] = volume.with_array(hole_in(volume.array.shape))
    return DLReconLib.reconstruct(volume, **options)


def enlarges(card: ModelCard) -> bool:
    return card.task == "super-resolution"


def on_grid(result: Result, array: np.ndarray) -> np.ndarray:
    """An array of the input's grid on that of the result, by the nearest voxel."""
    found = result.provenance.get("super_resolution")
    return Enlargement.from_record(found, result.volume.geometry).nearest(array) if found else array


def image_for(card: ModelCard) -> Volume:
    return noisy_phantom(next((m for m in ("CT", "PT") if m in card.modalities), "MR"))


def test_grid_unit_and_type(model: Model) -> None:
    volume = replace(image_for(model.card), metadata={"PatientID": "phantom"})
    result = reconstruct(volume, loaded=model)
    if enlarges(model.card):  # the thickest slices as fine as the finest axis
        fine, coarse = result.volume.array.shape[::-1], volume.array.shape[::-1]
        assert result.volume.geometry == volume.geometry.resampled(coarse, fine)
        assert max(result.volume.geometry.spacing) < 1.05 * min(volume.geometry.spacing)
    else:
        assert result.volume.array.shape == volume.array.shape
        assert result.volume.geometry == volume.geometry
    assert result.volume.array.dtype == np.float32
    assert np.isfinite(result.volume.array).all()
    material = np.zeros(volume.array.shape, bool)
    material[MATERIAL] = True
    if model.card.task != "contrast":  # whose job it is to change values
        most = 50 if "bias" in model.card.artifacts else 20  # evening out shading moves values, a little
        assert abs(result.volume.array[on_grid(result, material)].mean() - volume.array[material].mean()) < most
    assert result.volume.metadata == {"PatientID": "phantom"}
    if not enlarges(model.card):
        np.testing.assert_allclose(result.residual.array, volume.array - result.volume.array, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"scale": 2.0}, {"spacing": (0.8, 1.1, 1.3)}, {"thickness": 2.0}])
def test_enlarged_and_acquired_again_is_the_input(model: Model, options: dict) -> None:
    """The guarantee of super-resolution: within a hundredth of the range, at any strength, unless switched off."""
    if not enlarges(model.card):
        pytest.skip("keeps the grid")
    volume = image_for(model.card)
    width = np.ptp(volume.array)
    for strength in (1.0, 0.5, 0.0):
        result = reconstruct(volume, loaded=model, task=model.card.task, strength=strength, **options)
        acquisition = Acquisition.from_dict(result.provenance["super_resolution"]["acquisition"])
        again = acquisition.degrade(result.volume.array)
        np.testing.assert_allclose(again, np.clip(volume.array, *(model.card.reach or (None, None))), atol=0.01 * width)
        assert result.provenance["warnings"] == []
    free = reconstruct(volume, loaded=model, task=model.card.task, consistent=False, **options)
    assert "consistency" in free.provenance["warnings"][0]


def test_noise_goes_down(model: Model) -> None:
    """In a homogeneous region the spread falls; learned models come nearer to the truth everywhere."""
    if model.card.task != "denoise":
        pytest.skip("is not made to remove noise")
    volume = image_for(model.card)
    truth = phantom() + {"CT": -1000, "PT": WARM}.get(volume.modality, 0)
    after = reconstruct(volume, loaded=model).volume.array
    error = {name: (image - truth) for name, image in (("before", volume.array), ("after", after))}
    assert error["after"][MATERIAL].std() < 0.75 * error["before"][MATERIAL].std()
    if model.card.learned:
        rms = {name: np.sqrt(np.mean(e[phantom() > 100] ** 2)) for name, e in error.items()}
        # Half of the phantom's voxels lie at an edge, and the correlated noise of CT looks like edges.
        assert rms["after"] < 0.85 * rms["before"]


def test_input_type_is_kept_on_request(model: Model) -> None:
    volume = image_for(model.card)
    whole = volume.with_array(np.rint(volume.array).astype(np.int16))
    as_float = reconstruct(whole, loaded=model).volume.array
    as_input = reconstruct(whole, loaded=model, dtype="input").volume.array
    assert as_input.dtype == np.int16
    np.testing.assert_array_equal(as_input, np.clip(np.rint(as_float), -32768, 32767).astype(np.int16))


def test_same_answer_twice(model: Model) -> None:
    volume = image_for(model.card)
    first, second = (reconstruct(volume, loaded=model) for _ in range(2))
    np.testing.assert_array_equal(first.volume.array, second.volume.array)
    differ = {"created", "seconds"}
    assert {k: v for k, v in first.provenance.items() if k not in differ} == {
        k: v for k, v in second.provenance.items() if k not in differ
    }


def test_strength_zero_returns_the_input(model: Model) -> None:
    """Or, on a finer grid, the interpolated input."""
    volume = image_for(model.card)
    result = reconstruct(volume, loaded=model, strength=0)
    if enlarges(model.card):
        assert np.abs(result.residual.array).max() == 0
    else:
        np.testing.assert_array_equal(result.volume.array, volume.array)


def test_strength_is_linear(model: Model) -> None:
    volume = image_for(model.card)
    half, full = (reconstruct(volume, loaded=model, strength=s).residual.array for s in (0.5, 1))
    np.testing.assert_allclose(2 * half, full, atol=0.01)


def test_tiles_equal_the_whole(model: Model) -> None:
    shape = (24, 72, 24) if enlarges(model.card) else (96, 88, 24)
    volume = noisy_phantom("CT" if "CT" in model.card.modalities else "MR", shape=shape)
    result = reconstruct(volume, loaded=model, tile=(96, 104, 24))
    whole = result.volume.array
    tiled = reconstruct(volume, loaded=model, tile=(48, 48, 24)).volume.array
    removed = max(np.abs(result.residual.array).mean(), 1e-3)
    assert np.abs(whole - tiled).mean() < 0.02 * removed
    # The noise has a standard deviation of 40: no seam may be seen in it.
    assert np.abs(whole - tiled).max() < 10


def test_equivariance_as_claimed(model: Model) -> None:
    volume = image_for(model.card)
    plain = reconstruct(volume, loaded=model).volume.array
    a, b = 3.7, {"none": None, "scale": 0.0, "affine": 250.0}[model.card.equivariance]
    if b is None:
        pytest.skip("claims none")
    changed = reconstruct(volume.with_array(a * volume.array + np.float32(b)), loaded=model).volume.array
    np.testing.assert_allclose((changed - b) / a, plain, atol=0.5)


def test_constant_stays_constant(model: Model) -> None:
    """The road refuses a constant image; the method must leave one alone all the same."""
    if enlarges(model.card) or model.card.network in SERIES:
        array = np.full((12, 24, 24), 400.0, np.float32)
        array[6, 12, 12] += 1e-3
        assert np.abs(reconstruct(Volume(array), loaded=model).volume.array - 400).max() < 1
        return
    constant = np.full((24, 24, 24), 400.0, np.float32)
    nearly = constant.copy()
    nearly[12, 12, 12] += 1e-3
    intensity = LinearIntensity.of_card(model.card, constant)
    plan = Execution(model.device, model.precision, (24, 24, 24))
    context = Context(mask=hole_in(nearly.shape) != 0)
    run = run_model(model, nearly, intensity, plan, lambda f, t: None, context)
    assert np.abs(run.residual * intensity.unit).max() < 1


def test_values_out_of_reach_are_kept(model: Model) -> None:
    if not model.card.reach:
        pytest.skip("may change any value")
    volume = image_for(model.card)
    array = volume.array.copy()
    array[:, :4] = -3024
    array[10, 20, 20] = 9000
    result = reconstruct(volume.with_array(array), loaded=model)
    out = on_grid(result, (array == -3024) | (array == 9000))
    np.testing.assert_array_equal(result.volume.array[out], on_grid(result, array)[out])
    assert out.any()


def test_mask_limits_the_change(model: Model) -> None:
    volume = image_for(model.card)
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[5:10, 10:30, 10:30] = 1
    result = reconstruct(volume, loaded=model, mask=volume.with_array(mask))
    outside = on_grid(result, mask) == 0
    if enlarges(model.card):
        assert np.abs(result.residual.array[outside]).max() == 0
    else:
        np.testing.assert_array_equal(result.volume.array[outside], volume.array[outside])
    freely = reconstruct(volume, loaded=model).residual.array  # nothing where a method finds nothing to do
    assert (result.residual.array[~outside] != 0).any() == (freely[~outside] != 0).any()


def test_progress_rises_to_one(model: Model) -> None:
    seen: list[float] = []
    reconstruct(image_for(model.card), loaded=model, tile=(16, 24, 24), progress=lambda f, t: seen.append(f))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) > (4 if model.card.tile else 1)


def test_cancelled_stops_within_a_tile(model: Model) -> None:
    calls: list[str] = []

    def stop(fraction: float, text: str) -> None:
        calls.append(text)
        if len(calls) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct(image_for(model.card), loaded=model, tile=(16, 24, 24), progress=stop)
    assert len(calls) == 2


@pytest.mark.parametrize("shape", [(1, 40, 37), (3, 33, 40), (40, 1, 33), (30, 36, 1)])
def test_single_slices_and_thin_stacks(model: Model, shape: tuple[int, int, int]) -> None:
    volume = noisy_phantom("CT" if "CT" in model.card.modalities else "MR", shape=shape)
    after = reconstruct(volume, loaded=model).volume.array
    if enlarges(model.card):
        assert all(m == 1 if n == 1 else m >= n for n, m in zip(shape, after.shape, strict=True))
    else:
        assert after.shape == shape
    assert np.isfinite(after).all()


def test_components_are_treated_alike(model: Model) -> None:
    if model.card.network in SERIES:
        pytest.skip("works on frames of one component")
    volume = image_for(model.card)
    colour = volume.with_array(np.stack([volume.array, volume.array[:, ::-1]], 3))
    after = reconstruct(colour, loaded=model).volume.array
    alone = reconstruct(volume, loaded=model).volume.array
    assert after.shape == (*alone.shape, 2)
    flipped = reconstruct(volume.with_array(volume.array[:, ::-1]), loaded=model).volume.array
    np.testing.assert_allclose(after[..., 0], alone, atol=1e-3)
    np.testing.assert_allclose(after[..., 1], flipped, atol=1e-3)


def test_slice_axis_may_lie_anywhere(model: Model) -> None:
    """The same image stored with its thick slices along j gives the same answer."""
    if not (model.card.slices_first or enlarges(model.card)):
        pytest.skip("does not treat the slice axis apart")
    volume = image_for(model.card)
    spacing, axes = np.array(volume.geometry.spacing), np.array(volume.geometry.direction)
    order = [0, 2, 1]  # i, k, j
    geometry = Geometry(tuple(spacing[order]), volume.geometry.origin, tuple(map(tuple, axes[:, order])))
    turned = Volume(volume.array.swapaxes(0, 1), geometry, volume.modality)
    hole = hole_in(volume.array.shape)
    masks = [v.with_array(h) for v, h in ((volume, hole), (turned, hole.swapaxes(0, 1)))]
    options = [{"mask": m} if model.card.task == "inpaint" else {} for m in masks]
    plain, after = (
        reconstruct(v, loaded=model, **o).volume.array for v, o in zip((volume, turned), options, strict=True)
    )
    np.testing.assert_allclose(after.swapaxes(0, 1), plain, atol=0.01)


def test_identity_network_gives_identity(identity_card) -> None:
    pytest.importorskip("torch", reason="the identity network is an nn.Module")
    volume = noisy_phantom("MR")
    for tile in (None, (16, 16, 16)):
        result = reconstruct(volume, model=str(identity_card), tile=tile)
        np.testing.assert_array_equal(result.volume.array, volume.array)
