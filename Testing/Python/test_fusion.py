"""Thick stacks along different axes into one volume: geometry, gain, motion, record."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import oblique, phantom
from scipy import ndimage

from DLReconLib.cli import main
from DLReconLib.fingerprint import fingerprint
from DLReconLib.fusion import enlargement, fuse
from DLReconLib.fusion.sampling import sampling
from DLReconLib.io import read_volume, write_volume
from DLReconLib.metrics import psnr
from DLReconLib.resolution.acquisition import Acquisition, Axis
from DLReconLib.volume import Geometry, Volume

CUBE = replace(oblique(), spacing=(1.0, 1.0, 1.0))
SPLINE = {"model": "classical/spline", "modality": "MR"}


def stacks_of(truth: np.ndarray, factor: int, geometry: Geometry = CUBE, moved: np.ndarray | None = None) -> list:
    """Three stacks of a volume, thick along k, j and i; the last of an image that is another one where it is given."""
    found = []
    for axis in range(3):
        image = truth if moved is None or axis < 2 else moved
        axes = [Axis(n // factor, n, "gaussian") if m == axis else Axis(n, n) for m, n in enumerate(truth.shape)]
        coarse = Acquisition(tuple(axes)).degrade(image)
        found.append(Volume(coarse, geometry.resampled(truth.shape[::-1], coarse.shape[::-1]), "MR"))
    return found


def as_stored(stack: Volume, order: tuple[int, int, int]) -> Volume:
    """The same image with its slice axis as k: axes in another order, the patient in the same place."""
    matrix = stack.geometry.matrix()[:, [2 - n for n in order[::-1]] + [3]]
    return Volume(stack.array.transpose(order), Geometry.from_matrix(matrix), "MR")


@pytest.mark.parametrize("turn", [0.0, 0.05])
def test_sampling_and_its_transpose(turn: float) -> None:
    rng = np.random.default_rng(0)
    places = np.eye(4)
    places[:3, :3] = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0.5]])
    places[:3, :3] = places[:3, :3] @ [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    places[:3, 3] = [0.3, 0.2, -0.25]
    one = sampling((12, 10, 9), (9, 11, 18), places)
    x, y = rng.standard_normal((12, 10, 9)).astype(np.float32), rng.standard_normal((9, 11, 18)).astype(np.float32)
    assert float(np.vdot(one.forward(x), y)) == pytest.approx(float(np.vdot(x, one.adjoint(y))), rel=1e-3, abs=1e-2)
    line = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (12, 10, 9))
    at = (places @ np.stack([*np.indices((9, 11, 18)).reshape(3, -1), np.ones(9 * 11 * 18)]))[0].reshape(9, 11, 18)
    inside = one.covered & (at > 2) & (at < 9)
    np.testing.assert_allclose(one.forward(line)[inside], at[inside], atol=0.02)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.3, -0.45, 0.2)])
def test_a_shifted_phantom_stays_in_its_place(shift: tuple) -> None:
    """Centre of gravity to a hundredth of a voxel, stacks stored each with its own slice axis as k."""
    index = np.indices((32, 32, 32), float)
    centre = np.array([15.5, 15.5, 15.5]) + shift
    truth = np.exp(-sum((a - c) ** 2 for a, c in zip(index, centre, strict=True)) / (2 * 3.0**2)).astype(np.float32)
    stacks = stacks_of(100 * truth, 4)
    stored = [stacks[0], as_stored(stacks[1], (1, 0, 2)), as_stored(stacks[2], (2, 0, 1))]
    result = fuse(stored, register="off", **SPLINE).volume
    assert result.array.shape == (32, 32, 32)
    assert result.geometry.matches(CUBE, 1e-6, (32, 32, 32))
    found = ndimage.center_of_mass(np.maximum(result.array, 0))
    np.testing.assert_allclose(found, ndimage.center_of_mass(truth), atol=0.01)


@pytest.mark.parametrize("count", [2, 3])
def test_better_than_the_mean_of_the_interpolated_stacks(count: int) -> None:
    truth = ndimage.gaussian_filter(phantom((32, 40, 40)), 0.7)
    stacks = stacks_of(truth, 4)[:count]
    mean = np.mean([enlargement(s, "MR", 1.0, None).acquisition.interpolate(s.array) for s in stacks], 0)
    fused = fuse(stacks, register="off", **SPLINE)
    peak = float(truth.max())
    assert psnr(fused.volume.array, truth, peak) > psnr(mean, truth, peak) + 2
    assert max(fused.provenance["fusion"]["misfit"]) < 0.01


def test_motion_between_the_stacks_is_found() -> None:
    rng = np.random.default_rng(1)
    truth = phantom((40, 40, 40)) + 60 * ndimage.gaussian_filter(rng.standard_normal((40, 40, 40)), 2).astype(
        np.float32
    )
    shift = np.array([1.4, -0.8, 0.6])
    stacks = stacks_of(truth, 4, moved=ndimage.shift(truth, shift, order=3, mode="nearest"))
    still, moved = (fuse(stacks, register=how, **SPLINE) for how in ("off", "mutual-information"))
    inner = (slice(4, -4),) * 3
    scores = [psnr(r.volume.array[inner], truth[inner], 1000.0) for r in (still, moved)]
    assert scores[1] > scores[0] + 2
    found = np.array(moved.provenance["fusion"]["motions"][2])
    centre = np.array([*(CUBE.matrix() @ [19.5, 19.5, 19.5, 1])[:3], 1])
    wanted = np.asarray(CUBE.direction) @ shift[::-1]
    np.testing.assert_allclose((found @ centre - centre)[:3], wanted, atol=0.25)


def test_brightness_of_the_stacks_is_made_equal() -> None:
    truth = phantom((24, 32, 32))
    stacks = stacks_of(truth, 4)
    dim = [stacks[0], stacks[1].with_array(0.7 * stacks[1].array), stacks[2]]
    one, two = (fuse(s, register="off", **SPLINE) for s in (stacks, dim))
    assert two.provenance["fusion"]["gains"][1] == pytest.approx(1 / 0.7, rel=0.05)
    assert np.abs(one.volume.array - two.volume.array).mean() < 0.03 * truth.max()


def test_command_line_and_record(tmp_path: Path) -> None:
    stacks = stacks_of(phantom((24, 24, 24)), 3)
    paths = [tmp_path / f"{n}.nrrd" for n in range(3)]
    for stack, path in zip(stacks, paths, strict=True):
        write_volume(stack, path)
    command = ["fuse", *map(str, paths), str(tmp_path / "out.nrrd"), "--register", "off", "--modality", "MR"]
    command += ["--model", "classical/spline", "--report", str(tmp_path / "record.json")]
    assert main(command) == 0
    out, record = read_volume(tmp_path / "out.nrrd"), json.loads((tmp_path / "record.json").read_text())
    assert out.array.shape == (24, 24, 24)
    assert [i["sha256"] for i in record["inputs"]] == [fingerprint(read_volume(p)) for p in paths]
    assert record["files"]["inputs"] == [str(p) for p in paths]
    assert record["model"]["id"] == "classical/spline"
    assert main(command) == 2  # nothing is replaced unasked
    assert main(["fuse", str(paths[0]), str(tmp_path / "one.nrrd")]) == 2


def test_what_cannot_be_fused_is_refused() -> None:
    one, two, _ = stacks_of(phantom((24, 24, 24)), 3)
    with pytest.raises(ValueError, match="two or more"):
        fuse([one])
    far = replace(two, geometry=replace(two.geometry, origin=(5000.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match="same place"):
        fuse([one, far], register="off", **SPLINE)
    with pytest.raises(ValueError, match="metric"):
        fuse([one, two], register="guess", **SPLINE)
