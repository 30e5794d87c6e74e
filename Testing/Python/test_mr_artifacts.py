"""MR artifacts: their physics against known answers, the classical repairs, and what the models must not do."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import phantom
from scipy import fft

from DLReconLib import reconstruct
from DLReconLib.degradations import mr_artifacts as physics
from DLReconLib.io import write_volume
from DLReconLib.metrics import psnr
from DLReconLib.models import list_cards
from DLReconLib.networks.context import Context
from DLReconLib.networks.kspace import acquired_share, find_spikes, gibbs_shifts, spike_filter
from DLReconLib.volume import Geometry, Volume

CARDS = {c.id: c for c in list_cards("artifact-reduction", "MR")}


def discs(size: int = 128) -> np.ndarray:
    """(1, size, size): a bright disc with a dark hole, edges one pixel wide, 0..1."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(y, x)
    image = 0.8 * np.clip(0.4 * size - radius, 0, 1) - 0.5 * np.clip(0.15 * size - np.hypot(y - 5, x + 9), 0, 1)
    return image[None].astype(np.float32)


def gain(after: np.ndarray, before: np.ndarray, truth: np.ndarray) -> float:
    return psnr(after, truth, 1.0) - psnr(before, truth, 1.0)


def test_truncation_keeps_what_is_inside_and_nothing_else() -> None:
    """A wave below the limit comes back, shifted by the half-voxel rule on a coarser grid; one above is gone."""
    x = np.arange(64)
    low, high = (2 + np.cos(2 * np.pi * f * (x + 0.5) / 64) * np.ones((64, 1)) for f in (5, 25))
    np.testing.assert_allclose(physics.truncate(low, (64, 32), (64, 64)), low, atol=1e-5)
    np.testing.assert_allclose(physics.truncate(high, (64, 32), (64, 64)), 2, atol=1e-5)
    coarse = 2 + np.cos(2 * np.pi * 5 * (np.arange(32) + 0.5) / 32) * np.ones((64, 1))
    np.testing.assert_allclose(physics.truncate(low, (64, 32), (64, 32)), coarse, atol=1e-5)


def test_an_edge_overshoots_by_nine_percent() -> None:
    """Wilbraham and Gibbs: 8.95 % of the jump, whatever the number of lines."""
    edge = np.zeros((8, 4096)) + (np.arange(4096) >= 2048) * (np.arange(4096) < 3500)
    for lines in (128, 512):
        ringing = physics.acquire_axis(edge, lines, 4096, 1)
        assert ringing.max() - 1 == pytest.approx(0.0895, abs=0.004)


def test_movement_known_answers() -> None:
    clean = discs()[0]
    still = np.zeros((128, 3))
    np.testing.assert_allclose(physics.move(clean, still), clean, atol=1e-5)
    shifted = np.tile([3.0, -7.0, 0.0], (128, 1))
    np.testing.assert_allclose(physics.move(clean, shifted), np.roll(clean, (3, -7), (0, 1)), atol=1e-5)
    alternating = still.copy()
    alternating[1::2] = [0, 2, 0]
    assert psnr(physics.move(clean, alternating)[None], clean[None], 1.0) < 35


def test_the_centre_of_kspace_does_not_move() -> None:
    for seed in range(20):
        poses = physics.random_poses(64, np.random.default_rng(seed))
        assert np.abs(poses[np.abs(physics.frequencies(64)) < 1]).max() == 0


def test_a_spike_is_a_stripe_of_its_amplitude() -> None:
    flat = np.ones((32, 32), np.float32)
    striped = physics.put_spikes(flat, np.array([[3, 5]]), np.array([0.1]))
    assert striped.max() == pytest.approx(1.1, abs=1e-3)
    assert np.abs(fft.fft2(striped))[3, 5] / 32**2 == pytest.approx(0.05, abs=1e-3)


def test_bias_fields_are_positive_and_smooth() -> None:
    for seed in range(10):
        field = physics.bias_field((20, 24, 28), np.random.default_rng(seed))
        assert field.min() > 0
        assert np.abs(np.diff(np.log(field), 2, axis=2)).max() < 0.2


@pytest.mark.parametrize("lines", [48, 64, 96])
def test_zero_filling_is_recognised(lines: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (4, 128, 128))
    image = physics.acquire_axis(np.repeat(discs(), 4, 0) + noise, lines, 128, 1)
    assert acquired_share(np.abs(image), 1) == pytest.approx(max(lines / 128, 0.4), abs=0.03)
    assert acquired_share(np.abs(image), 2) == 1


def test_shifts_calm_ringing() -> None:
    """Inside the disc, away from its edge, the ringing falls to less than half."""
    fine = discs(256)[0]
    ringing = physics.truncate(fine, (64, 64), (64, 64))[None]
    calm = gibbs_shifts(ringing, Context())
    y, x = np.mgrid[:64, :64] - 31.5
    ring = (np.hypot(y, x) > 18) & (np.hypot(y, x) < 23.5)
    assert calm[0][ring].std() < 0.5 * ringing[0][ring].std()


def test_spikes_are_found_and_removed() -> None:
    truth = np.repeat(discs(), 3, 0) + np.float32(0.02)
    broken = truth.copy()
    broken[1] = physics.put_spikes(truth[1], np.array([[20, 33], [100, 7]]), np.array([0.06, 0.05j]))
    context = Context()
    mended = spike_filter(broken, context)
    assert context.notes == {"slices_with_spikes": 1}
    np.testing.assert_array_equal(mended[0], broken[0])
    assert gain(mended[1:2], broken[1:2], truth[1:2]) > 10


def test_an_image_without_spikes_has_none() -> None:
    volume = phantom()
    noise = np.random.default_rng(0).normal(0, 20, volume.shape)
    assert not any(len(find_spikes(s)) for s in (volume + noise).astype(np.float32))


@pytest.mark.parametrize("array", [np.zeros((2, 20, 20)), np.ones((2, 20, 20)), np.ones((1, 3, 40))])
def test_nothing_to_do_is_no_error(array: np.ndarray) -> None:
    for method in (gibbs_shifts, spike_filter):
        np.testing.assert_allclose(method(array.astype(np.float32), Context()), array, atol=1e-6)


def test_auto_repairs_spikes_and_leaves_a_clean_image_alone() -> None:
    truth = np.repeat(discs(), 3, 0) + np.float32(0.02)
    options = {"task": "artifact-reduction", "model": "classical/kspace-repair"}
    clean = reconstruct(Volume(truth, Geometry((1, 1, 4)), "MR"), **options)
    assert clean.provenance["found"]["artifact"] == "none"
    np.testing.assert_array_equal(clean.volume.array, truth)
    broken = truth.copy()
    broken[2] = physics.put_spikes(truth[2], np.array([[20, 33]]), np.array([0.06]))
    found = reconstruct(Volume(broken, Geometry((1, 1, 4)), "MR"), **options)
    assert found.provenance["found"]["artifact"] == "spike"
    assert gain(found.volume.array, broken, truth) > 10
    assert reconstruct(Volume(truth, Geometry((1, 1, 4)), "MR"), artifact="gibbs", **options).residual.array.any()


@pytest.mark.skipif("mr-artifacts" not in CARDS, reason="mr-artifacts is not in this zoo")
def test_auto_names_spikes_and_leaves_a_clean_image_alone() -> None:
    pytest.importorskip("torch", reason="learned models need torch")
    rng = np.random.default_rng(1)
    truth = np.repeat(discs(), 3, 0)
    truth = np.abs(truth + physics.complex_noise(truth.shape, 0.01, rng)).astype(np.float32)
    options = {"task": "artifact-reduction", "model": "mr-artifacts", "device": "cpu"}
    clean = reconstruct(Volume(truth, Geometry((1, 1, 4)), "MR"), **options)
    assert clean.provenance["found"]["artifact"] == "none"
    np.testing.assert_allclose(clean.volume.array, truth, atol=1e-5)
    broken = np.stack([physics.put_spikes(s, *physics.random_spikes(s.shape, rng)) for s in truth])
    found = reconstruct(Volume(broken, Geometry((1, 1, 4)), "MR"), **options)
    assert found.provenance["found"]["artifact"] == "spike"
    assert gain(found.volume.array, broken, truth) > 3


@pytest.mark.skipif("mr-bias" not in CARDS, reason="mr-bias is not in this zoo")
def test_the_field_is_smooth_and_multiplicative() -> None:
    pytest.importorskip("torch", reason="learned models need torch")
    truth = phantom()
    field = physics.bias_field(truth.shape, np.random.default_rng(3))
    image = (truth * field).astype(np.float32)
    volume = Volume(image, Geometry((5.0, 5.0, 5.0)), "MR")
    result = reconstruct(volume, task="artifact-reduction", artifact="bias", device="cpu")
    assert result.provenance["model"]["id"] == "mr-bias"
    ratio = np.log(result.volume.array[truth > 100] / image[truth > 100])
    assert np.isfinite(ratio).all()
    whole = np.where(image > 0, result.volume.array / np.maximum(image, 1e-6), np.nan)
    steps = np.abs(np.diff(np.log(whole), axis=2))
    assert np.nanmax(steps) < 0.2


@pytest.mark.skipif("mr-bias" not in CARDS, reason="mr-bias is not in this zoo")
def test_auto_asks_one_model_after_the_other() -> None:
    """Until one finds what it knows; where none does, the image stays, and who was asked is told."""
    pytest.importorskip("torch", reason="learned models need torch")
    place = np.indices((10, 72, 80)) / 80
    for slope, kind, model in ((0.3, "none", "mr-artifacts"), (1.2, "bias", "mr-bias")):
        image = (phantom((10, 72, 80)) * np.exp(slope * (place[2] - place[1] / 2))).astype(np.float32)
        volume = Volume(image, Geometry((2, 2, 4)), "MR")
        told: list[float] = []
        done = reconstruct(
            volume, task="artifact-reduction", device="cpu", progress=lambda f, _, told=told: told.append(f)
        )
        assert told == sorted(told) and told[-1] == 1
        found = done.provenance["found"]
        assert (found["artifact"], done.provenance["model"]["id"]) == (kind, model)
        assert found["looked_for"] == ["spike", "gibbs", "motion", "bias"]
        assert (kind == "none") == np.array_equal(done.volume.array, image)


def moved_discs() -> tuple[np.ndarray, np.ndarray]:
    """Discs in three slices, and as they look when the outer lines of both sides were acquired in another place."""
    truth = np.stack([np.roll(discs(96)[0] + np.float32(0.02), 5 * n, 1) for n in range(3)])
    poses = np.zeros((96, 3))
    poses[np.abs(physics.frequencies(96)) >= 10, :2] = 1.5, -2.0
    return truth, np.stack([physics.move(t, poses) for t in truth])


def undone(slices: np.ndarray) -> np.ndarray:
    """By the displacements that moved_discs() used, with the function that repairs."""
    torch = pytest.importorskip("torch", reason="the repair is written in torch")
    from DLReconLib.networks.line_shifts import turned

    known = np.ones((49, 96), complex)
    known[10:] = np.exp(2j * np.pi * (1.5 * np.arange(10, 49)[:, None] / 96 - 2.0 * fft.fftfreq(96)))
    return turned(torch.from_numpy(slices), torch.from_numpy(known.astype(np.complex64))).numpy()


def test_displaced_lines_are_found_and_turned_back() -> None:
    """Even where only a fifth of the right change is told, and as well as if they were known."""
    torch = pytest.importorskip("torch", reason="the repair is written in torch")
    from DLReconLib.networks.line_shifts import explain, turned

    truth, broken = moved_discs()
    best = gain(undone(broken), broken, truth)
    assert best > 4
    found = explain(torch.from_numpy(broken), torch.from_numpy(0.2 * (truth - broken)))
    assert found.evidence > 100
    assert gain(turned(torch.from_numpy(broken), found.factors).numpy(), broken, truth) > best - 0.3


def test_nothing_to_explain_turns_nothing() -> None:
    torch = pytest.importorskip("torch", reason="the repair is written in torch")
    from DLReconLib.networks.line_shifts import explain, turned

    _, broken = moved_discs()
    for change in (np.zeros_like(broken), -0.1 * broken, -0.4 * broken):  # nothing, or less of everything
        found = explain(torch.from_numpy(broken), torch.from_numpy(change))
        assert found.evidence < 0
        assert np.abs(turned(torch.from_numpy(broken), found.factors).numpy() - broken).max() < 0.02


def test_lines_are_followed_outwards() -> None:
    """With the truth for a prediction, displaced lines are turned back, and lines that were not displaced stay."""
    torch = pytest.importorskip("torch", reason="the repair is written in torch")
    from DLReconLib.networks.line_shifts import follow, turned

    truth, broken = moved_discs()
    spectrum = torch.fft.rfft(torch.from_numpy(truth), dim=1)

    def oracle(coarse: "torch.Tensor") -> "torch.Tensor":
        size = coarse.shape[1]
        lines = spectrum[:, : size // 2 + 1].clone()
        lines[:, -1] = 0
        return torch.fft.irfft(lines, size, dim=1) * (size / 96) - coarse

    for slices, least in ((broken, gain(undone(broken), broken, truth) - 0.3), (truth, None)):
        after = turned(torch.from_numpy(slices), follow(torch.from_numpy(slices), oracle, 1e9)).numpy()
        if least is None:
            assert np.abs(after - truth).max() < 0.02
        else:
            assert gain(after, broken, truth) > least


def test_chances_of_a_chain_are_those_of_all_its_paths() -> None:
    torch = pytest.importorskip("torch", reason="the repair is written in torch")
    from DLReconLib.networks.line_shifts import STAYS, smoothed

    likelihood = np.random.default_rng(0).normal(0, 2, (4, 3))
    jumps, begin = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8])
    step = (1 - STAYS) * jumps[None] + STAYS * np.eye(3)
    total = np.zeros((4, 3))
    for path in np.ndindex(3, 3, 3, 3):
        chance = np.exp(sum(likelihood[k, s] for k, s in enumerate(path))) * (begin @ step)[path[0]]
        chance *= np.prod([step[a, b] for a, b in itertools.pairwise(path)])
        for k, state in enumerate(path):
            total[k, state] += chance
    chances, evidence, last = smoothed(*(torch.from_numpy(x) for x in (likelihood, jumps, begin)))
    np.testing.assert_allclose(chances, total / total.sum(1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(last, chances[-1], rtol=1e-9)
    assert evidence == pytest.approx(np.log(total[0].sum()))


def moved_volume(alike: bool) -> tuple[np.ndarray, np.ndarray]:
    """Truth and slices (4, 96, 96) of which all, or the second alone, moved while lines along j were acquired."""
    rng, disc = np.random.default_rng(0), discs(96)[0] + np.float32(0.02)
    noise = physics.complex_noise((4, 96, 96), 0.008, rng)
    poses = np.zeros((96, 3))
    poses[physics.frequencies(96) >= 10, 0] = 3.0
    truth = np.abs(disc + noise)
    moved = [physics.move(disc, poses, n) if alike or k == 1 else t
             for k, (t, n) in enumerate(zip(truth, noise, strict=True))]  # fmt: skip
    return truth, np.stack(moved).astype(np.float32)


def test_slices_that_moved_alike_are_mended_together() -> None:
    truth, broken = moved_volume(True)
    volume = Volume(broken.swapaxes(1, 2), Geometry((1, 1, 4)), "MR")
    done = reconstruct(volume, task="artifact-reduction", artifact="motion", device="cpu")
    assert done.provenance["model"]["id"] == "mr-motion"
    found = done.provenance["found"]
    assert (found["artifact"], found["lines_along"], found["moved_alike"]) == ("motion", "i", True)
    assert gain(done.volume.array.swapaxes(1, 2), broken, truth) > 0.5


def test_a_slice_without_movement_stays_bit_for_bit() -> None:
    """Of an image in which one slice moved the others stay; what was done is told."""
    truth, broken = moved_volume(False)
    volume = Volume(broken, Geometry((1, 1, 4)), "MR")
    done = reconstruct(volume, task="artifact-reduction", artifact="motion", device="cpu")
    found = done.provenance["found"]
    assert (found["artifact"], found["slices_moved"], found["lines_along"]) == ("motion", 1, "j")
    for k in (0, 2, 3):
        np.testing.assert_array_equal(done.volume.array[k], broken[k])
    assert gain(done.volume.array[1:2], broken[1:2], truth[1:2]) > 0.3
    still = volume.with_array(truth.astype(np.float32))
    done = reconstruct(still, task="artifact-reduction", artifact="motion", device="cpu")
    assert done.provenance["found"]["artifact"] == "none"
    np.testing.assert_array_equal(done.volume.array, still.array)


def test_training_pairs_of_movement() -> None:
    """Some slices stay as they are; the others are worse, and all come with their coarse views. Images of inner lines
    come with the next ones."""
    pytest.importorskip("torch", reason="the network is an nn.Module")
    from DLReconLib.networks.motion_unet import VIEWS, views
    from DLReconLib.training.motion import MotionMaker
    from DLReconLib.training.patches import Source

    maker = MotionMaker([Source(phantom((8, 60, 72)) / 1000, False, False, 1.0)], "mr-motion", (1, 64, 64))
    pairs = [maker.draw(np.random.default_rng(n)) for n in range(40)]
    errors = [float(np.mean((p.image[0] - p.clean) ** 2)) for p in pairs]
    assert all(p.image.shape == (VIEWS, 64, 64) and p.clean.shape == (64, 64) for p in pairs)
    assert 0 < sum(e == 0 for e in errors) < 20
    coarse, fine = (np.abs(np.diff(pairs[0].image[n], axis=0)).mean() for n in (1, 0))
    assert coarse < 0.5 * fine, "the first view keeps the lowest lines only"
    view = views(pairs[0].clean[None])[0]
    np.testing.assert_allclose(view[1:].mean((1, 2)), view[0].mean(), rtol=1e-4)
    follows = [maker.lines.draw(np.random.default_rng(n)) for n in range(10)]
    assert all(p.image.shape == (1, 64, 96) for p in follows)
    assert all(np.mean((p.clean - p.image[0]) ** 2) > 0 for p in follows)


def test_training_for_movement_makes_a_model(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    from DLReconLib.training import train_by_plan

    write_volume(Volume(phantom((24, 48, 48)), Geometry(), "MR"), tmp_path / "a.nrrd")
    entry = {"path": "a.nrrd", "averages": [[1, 1, 1]], "weight": 1, "licence": "none"}
    images = [entry | {"subject": role, "role": role} for role in ("train", "validation")]
    (tmp_path / "split.json").write_text(json.dumps({"images": images}))
    plan = json.loads((CARDS["mr-motion"].folder / "plan.json").read_text()) | {
        "arguments": {"channels": [8, 8], "blocks": 1, "following": [8, 8]}, "patch": [1, 32, 32], "batch": 1,
        "steps": 2, "warmup": 1, "every": 1, "further": [["lines", 2, 1.0]], "precision": "float32"}  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    card = json.loads((CARDS["mr-motion"].folder / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card))
    made = train_by_plan(tmp_path / "plan.json", tmp_path, tmp_path / "out")
    volume = Volume(phantom((3, 40, 44)), Geometry((1, 1, 4)), "MR")
    done = reconstruct(volume, task="artifact-reduction", model=str(made / "card.json"), device="cpu")
    assert done.provenance["found"]["artifact"] == "none", "two steps teach nothing that would be evidence"
    np.testing.assert_array_equal(done.volume.array, volume.array)
