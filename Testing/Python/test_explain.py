"""Attributions: laws that hold for a network whose inside is known, and the checks of the literature."""

import numpy as np
import pytest
from conftest import noisy_phantom

from DLReconLib.explain import explain
from DLReconLib.models import find_card
from DLReconLib.volume import Volume

pytest.importorskip("torch", reason="gradients need torch")
POINT = (17, 20, 9)  # (i, j, k)


@pytest.fixture(scope="module")
def model():
    from DLReconLib.inference import Model

    return Model(find_card("mr-denoise"), "cpu", "float32")


@pytest.fixture
def volume() -> Volume:
    return noisy_phantom("MR")


@pytest.mark.parametrize("method", ["gradient", "integrated"])
def test_identity_is_explained_by_the_point_alone(identity_card, volume: Volume, method: str) -> None:
    found = explain(volume, point=POINT, method=method, model=str(identity_card), modality="MR").volume
    assert found.geometry == volume.geometry
    assert found.array.shape == volume.array.shape
    i, j, k = POINT
    assert np.flatnonzero(found.array).tolist() == [np.ravel_multi_index((k, j, i), volume.array.shape)]
    if method == "gradient":
        assert found.array[k, j, i] == pytest.approx(1)


def test_covering_explains_identity_by_the_cell_of_the_point(identity_card, volume: Volume) -> None:
    found = explain(volume, point=POINT, method="occlusion", model=str(identity_card), modality="MR").volume.array
    places = np.argwhere(found != 0)
    assert 0 < len(places) <= 64
    assert np.abs(places - POINT[::-1]).max() < 4


def test_integrated_gradients_are_complete(model, volume: Volume) -> None:
    """They add up to the difference of the outputs (Sundararajan et al. 2017, proposition 1)."""
    record = explain(volume, point=POINT, method="integrated", loaded=model).provenance
    assert record["explanation"]["completeness_gap"] < 0.05


def test_random_weights_change_the_explanation(model, volume: Volume) -> None:
    """Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018."""
    from copy import copy, deepcopy

    import torch

    other = copy(model)
    other.network = deepcopy(model.network)
    torch.manual_seed(0)
    for name, value in other.network.named_parameters():
        if not name.startswith("estimator"):  # the noise found stays, so that the residual is not just bounded away
            value.data = torch.randn_like(value) * value.std()
    trained, random = (explain(volume, point=POINT, loaded=m).volume.array.ravel() for m in (model, other))
    i, j, k = POINT
    rest = np.arange(trained.size) != np.ravel_multi_index((k, j, i), volume.array.shape)  # the point itself: input
    assert abs(np.corrcoef(trained[rest], random[rest])[0, 1]) < 0.3


def test_gradient_tells_what_a_change_of_the_input_does(model, volume: Volume) -> None:
    from DLReconLib.explain import cut, gradients
    from DLReconLib.transforms import LinearIntensity

    piece = cut(volume.array, POINT[::-1], 0, 32, LinearIntensity.of_card(model.card, volume.array))
    slopes, _ = gradients(model, piece, 1.0, 1, lambda f, t: None)
    import torch

    flag, rng = torch.ones(1), np.random.default_rng(0)
    direction = rng.standard_normal(piece.patch.shape).astype(np.float32)
    images = [torch.from_numpy(piece.patch + h * direction)[None, None] for h in (0, -1e-3, 1e-3)]
    with torch.no_grad():
        noise = model.network(images[0], flag)[1]
        low, high = ((x - model.network(x, flag, noise)[0])[0, 0].numpy()[piece.region].mean() for x in images[1:])
    assert (high - low) / 2e-3 == pytest.approx(float((slopes * direction).sum()), rel=0.05)


def test_classical_methods_are_explained_by_covering(volume: Volume) -> None:
    found = explain(volume, point=POINT, method="occlusion", model="classical/gaussian").volume.array
    i, _, k = POINT
    assert np.unravel_index(np.abs(found).argmax(), found.shape)[0] in range(k - 4, k + 5)
    assert np.abs(found[:, :, i + 14 :]).max() == 0  # beyond what was covered
    with pytest.raises(ValueError, match="occlusion"):
        explain(volume, point=POINT, model="classical/gaussian")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"point": (99, 0, 0)}, "outside"), ({"point": POINT, "method": "guess"}, "gradient, integrated, occlusion")],
)
def test_wrong_questions_are_refused(volume: Volume, change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explain(volume, model="classical/gaussian", **change)


def test_slices_along_another_axis_give_the_map_in_place(model) -> None:
    """The thick axis is i; the map comes back on the grid of the input, around the point."""
    from DLReconLib.volume import Geometry

    array = np.moveaxis(noisy_phantom("MR").array, 0, 2).copy()
    volume = Volume(array, Geometry((3.0, 1.0, 1.0)), "MR")
    found = explain(volume, point=(9, 17, 20), loaded=model).volume.array
    assert np.unravel_index(np.abs(found).argmax(), found.shape) == (20, 17, 9)


def test_the_command_line_writes_the_map(tmp_path, volume: Volume) -> None:
    from DLReconLib.cli import main
    from DLReconLib.io import read_volume, write_volume

    scan, out = tmp_path / "scan.nrrd", tmp_path / "map.nrrd"
    write_volume(volume, scan)
    asked = ["explain", str(scan), str(out), "--point", "17,20,9", "--method", "occlusion", "--model"]
    assert main([*asked, "classical/gaussian"]) == 0
    assert read_volume(out).array.any()
    assert main([*asked, "classical/gaussian"]) == 2  # it is not overwritten unasked
