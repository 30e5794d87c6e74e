"""Bright tubes: found, and told from what is bright but no tube; the map beside the answer, and who has none."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom, phantom

from DLReconLib import reconstruct
from DLReconLib.cli import main
from DLReconLib.degradations.tubes import THINNEST, other, tubes
from DLReconLib.inference import Model
from DLReconLib.io import read_volume, write_volume
from DLReconLib.models import find_card, list_cards
from DLReconLib.networks import FEATURES
from DLReconLib.networks.objectness import lift_of, spacing_of
from DLReconLib.options import Options, choose_model
from DLReconLib.result import Result
from DLReconLib.volume import Geometry, Volume

MODELS = [c.id for c in list_cards("contrast") if c.shipped and c.network in FEATURES]
_loaded: dict[str, Model] = {}


def loaded(name: str) -> Model:
    if name not in _loaded:
        if find_card(name).learned:
            pytest.importorskip("torch", reason="learned models need torch")
        _loaded[name] = Model(find_card(name), "cpu", "float32")
    return _loaded[name]


def run(model: str, volume: Volume, **options: object) -> Result:
    return reconstruct(volume, task="contrast", loaded=loaded(model), judge=False, **options)


def scene(shape: tuple[int, int, int] = (28, 48, 48)) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A tube, a sheet and a ball of one brightness, 5 times the noise, and masks of where they are brightest."""
    k, j, i = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    middle = shape[0] / 2 + 4 * np.sin(i / 9) * (shape[0] > 8)
    away = {
        "tube": np.hypot(k - middle, j - 10 - 3 * np.sin(i / 7)) - 1.6,
        "sheet": np.abs(j - 27 - 0.1 * i) - 1.6,
        "ball": np.sqrt((k - shape[0] / 2) ** 2 + (j - 41) ** 2 + (i - 12) ** 2) - 4,
    }
    bright = np.max([np.clip(0.5 - d, 0, 1) for d in away.values()], 0)
    noise = np.random.default_rng(8).normal(0, 20, shape)
    inner = (slice(None), *(slice(5, -5),) * 2)
    masks = {name: np.zeros(shape, bool) for name in away}
    for name, d in away.items():
        masks[name][inner] = (d < -0.5)[inner]
    masks["rest"] = np.zeros(shape, bool)
    masks["rest"][inner] = (np.min(list(away.values()), 0) > 4)[inner]
    return (300 + 100 * bright + noise).astype(np.float32), masks


@pytest.mark.parametrize("model", MODELS)
def test_a_tube_is_found_and_told_from_a_sheet_and_a_ball(model: str) -> None:
    image, masks = scene()
    result = run(model, Volume(image))
    found = result.features.array
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    mean = {name: float(found[mask].mean()) for name, mask in masks.items()}
    assert mean["tube"] > 0.25
    assert mean["tube"] > 5 * mean["rest"]
    assert mean["tube"] > 2 * mean["sheet"]
    assert mean["tube"] > mean["ball"]  # by little: the cards say so
    lift = result.provenance["found"]["lift"]
    assert lift == pytest.approx(np.subtract(*np.percentile(image, [99.5, 0.5])))
    np.testing.assert_allclose(result.volume.array, image + lift * found, atol=0.01)


@pytest.mark.parametrize("model", MODELS)
def test_the_light_of_lifted_features_is_never_green(model: str) -> None:
    image, _ = scene((20, 48, 48))
    trust = reconstruct(Volume(image), task="contrast", loaded=loaded(model)).provenance["trust"]
    assert trust["light"] != "green"
    assert "lifted" in [reason["check"] for reason in trust["reasons"]]


@pytest.mark.parametrize("model", MODELS)
def test_unit_and_offset_do_not_matter(model: str) -> None:
    image, _ = scene((20, 48, 48))
    plain, changed = (run(model, Volume(x)).features.array for x in (image, 0.02 * image - 1000))
    np.testing.assert_allclose(changed, plain, atol=0.02)  # a value has seven digits, and 0.4 of noise in a thousand
    far = run(model, Volume(50 * image + np.float32(700))).features.array
    np.testing.assert_allclose(far, plain, atol=1e-3)
    assert plain.max() > 0.5


@pytest.mark.parametrize("model", MODELS)
def test_one_slice(model: str) -> None:
    """A bright line in a slice is found, wherever the slice lies; a broad band is not."""
    image, _ = scene((1, 64, 64))
    j = np.arange(64)[:, None]
    bright = np.clip(2 - np.abs(j - 14), 0, 1) + np.clip(11 - np.abs(j - 44), 0, 1)
    image[0] = 300 + 100 * bright + np.random.default_rng(9).normal(0, 15, (64, 64))
    found = run(model, Volume(image)).features.array[0]
    assert found[13:16, 6:-6].mean() > 0.25
    assert found[13:16, 6:-6].mean() > 1.5 * found[38:50, 6:-6].mean()
    turned = run(model, Volume(np.ascontiguousarray(image.swapaxes(0, 1)))).features.array[:, 0]
    np.testing.assert_allclose(turned, found, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_thick_slices(model: str) -> None:
    """A vessel that lies within one slice, and one that goes through all."""
    rng = np.random.default_rng(10)
    k, j, i = np.meshgrid(*(np.arange(n, dtype=float) for n in (12, 56, 56)), indexing="ij")
    within = (k == 6) * np.clip(2.0 - np.abs(j - 14 - 0.1 * i), 0, 1)
    through = np.clip(2.5 - np.hypot(j - 40, i - 20 - k), 0, 1)
    image = (300 + 120 * np.maximum(within, through) + rng.normal(0, 20, k.shape)).astype(np.float32)
    found = run(model, Volume(image, Geometry((1.0, 1.0, 4.0)))).features.array
    rest = found[:, 24:34, 6:-6].mean()
    for name, share in (("within", within), ("through", through)):
        inside = (share > 0.9) & (i > 5) & (i < 50) & (k > 1) & (k < 10)
        assert found[inside].mean() > max(0.15, 5 * rest), name


@pytest.mark.parametrize("model", MODELS)
def test_strength_mask_and_components(model: str) -> None:
    """The map is that of the full strength whatever the strength; 0 outside of the mask; each component for itself."""
    image, _ = scene((16, 48, 48))
    volume = Volume(image)
    full = run(model, volume).features.array
    np.testing.assert_allclose(run(model, volume, strength=0.3).features.array, full, atol=1e-4)
    mask = np.zeros(image.shape, np.uint8)
    mask[:, :24] = 1
    part = run(model, volume, mask=volume.with_array(mask)).features.array
    assert part[mask == 0].max() == 0
    np.testing.assert_array_equal(part[mask == 1], full[mask == 1])
    other_one = image[:, ::-1] * 7 - 100
    result = run(model, volume.with_array(np.stack([image, np.full_like(image, 5), other_one], 3)))
    assert result.provenance["found"]["lift"] == pytest.approx([lift_of(image), 0, lift_of(other_one)])
    found = result.features.array
    np.testing.assert_allclose(found[..., 0], full, atol=1e-4)
    assert found[..., 1].max() == 0
    np.testing.assert_allclose(found[..., 2], run(model, volume.with_array(other_one)).features.array, atol=1e-4)
    assert json.loads(json.dumps(result.provenance["found"]))


def test_who_has_no_map_says_why() -> None:
    volume = noisy_phantom("MR")
    with pytest.raises(ValueError, match="classical/gamma gives no map"):
        _ = reconstruct(volume, task="contrast", model="classical/gamma").features
    with pytest.raises(ValueError, match="strength 0"):
        _ = run("classical/objectness", volume, strength=0).features
    whole = volume.with_array(volume.array.astype(np.uint8))
    result = run("classical/objectness", whole, dtype="input")
    with pytest.raises(ValueError, match="rounded and clipped"):
        _ = result.features
    assert run("classical/objectness", whole).features_missing() == ""


def test_auto_stays_the_tone_curves() -> None:
    for modality in ("MR", "CT", ""):
        assert choose_model(Options(task="contrast"), modality, "")[0].id == "contrast"


def test_command_line_writes_the_map(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    image, _ = scene((8, 40, 40))
    volume = Volume(image, Geometry((0.8, 0.9, 2.0), (5.0, -3.0, 2.0)))
    write_volume(volume, tmp_path / "in.nrrd")
    words = ["run", "in.nrrd", "out.nrrd", "--task", "contrast", "--features", "map.nii.gz"]
    words = [str(tmp_path / w) if "." in w else w for w in words]
    files = sorted(tmp_path.iterdir())
    for extra, message in {
        (): "--model auto gives no map",
        ("--model", "classical/clahe"): "wanted --task contrast and --model",
        ("--model", "classical/objectness", "--strength", "0"): "strength above 0",
        ("--model", "classical/objectness", "--dtype", "input"): "--dtype float32",
        ("--model", "classical/objectness", "--task", "denoise"): "is for the task contrast",
        ("--model", "classical/objectness", "--residual", words[-1]): "named twice",
    }.items():
        assert main([*words, *extra]) == 2
        assert message in capsys.readouterr().err
        assert sorted(tmp_path.iterdir()) == files
    assert main([*words, "--model", "classical/objectness", "--strength", "0.5"]) == 0
    found = read_volume(tmp_path / "map.nii.gz")
    assert found.geometry.matches(volume.geometry, 1e-4, volume.array.shape[::-1])
    np.testing.assert_allclose(found.array, run("classical/objectness", volume).features.array, atol=1e-4)
    out = read_volume(tmp_path / "out.nrrd").array
    np.testing.assert_allclose(out - image, 0.5 * lift_of(image) * found.array, atol=0.01)
    assert main([*words, "--model", "classical/objectness", "--overwrite", "--features", words[1]]) == 2


def test_the_worker_brings_the_map() -> None:
    from DLReconLib.client import Client

    volume = Volume(scene((8, 40, 40))[0])
    with Client() as client:
        job = client.submit(volume, task="contrast", model="classical/objectness", judge=False)
        found = job.wait().features
    np.testing.assert_array_equal(found.array, run("classical/objectness", volume).features.array)


def test_spacing_counts_up_to_two_pixels() -> None:
    assert spacing_of((9, 9, 9), (5.0, 1.0, 1.2)) == pytest.approx((2, 1, 1.2))
    assert spacing_of((1, 9, 9), (0.1, 2.0, 2.0)) == (1, 1, 1)


def test_drawn_tubes_have_the_volume_of_tubes() -> None:
    """Shares from 0 to 1, neither nothing nor all of the box; of what is no tube, too."""
    for seed in range(6):
        drawn = tubes((24, 32, 32), 1.0, np.random.default_rng(seed), 1)[0]
        assert drawn.min() >= 0
        assert 0.6 < drawn.max() <= 1  # the thinnest fills no voxel
        assert 8 * math.pi * THINNEST**2 < drawn.sum()
        assert drawn.mean() < 0.4
        extra = other((8, 32, 32), 3.0, np.random.default_rng(seed))
        assert extra.shape == (8, 32, 32)
        assert extra.min() >= 0
        assert extra.max() <= 1


def test_average_precision_is_that_of_the_definition() -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.training.vessels import average_precision

    truth = np.array([1, 0, 1, 0, 0], bool)
    assert average_precision(np.array([5, 4, 3, 2, 1.0]), truth) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(np.zeros(5), truth) == pytest.approx(0.4)
    assert average_precision(np.ones(5), np.zeros(5, bool)) == 0


def test_pieces_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="the network is an nn.Module")
    from DLReconLib.networks import vessel_unet
    from DLReconLib.networks.context import Context

    torch.manual_seed(0)
    network = loaded("vessels").network if "vessels" in MODELS else vessel_unet.VesselUNet()
    image, _ = scene((24, 96, 48))
    with torch.inference_mode():
        whole = network.features_of(image, Context())
        monkeypatch.setattr(vessel_unet, "TILE", 48)
        pieces = network.features_of(image, Context())
    assert np.abs(whole - pieces).max() < 0.02


def test_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from safetensors.torch import load_file

    from DLReconLib.progress import Cancelled
    from DLReconLib.training import train_by_plan, vessels

    data = tmp_path / "data"
    data.mkdir()
    write_volume(Volume(phantom((30, 48, 48)), modality="MR"), data / "a.nrrd")
    entry = {"path": "a.nrrd", "averages": [[1, 1, 1]], "weight": 1, "licence": "none"}
    images = [entry | {"subject": role, "role": role} for role in ("train", "validation")]
    (tmp_path / "split.json").write_text(json.dumps({"images": images}))
    plan = {"id": "tiny", "network": "vessel-unet", "arguments": {"channels": [8, 8]}, "degradation": "vessels",
            "modality": "MR", "split": "split.json", "patch": [16, 16, 16], "batch": 1, "first_steps": 0, "steps": 2,
            "estimator_steps": 0, "muon_rate": 0.01, "adam_rate": 1e-3, "warmup": 1, "decay": 0.5, "average": 0.9,
            "precision": "float32", "every": 1, "seed": 1}  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "card.json").write_text(json.dumps(find_card("classical/objectness").to_dict() | {"id": "tiny"}))
    vessels.POOL = {"train": 4, "validation": 3}

    def stop(fraction: float, text: str) -> None:
        if text.startswith("step 2"):
            raise Cancelled

    made = train_by_plan(tmp_path / "plan.json", data, tmp_path / "out")
    with pytest.raises(Cancelled):
        train_by_plan(tmp_path / "plan.json", data, tmp_path / "again", progress=stop)
    train_by_plan(tmp_path / "plan.json", data, tmp_path / "again", resume=True)
    first, second = (load_file(folder / "weights.safetensors") for folder in (made, tmp_path / "again"))
    assert all((first[name] == second[name]).all() for name in first)
    assert (made / "log.csv").read_text().splitlines()[0].endswith(",".join(vessels.VesselTrainer.figures))
    result = reconstruct(noisy_phantom("MR"), task="contrast", model=str(made / "card.json"), device="cpu")
    assert 0 < result.features.array.mean() < 0.3  # as unlikely as it begins


def test_what_stands_in_the_card_is_what_the_network_was_trained_with() -> None:
    if "vessels" not in MODELS:
        pytest.skip("the learned model is not in the zoo")
    card = find_card("vessels")
    split = json.loads((card.folder / "split.json").read_text())["images"]
    tested = {e["subject"] for e in split if e["role"] == "test"}
    assert tested and not tested & {*card.training["train"], *card.training["validation"]}
    assert card.checked_weights().stat().st_size <= 2 * 2**20
