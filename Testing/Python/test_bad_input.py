"""Bad input: an error that says what to do; at the command line exit code 2 and no file touched. What is wrong
inside image files is in test_io.py."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noisy_phantom, oblique

from DLReconLib import inference, reconstruct, write_volume
from DLReconLib.cli import main
from DLReconLib.inference import Model, OutOfMemory
from DLReconLib.models import ZOO, ModelCard, ModelError
from DLReconLib.volume import Geometry, Volume

FAST = {"model": "classical/gaussian"}


def spoiled(value: float) -> np.ndarray:
    array = noisy_phantom("MR").array.copy()
    array[3, 4, 5] = value
    return array


IMAGES = {
    "NaN": (spoiled(np.nan), "1 voxels that are NaN"),
    "infinite": (spoiled(-np.inf), "NaN or infinite"),
    "constant": (np.full((20, 20, 20), 7, np.int16), "constant"),
    "empty": (np.zeros((0, 20, 20), np.int16), "empty"),
    "one voxel": (np.ones((1, 1, 1), np.int16), "too small"),
    "one row": (np.arange(40, dtype=np.int16).reshape(1, 1, 40), "too small"),
}


@pytest.mark.parametrize(("array", "message"), IMAGES.values(), ids=IMAGES)
def test_image_that_cannot_be_improved(array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(Volume(array), **FAST)


@pytest.mark.parametrize("name", ["NaN", "constant", "one row"])
def test_command_line_writes_nothing_for_bad_input(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    array, message = IMAGES[name]
    write_volume(Volume(array), tmp_path / "bad.nrrd")
    before = sorted(tmp_path.iterdir())
    assert main(["run", str(tmp_path / "bad.nrrd"), str(tmp_path / "out.nrrd"), "--model", "classical/gaussian"]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_huge_anisotropy() -> None:
    with pytest.raises(ValueError, match="ratio above"):
        reconstruct(Volume(noisy_phantom("MR").array, Geometry((0.1, 0.1, 50.0))), **FAST)


def test_axes_that_are_not_orthogonal() -> None:
    with pytest.raises(ValueError, match="not orthogonal"):
        Geometry(direction=((1.0, 0.3, 0.0), (0.0, 0.95, 0.0), (0.0, 0.0, 1.0)))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Volume(np.ones((4, 5, 6), np.uint8)), "mask has shape"),
        (Volume(np.ones((20, 45, 38), np.uint8)), "lies elsewhere"),
        (Volume(np.ones((20, 45, 38, 3), np.uint8), oblique()), "mask has shape"),
    ],
)
def test_mask_of_another_grid(mask: Volume, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(noisy_phantom("MR"), mask=mask, **FAST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "no-such-model"}, "unknown; wanted one of: .*mr-denoise"),
        ({"task": "segmentation"}, "has no model"),
        ({"strength": 1.5}, "strength 1.5"),
        ({"dtype": "float16"}, "dtype"),
        ({"tile": (10, 16, 16)}, "multiples of 8"),
        ({"model": "mr-denoise", "device": "cuda:99"}, "not on this machine"),
        ({"model": "mr-denoise", "precision": "float16"}, "precision"),
    ],
)
def test_options_that_do_not_exist(options: dict, message: str) -> None:
    if options.get("model") == "mr-denoise":
        pytest.importorskip("torch", reason="learned model")
    with pytest.raises(ValueError, match=message):
        reconstruct(noisy_phantom("MR"), **options)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ZOO / "mr-denoise", tmp_path / "model"))


def change_card(folder: Path, **values) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_card_with_an_unknown_field(model_folder: Path) -> None:
    change_card(model_folder, colour="blue")
    with pytest.raises(ModelError, match="colour"):
        reconstruct(noisy_phantom("MR"), model=str(model_folder))


def test_card_that_is_no_json(model_folder: Path) -> None:
    (model_folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match="not readable as JSON"):
        ModelCard.read(model_folder)


WRONG = [{"task": "guess"}, {"tile": [10, 16, 16]}, {"tile": 5}, {"equivariance": "some"}, {"halo": 3}]
WRONG += [{"reach": [1]}, {"scale": 2}, {"arguments": []}, {"offset": "low"}]


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_card_with_a_wrong_value(model_folder: Path, values: dict) -> None:
    change_card(model_folder, **values)
    with pytest.raises(ModelError, match=next(iter(values))):
        ModelCard.read(model_folder)


def test_card_with_arguments_that_the_network_does_not_take(model_folder: Path) -> None:
    pytest.importorskip("torch", reason="learned model")
    change_card(model_folder, arguments={"depth": 4})
    with pytest.raises(ModelError, match="does not take"):
        reconstruct(noisy_phantom("MR"), model=str(model_folder))


BAD_COMMANDS = {
    "missing input": (["no.nrrd", "o.nrrd"], "no such file"),
    "unknown extension": (["in.nrrd", "o.xyz"], ".xyz"),
    "missing folder": (["in.nrrd", "no/o.nrrd"], "does not exist"),
    "output is input": (["in.nrrd", "in.nrrd", "--overwrite"], "also an input"),
    "output is mask": (["in.nrrd", "mask.nrrd", "--mask", "mask.nrrd", "--overwrite"], "also an input"),
    "report is input": (["in.nrrd", "o.nrrd", "--report", "in.nrrd", "--overwrite"], "named twice"),
    "report is output": (["in.nrrd", "o.nrrd", "--report", "o.nrrd"], "named twice"),
    "residual is output": (["in.nrrd", "o.nrrd", "--residual", "o.nrrd"], "named twice"),
    "mask of another grid": (["in.nrrd", "o.nrrd", "--mask", "other.nrrd"], "mask"),
    "volume to PNG": (["in.nrrd", "o.png"], "one slice of integers"),
    "unknown model": (["in.nrrd", "o.nrrd", "--model", "none"], "unknown; wanted one of"),
    "model of another task": (["in.nrrd", "o.nrrd", "--task", "contrast", "--model", "classical/tv"], "for the task"),
    "strength": (["in.nrrd", "o.nrrd", "--strength", "7"], "strength"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_bad_commands_end_with_two_and_change_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    volume = noisy_phantom("MR")
    write_volume(volume, "in.nrrd")
    write_volume(volume.with_array(volume.array > 100), "mask.nrrd")
    write_volume(Volume(volume.array[:5]), "other.nrrd")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    if "--model" not in arguments:
        arguments = [*arguments, "--model", "classical/gaussian"]
    assert main(["run", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_weights_with_another_checksum(model_folder: Path) -> None:
    pytest.importorskip("torch", reason="learned model")
    weights = bytearray((model_folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (model_folder / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="damaged or was exchanged"):
        reconstruct(noisy_phantom("MR"), model=str(model_folder))


def test_weights_that_are_missing(model_folder: Path) -> None:
    pytest.importorskip("torch", reason="learned model")
    (model_folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="is missing"):
        reconstruct(noisy_phantom("MR"), model=str(model_folder))


class Bomb:
    """Would leave a file behind if it were ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_pickled_weights_are_never_opened(model_folder: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("torch", reason="learned model")
    fuse = tmp_path / "exploded"
    (model_folder / name).write_bytes(pickle.dumps(Bomb(fuse)))
    change_card(model_folder, weights=name)
    with pytest.raises(ModelError, match="no safetensors file"):
        reconstruct(noisy_phantom("MR"), model=str(model_folder))
    assert not fuse.exists()


def test_weights_of_another_network(model_folder: Path) -> None:
    pytest.importorskip("torch", reason="learned model")
    change_card(model_folder, arguments={"channels": [8, 8, 8, 8], "estimator_channels": 4})
    with pytest.raises(ModelError, match="does not fit network"):
        reconstruct(noisy_phantom("MR"), model=str(model_folder))


LACK = (
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),  # Windows
    RuntimeError("CUDA out of memory. Tried to allocate"),
    RuntimeError("could not create a primitive"),  # oneDNN
)


@pytest.mark.parametrize("error", LACK, ids=["python", "linux", "windows", "cuda", "onednn"])
def test_no_memory_for_the_tile_takes_smaller_ones(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Said in the record; the answer is nearly the same."""
    pytest.importorskip("torch", reason="learned model")
    volume = noisy_phantom("MR", shape=(16, 64, 64))
    expected = reconstruct(volume, model="mr-denoise", precision="float32").volume.array
    original = Model._network_method

    def starved(self: Model, magnitude: float, plan: inference.Execution):
        method = original(self, magnitude, plan)

        def limited(patch: np.ndarray, noise: np.ndarray):
            if patch.size > 16 * 64 * 64 - 1 or plan.tile[1] > 40:
                raise error
            return method.denoise(patch, noise)

        return replace(method, denoise=limited)

    monkeypatch.setattr(Model, "_network_method", starved)
    card = ModelCard.read(ZOO / "mr-denoise")
    model = Model(card, "cpu", "float32")
    object.__setattr__(model.card, "halo", 8)
    result = reconstruct(volume, loaded=model, tile=(64, 64, 64))
    assert result.provenance["fallbacks"] == ["out of memory: tile (16, 32, 32)"]
    assert np.abs(result.volume.array - expected).mean() < 3


def test_ladder_of_plans() -> None:
    """Smaller tiles first, then lower precision, then the CPU with the first tile; and then no more."""
    pytest.importorskip("torch", reason="whether bfloat16 is right is tried out")
    plan = inference.Execution("cuda", "float32", (64, 128, 32))
    steps = []
    while plan.mend():
        steps.append((plan.device, plan.precision, plan.tile))
    assert steps[:3] == [
        ("cuda", "float32", (32, 64, 32)),
        ("cuda", "float32", (32, 32, 32)),
        ("cuda", "bfloat16", (32, 32, 32)),
    ]
    assert steps[3] == ("cpu", "float32", (64, 128, 32))
    assert steps[-1] == ("cpu", "bfloat16", (32, 32, 32))
    assert len(plan.fallbacks) == len(steps)


def test_really_no_memory_is_recognised() -> None:
    torch = pytest.importorskip("torch", reason="its allocator's own words")
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**46)
    assert inference.is_out_of_memory(error.value)


def test_no_memory_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="learned model")

    def starved(self: Model, magnitude: float, plan: inference.Execution):
        def nothing(patch: np.ndarray):
            raise MemoryError

        return inference.Method(nothing, None, nothing, nothing)

    monkeypatch.setattr(Model, "_network_method", starved)
    with pytest.raises(OutOfMemory, match="close other programs"):
        reconstruct(noisy_phantom("MR"), model="mr-denoise", precision="float32")


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="learned model")

    def broken(self: Model, magnitude: float, plan: inference.Execution):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Model, "_network_method", broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        reconstruct(noisy_phantom("MR"), model="mr-denoise")
