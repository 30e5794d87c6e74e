"""Training by a plan: a few steps on small images."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import phantom

from DLReconLib.io import write_volume
from DLReconLib.models import ModelCard
from DLReconLib.progress import Cancelled
from DLReconLib.volume import Volume

torch = pytest.importorskip("torch", reason="training needs torch")
ZOO = Path(__file__).parents[2] / "DLReconLib" / "zoo"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of six steps on two phantoms and a label map."""
    folder = tmp_path / "plan"
    folder.mkdir()
    labels = np.digitize(phantom((24, 32, 32)), [1, 300, 700]).astype(np.int16)
    for name, array in {"a": phantom((24, 36, 36)), "b": phantom((16, 32, 40)), "labels": labels}.items():
        write_volume(Volume(array), tmp_path / f"{name}.nii.gz")
    common = {"licence": "CC0", "credit": "phantom", "weight": 1}
    images = [
        {"path": "a.nii.gz", "subject": "a", "role": "train", "averages": [[1, 1, 1]], **common},
        {"path": "labels.nii.gz", "subject": "l", "role": "train", "labels": True, **common},
        {"path": "b.nii.gz", "subject": "b", "role": "validation", "averages": [[1, 1, 1]], **common},
    ]
    (folder / "split.json").write_text(json.dumps({"images": images}))
    values = json.loads((ZOO / "mr-denoise" / "plan.json").read_text())
    values |= {"id": "little", "arguments": {"channels": [8, 8, 8, 8], "estimator_channels": 4}, "patch": [16, 16, 16]}
    values |= {
        "batch": 2,
        "first_steps": 3,
        "steps": 6,
        "estimator_steps": 1,
        "further": [["estimator", 2, 1.0], ["denoiser", 3, 1.0]],
        "every": 3,
        "warmup": 2,
        "precision": "float32",
    }
    (folder / "plan.json").write_text(json.dumps(values))
    card = json.loads((ZOO / "mr-denoise" / "card.json").read_text()) | {"weights": "", "sha256": ""}
    (folder / "card.json").write_text(json.dumps(card))
    return folder / "plan.json"


def weights(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


def test_training_writes_model_and_log(plan: Path, tmp_path: Path) -> None:
    from DLReconLib.inference import Model
    from DLReconLib.training import train_by_plan

    out = train_by_plan(plan, tmp_path, tmp_path / "out")
    card = ModelCard.read(out)
    assert card.checked_weights().stat().st_size > 0
    assert card.training["train"] == ["a", "l"]
    assert card.training["images"] == ["a.nii.gz (CC0)", "labels.nii.gz (CC0)"]
    Model(card, "cpu")
    rows = list(csv.DictReader((out / "log.csv").open()))
    assert [int(r["step"]) for r in rows] == [3, 6, 9, 12, 15]
    assert (out / "log.png").stat().st_size > 1000
    assert not list(out.glob("*.part"))


@pytest.mark.parametrize("stop", [0.25, 0.5, 0.7, 0.9])  # in each of the phases
def test_resumed_training_ends_in_the_same_weights(stop: float, plan: Path, tmp_path: Path) -> None:
    from DLReconLib.training import train_by_plan

    def interrupt(fraction: float, text: str) -> None:
        if fraction > stop:
            raise Cancelled

    whole = weights(train_by_plan(plan, tmp_path, tmp_path / "whole"))
    with pytest.raises(Cancelled):
        train_by_plan(plan, tmp_path, tmp_path / "parts", progress=interrupt)
    parts = weights(train_by_plan(plan, tmp_path, tmp_path / "parts", resume=True))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_estimator_and_shrinkage_rest_while_the_denoiser_learns(plan: Path, tmp_path: Path) -> None:
    from DLReconLib.training import Trainer

    trainer = Trainer(plan, tmp_path, tmp_path / "out")
    trainer.step = trainer.plan.total - 3
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.any_step()
    changed = {
        name.split(".")[0] for name, value in trainer.network.state_dict().items() if (value != before[name]).any()
    }
    assert "tail" in changed
    assert not changed & {"estimator", "shrinkage"}


@torch.no_grad()
def test_a_mirrored_batch_is_the_batch_of_the_mirrored_image(plan: Path, tmp_path: Path) -> None:
    from DLReconLib.training import Trainer

    trainer = Trainer(plan, tmp_path, tmp_path / "out")
    batch = trainer.ready._make(0)
    turned = batch.mirrored([2, 4], True)
    again = trainer.network.shrink(turned.noisy, turned.believed)
    assert not torch.equal(turned.noisy, batch.noisy)
    torch.testing.assert_close(turned.removed, again, atol=1e-4, rtol=1e-3)


def test_training_learns(plan: Path, tmp_path: Path) -> None:
    """Forty steps bring the loss down and gain on images that were not trained on."""
    from DLReconLib.training import train_by_plan

    values = json.loads(plan.read_text()) | {"steps": 60, "estimator_steps": 0, "every": 20, "warmup": 5, "batch": 4}
    plan.write_text(json.dumps(values))
    rows = list(csv.DictReader((train_by_plan(plan, tmp_path, tmp_path / "out") / "log.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["validation_psnr_gain_db"]) > float(rows[0]["validation_psnr_gain_db"])


def test_plan_with_unknown_field_is_refused(plan: Path, tmp_path: Path) -> None:
    from DLReconLib.training import train_by_plan

    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"momentum": 0.9}))
    with pytest.raises(ValueError, match="momentum"):
        train_by_plan(plan, tmp_path, tmp_path / "out")


def test_a_stage_that_the_network_does_not_know_is_refused(plan: Path, tmp_path: Path) -> None:
    from DLReconLib.training import train_by_plan

    unet = {"spatial_dims": 3, "in_channels": 2, "out_channels": 1, "features": [4, 4, 4, 4, 4, 4]}
    arguments = {"network": "BasicUNet", "arguments": unet, "estimator_channels": 4}
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"network": "monai", "arguments": arguments}))
    with pytest.raises(ValueError, match="stage of the denoiser"):
        train_by_plan(plan, tmp_path, tmp_path / "out")


def test_resume_without_checkpoint_is_refused(plan: Path, tmp_path: Path) -> None:
    from DLReconLib.training import train_by_plan

    with pytest.raises(FileNotFoundError, match="without --resume"):
        train_by_plan(plan, tmp_path, tmp_path / "out", resume=True)


def test_folder_of_another_training_is_kept(plan: Path, tmp_path: Path) -> None:
    from DLReconLib.training import train_by_plan

    train_by_plan(plan, tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="holds a training already"):
        train_by_plan(plan, tmp_path, tmp_path / "out")
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"seed": 5}))
    with pytest.raises(ValueError, match="made by another plan"):
        train_by_plan(plan, tmp_path, tmp_path / "out", resume=True)


def test_two_processes_train_one_model(plan: Path, tmp_path: Path) -> None:
    """Distributed data parallel over gloo: both ranks hold the same weights, rank 0 writes them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path;"
        "from DLReconLib.training import Trainer, train_by_plan; import DLReconLib.training as t;"
        "keep = []; original = t.Trainer.run;"
        "t.Trainer.run = lambda self, p: (keep.append(self), original(self, p));"
        "train_by_plan(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), 'cpu');"
        "print(repr(float(sum(v.double().abs().sum() for v in keep[0].averaged.values()))))"
    )
    running = []
    for rank in range(2):
        env = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-c", program, str(plan), str(tmp_path), str(tmp_path / "out")]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    outputs = [p.communicate(timeout=240) for p in running]
    assert [p.returncode for p in running] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert (tmp_path / "out" / "weights.safetensors").exists()


def test_monai_network_trains_by_a_plan(plan: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="networks of MONAI")
    from DLReconLib.training import train_by_plan

    unet = {"spatial_dims": 3, "in_channels": 2, "out_channels": 1, "features": [4, 4, 4, 4, 4, 4]}
    arguments = {"network": "BasicUNet", "arguments": unet, "estimator_channels": 4}
    changes = {"network": "monai", "arguments": arguments, "steps": 3, "estimator_steps": 1, "patch": [32, 32, 32]}
    changes |= {"further": []}
    plan.write_text(json.dumps(json.loads(plan.read_text()) | changes))
    out = train_by_plan(plan, tmp_path, tmp_path / "out")
    assert ModelCard.read(out).network == "monai"
