"""Where models are looked for beside the zoo. Imports nothing heavy: listing stays instant."""

import os
import sys
from pathlib import Path

VARIABLE = "DLRECON_MODELS"


def user_folder() -> Path:
    """The folder of this user's own models, which need not exist: %LOCALAPPDATA% on Windows, ~/Library/Application
    Support on macOS, else $XDG_DATA_HOME or ~/.local/share, and in it dlrecon/models."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "dlrecon" / "models"


def named_folders() -> tuple[Path, ...]:
    """Those that $DLRECON_MODELS names, separated as in $PATH; they need not exist."""
    return tuple(Path(p) for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p)


def card_files(folder: Path) -> list[Path]:
    """The card.json files in a folder and below it; names that begin with a dot are work in progress."""
    found = folder.glob("**/card.json")
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))
