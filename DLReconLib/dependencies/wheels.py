"""A folder of wheels, for machines without the internet: does it hold what an installation will ask for?

Version numbers are compared by their release (PEP 440 without pre-releases: "2.13.0+cpu" is 2.13.0). Wheel names and
tags: PyPA's binary distribution format.
"""

import platform
import re
import sys
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path


def canonical(name: str) -> str:
    """The name by which packages are compared (PEP 503): "scikit_image" is "scikit-image"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version: "2.10.0+cpu" -> (2, 10, 0); () where there are none."""
    found = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version.strip())
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version lies in a range such as ">=2.4,<2.14". A clause of an unknown kind counts as satisfied."""
    for clause in filter(None, (part.strip() for part in specifier.split(","))):
        sign, wanted = re.match(r"(~=|===?|!=|<=|>=|<|>)?\s*(.*)", clause).groups()
        numbers = release(wanted)
        own, limit = (n + (0,) * (8 - len(n)) for n in (release(version), numbers))
        # "==1.4.*" compares what is written, "~=1.4.5" is ">=1.4.5, ==1.4.*".
        depth = len(numbers) if wanted.endswith(".*") else 8
        alike = own[:depth] == limit[:depth]
        holds = {
            ">=": own >= limit,
            "<=": own <= limit,
            ">": own > limit,
            "<": own < limit,
            "==": alike,
            "!=": not alike,
            "~=": own >= limit and own[: len(numbers) - 1] == limit[: len(numbers) - 1],
        }
        if not holds.get(sign, True):
            return False
    return True


def split(requirement: str) -> tuple[str, str, str]:
    """'torch[extra] (>=2.4) ; marker' -> ('torch', '>=2.4', 'marker')."""
    text, _, marker = requirement.partition(";")
    name, _, specifier = re.match(r"\s*([\w.-]+)\s*(\[[^]]*\])?\s*(.*)", text).groups()
    return canonical(name), specifier.strip(" ()"), marker.strip()


@dataclass(frozen=True)
class Wheel:
    path: Path
    name: str
    version: str
    tags: str  # python-abi-platform

    @classmethod
    def named(cls, path: Path) -> "Wheel | None":
        """A wheel by its file's name, None where the name is none of a wheel."""
        parts = path.stem.split("-")
        if path.suffix != ".whl" or len(parts) not in (5, 6):
            return None
        return cls(path, canonical(parts[0]), parts[1], "-".join(parts[-3:]))

    def fits(self) -> bool:
        """Whether it suits this Python on this machine."""
        pythons, abis, platforms = (part.split(".") for part in self.tags.split("-"))
        major, minor = sys.version_info[:2]
        own = f"cp{major}{minor}"
        stable = any(
            "abi3" in abis and re.fullmatch(rf"cp{major}\d+", tag) and int(tag[3:]) <= minor for tag in pythons
        )
        pure = any(tag in (f"py{major}", f"py{major}{minor}") for tag in pythons)
        return (own in pythons or stable or pure) and any(_platform_fits(tag) for tag in platforms)

    def needs(self) -> list[str]:
        """What it requires on this machine, as requirements; [] where it does not say.

        Where a condition cannot be judged, because `packaging` is not installed, it counts as not met: the real
        installation then finds out.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                name = next(n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
                lines = message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
        except (zipfile.BadZipFile, StopIteration, OSError):
            return []
        return [line for line in lines if _applies(split(line)[2])]


def _platform_fits(tag: str) -> bool:
    system = {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux")
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    spellings = {"x86_64": ("x86_64", "amd64", "universal2"), "arm64": ("arm64", "aarch64", "universal2")}
    inside = tag.startswith(system) or (system == "linux" and tag.startswith("manylinux"))
    return tag == "any" or (inside and tag.endswith(spellings.get(machine, (machine,))))


def _applies(marker: str) -> bool:
    if not marker:
        return True
    try:
        from packaging.markers import Marker
    except ImportError:
        return False
    return Marker(marker).evaluate({"extra": ""})


def lacking(folder: Path, requirements: list[str], installed: dict[str, str]) -> list[str]:
    """What an installation from the folder alone would not find, as sentences; [] where it holds everything.

    requirements: such as "torch>=2.4,<2.14". installed: versions of what is there already, by canonical name: it need
    not lie in the folder. What the wheels themselves require is looked for too.
    """
    wheels = [wheel for wheel in map(Wheel.named, sorted(folder.glob("*.whl"))) if wheel]
    queue = [(requirement, "") for requirement in requirements]
    seen, sentences = set(), []
    while queue:
        requirement, asker = queue.pop(0)
        name, specifier, _ = split(requirement)
        if (name, specifier) in seen or (asker and name in installed and satisfies(installed[name], specifier)):
            continue
        seen.add((name, specifier))
        named = [wheel for wheel in wheels if wheel.name == name]
        suiting = [wheel for wheel in named if wheel.fits() and satisfies(wheel.version, specifier)]
        if suiting:
            best = max(suiting, key=lambda wheel: release(wheel.version))
            queue += [(need, name) for need in best.needs()]
            continue
        why = f" (needed by {asker})" if asker else ""
        found = ", ".join(wheel.path.name for wheel in named) or "nothing of that name"
        sentences.append(f"{name}{specifier}{why}: found {found}")
    return sentences


def download_command(requirements: list[str], folder: str = "wheels") -> str:
    """The command that fills such a folder, to be typed on a machine of the same kind that has the internet."""
    quoted = " ".join(f'"{requirement}"' for requirement in requirements)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"python -m pip download --only-binary :all: --python-version {version} --dest {folder} {quoted}"
