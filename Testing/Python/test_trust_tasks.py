"""The trust light of the tasks whose change is not noise: perfect results are green, planted failures are not."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import phantom
from scipy import ndimage

from DLReconLib.models import find_card
from DLReconLib.trust import judge_change
from DLReconLib.volume import Volume

SHAPE = (20, 96, 96)
SIGMA = 8.0
CARD = find_card("classical/tv")


def clean() -> np.ndarray:
    """A phantom with fine texture, so that blur has something to take."""
    texture = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE), (0.5, 1, 1))
    image = ndimage.gaussian_filter(phantom(SHAPE), (0, 0.6, 0.6))
    return (image * (1 + 0.04 * texture / texture.std()) + 100).astype(np.float32)


def noise() -> np.ndarray:
    return np.random.default_rng(2).normal(0, SIGMA, SHAPE).astype(np.float32)


def bias(image: np.ndarray) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return (image * np.exp(0.4 * np.sin(1.5 * i + 0.5) * np.cos(j + 0.3 * k))).astype(np.float32)


def gibbs(image: np.ndarray) -> np.ndarray:
    """The central 60 % of k-space along both axes of the slices."""
    spectrum = np.fft.fftshift(np.fft.fft2(image), axes=(1, 2))
    frequency = np.abs(np.linspace(-1, 1, SHAPE[1], endpoint=False))
    inside = frequency < 0.6
    return np.fft.ifft2(np.fft.ifftshift(spectrum * inside[:, None] * inside, axes=(1, 2))).real.astype(np.float32)


def ring(image: np.ndarray) -> np.ndarray:
    j, i = np.indices(SHAPE[1:]) - 47.5
    profile = np.random.default_rng(4).normal(0, 40, (len(image), 80))
    return image + profile[:, np.hypot(j, i).astype(int)].astype(np.float32)


DEGRADE = {"bias": bias, "gibbs": gibbs, "ring": ring}


def pair(kind: str) -> tuple[Volume, np.ndarray]:
    """An image with an artifact and noise, and one without the artifact."""
    image = clean()
    spoiled = DEGRADE[kind](image)
    if kind == "bias":
        source = spoiled + noise()
        return Volume(source), source * image / spoiled
    return Volume(spoiled + noise()), image + noise()


def light(kind: str, source: Volume, result: np.ndarray, **options) -> tuple[str, set[str]]:
    card = replace(CARD, task="artifact-reduction", artifacts=(kind,))
    trust = judge_change(source, source.with_array(result.astype(np.float32)), card, SIGMA, **options)
    return trust.light, {r.check for r in trust.reasons if r.light != "green"}


def ball(radius: float = 3) -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return (k - 10) ** 2 + (j - 40) ** 2 + (i - 56) ** 2 <= radius**2


@pytest.mark.parametrize("kind", DEGRADE)
def test_taking_nothing_but_the_artifact_is_green(kind: str) -> None:
    assert light(kind, *pair(kind)) == ("green", set())


@pytest.mark.parametrize("kind", ["gibbs", "ring"])
def test_the_strength_that_was_asked_for_is_no_fault(kind: str) -> None:
    source, result = pair(kind)
    mild = source.array - 0.4 * (source.array - result)
    assert light(kind, source, mild, strength=0.4) == ("green", set())
    assert light(kind, source, source.array, strength=0.0)[0] == "green"


HALF = np.where(np.arange(SHAPE[2]) >= SHAPE[2] // 2 + 3, 30, 0)
PLANTED = {
    "structure invented in shading": ("bias", lambda s, r: r * (1 + 0.3 * ball()), "field"),
    "shading of pieces": ("bias", lambda s, r: r * np.where(np.arange(SHAPE[2]) % 24 < 12, 1.1, 1.0), "field"),
    "shading taken off three times": ("bias", lambda s, r: s * (r / s) ** 4, "depth"),
    "structure invented beside ringing": ("gibbs", lambda s, r: r + 30 * SIGMA * ball(), "reach"),
    "structure erased beside ringing": ("gibbs", lambda s, r: r - 30 * SIGMA * ball(), "reach"),
    "seam": ("gibbs", lambda s, r: r + HALF, "seam"),
    "blurred": ("ring", lambda s, r: ndimage.gaussian_filter(r, (0, 2, 2)), "blur"),
    "moved": ("ring", lambda s, r: np.roll(r, 1, 2), "shift"),
    "level": ("ring", lambda s, r: r + 200, "drift"),
    "rings taken away three times": ("ring", lambda s, r: s - 3 * (s - r), "pattern"),
    "another image": ("ring", lambda s, r: np.roll(r, 30, 1), "size"),
    "clipped": ("ring", lambda s, r: np.minimum(r, 600), "clipped"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_failures_are_not_green(name: str) -> None:
    kind, spoil, check = PLANTED[name]
    source, result = pair(kind)
    found, checks = light(kind, source, spoil(source.array, result))
    assert found != "green"
    assert check in checks


class TestContrast:
    CARD = replace(CARD, task="contrast")

    def light(self, change) -> tuple[str, set[str]]:
        source = Volume(clean() + noise())
        result = source.with_array(np.asarray(change(source.array), np.float32))
        trust = judge_change(source, result, self.CARD, SIGMA)
        return trust.light, {r.check for r in trust.reasons if r.light != "green"}

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: 3 * x - 500,
            lambda x: np.clip(x, 0, None) ** 0.6,
            lambda x: np.log(np.clip(x, 20, None)),
            lambda x: x + 0.3 * x * np.tanh((ndimage.gaussian_filter(x, 12) - 400) / 400),  # another curve everywhere
        ],
    )
    def test_monotone_curves_are_green(self, change) -> None:
        assert self.light(change) == ("green", set())

    @pytest.mark.parametrize(
        ("change", "check"),
        [
            (lambda x: -x, "order"),
            (lambda x: np.where(x > 550, 1100 - x, x), "order"),
            (lambda x: np.clip(x, 300, 600), "lost"),
            (lambda x: np.rint(x / 250) * 250, "lost"),
            (lambda x: x + 5 * (x - ndimage.gaussian_filter(x, (0, 2, 2))), "louder"),
        ],
    )
    def test_planted_failures_are_not_green(self, change, check) -> None:
        found, checks = self.light(change)
        assert found != "green"
        assert check in checks


class TestHoles:
    CARD = replace(CARD, task="inpaint")

    def checks(self, fill, elsewhere: float = 0.0) -> dict[str, str]:
        image = clean() + noise()
        hole = np.zeros(SHAPE, np.uint8)
        hole[8:12, 40:52, 76:86] = 1
        result = np.where(hole, fill(image), image).astype(np.float32)
        result[0, 0, 0] += elsewhere
        source = Volume(np.where(hole, 0, image).astype(np.float32))
        trust = judge_change(source, source.with_array(result), self.CARD, SIGMA, mask=hole)
        return {r.check: r.light for r in trust.reasons}

    def test_what_continues_the_image_is_green(self) -> None:
        assert set(self.checks(lambda x: x).values()) == {"green"}
        assert self.checks(lambda x: ndimage.gaussian_filter(x, 2))["rim"] == "green"

    def test_a_fill_that_does_not_fit_its_rim(self) -> None:
        assert self.checks(lambda x: x + 500)["rim"] != "green"
        assert self.checks(lambda x: np.zeros_like(x))["rim"] != "green"

    def test_a_change_outside_is_red(self) -> None:
        assert self.checks(lambda x: x, elsewhere=1.0)["outside"] == "red"
