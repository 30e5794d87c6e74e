"""Takes the place of the Slicer program in ctest: `launcher.py [options] --python-code CODE | --python-script FILE`.

Of Slicer's options it knows those that CMake's test macros give. The modules in the folders after
`--additional-module-paths` are loaded as Slicer loads them, each .py file as a module. The application is
Testing/SlicerHost: Slicer's own MRML classes, and stand-ins for its widgets. Ends with 77 (skipped) where slicer-core
or PySide6, which it needs, are not installed.
"""

import argparse
import importlib.util
import os
import sys
import traceback
import types
import unittest
from pathlib import Path

SKIPPED = 77


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    for switch in ("--no-splash", "--testing", "--no-main-window", "--disable-cli-modules"):
        parser.add_argument(switch, action="store_true")
    parser.add_argument("--additional-module-path", action="append", default=[])
    parser.add_argument("--additional-module-paths", nargs="*", default=[])
    parser.add_argument("--python-code")
    parser.add_argument("--python-script", nargs=argparse.REMAINDER)
    return parser.parse_args()


def run_unit_test(path: list[str] | str, name: str) -> None:
    """As slicer.testing.runUnitTest: raises where a test fails."""
    sys.path.extend([path] if isinstance(path, str) else path)
    suite = unittest.TestLoader().loadTestsFromName(name)
    if not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful():
        raise RuntimeError(f"{name} failed")


def add_testing() -> None:
    import slicer

    testing = types.ModuleType("slicer.testing")
    testing.runUnitTest = run_unit_test
    sys.modules["slicer.testing"] = slicer.testing = testing


def run(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from SlicerHost import Host

    with Host(main_window=not options.no_main_window, testing=options.testing) as host:
        add_testing()
        folders = options.additional_module_path + options.additional_module_paths
        for folder in dict.fromkeys(map(os.path.abspath, folders)):
            for script in sorted(Path(folder).glob("*.py")):
                host.load_module(script)
        if options.python_script:
            script, *sys.argv[1:] = options.python_script
            exec(compile(Path(script).read_text(encoding="utf-8"), script, "exec"), {"__name__": "__main__"})
        elif options.python_code:
            exec(options.python_code, {"__name__": "__main__"})


def main() -> int:
    options = arguments()
    missing = [name for name in ("slicer", "PySide6") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {' and '.join(missing)} not installed (pip install slicer-core PySide6-Essentials)")
        return SKIPPED
    try:
        run(options)
    except Exception:  # Slicer with --testing ends with 1 on any of them
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # what Python does with MRML's objects at its end is of no interest to a test
