"""What to do next when an installation or an import failed, found by what was said about it."""

import re

# Patterns are searched in this order, whatever their case: the first that is found gives the advice.
_INSTALLING = (
    (r"no space left|errno 28|winerror 112|disk quota", "The disk is full: free some space, then try again."),
    (
        r"proxyerror|tunnel connection failed|407 proxy",
        "The proxy refused the connection: set HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, start again, or install "
        "from a folder of wheels.",
    ),
    (
        r"certificate_verify_failed|sslerror|certificate verify failed",
        "A certificate was refused, as behind a proxy that reads along: set PIP_CERT to the certificate file of your "
        "institution, or install from a folder of wheels.",
    ),
    (
        r"name resolution|name or service not known|getaddrinfo|failed to establish a new connection|network is "
        r"unreachable|connection refused|timed out|connecttimeout|newconnectionerror|connection aborted",
        "The internet was not reached: check the connection, set HTTPS_PROXY where a proxy is needed, or install from "
        "a folder of wheels.",
    ),
    (
        r"winerror 5\b|winerror 32\b|access is denied|being used by another process",
        "Files are in use: close every Slicer and every Python, start one again and try before anything else.",
    ),
    (
        r"permission denied|errno 13|read-only file system",
        "The folder of the packages cannot be written: start with the right to write there, or install Slicer in a "
        "folder of your own.",
    ),
    (r"externally-managed-environment", "This Python belongs to the system: make an environment by python -m venv."),
    (r"no module named pip", "pip is missing: run python -m ensurepip."),
    (
        r"do not match the hashes|invalid wheel|bad zip|badzipfile|incompleteread",
        "A download was damaged: try again; with pip itself add --no-cache-dir.",
    ),
    (r"memoryerror|killed|code -9\b|status 137", "The memory was not enough: close other programs, then try again."),
    (
        r"requires-python|requires a different python",
        "A package does not exist for this Python: use Python 3.10 to 3.13 (Slicer 5.10 or later).",
    ),
    (
        r"no matching distribution found|could not find a version",
        "The package was not found: either this Python is too new or too old for it (3.10 to 3.13 suit), or the "
        "internet was not reached.",
    ),
    (r"uninstall-no-record-file|no record file", "Remove the package's .dist-info folder, then try again."),
    (r"declined|aborted by user|cancel", "Nothing was installed. The classical methods work without PyTorch."),
)
_OTHERWISE = (
    "Look at the log for pip's own words. Mostly it is the connection (set HTTPS_PROXY, or install from a folder of "
    "wheels), a full disk, or files in use (restart and try before anything else)."
)


def install_remedy(text: str) -> str:
    """What to do after a failed installation. text: all that was said, pip's output included."""
    return next((advice for pattern, advice in _INSTALLING if re.search(pattern, text, re.IGNORECASE)), _OTHERWISE)


def import_remedy(text: str, code: int, requirement: str) -> tuple[str, bool]:
    """What to do after a failed import, and whether installing again can help.

    text: what Python said; code: its exit code, negative for a signal.
    """
    again = f"uninstall it, restart, and install {requirement} again"
    # An illegal instruction, as POSIX and as Windows say it.
    if code in (-4, 132, 0xC000001D, 0xC000001D - 2**32):
        return "this processor lacks instructions (AVX) that PyTorch needs: use the classical methods", False
    if re.search(r"WinError (126|127|1114)|DLL load failed", text):
        return f"install Microsoft's Visual C++ Redistributable (x64) and restart; if that does not help, {again}", True
    if re.search(r"GLIBC|macOS \d+", text):
        return "this operating system is too old for this torch: install an older torch, 2.4 or later", False
    if re.search(r"compiled using NumPy 1|_ARRAY_API not found|numpy\.core\.multiarray failed", text):
        return f"torch and numpy are of different times: {again}", True
    if re.search(r"lib(cu|nv|nccl)\w*\.so|cudnn", text, re.IGNORECASE):
        return f"its CUDA libraries are incomplete: {again}, with the cpu backend where there is no NVIDIA card", True
    return again, True
