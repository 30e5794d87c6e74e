"""The three kinds of models that can be added, each as the values of a card and the name of its weight file.

- a model folder: card.json beside its safetensors file;
- a MONAI Bundle: configs/metadata.json, configs/inference.json (or train.json) and models/model.pt (or .safetensors);
- a state dict: a weight file and a card that names the network, see Imported.
"""

import json
from collections.abc import Mapping
from typing import Any

from DLReconLib.library.sources import Source
from DLReconLib.models import ModelError
from DLReconLib.networks.allowed import NETWORKS

WEIGHTS = (".safetensors", ".pt", ".pth")
DEFAULTS: dict[str, Any] = {
    "summary": "", "task": "denoise", "modalities": ["*"], "arguments": {}, "weights": "", "sha256": "", "scale": 1,
    "tile": [96, 96, 96], "halo": 16, "offset": 0.0, "unit": 0.0, "reach": [], "slices_first": False, "flat_mm": 0.0,
    "equivariance": "none", "training": {}, "results": {}, "limits": [], "licence": "unknown",
}  # fmt: skip


def read_json(source: Source, name: str) -> dict[str, Any]:
    try:
        values = json.loads(source.text(name))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source.path}: {name} is no JSON ({error}); wanted a JSON object") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source.path}: {name} holds a {type(values).__name__}; wanted a JSON object")
    return values


def recognise(source: Source, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Values of a card, and the name of the weight file in the source, "" for none.

    given: fields of the card that the user gives; they win.
    Raises ModelError for what is none of the three kinds, saying what is missing.
    """
    for root in source.roots:
        for card in (f"{root}card.json", f"{root}models/card.json"):  # the second in bundles that dlrecon exported
            if card in source.sizes:
                return model_folder(source, card, given)
        if f"{root}configs/metadata.json" in source.sizes:
            return bundle(source, root, given)
    weights = [n for n in source.sizes if n.endswith(WEIGHTS)]
    if len(weights) == 1 and given.get("network"):
        return complete(dict(given), source), weights[0]
    if len(weights) == 1:
        raise ModelError(f"{source.path}: weights alone; wanted a card, too: give --card FILE, a JSON object with id, "
                         "network (one of MONAI's " + ", ".join(NETWORKS) + ") and arguments")  # fmt: skip
    raise ModelError(f"{source.path}: no model; wanted a folder or ZIP archive with card.json and weights, a MONAI "
                     f"Bundle (configs/metadata.json), or one weight file ({', '.join(WEIGHTS)})")  # fmt: skip


def model_folder(source: Source, name: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    values = complete(read_json(source, name) | dict(given), source)
    weights = values["weights"]
    if not weights:
        return values, ""
    path = name.removesuffix("card.json") + str(weights)
    if "/" in str(weights) or path not in source.sizes:
        raise ModelError(f"{source.path}: card.json names the weights {weights!r}; wanted a file beside it")
    return values, path


def complete(values: dict[str, Any], source: Source) -> dict[str, Any]:
    """The values with defaults for what is missing; a network of MONAI by its class name becomes "imported"."""
    for needed in ("id", "network"):
        if not isinstance(values.get(needed), str) or not values[needed]:
            raise ModelError(f"{source.path}: the card has no {needed}; wanted a name; give it with --card or --id")
    values = DEFAULTS | {"title": values["id"]} | values
    if values["network"] in NETWORKS:
        predicts, multiple = values.pop("predicts", "image"), values.pop("multiple", 32)
        inner = {"network": values["network"], "arguments": values["arguments"]}
        values |= {"network": "imported", "arguments": inner | {"predicts": predicts, "multiple": multiple}}
        if isinstance(inner["arguments"], dict) and inner["arguments"].get("spatial_dims") == 2:
            values |= {"slices_first": True}
    if not values["summary"]:
        values["summary"] = f"Added from {source.path.name}."
    return values


def bundle(source: Source, root: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Of a MONAI Bundle: network_def by its class and plain arguments, intensities from ScaleIntensityRanged.

    Nothing of it is evaluated: "$" expressions are refused, "@name" is looked up where it names a plain value, and
    Python files and TorchScript are left where they are.
    """
    metadata = read_json(source, f"{root}configs/metadata.json")
    configs = [f"{root}configs/{n}.json" for n in ("inference", "evaluate", "train")]
    found = next((c for c in configs if c in source.sizes), None)
    if found is None:
        raise ModelError(f"{source.path}: a bundle without configs/inference.json; wanted JSON, YAML is not read")
    config = read_json(source, found)
    values: dict[str, Any] = {"id": source.path.stem, "title": str(metadata.get("name", source.path.stem))}
    values |= network_of(config, source) | formats_of(metadata, source)
    values |= intensities_of(config, source, given)
    values |= {"summary": str(metadata.get("description", ""))[:300], "limits": values.get("limits", [])}
    values["training"] = {"bundle": source.path.name, "version": str(metadata.get("version", "")),
                          "data": str(metadata.get("data_source", ""))}  # fmt: skip
    values["licence"] = str(metadata.get("license", metadata.get("copyright", "unknown")))
    weights = [f"{root}models/model{end}" for end in (".safetensors", ".pt", ".pth")]
    path = next((w for w in weights if w in source.sizes), None)
    if path is None:
        raise ModelError(f"{source.path}: a bundle without models/model.pt; wanted a state dict (TorchScript runs code "
                         "and is not read)")  # fmt: skip
    return complete(values | dict(given), source), path


def network_of(config: Mapping[str, Any], source: Source) -> dict[str, Any]:
    definition = config.get("network_def")
    if not isinstance(definition, dict) or not isinstance(definition.get("_target_"), str):
        raise ModelError(f"{source.path}: network_def is {str(definition)[:80]!r}; wanted an object with _target_")
    target = definition["_target_"]
    name = target.split(".")[-1]
    if name not in NETWORKS or (target != name and not target.startswith("monai.networks.nets.")):
        raise ModelError(f"{source.path}: its network is {target}; wanted one of monai.networks.nets: "
                         f"{', '.join(NETWORKS)}; code of a bundle is not run")  # fmt: skip
    arguments = {k: plain(v, config, source, k) for k, v in definition.items() if not k.startswith("_")}
    return {"network": name, "arguments": arguments}


def plain(value: Any, config: Mapping[str, Any], source: Source, name: str, depth: int = 0) -> Any:
    """The value with "@name" replaced by what it names, where that is plain."""
    if isinstance(value, list):
        return [plain(v, config, source, name, depth + 1) for v in value]
    if isinstance(value, dict):
        return {k: plain(v, config, source, f"{name}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, str) and value[:1] == "@" and value[1:] in config and depth < 8:
        return plain(config[value[1:]], config, source, name, depth + 1)
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise ModelError(f"{source.path}: network_def.{name} is the expression {value[:60]!r}; wanted a plain value: "
                         "expressions are not evaluated; write it out")  # fmt: skip
    return value


def formats_of(metadata: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Modality, and that it makes an image of an image, of one channel each."""
    formats = metadata.get("network_data_format")
    formats = formats if isinstance(formats, dict) else {}

    def of(side: str, *names: str) -> dict[str, Any]:
        entries = formats.get(side)
        entries = entries if isinstance(entries, dict) else {}
        return next((entries[n] for n in names if isinstance(entries.get(n), dict)), {})

    entering, leaving = of("inputs", "image"), of("outputs", "pred", "image")
    kind, channels = leaving.get("type", "image"), {entering.get("num_channels", 1), leaving.get("num_channels", 1)}
    if kind != "image" or channels != {1}:
        raise ModelError(f"{source.path}: makes {kind!r} with {leaving.get('num_channels', 1)} channels of "
                         f"{entering.get('num_channels', 1)}; wanted an image of one channel from one")  # fmt: skip
    modality = str(entering.get("modality", "")).upper()
    code = {"MRI": "MR", "PET": "PT", "ULTRASOUND": "US", "X-RAY": "CR"}.get(modality, modality)
    return {"modalities": [code if code and code != "N/A" else "*"]}


def intensities_of(config: Mapping[str, Any], source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """Offset, unit and reach of ScaleIntensityRanged; without any intensity step the values enter as they are.

    Raises ModelError for a step that a card cannot say, unless the user gives offset and unit.
    """
    steps = config.get("preprocessing")
    steps = steps.get("transforms", []) if isinstance(steps, dict) else []
    names = [str(s.get("_target_", "")).split(".")[-1] for s in steps if isinstance(s, dict)]
    if {"offset", "unit"} <= set(given):
        return {"limits": _undone(names)}
    ranges = [s for s, n in zip((s for s in steps if isinstance(s, dict)), names, strict=True)
              if n in ("ScaleIntensityRanged", "ScaleIntensityRange")]  # fmt: skip
    other = [n for n in names if "Intensity" in n or n.startswith("Lambda")]
    if len(other) > len(ranges) or len(ranges) > 1:
        raise ModelError(f"{source.path}: its preprocessing has {other}; wanted at most one ScaleIntensityRanged; give "
                         "offset and unit with --card: the network sees (value - offset) / unit")  # fmt: skip
    if not ranges:
        return {"offset": 0.0, "unit": 1.0, "limits": _undone(names)}
    try:
        step = {k: plain(v, config, source, k) for k, v in ranges[0].items()}
        low, high = float(step["a_min"]), float(step["a_max"])
        bottom, top = float(step.get("b_min", 0.0)), float(step.get("b_max", 1.0))
        unit = (high - low) / (top - bottom)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{source.path}: ScaleIntensityRanged without plain numbers ({error}); give offset and unit "
                         "with --card") from error  # fmt: skip
    reach = [low, high] if step.get("clip") else []
    return {"offset": low - bottom * unit, "unit": unit, "reach": reach, "limits": _undone(names)}


def _undone(names: list[str]) -> list[str]:
    """What the bundle does before its network and nobody does here."""
    known = ("LoadImage", "EnsureChannelFirst", "EnsureType", "ScaleIntensityRange", "ToTensor", "CastToType")
    return [f"The bundle's step {n} is not done here." for n in names if n and n.rstrip("d") not in known]
