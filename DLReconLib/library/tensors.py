"""Tensors out of a weight file, without running what is in it."""

import zipfile
from pathlib import Path
from typing import Any

from DLReconLib.models import ModelError

SAFE = (2, 6)  # before, weights_only could be made to run code (CVE-2025-32434)
WRAPPINGS = ("state_dict", "model_state_dict", "model", "network", "net", "params_ema", "params")


def load_tensors(path: Path) -> dict[str, Any]:
    """The state dict in a .safetensors file, or in a .pt or .pth file as torch.save wrote it.

    Raises ModelError for anything else: other pickled objects, TorchScript, damaged files.
    """
    import torch

    with path.open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ModelError(f"{path.name}: no readable safetensors file ({error}); fetch it again") from error
    if path.suffix == ".safetensors":
        raise ModelError(f"{path.name}: is no safetensors file, whatever its name says; wanted one")
    version = tuple(int(n) for n in torch.__version__.split("+")[0].split(".")[:2])
    if version < SAFE:
        raise ModelError(f"{path.name}: PyTorch {torch.__version__} cannot open it safely; wanted PyTorch "
                         f"{SAFE[0]}.{SAFE[1]} or newer, or a safetensors file (save_file)")  # fmt: skip
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(n.endswith("/constants.pkl") or "/code/" in n for n in archive.namelist()):
                raise ModelError(f"{path.name}: is TorchScript, which runs code; wanted a state dict by "
                                 "torch.save(network.state_dict(), ...)")  # fmt: skip
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise what they like
        raise ModelError(f"{path.name}: holds more than tensors, or is damaged ({type(error).__name__}); wanted a "
                         "state dict by torch.save(network.state_dict(), ...), no whole network or TorchScript: they "
                         "run code when they are opened") from None  # fmt: skip
    return only_tensors(found, path.name)


def only_tensors(found: Any, name: str) -> dict[str, Any]:
    import torch

    for key in WRAPPINGS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not found or not all(torch.is_tensor(t) for t in found.values()):
        raise ModelError(f"{name}: holds a {type(found).__name__} of other things; wanted a state dict, names with "
                         "tensors")  # fmt: skip
    return {str(k).removeprefix("module."): t for k, t in found.items()}


def save_tensors(tensors: dict[str, Any], path: Path) -> None:
    """As safetensors; memory that two names share is written for each."""
    from safetensors.torch import save_file

    save_file({k: t.detach().cpu().clone().contiguous() for k, t in tensors.items()}, path)


def check_shapes(network: str, arguments: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Raises ModelError unless the tensors are those of the network, before any memory is taken for it."""
    import torch

    from DLReconLib.networks import build_network

    try:
        with torch.device("meta"):
            wanted = build_network(network, arguments).state_dict()
    except Exception as error:  # whatever a constructor makes of wrong arguments
        raise ModelError(f"network {network} does not take {arguments} ({type(error).__name__}: {error}); correct the "
                         "arguments") from error  # fmt: skip
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    shapes = [f"{k} {tuple(tensors[k].shape)}, wanted {tuple(t.shape)}" for k, t in wanted.items()
              if k in tensors and tensors[k].shape != t.shape]  # fmt: skip
    if missing or unknown or shapes:
        raise ModelError(f"the weights do not fit network {network} with {arguments}: missing {missing[:4]}, unknown "
                         f"{unknown[:4]}, of other shape {shapes[:4]}; correct the arguments")  # fmt: skip
    bad = [k for k, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if bad:
        raise ModelError(f"the weights {bad[:4]} are not finite; wanted numbers")
