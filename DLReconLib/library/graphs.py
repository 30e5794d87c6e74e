"""A network as an ONNX graph, for other runtimes: the same values, tried where onnxruntime is installed.

A graph is made for one size of pieces: networks cut their work to the size of the image, which a graph cannot.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from DLReconLib.inference import Model
from DLReconLib.models import ModelCard, ModelError

SIZE = (64, 64, 64)
TOLERANCE = 1e-4  # of what the graph and the network give for values near 1


class Restored(nn.Module):
    """What the graph computes: the image minus the residual."""

    def __init__(self, network: nn.Module, flat: bool) -> None:
        super().__init__()
        self.network, self.flat = network, flat

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """image (N, 1, D, H, W), or (N, inputs, H, W) for networks of slices, in the unit of the card; condition:
        magnitude (N,), or kind (N, kinds). Returns the restored image, with one channel."""
        residual = self.network(image, condition)[0]
        return (image[:, :1] if self.flat else image) - residual


def example(card: ModelCard, network: Any, size: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Input and condition of a network of NoiseUNet's or of SliceUNet's interface."""
    generator = torch.Generator().manual_seed(seed)
    if card.network == "slice-unet":
        kind = torch.zeros(1, max(1, len(network.kinds)))
        kind[:, 0] = 1
        return torch.rand(1, network.inputs, *size[1:], generator=generator), kind
    return torch.rand(1, 1, *size, generator=generator), torch.ones(1)


def export_onnx(card: ModelCard, folder: Path, size: tuple[int, int, int] = SIZE) -> dict[str, Any]:
    """Write model.onnx and model.json (what enters and leaves) into an empty folder; returns the latter.

    size: (k, j, i) of the pieces; the first does not count for networks of slices.

    Raises ModelError for methods without weights or of other interfaces, ImportError without onnx.
    """
    import onnx

    if card.network not in ("noise-unet", "monai", "imported", "slice-unet") or not card.learned:
        raise ModelError(f"model {card.id}: network {card.network}; ONNX can be made of networks that give an image "
                         "for an image: noise-unet, monai, imported, slice-unet")  # fmt: skip
    network = Model(card, "cpu", "float32").network.to(memory_format=torch.contiguous_format)
    flat = card.network == "slice-unet"
    graph = Restored(network, flat).eval()
    multiple = network.multiple if flat else getattr(network, "multiple", 8)
    if any(n <= 0 or n % multiple for n in size[flat:]):
        raise ModelError(f"model {card.id}: size {size}; wanted multiples of {multiple}, as Z,Y,X")
    path = folder / "model.onnx"
    image, condition = example(card, network, size, 5)
    image.requires_grad_(True)  # then nothing is written in place, which tracing would not see
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the values are compared below
        torch.onnx.export(
            graph, (image, condition), str(path), input_names=["image", "condition"],
            output_names=["restored"], opset_version=17, dynamo=False,
        )  # fmt: skip
    onnx.checker.check_model(str(path))
    note = {
        "model": card.id, "sha256": card.sha256, "size": list(size[flat:]), "offset": card.offset, "unit": card.unit,
        "image": f"{'(1, inputs, h, w)' if flat else '(1, 1, d, h, w)'} of `size`: (value - offset) / unit; unit 0: "
        "the 99.5th percentile of |value - offset|",
        "condition": "(1, kinds): 1 for what is to be removed" if flat else "(1,): 1 for magnitude images, else 0",
        "not_in_the_graph": "cutting into pieces, reach, flat_mm, strength, the noise of the image as a whole: "
        "a piece is restored by the noise found in itself",
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    try:
        import onnxruntime
    except ImportError:
        return note | {"tried": "onnxruntime is not installed, so it was not tried"}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return note | {"tried": _same(session.run, graph, card, network, size)}


def _same(run: Callable, graph: nn.Module, card: ModelCard, network: Any, size: tuple[int, int, int]) -> str:
    """Raises ModelError where the graph gives other values for other images."""
    worst = 0.0
    for seed in (6, 7):
        image, condition = example(card, network, size, seed)
        condition = condition * (7 - seed)
        with torch.inference_mode():
            wanted = graph(image, condition).numpy()
        inputs = {"image": image.numpy()} | ({"condition": condition.numpy()})
        worst = max(worst, float(np.abs(run(None, inputs)[0] - wanted).max()))
    if worst > TOLERANCE:
        raise ModelError(f"model {card.id}: its ONNX graph is off by {worst:.3g}; wanted below {TOLERANCE}")
    return f"onnxruntime gives the same values within {worst:.2g}"
