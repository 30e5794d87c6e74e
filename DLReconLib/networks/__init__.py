"""Methods by name. A card says which one a model uses; nothing heavy is imported before it is built.

Learned networks are nn.Modules and need torch; classical methods work on numpy arrays and do not. Both are
run by inference.py: piece by piece, or, where they have to see the whole image, at once with its Context. A learned
network of that kind has a method restore(image, context) -> image beside its forward().
"""

from importlib import import_module
from typing import Any

NETWORKS = {
    "noise-unet": "DLReconLib.networks.noise_unet:NoiseUNet",
    "slice-unet": "DLReconLib.networks.slice_unet:SliceUNet",
    "motion-unet": "DLReconLib.networks.motion_unet:MotionUNet",
    "kspace-unet": "DLReconLib.networks.kspace_unet:KspaceUNet",
    "bias-net": "DLReconLib.networks.bias_net:BiasNet",
    "guided-unet": "DLReconLib.networks.guided_unet:GuidedUNet",
    "monai": "DLReconLib.networks.monai_denoiser:MonaiDenoiser",
    "resolution-unet": "DLReconLib.networks.resolution_unet:ResolutionUNet",
    "curve-net": "DLReconLib.networks.curve_net:CurveNet",
    "fill-unet": "DLReconLib.networks.fill_unet:FillUNet",
    "vessel-unet": "DLReconLib.networks.vessel_unet:VesselUNet",
    "self-supervised": "DLReconLib.networks.self_supervised:SelfSupervised",
    "imported": "DLReconLib.networks.imported:Imported",
    "ct-artifact-unet": "DLReconLib.networks.ct_artifact_unet:CtArtifactUNet",
    "identity": "DLReconLib.networks.identity:Identity",
}
CLASSICAL = {
    "nlm": "DLReconLib.networks.classical:non_local_means",
    "tv": "DLReconLib.networks.classical:total_variation",
    "curvature": "DLReconLib.networks.classical:curvature_diffusion",
    "gaussian": "DLReconLib.networks.classical:gaussian",
    "median": "DLReconLib.networks.classical:median",
    "spline": "DLReconLib.networks.interpolation:spline",
    "lanczos": "DLReconLib.networks.interpolation:lanczos",
    "variation": "DLReconLib.resolution.variation:fewer_edges",
}


# (image, context, **arguments) -> image: float32 (k, j, i) in the unit of the card, and Context.
WHOLE: dict[str, str] = {
    "cosine": "DLReconLib.networks.cosine:cosine",
    "lee": "DLReconLib.networks.despeckle:lee",
    "srad": "DLReconLib.networks.despeckle:srad",
    "gibbs-shifts": "DLReconLib.networks.kspace:gibbs_shifts",
    "spike-filter": "DLReconLib.networks.kspace:spike_filter",
    "kspace-repair": "DLReconLib.networks.kspace:kspace_repair",
    "n4": "DLReconLib.networks.bias_net:n4",
    "metal-interpolation": "DLReconLib.networks.metal:metal_interpolation",
    "streak-tv": "DLReconLib.networks.streaks:streak_tv",
    "polar-median": "DLReconLib.networks.rings:polar_median",
    "clahe": "DLReconLib.networks.tone:clahe",
    "gamma": "DLReconLib.networks.tone:gamma",
    "objectness": "DLReconLib.networks.objectness:objectness",
    "blend": "DLReconLib.networks.filling:blend",
    "biharmonic": "DLReconLib.networks.filling:biharmonic",
    "median-fill": "DLReconLib.networks.filling:median_fill",
    "between-slices": "DLReconLib.networks.filling:between_slices",
}
# Those whose answer is the image plus a map of features, see Result.features.
FEATURES = ("objectness", "vessel-unet")
# (frames, context, **arguments) -> frames: float32 (n, k, j, i), all of a time series at once.
SERIES = {"mppca": "DLReconLib.networks.mppca:mppca"}


def _load(address: str) -> Any:
    module, name = address.split(":")
    return getattr(import_module(module), name)


def build_network(name: str, arguments: dict[str, Any]) -> Any:
    """An nn.Module with the interface of NoiseUNet, or of ResolutionUNet for super-resolution.

    Raises ValueError for an unknown name.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown; wanted one of: {', '.join(NETWORKS)}")
    return _load(NETWORKS[name])(**arguments)


def memory_layout(network: Any) -> Any:
    """The memory format that is fastest on CPUs and new GPUs: channels last, in two or in three dimensions."""
    import torch

    flat = any(p.dim() == 4 for p in network.parameters())
    return torch.channels_last if flat else torch.channels_last_3d


def find_classical(name: str) -> Any:
    """A function (patch, sigma, **arguments) -> patch; for super-resolution (image, shape, **arguments) -> image.

    Raises ValueError for an unknown name.
    """
    if name not in CLASSICAL:
        raise ValueError(f"classical method {name!r} is unknown; wanted one of: {', '.join(CLASSICAL)}")
    return _load(CLASSICAL[name])


def find_series(name: str) -> Any:
    """A function (frames, context, **arguments) -> frames. Raises ValueError for an unknown name."""
    if name not in SERIES:
        raise ValueError(f"method {name!r} is unknown; wanted one of: {', '.join(SERIES)}")
    return _load(SERIES[name])


def find_whole(name: str) -> Any:
    """A function (image, context, **arguments) -> image. Raises ValueError for an unknown name."""
    if name not in WHOLE:
        raise ValueError(f"method {name!r} is unknown; wanted one of: {', '.join(WHOLE)}")
    return _load(WHOLE[name])
