"""Denoise volume files in Slicer without a window.

    Slicer --no-splash --no-main-window --python-script batch.py --output FOLDER [options] FILE [FILE ...]

Each FILE gives FOLDER/NAME-denoise.nrrd, the record of the run (JSON) beside it. Files that were made before are left
alone, so a batch that was broken off goes on where it stopped. One process does all the work: PyTorch is loaded once.

Exit codes: 0 all done, 1 some files failed (the others are done), 2 wrong arguments.
"""

import argparse
import sys
import traceback
from pathlib import Path


def main(argv):
    parser = argparse.ArgumentParser("batch.py", description="Denoise volume files.")
    parser.add_argument("files", nargs="+", type=Path, help="NRRD, NIfTI or MetaImage files, or a file of a series")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--task", default="denoise")
    parser.add_argument("--model", default="auto", help="a model's id; auto chooses by the kind of image")
    parser.add_argument("--modality", default="auto", help="MR, CT, ...; NIfTI files do not say it")
    parser.add_argument("--strength", type=float, default=1.0, help="0 (nothing) to 1 (full)")
    parser.add_argument("--overwrite", action="store_true", help="make again what is there")
    try:
        arguments = parser.parse_args(argv)
        arguments.output.mkdir(parents=True, exist_ok=True)
    except SystemExit as stop:
        return 2 if stop.code else 0
    except OSError as error:
        print(f"batch.py: {error}", file=sys.stderr)
        return 2

    from DLRecon import DLReconLogic

    logic = DLReconLogic()
    failed = 0
    try:
        for number, file in enumerate(arguments.files, 1):
            try:
                said = enhance(logic, file, arguments)
            except Exception as error:  # one bad file must not stop the others
                traceback.print_exc()
                failed += 1
                said = f"failed: {error}"
            print(f"[{number}/{len(arguments.files)}] {file}: {said}", flush=True)
    finally:
        logic.close()
    return 1 if failed else 0


def enhance(logic, file, arguments):
    """One file; gives what is to be printed."""
    import slicer

    name = file.name.removesuffix(".gz").rsplit(".", 1)[0]
    target = arguments.output / f"{name}-{arguments.task}.nrrd"
    if target.exists() and not arguments.overwrite:
        return "there already"
    # Under its own name only when it is whole.
    unfinished = target.with_name(f".{target.stem}.part.nrrd")
    before = slicer.util.loadVolume(str(file), {"show": False})
    after = None
    try:
        after = logic.process(
            before,
            task=arguments.task,
            model=arguments.model,
            modality=arguments.modality,
            strength=arguments.strength,
        )
        if not slicer.util.saveNode(after, str(unfinished)):
            raise OSError(f"{unfinished} could not be written")
        target.with_suffix(".json").write_text(after.GetAttribute("DLRecon.Provenance"), encoding="utf-8")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
        for node in (before, after):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
    return f"done, {target}"


if __name__ == "__main__":
    code = main(sys.argv[1:])
    import slicer

    # Slicer goes on running after a script, unless it is told to end.
    slicer.util.exit(code)
