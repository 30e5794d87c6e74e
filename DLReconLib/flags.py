"""The verbs of the command line and their flags."""

import argparse
import os
from pathlib import Path

import DLReconLib
from DLReconLib.help import HELP
from DLReconLib.models import ARTIFACTS, TASKS


def three(text: str, kind: type, wanted: str) -> tuple:
    try:
        first, second, third = (kind(n) for n in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted {wanted}") from None
    return first, second, third


def triple(text: str) -> tuple[int, int, int]:
    return three(text, int, "three whole numbers Z,Y,X")


def millimetres(text: str) -> tuple[float, float, float]:
    return three(text, float, "three numbers X,Y,Z")


def seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted seconds, such as 60 or 60s") from None


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dlrecon", description="Better images from noisy ones, with a record. Research "
                                     "use only.")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"dlrecon {DLReconLib.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    verb = verbs.add_parser("list", help="the models there are")
    verb.add_argument("--task", choices=TASKS)
    verb.add_argument("--modality", help="DICOM code: MR, CT, US, PT, ...")
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = verbs.add_parser("show", help="the card of a model")
    verb.add_argument("model", help="id, or path of a card.json")
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = verbs.add_parser("run", help="make a better volume")
    verb.add_argument("input", type=Path, help="NRRD, NIfTI, MetaImage, DICOM file or folder, PNG, TIFF")
    verb.add_argument("output", type=Path, help="NRRD, NIfTI, MetaImage, PNG or TIFF file; a folder for DICOM")
    add_options(verb)
    verb.add_argument("--series", help="which DICOM series of a folder: its UID or the beginning of it")
    verb.add_argument("--mask", type=Path, help="label image; only where it is not 0 is anything changed")
    verb.add_argument("--dicom-source", type=Path, help="write DICOM, a derived series in the study of the images in "
                      "this folder (default: the input, where it is DICOM)")  # fmt: skip
    verb.add_argument("--residual", type=Path, help="write what was removed to this file")
    verb.add_argument("--uncertainty", type=Path, help="write the standard deviation of the error to this file; takes "
                      "several times as long")  # fmt: skip
    verb.add_argument("--consistency", type=Path, help="super-resolution: write how far the result, made coarse again, "
                      "is from the input, in standard deviations of its noise")  # fmt: skip
    verb.add_argument("--features", type=Path, help="contrast by a model that lifts features: write its map, 0 to 1, "
                      "to this file")  # fmt: skip
    verb.add_argument("--report", type=Path, help="write the record of the run to this JSON file")
    verb.add_argument("--progress", choices=["auto", "bar", "json", "none"], default="auto")
    verb.add_argument("--overwrite", action="store_true", help="replace files that exist")

    verb = verbs.add_parser("fuse", help="thick stacks along different axes become one isotropic volume")
    verb.add_argument("stacks", type=Path, nargs="+", help="two or more images, or DICOM folders, of one patient; the "
                      "result lies on the axes of the first")  # fmt: skip
    verb.add_argument("output", type=Path, help="NRRD, NIfTI or MetaImage file")
    verb.add_argument("--spacing", type=float, metavar="MM", help="of the result along all axes (default: the finest)")
    verb.add_argument("--register", choices=["mutual-information", "mean-squares", "off"], default="mutual-information",
                      help="how the patient's motion between the stacks is found")  # fmt: skip
    verb.add_argument("--prior", type=float, help="weight of the stacks enlarged for themselves against the measured "
                      "voxels; higher is calmer")  # fmt: skip
    verb.add_argument("--thickness", type=float, metavar="MM", help="slice thickness where it is not the spacing")
    verb.add_argument("--model", default="auto", help="of super-resolution, for the prior")
    verb.add_argument("--modality", default="auto", help=HELP["modality"])
    verb.add_argument("--device", default="auto", help=HELP["device"])
    verb.add_argument("--report", type=Path, help="write the record of the run to this JSON file")
    verb.add_argument("--progress", choices=["auto", "bar", "json", "none"], default="auto")
    verb.add_argument("--overwrite", action="store_true", help="replace files that exist")

    verb = verbs.add_parser("batch", help="a folder of images, again where it was interrupted")
    verb.add_argument("input", type=Path, help="folder; image files and DICOM series in it and below it are cases")
    verb.add_argument("output", type=Path, help="folder of the results, of manifest.jsonl and index.html")
    add_options(verb)
    verb.add_argument(
        "--pattern", default="*", metavar="GLOB", help="only files of this name, or path below the folder"
    )
    verb.add_argument("--format", default="", metavar="EXT", help=".nrrd, .nii.gz, ... of all results (default: the "
                      "input's, and .nrrd for DICOM)")  # fmt: skip
    verb.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at once, each in a process of its own")
    verb.add_argument("--resume", action="store_true", help="go on: what is finished is left alone")
    verb.add_argument("--overwrite", action="store_true", help="begin again, and replace files that exist")
    verb.add_argument("--progress", choices=["auto", "bar", "json", "none"], default="auto")

    verb = verbs.add_parser("replay", help="repeat a run from its record and compare")
    verb.add_argument("record", type=Path, help="JSON file of --report, or an NRRD file that dlrecon wrote")
    verb.add_argument("--input", type=Path, help="where the input is now (default: where it was)")
    verb.add_argument("--mask", type=Path, help="where the mask is now")
    verb.add_argument("--output", type=Path, help="write what comes out to this file")
    verb.add_argument("--tolerance", type=float, default=1e-4, help="what counts as equal, as a fraction of the "
                      "input's range of values (default 1e-4)")  # fmt: skip
    verb.add_argument("--script", action="store_true", help="print the lines of Python that do the same, run nothing")
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = verbs.add_parser("report", help="a page to read: before, after, what was removed, how far to trust it")
    verb.add_argument("record", type=Path, help="JSON file of --report, or an NRRD file that dlrecon wrote")
    verb.add_argument("-o", "--output", type=Path, required=True, help="HTML file")
    verb.add_argument("--input", type=Path, help="where the input is now (default: where it was)")
    verb.add_argument("--result", type=Path, help="where the result is now")
    verb.add_argument("--overwrite", action="store_true", help="replace a file that exists")

    verb = verbs.add_parser("metrics", help="figures of an image, alone or against a reference")
    verb.add_argument("image", type=Path)
    verb.add_argument("--reference", type=Path, help="the image it should be; its 99.9th percentile minus its minimum "
                      "is the data range unless --peak says otherwise")  # fmt: skip
    verb.add_argument("--peak", type=float, help="data range for PSNR, SSIM, NRMSE and GMSD")
    verb.add_argument("--mask", type=Path, help="label image: voxels above 0 count")
    verb.add_argument("--labels", type=Path, help="label image of tissues: CNR of each pair, figures of each label "
                      "(default: the mask, where it has two labels or more)")  # fmt: skip
    verb.add_argument("--json", action="store_true", help="print JSON: figures, 95 %% intervals, curves")
    verb.add_argument("--plots", type=Path, metavar="DIR", help="write edge.png, mtf.png and nps.png to this folder")

    verb = verbs.add_parser("evaluate", help="methods compared over many cases: intervals, tests, a page")
    verb.add_argument("cases", type=Path, metavar="PLAN|FOLDER", help="JSON plan, or a folder with input/, reference/, "
                      "labels/, mask/ and a folder a method")  # fmt: skip
    verb.add_argument("--out", type=Path, default=Path("dlrecon-evaluation"), help="folder to write to")
    verb.add_argument("--device", default="auto", help="for methods that are models: auto, cpu, cuda, cuda:N or mps")
    verb.add_argument("--progress", choices=["auto", "bar", "json", "none"], default="auto")

    verb = verbs.add_parser("train", help="train a model by a plan")
    verb.add_argument("plan", type=Path, help="JSON file; see the plans beside the models of the zoo")
    verb.add_argument("--data", type=Path, default=os.environ.get("DLRECON_DATA", "."), help="folder of the images "
                      "(default: $DLRECON_DATA, else here)")  # fmt: skip
    verb.add_argument("--out", type=Path, help="folder of checkpoints, logs and weights (default: runs/ID)")
    verb.add_argument("--device", default="auto")
    verb.add_argument("--resume", action="store_true", help="continue from the last checkpoint")

    verb = verbs.add_parser("doctor", help="is everything there? what is wrong and how to mend it")
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = verbs.add_parser("explain", help="which voxels of the input made a place of the output")
    verb.add_argument("input", type=Path)
    verb.add_argument("output", type=Path, help="file of the map, on the grid of the input")
    verb.add_argument("--point", type=triple, required=True, metavar="I,J,K", help="voxel of the output")
    verb.add_argument("--radius", type=int, default=0, help="explain the mean within so many voxels (default: 0)")
    verb.add_argument("--method", choices=["gradient", "integrated", "occlusion"], default="gradient")
    verb.add_argument("--series", help="which DICOM series of a folder")
    verb.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    add_model_options(verb)

    verb = verbs.add_parser("worker", help="answer requests on standard input, for programs (see protocol.py)")
    verb.add_argument("--folder", type=Path, help="private folder of the arrays, removed with the parent (default: "
                      "the current one, kept)")  # fmt: skip
    verb.add_argument("--parent", type=int, help="end when this process does")

    verb = verbs.add_parser("add", help="take in a model: no code of it is run")
    verb.add_argument("path", type=Path, help="model folder, MONAI Bundle or ZIP archive of one, or a weight file "
                      "(.safetensors, .pt) of a network of MONAI with --card")  # fmt: skip
    verb.add_argument("--card", type=Path, help="JSON file: fields of a card that are missing there, or to be replaced")
    verb.add_argument("--id", help="name it so")

    verb = verbs.add_parser("remove", help="remove a model that was added")
    verb.add_argument("model", help="its id")

    verb = verbs.add_parser("export", help="a model for other programs")
    verb.add_argument("model", help="id, or path of a card.json")
    verb.add_argument("folder", type=Path, help="new folder to write to")
    verb.add_argument("--format", choices=["bundle", "onnx"], required=True, help="a MONAI Bundle, or a graph in ONNX")
    verb.add_argument("--size", type=triple, metavar="Z,Y,X", help="voxels that an ONNX graph takes at once (default: "
                      "64,64,64)")  # fmt: skip

    verb = verbs.add_parser("fetch", help="download weights, by their checksum")
    verb.add_argument("url", help="https:// or http:// address")
    verb.add_argument("--sha256", required=True, help="checksum of the file, 64 hexadecimal digits")
    verb.add_argument("--out", type=Path, default=Path(), help="file or folder to write to (default: here)")

    verb = verbs.add_parser("synthesize", help="a synthetic volume for training and tests, painted from labels")
    verb.add_argument("output", type=Path, help="file of the image; its labels are written beside it")
    verb.add_argument("--labels", type=Path, help="label image to paint (default: random shapes)")
    verb.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    verb.add_argument("--size", type=triple, default=(64, 96, 96), metavar="Z,Y,X", help="voxels of random shapes")
    verb.add_argument("--noise", type=float, default=0.0, help="of Rician noise, a fraction of the range")
    verb.add_argument("--bias", type=float, default=0.0, help="strength of a smooth coil field, 0 to 1")
    verb.add_argument("--overwrite", action="store_true", help="replace files that exist")

    verb = verbs.add_parser("demo", help="the main job on a real image, with a picture and figures")
    verb.add_argument("--out", type=Path, default=Path("dlrecon-demo"), help="folder to write to")
    return parser


def add_options(verb: argparse.ArgumentParser) -> None:
    """The fields of pipeline.Options, each a flag; the panel of the Slicer module explains them by the same words."""
    add_model_options(verb)
    verb.add_argument("--strength", type=float, default=1.0, help=HELP["strength"])
    verb.add_argument("--tile", type=triple, metavar="Z,Y,X", help=HELP["tile"])
    verb.add_argument("--dtype", choices=["float32", "input"], default="float32", help=HELP["dtype"])
    verb.add_argument("--no-judge", dest="judge", action="store_false", help=f"do not {HELP['judge']}")
    verb.add_argument("--feather", type=float, default=0.0, metavar="MM", help=HELP["feather"])
    verb.add_argument("--scale", type=float, help=HELP["scale"])
    verb.add_argument("--spacing", type=millimetres, metavar="X,Y,Z", help=HELP["spacing"])
    verb.add_argument("--thickness", type=float, metavar="MM", help=HELP["thickness"])
    verb.add_argument("--no-consistent", dest="consistent", action="store_false", help=f"do not {HELP['consistent']}")
    verb.add_argument("--artifact", choices=["auto", *ARTIFACTS], default="auto", help=HELP["artifact"])
    verb.add_argument("--budget", type=seconds, default=60.0, metavar="SECONDS", help=HELP["budget"])
    verb.add_argument("--steps", type=int, default=0, metavar="N", help=HELP["steps"])
    verb.add_argument("--adapt", action="store_true", help=HELP["adapt"])


def add_model_options(verb: argparse.ArgumentParser) -> None:
    """Which model, and where it runs."""
    verb.add_argument("--task", choices=TASKS, default="denoise", help=HELP["task"])
    verb.add_argument("--model", default="auto", help=HELP["model"])
    verb.add_argument("--modality", default="auto", help=HELP["modality"])
    verb.add_argument("--device", default="auto", help=HELP["device"])
    verb.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto", help=HELP["precision"])


OPTIONS = ("task", "model", "modality", "strength", "device", "tile", "dtype", "precision", "judge", "feather",
           "scale", "spacing", "thickness", "consistent", "artifact", "budget", "steps", "adapt")  # fmt: skip
