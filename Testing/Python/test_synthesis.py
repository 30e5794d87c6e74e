"""Synthetic volumes: repeatable, on the grid of their labels, and said to be synthetic."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import oblique

pytest.importorskip("torch", reason="the degradations need torch")

from DLReconLib.cli import main
from DLReconLib.io import read_volume, write_volume
from DLReconLib.synthesis import random_labels, synthesize
from DLReconLib.volume import Volume

SHAPE = (20, 40, 36)


def some_labels() -> Volume:
    return Volume(random_labels(SHAPE, np.random.default_rng(3)), oblique())


def test_same_seed_same_image_another_seed_another() -> None:
    one, again, other = (synthesize(shape=SHAPE, seed=s, noise=0.03, bias=0.3)[0].array for s in (5, 5, 6))
    assert np.array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_labels_have_a_mean_each_on_their_grid() -> None:
    labels = some_labels()
    image, given, record = synthesize(labels, seed=1)
    assert image.geometry == labels.geometry
    assert given is labels
    assert (image.array.dtype, image.array.shape) == (np.float32, SHAPE)
    assert record["synthetic"] is True
    within = np.mean([image.array[labels.array == n].std() for n in range(1, 13)])
    assert within < 0.5 * image.array[labels.array > 0].std()
    json.dumps(record)


def test_noise_and_bias_are_what_they_say() -> None:
    """Of the same labels and seed: the noise's spread, and a field that bends the image smoothly."""
    flat = Volume(np.ones((16, 48, 48), np.int16))
    plain, noisy, bent = (synthesize(flat, seed=2, **o)[0].array for o in ({}, {"noise": 0.05}, {"bias": 0.8}))
    assert noisy.std() > plain.std()
    ratio = bent / np.maximum(plain, 1e-3)
    assert ratio.max() / ratio.min() > 1.2
    assert np.abs(np.diff(ratio, axis=2)).max() < 0.05 * np.ptp(ratio)


def test_random_shapes_fill_an_ellipsoid_with_every_label() -> None:
    labels = random_labels((24, 40, 40), np.random.default_rng(0))
    assert set(np.unique(labels)) == set(range(13))
    assert labels[0, 0, 0] == labels[-1, -1, -1] == 0
    assert 0.2 < np.mean(labels > 0) < 0.6


@pytest.mark.parametrize(
    ("options", "said"),
    [({"noise": 2.0}, "noise"), ({"bias": -1.0}, "bias"), ({"shape": (1, 1, 9)}, "size"),
     ({"labels": Volume(np.linspace(0, 1, 4096).reshape(16, 16, 16))}, "label map")],
)  # fmt: skip
def test_bad_wishes_are_named(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        synthesize(**options)


def test_command_line(tmp_path: Path) -> None:
    out = tmp_path / "one.nii.gz"
    assert main(["synthesize", str(out), "--seed", "4", "--size", "16,32,32"]) == 0
    labels = tmp_path / "one-labels.nrrd"
    assert read_volume(out).array.shape == read_volume(labels).array.shape == (16, 32, 32)
    assert main(["synthesize", str(out), "--seed", "4"]) == 2
    write_volume(some_labels(), tmp_path / "mine.nrrd")
    again = tmp_path / "two.nrrd"
    assert main(["synthesize", str(again), "--labels", str(tmp_path / "mine.nrrd"), "--noise", "0.02"]) == 0
    assert read_volume(again).same_grid(read_volume(tmp_path / "mine.nrrd"))
    assert '"synthetic": true' in again.read_bytes()[:4000].decode(errors="replace")
