"""The trust light: what must turn it, and what must not. Broad figures are in Testing/Benchmarks/trust.py."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import noisy_phantom, phantom
from scipy import ndimage

from DLReconLib import reconstruct
from DLReconLib.models import ModelCard, find_card
from DLReconLib.trust import judge, structure_map
from DLReconLib.trust.domain import distance, features, summarise
from DLReconLib.trust.residuals import spots
from DLReconLib.trust.views import Pair, noise_level
from DLReconLib.volume import Geometry, Volume

SHAPE = (24, 72, 72)
SIGMA = 20.0
CARD = find_card("classical/tv")


def pair(seed: int = 0) -> tuple[Volume, np.ndarray]:
    """A noisy phantom, and a denoised one that took 90 % of the noise and nothing else."""
    noise = np.random.default_rng(seed).normal(0, SIGMA, SHAPE).astype(np.float32)
    clean = ndimage.gaussian_filter(phantom(SHAPE), 0.6) + 200
    return Volume(clean + noise, modality="MR"), clean + 0.1 * noise


def light(source: Volume, result: np.ndarray, **options) -> tuple[str, set[str]]:
    trust = judge(source, source.with_array(result.astype(np.float32)), CARD, SIGMA, **options)
    return trust.light, {r.check for r in trust.reasons if r.light != "green"}


def test_taking_nothing_but_noise_is_green() -> None:
    assert light(*pair()) == ("green", set())


def test_every_reason_is_a_sentence_with_its_number() -> None:
    source, result = pair()
    record = judge(source, source.with_array(result), CARD, SIGMA).to_dict()
    assert json.loads(json.dumps(record)) == record
    for reason in record["reasons"]:
        assert set(reason) == {"check", "light", "value", "limit", "text"}
        assert reason["text"].endswith(".") and any(c.isdigit() for c in reason["text"])


def test_judging_twice_gives_the_same() -> None:
    source, result = pair()
    trusts = [judge(source, source.with_array(result), CARD, SIGMA) for _ in range(2)]
    assert trusts[0] == trusts[1]


def ball(radius: float = 3) -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return (k - 12) ** 2 + (j - 30) ** 2 + (i - 44) ** 2 <= radius**2


def erase(source: Volume, result: np.ndarray) -> tuple[Volume, np.ndarray]:
    return source.with_array(source.array + 4 * SIGMA * ball()), result


def invent(source: Volume, result: np.ndarray) -> tuple[Volume, np.ndarray]:
    return source, result + 4 * SIGMA * ball()


def half_brighter(source: Volume, result: np.ndarray) -> tuple[Volume, np.ndarray]:
    return source, result + np.where(np.arange(SHAPE[2]) >= 36, SIGMA, 0)


SPOILED = {
    "lesion erased": (erase, {"structure"}),
    "lesion invented": (invent, {"structure"}),
    "seam": (half_brighter, {"seam"}),
    "shifted level": (lambda s, r: (s, r + 0.5 * SIGMA), {"mean"}),
    "moved": (lambda s, r: (s, np.roll(r, 1, 2)), {"shift", "bound"}),
    "clipped": (lambda s, r: (s, np.minimum(r, 700)), {"clipped"}),
    "too little": (lambda s, r: (s, s.array - 0.2 * (s.array - r)), {"weak"}),
    "too much": (lambda s, r: (s, s.array - 2.5 * (s.array - r)), {"strength"}),
    "stripes": (lambda s, r: (s, r + SIGMA * (np.arange(SHAPE[2]) % 4 == 0)), {"lines"}),
    "posterised": (lambda s, r: (s, np.rint(r / 60) * 60), {"equal"}),
    "other unit": (lambda s, r: (s, r / 1000), {"strength"}),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_results_are_not_green(name: str) -> None:
    spoil, wanted = SPOILED[name]
    found, checks = light(*spoil(*pair()))
    assert found != "green"
    assert wanted & checks


def test_the_place_of_an_erased_lesion_is_told() -> None:
    source, result = erase(*pair())
    reasons = judge(source, source.with_array(result), CARD, SIGMA).reasons
    text = next(r.text for r in reasons if r.check == "structure")
    i, j, k = (int(n) for n in text[text.index("(") + 1 : text.index(")")].split(","))
    assert np.hypot(np.hypot(i - 44, j - 30), k - 12) < 4
    assert "taken away" in text


def test_the_map_shows_what_was_taken_and_what_was_added() -> None:
    source, result = pair()
    source = source.with_array(source.array + 4 * SIGMA * ball())
    added = result + 4 * SIGMA * np.roll(ball(), -16, 2)
    found = structure_map(source, source.with_array(added), CARD, SIGMA)
    assert found.geometry == source.geometry
    assert np.abs(np.array(np.unravel_index(found.array.argmax(), SHAPE)) - (12, 30, 44)).max() <= 2
    assert np.abs(np.array(np.unravel_index(found.array.argmin(), SHAPE)) - (12, 30, 28)).max() <= 2


def test_another_grid_and_broken_values_are_red() -> None:
    source, result = pair()
    elsewhere = Volume(result, Geometry(origin=(1.0, 0.0, 0.0)))
    assert judge(source, elsewhere, CARD, SIGMA).light == "red"
    broken = result.copy()
    broken[3, 4, 5] = np.nan
    assert judge(source, source.with_array(broken), CARD, SIGMA).light == "red"


def test_the_strength_that_was_asked_for_is_no_fault() -> None:
    source, result = pair()
    mild = source.array - 0.3 * (source.array - result)
    assert light(source, mild, strength=0.3) == ("green", set())
    assert light(source, source.array.copy(), strength=0.0)[0] == "green"


def test_masked_runs_are_judged_inside_the_mask() -> None:
    source, result = pair()
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 20:52, 20:52] = 1
    assert light(source, np.where(mask, result, source.array), mask=mask)[0] == "green"


@pytest.mark.parametrize(("modality", "wanted"), [("MR", "green"), ("CT", "red"), ("", "amber")])
def test_the_modality_that_a_model_is_made_for(modality: str, wanted: str) -> None:
    source, result = pair()
    card = replace(CARD, modalities=("MR",))
    assert judge(source, source.with_array(result), card, SIGMA, modality=modality).light == wanted


def test_noise_is_found_whether_white_or_not() -> None:
    rng = np.random.default_rng(1)
    clean, tissue = ndimage.gaussian_filter(phantom(SHAPE), 1), np.ones(SHAPE, bool)
    for width in (0, 0.8):
        noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), (0, width, width))
        image = (clean + 30 * noise / noise.std()).astype(np.float32)
        assert 0.5 < noise_level(image, tissue) / 30 < 1.6


def test_pure_noise_has_no_spot() -> None:
    noise = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    found = spots(Pair(noise, np.zeros(SHAPE, np.float32), 1.0, np.ones(SHAPE, bool)))
    assert max(s.rarity for s in found) < 6


def learned_card() -> ModelCard:
    """Made for phantoms: their features are its domain."""
    card = find_card("mr-denoise")
    rng = np.random.default_rng(3)
    rows = []
    for number in range(60):
        shape = (16, int(rng.integers(36, 56)), int(rng.integers(36, 56)))
        image = phantom(shape) + rng.normal(0, rng.uniform(5, 80), shape)
        rows.append((f"subject {number % 6}", features(np.abs(image).astype(np.float32), card)))
    return replace(card, trust={"domain": summarise(rows)})


def test_images_like_those_of_training_are_near_and_others_far() -> None:
    card = learned_card()
    rng = np.random.default_rng(4)
    like = np.abs(phantom((16, 48, 40)) + rng.normal(0, 40, (16, 48, 40))).astype(np.float32)
    assert distance(like, card).score < 1
    assert distance(like * 37, card).score < 1  # MR has no unit
    hu = noisy_phantom("CT", shape=(16, 48, 40)).array
    assert distance(hu, card).score > 1
    assert distance(rng.normal(0, 1, (16, 48, 40)).astype(np.float32), card).score > 1


def test_the_record_holds_figures_and_trust_unless_told_not_to() -> None:
    volume = noisy_phantom("MR")
    record = reconstruct(volume, model="classical/gaussian").provenance
    assert record["trust"]["light"] in ("green", "amber", "red")
    assert {"noise_sigma", "snr", "sharpness", "contrast"} <= set(record["figures"]["after"])
    assert not {"trust", "figures"} & set(reconstruct(volume, model="classical/gaussian", judge=False).provenance)


@pytest.mark.parametrize("shape", [(1, 64, 64), (64, 1, 64), (8, 8, 8), (3, 40, 200)])
def test_odd_shapes_are_judged(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(5).normal(500, 20, shape).astype(np.float32)
    judge(Volume(image), Volume(ndimage.gaussian_filter(image, 1)), CARD, SIGMA)


def test_components_are_judged_each() -> None:
    source, result = pair()
    both = source.with_array(np.stack([source.array, source.array], 3))
    spoiled = both.with_array(np.stack([result, result + 2 * SIGMA], 3).astype(np.float32))
    assert judge(both, spoiled, CARD, SIGMA).light != "green"


def test_judging_a_large_volume_takes_seconds() -> None:
    noise = np.random.default_rng(6).standard_normal((160, 192, 192), np.float32)
    volume = Volume(noise * 20 + 500)
    started = time.process_time()
    judge(volume, volume.with_array(np.full_like(noise, 500)), CARD, 20.0)
    assert time.process_time() - started < 5
