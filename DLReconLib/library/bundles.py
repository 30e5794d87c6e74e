"""A model as a MONAI Bundle: the model folder, and the configuration that runs it in MONAI's way.

The network of the bundle is the whole road of reconstruct(), so that what it gives is what `dlrecon run` gives.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import DLReconLib
from DLReconLib.inference import Model
from DLReconLib.models import ModelCard, ModelError
from DLReconLib.pipeline import reconstruct
from DLReconLib.volume import Geometry, Volume

RUN = "python -m monai.bundle run --config_file configs/inference.json --dataset_dir IN --output_dir OUT"


class BundledModel(nn.Module):
    """A model folder as an nn.Module for MONAI; its parameters are those of the network.

    Args:
        folder: with card.json and weights.
        options: of reconstruct(), such as strength.
    """

    def __init__(self, folder: str, device: str = "auto", options: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.model = Model(ModelCard.read(Path(folder)), device)
        self.network, self.options = self.model.network, options or {}

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, I, J, K) in the unit of the images, with MONAI's affine where it has one, to the same, float32."""
        outputs = []
        for image in x:
            affine = np.asarray(getattr(image, "affine", np.eye(4)), float)
            spacing = tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))
            modality = next((m for m in self.model.card.modalities if m != "*"), "")
            array = np.ascontiguousarray(torch.as_tensor(image)[0].cpu().numpy().T)
            volume = Volume(array, Geometry(spacing), modality)
            task = self.model.card.task
            result = reconstruct(volume, loaded=self.model, task=task, judge=False, **self.options)
            outputs.append(torch.from_numpy(np.ascontiguousarray(result.volume.array.T))[None])
        answer = torch.stack(outputs).float()
        return answer if not hasattr(x, "affine") else x.__class__(answer, meta=x.meta, applied_operations=[])


def export_bundle(card: ModelCard, folder: Path) -> None:
    """Write the bundle into an empty folder. Raises ModelError for models that give another grid or need a mask."""
    if card.task in ("super-resolution", "inpaint") or not card.learned:
        raise ModelError(f"model {card.id}: {card.task}, {'learned' if card.learned else 'no weights'}; a bundle can "
                         "be made of learned models that keep the grid and need no mask")  # fmt: skip
    models, configs = folder / "models", folder / "configs"
    models.mkdir()
    configs.mkdir()
    values = card.to_dict() | {"failures": [f | {"picture": ""} for f in card.failures]}
    write_json(models / "card.json", values)
    shutil.copyfile(card.checked_weights(), models / card.weights)
    write_json(configs / "metadata.json", metadata(card))
    write_json(configs / "inference.json", inference())
    (folder / "docs").mkdir()
    text = (
        f"# {card.title}\n\n{card.summary}\n\nWants `pip install dlrecon[train] nibabel`. NIfTI images in, NIfTI out:"
    )
    (folder / "docs" / "README.md").write_text(f"{text}\n\n    {RUN}\n", encoding="utf-8")


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def metadata(card: ModelCard) -> dict[str, Any]:
    """As MONAI's schema of bundles wants it."""
    from importlib.metadata import version

    side = {
        "type": "image", "format": "magnitude", "modality": card.modalities[0], "num_channels": 1,
        "spatial_shape": ["*", "*", "*"], "dtype": "float32", "value_range": [], "is_patch_data": False,
        "channel_def": {"0": "image"},
    }  # fmt: skip
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725"
        ".json",
        "version": DLReconLib.__version__, "changelog": {DLReconLib.__version__: "exported"},
        "monai_version": version("monai"), "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"), "required_packages_version": {"dlrecon": DLReconLib.__version__},
        "name": card.title, "task": card.task, "description": card.summary, "authors": "DLRecon",
        "copyright": "DLRecon", "license": card.licence, "intended_use": card.intended_use or "Research use only.",
        "network_data_format": {"inputs": {"image": side}, "outputs": {"pred": side}},
    }  # fmt: skip


def inference() -> dict[str, Any]:
    keys = {"keys": "image"}
    return {
        "imports": ["$import pathlib"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "device": "auto",
        "options": {},
        "images": "$sorted(str(p) for p in pathlib.Path(@dataset_dir).glob('*.nii*'))",
        "network_def": {
            "_target_": "DLReconLib.library.bundles.BundledModel",
            "folder": "$@bundle_root + '/models'",
            "device": "@device",
            "options": "@options",
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **keys},
                {"_target_": "EnsureChannelFirstd", **keys},
            ],
        },
        "saver": {
            "_target_": "SaveImage",
            "output_dir": "@output_dir",
            "output_postfix": "restored",
            "separate_folder": False,
            "output_dtype": "$__import__('numpy').float32",
            "resample": False,
            "print_log": False,
        },
        "restore": "$lambda name: @saver(@network_def(@preprocessing({'image': name})['image'][None])[0])",
        "run": ["$[@restore(name) for name in @images]"],
    }
