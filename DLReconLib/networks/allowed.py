"""Which networks of MONAI are built for others' weights, and from what: none takes code, files or downloads."""

from typing import Any

NETWORKS = ("AttentionUnet", "AutoEncoder", "BasicUNet", "DynUNet", "HighResNet", "SegResNet", "UNet", "VNet")
LARGEST = 4096  # of the numbers among the arguments


def check_arguments(network: str, arguments: Any) -> None:
    """Raises ValueError unless the network is on the list and its arguments are plain: names, numbers up to LARGEST,
    true, false, null, and lists and objects of them."""
    if network not in NETWORKS:
        raise ValueError(f"network {network!r}: wanted one of MONAI's {', '.join(NETWORKS)}")
    if not isinstance(arguments, dict):
        raise ValueError(f"network {network}: arguments {arguments!r}; wanted an object of names and values")

    def check(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                check(inner, f"{name}.{key}" if name else str(key))
        elif isinstance(value, (list, tuple)) and len(value) <= 64:
            for inner in value:
                check(inner, name)
        elif isinstance(value, str):
            if not value.isidentifier():
                raise ValueError(f"network {network}: argument {name} is {value!r}; wanted a plain name: expressions "
                                 "and references are not evaluated")  # fmt: skip
        elif value is not None and not (isinstance(value, (bool, int, float)) and abs(value) <= LARGEST):
            raise ValueError(f"network {network}: argument {name} is {str(value)[:60]}; wanted numbers up to {LARGEST}")

    check(arguments, "")
