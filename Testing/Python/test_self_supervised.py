"""Learning from the image alone: the noise that is found, the pairs, the choice; and adapting a trained model."""

import numpy as np
import pytest
from conftest import noisy_phantom
from scipy import ndimage

from DLReconLib import reconstruct
from DLReconLib.networks.context import Context
from DLReconLib.networks.cosine import cosine, cosine_filter
from DLReconLib.networks.noise_spectrum import find_noise
from DLReconLib.networks.recorrupted import ALPHA, Recorrupted
from DLReconLib.progress import Cancelled
from DLReconLib.volume import Volume

SHAPE = (1, 128, 128)


def smooth(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A large calm structure, 0 to 1000."""
    field = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal(shape), (0, 25, 25))
    return (1000 * (field - field.min()) / np.ptp(field)).astype(np.float32)


def noise(kind: str, shape: tuple[int, ...] = SHAPE, level: float = 40.0) -> np.ndarray:
    found = np.random.default_rng(5).standard_normal(shape)
    if kind == "correlated":
        found = ndimage.gaussian_filter(found, (0, 0.8, 0.8))
    return (level * found / found.std()).astype(np.float32)


def lag_one(array: np.ndarray) -> float:
    return float(np.mean(array[..., 1:] * array[..., :-1]) / np.mean(array**2))


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_the_noise_is_found_and_drawn_as_it_is(kind: str) -> None:
    put = noise(kind)
    found = find_noise(smooth() + put)
    drawn = found.draw(smooth() + put, np.random.default_rng(1))
    assert drawn.std() == pytest.approx(40, rel=0.15)
    assert lag_one(drawn) == pytest.approx(lag_one(put), abs=0.15)


def test_noise_that_follows_the_brightness_is_found_so() -> None:
    clean = smooth()
    found = find_noise(clean + noise("white", level=1.0) * (5 + clean / 10))
    levels = found.levels(clean) * found.sigma
    bright, dark = levels[clean > 800].mean(), levels[clean < 200].mean()
    assert bright > 2 * dark


def test_pairs_are_independent_and_the_error_to_expect_is_the_error() -> None:
    clean, put = smooth((1, 256, 256)), noise("white", (1, 256, 256))
    part = Recorrupted(clean + put, find_noise(clean + put))
    seen, target = part.draw()
    assert abs(np.corrcoef((seen - clean).ravel(), (target - clean).ravel())[0, 1]) < 0.08
    assert part.risk(seen, target) == pytest.approx(1 + ALPHA**2, abs=0.15)
    answer = clean + 0.3 * put
    truth = np.mean(((answer - clean) / part.scale)[:, part.held] ** 2)
    # The answer knows the noise of the image, which is what the second half of the pair still holds.
    assert part.risk(clean, target) == pytest.approx(0, abs=0.15)
    assert truth == pytest.approx(0.09, abs=0.05)


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_the_cosine_filter_takes_the_noise_and_leaves_the_mean(kind: str) -> None:
    clean = smooth()
    image = clean + noise(kind)
    answer = cosine(image, Context())
    assert np.std(answer - clean) < 0.5 * np.std(image - clean)
    assert abs(np.mean(answer - image)) < 1
    scaled = cosine(3 * image - 500, Context())
    np.testing.assert_allclose((scaled + 500) / 3, answer, atol=0.2)


def test_without_noise_hardly_anything_is_done() -> None:
    steps = np.kron(np.arange(16, dtype=np.float32).reshape(1, 4, 4), np.ones((1, 16, 16), np.float32))
    found = find_noise(steps)
    np.testing.assert_allclose(cosine_filter(steps, found), steps, atol=0.005 * 9)


def test_it_learns_and_says_what_it_did() -> None:
    pytest.importorskip("torch", reason="it is a network")
    clean = smooth()
    volume = Volume(clean + noise("white"))
    result = reconstruct(volume, model="self-supervised", steps=30, device="cpu")
    found = result.provenance["found"]
    assert found["steps"] == 30
    assert found["risk"][found["given"]] <= found["risk"]["input"]
    before, after = (np.std(v.array - clean) for v in (volume, result.volume))
    assert after < 0.5 * before
    again = reconstruct(volume, model="self-supervised", steps=30, device="cpu")
    np.testing.assert_array_equal(again.volume.array, result.volume.array)


def test_the_budget_ends_it_and_the_same_steps_repeat_it() -> None:
    pytest.importorskip("torch", reason="it is a network")
    from DLReconLib.replay import chosen_options

    volume = Volume(smooth() + noise("white"))
    result = reconstruct(volume, model="self-supervised", budget=1.0, device="cpu")
    options = chosen_options(result.provenance)
    assert options["steps"] == result.provenance["found"]["steps"] >= 1
    again = reconstruct(volume, **options)
    np.testing.assert_array_equal(again.volume.array, result.volume.array)


def test_cancelled_while_learning() -> None:
    pytest.importorskip("torch", reason="it is a network")

    def stop(fraction: float, text: str) -> None:
        if "step 3" in text:
            raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct(Volume(smooth() + noise("white")), model="self-supervised", progress=stop, device="cpu")


def test_adapting_keeps_what_helps_and_says_so() -> None:
    pytest.importorskip("torch", reason="learned model")
    volume = noisy_phantom("MR", shape=(8, 40, 40))
    plain = reconstruct(volume, model="mr-denoise", device="cpu", precision="float32", judge=False)
    options = {
        "model": "mr-denoise",
        "device": "cpu",
        "precision": "float32",
        "judge": False,
        "steps": 3,
        "adapt": True,
    }
    adapted = reconstruct(volume, **options)
    found = adapted.provenance["found"]["adapted"]
    assert found["steps"] == 3
    same = np.array_equal(adapted.volume.array, plain.volume.array)
    assert same != found["kept"]
    assert not found["kept"] or found["risk"]["after"] < found["risk"]["before"]
    np.testing.assert_array_equal(reconstruct(volume, **options).volume.array, adapted.volume.array)


def test_what_cannot_be_adapted_is_refused() -> None:
    pytest.importorskip("torch", reason="learned model")
    volume = noisy_phantom("MR", shape=(4, 24, 24))
    with pytest.raises(ValueError, match="cannot be adapted"):
        reconstruct(volume, model="classical/nlm", adapt=True)
    with pytest.raises(ValueError, match="steps"):
        reconstruct(volume, model="self-supervised", steps=-1)
