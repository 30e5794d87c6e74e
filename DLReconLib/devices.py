"""What a network can run on here, and how precisely. Every function imports torch."""


def choose_device(device: str) -> str:
    """ "auto" is the best there is. Raises ValueError for a device that this machine has not."""
    import torch

    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if has_mps and _mps_is_complete() else "cpu"
    kind, _, number = device.partition(":")
    present = {"cpu": not number, "mps": has_mps and not number, "cuda": torch.cuda.is_available()}
    if kind == "cuda" and number and present["cuda"]:
        present["cuda"] = number.isdigit() and int(number) < torch.cuda.device_count()
    if not present.get(kind, False):
        here = ["auto", *(k for k, there in present.items() if there and k != device)]
        raise ValueError(f"device {device!r} is not on this machine; wanted one of: {', '.join(here)}")
    return device


def _mps_is_complete() -> bool:
    """Whether this torch has the three-dimensional operations on Apple's GPU; older ones lack some."""
    import torch
    from torch.nn import functional

    try:
        x = torch.ones(1, 1, 8, 8, 8, device="mps")
        functional.interpolate(functional.avg_pool3d(x, 4), scale_factor=4, mode="trilinear")
        functional.conv_transpose3d(functional.pad(x, (1,) * 6, mode="replicate"), x[:, :, :2, :2, :2], stride=2)
    except (NotImplementedError, RuntimeError):
        return False
    return True


def choose_precision(precision: str, device: str) -> str:
    """ "auto" is bfloat16 where the hardware computes it natively and a convolution in it comes out right.

    float16 is never used: on CPUs it is slow and has given wrong results.
    """
    import torch

    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision {precision!r}; wanted auto, float32 or bfloat16")
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bfloat16" if device == "cpu" and native and bfloat16_is_right() else "float32"


def bfloat16_is_right() -> bool:
    """Whether a convolution in bfloat16 agrees with float32; on some CPUs it has not."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 8, 8, 8, generator=generator)
    weight = torch.randn(16, 16, 3, 3, 3, generator=generator) / 20
    exact = torch.nn.functional.conv3d(x, weight)
    rough = torch.nn.functional.conv3d(x.bfloat16(), weight.bfloat16()).float()
    return bool((exact - rough).abs().max() < 0.03 * exact.abs().max())
