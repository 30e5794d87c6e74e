"""What `dlrecon run` leaves behind: checked before the work, written whole or not at all after it."""

import argparse
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from DLReconLib.models import find_card, list_cards
from DLReconLib.networks import FEATURES

MAPS = ("residual", "uncertainty", "consistency", "features")  # files beside the output


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raises before any work is done where a result could not be written, or would replace something needed."""
    from DLReconLib.io import check_output

    inputs = [p for p in (arguments.input, arguments.mask) if p]
    label = beside(arguments.output, "invented") if arguments.task == "inpaint" else None
    main = None if dicom_source(arguments) else arguments.output
    if arguments.consistency and arguments.task != "super-resolution":
        raise ValueError(f"consistency {arguments.consistency}: wanted the task super-resolution, not {arguments.task}")
    if arguments.features:
        check_features(arguments)
    maps = [p for name in MAPS if (p := getattr(arguments, name))]
    for path in (main, *maps, label):
        if path:
            check_output(path, arguments.overwrite, inputs)
    report = arguments.report
    if report:
        if not report.parent.is_dir() or not os.access(report.parent, os.W_OK) or report.is_dir():
            raise FileNotFoundError(f"report {report}: wanted a file in a folder that exists and is writable")
        if report.exists() and not arguments.overwrite:
            raise FileExistsError(f"report {report} exists; give --overwrite or another name")
    named = [p.resolve() for p in (*inputs, arguments.output, *maps, report, label) if p]
    if len(set(named)) < len(named):
        raise ValueError(f"one file is named twice among {', '.join(map(str, named))}; wanted a name for each")
    for path in maps:
        if path.suffix.lower() == ".png":
            raise ValueError(f"{path}: PNG holds no negative values and no fractions; wanted .nrrd, .nii.gz or .tif")


def check_features(arguments: argparse.Namespace) -> None:
    """Raises where the run would not give a map of features."""
    named = f"features {arguments.features}"
    able = [c.id for c in list_cards("contrast") if c.network in FEATURES]
    if arguments.model == "auto" or find_card(arguments.model).network not in FEATURES:
        raise ValueError(f"{named}: --task {arguments.task} --model {arguments.model} gives no map; wanted --task "
                         f"contrast and --model {' or '.join(able)}")  # fmt: skip
    if not arguments.strength > 0:
        raise ValueError(f"{named}: nothing is lifted at strength {arguments.strength}; wanted a strength above 0")
    if arguments.dtype != "float32" or arguments.output.suffix.lower() == ".png":
        raise ValueError(f"{named}: wanted an output of --dtype float32, not one of the input's type, whose values are "
                         "rounded and clipped")  # fmt: skip


def beside(output: Path, word: str) -> Path:
    """NAME-word.nrrd in the folder of the output NAME.nii.gz."""
    from DLReconLib.claims import extension

    stem = output.name[: len(output.name) - len(extension(output))]
    return output.with_name(f"{stem}-{word}.nrrd")


def dicom_source(arguments: argparse.Namespace) -> Path | None:
    """The DICOM images whose study the output joins; None where the output is a file.

    It is a DICOM folder where --dicom-source is given, or where the input is DICOM and the output has no extension.
    """
    from DLReconLib.claims import extension
    from DLReconLib.headers import is_dicom

    if arguments.dicom_source or extension(arguments.output):
        return arguments.dicom_source
    return arguments.input if arguments.input.is_dir() or is_dicom(arguments.input) else None


def check_dicom(arguments: argparse.Namespace, volumes: list[Any]) -> None:
    """Raises before the work where the output could not become a series of the DICOM source."""
    source = dicom_source(arguments)
    if source is None:
        return
    try:
        from DLReconLib import derived
    except ImportError:
        raise ValueError(f"{arguments.output}: DICOM wants pydicom; pip install 'dlrecon[dicom]'") from None
    if len(volumes) > 1:
        raise ValueError(f"{arguments.output}: {len(volumes)} time points; wanted one for a DICOM series; run each")
    if arguments.task == "super-resolution":
        raise ValueError(f"{arguments.output}: a DICOM series of another grid than its source's cannot be written yet; "
                         "wanted .nrrd, .nii.gz or .mha")  # fmt: skip
    derived.check(volumes[0], source, arguments.output, series_of_source(arguments))


def series_of_source(arguments: argparse.Namespace) -> str | None:
    """--series speaks of the source where the input is no folder; else the volume knows its own."""
    return None if arguments.input.is_dir() else arguments.series


def files_of(arguments: argparse.Namespace) -> dict[str, str]:
    """For the record: the paths as they were given, so that the run can be repeated."""
    names = ("input", "series", "mask", "output", "residual")
    source = dicom_source(arguments)
    files = {name: str(v) for name in names if (v := getattr(arguments, name, None)) is not None}
    return files | ({"dicom": str(source)} if source else {})


def check_again(arguments: argparse.Namespace) -> None:
    """Raises before a run is repeated where its output could not be written."""
    from DLReconLib.io import check_output

    if arguments.output:
        check_output(arguments.output, False, [arguments.record, *filter(None, [arguments.input, arguments.mask])])


def check_page(arguments: argparse.Namespace) -> None:
    """Raises where the page of a report could not be written, or would replace what it is made from."""
    path = arguments.output
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path}: a report is a page; wanted a name that ends in .html")
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise FileNotFoundError(f"{path}: wanted a file in a folder that exists")
    if path.exists() and not arguments.overwrite:
        raise FileExistsError(f"{path} exists; give --overwrite or another name")


def write_images(volumes: Sequence[Any], path: Path, record: dict[str, Any], overwrite: bool = False) -> None:
    """A volume with its record in the header, or a time series."""
    from DLReconLib.io import write_series, write_volume

    if len(volumes) > 1:
        write_series(volumes, path, overwrite=overwrite)
        return
    text = json.dumps(json.loads(json_text(record)))
    write_volume(volumes[0], path, metadata={"DLRecon.Provenance": text}, overwrite=overwrite)


def options_for(volumes: Sequence[Any], path: Path) -> dict[str, str]:
    """What the format of the output asks of the run. Raises ValueError where it cannot hold what comes of the input."""
    from DLReconLib.claims import extension

    kind, array = extension(path), volumes[0].array
    if kind == ".png":
        if len(volumes) > 1 or array.shape[0] != 1 or array.dtype.kind == "f":
            raise ValueError(f"{path}: PNG holds one slice of integers, the input is {len(volumes)} x {array.shape} "
                             f"{array.dtype}; wanted .nrrd, .nii.gz or .tif")  # fmt: skip
        return {"dtype": "input"}
    if len(volumes) > 1 and kind in (".tif", ".tiff"):
        raise ValueError(f"{path}: holds no time series, the input has {len(volumes)} time points; wanted .nrrd, "
                         ".nii.gz or .mha")  # fmt: skip
    return {}


def write_results(arguments: argparse.Namespace, results: list[Any], record: dict[str, Any]) -> None:
    """Residual, report and output; where one fails, those that this run made anew are taken back."""
    source = dicom_source(arguments)
    wanted = {
        arguments.residual: lambda r: r.residual,
        arguments.uncertainty: lambda r: r.uncertainty,
        arguments.consistency: lambda r: r.consistency,
        arguments.features: lambda r: r.features,
        arguments.output: lambda r: r.volume,
    }
    if results[0].invented is not None:
        wanted = {beside(arguments.output, "invented"): lambda r: r.invented} | wanted
    made: list[Path] = []
    try:
        for path, image in wanted.items():
            if path is None:
                continue
            if not path.exists() or path.is_dir():  # a folder for DICOM is empty before
                made.append(path)
            if source and path == arguments.output:
                from DLReconLib.derived import write_derived

                series = series_of_source(arguments)
                write_derived(results[0].volume, source, path, record=record, series=series)
            else:
                write_images([image(r) for r in results], path, record, arguments.overwrite)
        if arguments.report:
            write_text(arguments.report, json_text(record))
    except BaseException:
        for path in made:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        raise


def check_fused(arguments: argparse.Namespace) -> None:
    """Raises before the work where the result of a fusion, or its record, could not be written."""
    from DLReconLib.io import check_output

    check_output(arguments.output, arguments.overwrite, arguments.stacks)
    report = arguments.report
    if report and (not report.absolute().parent.is_dir() or report.is_dir()):
        raise FileNotFoundError(f"report {report}: wanted a file in a folder that exists")
    if report and report.exists() and not arguments.overwrite:
        raise FileExistsError(f"report {report} exists; give --overwrite or another name")


def json_text(values: Any) -> str:
    """Infinite figures (the PSNR of equal images) become null: JSON has no infinity."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: finite(v) for k, v in value.items()}
        if isinstance(value, list):
            return [finite(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(values), indent=2, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
