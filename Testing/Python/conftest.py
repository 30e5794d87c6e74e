"""What the tests share: phantoms and a network that changes nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from DLReconLib.degradations.counting import pet_noise
from DLReconLib.models import ModelCard, list_cards
from DLReconLib.volume import Geometry, Volume


def oblique() -> Geometry:
    """Anisotropic, rotated about two axes, off centre."""
    a, b = 0.4, -0.3
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return Geometry((0.8, 1.1, 2.9), (-31.5, 12.25, 48.0), tuple(map(tuple, about_z @ about_x)))


def phantom(shape: tuple[int, int, int] = (20, 45, 38)) -> np.ndarray:
    """Nested ellipsoids with a ramp, 0 outside, up to 1000; (k, j, i) float32."""
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = np.zeros(shape, np.float32)
    shells = ((600, (0.9, 0.9, 0.9), 0), (950, (0.6, 0.5, 0.5), 0.1), (250, (0.4, 0.2, 0.3), -0.2))
    for value, (a, b, c), shift in shells:
        image[(k / a) ** 2 + ((j - shift) / b) ** 2 + (i / c) ** 2 < 1] = value
    return (image * (1 + 0.05 * j)).astype(np.float32)


WARM = 300.0  # what the phantom takes up everywhere as a PET volume: in air there are no counts, and no noise


def noisy_phantom(modality: str, level: float = 40.0, shape: tuple[int, int, int] = (20, 45, 38)) -> Volume:
    """A magnitude image with Rician noise for MR (and in general), HU with correlated noise for CT, filtered counts for
    PET."""
    rng = np.random.default_rng(7)
    clean = phantom(shape)
    if modality == "CT":
        noise = ndimage.gaussian_filter(rng.normal(0, 1, shape), (0, 0.6, 0.6))  # as a soft kernel correlates it
        hu = clean - 1000 + level * noise / noise.std()
        return Volume(hu.astype(np.float32), oblique(), "CT")
    if modality == "PT":
        coarse = replace(oblique(), spacing=(4.1, 4.1, 3.3))
        return Volume(pet_noise(clean + WARM, coarse.spacing[::-1], rng, level / 200), coarse, "PT")
    noise = rng.normal(0, level, (2, *shape))
    return Volume(np.hypot(clean + noise[0], noise[1]).astype(np.float32), oblique(), modality)


CARDS = [c for c in list_cards() if c.shipped]


@pytest.fixture(params=CARDS, ids=[c.id for c in CARDS])
def card(request: pytest.FixtureRequest) -> ModelCard:
    return request.param


@pytest.fixture
def identity_card(tmp_path: Path) -> Path:
    """A card that runs the identity network, for what the road does by itself."""
    values = next(c for c in CARDS if c.id == "ct-denoise").to_dict()
    values |= {"id": "identity", "network": "identity", "arguments": {}, "weights": "", "sha256": "", "flat_mm": 0.0}
    values |= {"offset": 0.0, "unit": 0.0, "reach": [], "trust": {}}
    folder = tmp_path / "identity"
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps(values))
    return folder / "card.json"
