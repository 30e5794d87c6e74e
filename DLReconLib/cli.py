"""The command `dlrecon`. Exit codes: 0 done, 2 bad usage or input, 3 the work failed, 130 cancelled."""

import argparse
import json
import sys
from collections.abc import Sequence

from DLReconLib.flags import OPTIONS, make_parser
from DLReconLib.models import find_card, list_cards
from DLReconLib.outputs import (
    check_again,
    check_dicom,
    check_fused,
    check_outputs,
    check_page,
    files_of,
    json_text,
    options_for,
    write_images,
    write_results,
    write_text,
)
from DLReconLib.progress import Cancelled, Progress, silent

DONE, BAD_INPUT, FAILED, CANCELLED = 0, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        return VERBS[arguments.verb](arguments)
    except (Cancelled, KeyboardInterrupt):
        print("dlrecon: cancelled", file=sys.stderr)
        return CANCELLED
    except (
        ValueError,
        FileNotFoundError,
        FileExistsError,
        NotADirectoryError,
        IsADirectoryError,
        PermissionError,
    ) as error:
        print(f"dlrecon: {error}", file=sys.stderr)
        return BAD_INPUT
    except ImportError as error:
        print(f"dlrecon: {error}; pip install 'dlrecon[train]' brings all that is optional", file=sys.stderr)
        return BAD_INPUT
    except (OSError, MemoryError, RuntimeError) as error:
        print(f"dlrecon: {type(error).__name__}: {error}", file=sys.stderr)
        return FAILED


def show_progress(kind: str) -> Progress:
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "none"
    if kind == "json":
        return lambda f, text: print(json.dumps({"progress": round(f, 4), "text": text}), flush=True)
    if kind == "bar":

        def bar(fraction: float, text: str) -> None:
            filled = "#" * round(30 * fraction)
            end = "\n" if fraction >= 1 else ""
            print(f"\r[{filled:<30}] {100 * fraction:3.0f} %  {text:<30}", end=end, file=sys.stderr, flush=True)

        return bar
    return silent


def run(arguments: argparse.Namespace) -> int:
    from DLReconLib.io import read_series, read_volume
    from DLReconLib.series import reconstruct_series, record_of

    check_outputs(arguments)
    series = None if arguments.dicom_source and not arguments.input.is_dir() else arguments.series
    volumes = [read_volume(arguments.input, series)] if series else read_series(arguments.input)
    check_dicom(arguments, volumes)
    options = {name: getattr(arguments, name) for name in OPTIONS} | {"uncertainty": bool(arguments.uncertainty)}
    options |= options_for(volumes, arguments.output)
    mask = read_volume(arguments.mask) if arguments.mask else None
    results = reconstruct_series(volumes, mask=mask, progress=show_progress(arguments.progress), **options)
    record = record_of(results) | {"files": files_of(arguments)}
    write_results(arguments, results, record)
    for warning in record["warnings"]:
        print(f"dlrecon: warning: {warning}", file=sys.stderr)
    if arguments.progress != "json":
        model, why = record["model"]["id"], record["model_chosen"]
        print(f"{model} ({why}): noise found {record['noise']:.4g}, {record['seconds']['total']:.1f} s, "
              f"{arguments.output}")  # fmt: skip
        found = record.get("found") or {}
        if "artifact" in found:
            looked = ", ".join(found.get("looked_for", []))
            print(f"artifact found: {found['artifact']}" + (f" (looked for {looked})" if looked else ""))
        if arguments.judge:
            print(f"trust: {record['trust']['light']}")
            for reason in record["trust"]["reasons"]:
                if reason["light"] != "green":
                    print(f"  {reason['light']}: {reason['text']}")
    return DONE


def fuse(arguments: argparse.Namespace) -> int:
    from DLReconLib.fusion import PRIOR
    from DLReconLib.fusion import fuse as join
    from DLReconLib.io import read_volume

    check_fused(arguments)
    names = ("spacing", "register", "thickness", "model", "modality", "device")
    options = {name: getattr(arguments, name) for name in names}
    options["prior"] = PRIOR if arguments.prior is None else arguments.prior
    stacks = [read_volume(path) for path in arguments.stacks]
    result = join(stacks, progress=show_progress(arguments.progress), **options)
    record = result.provenance | {
        "files": {"inputs": [str(p) for p in arguments.stacks], "output": str(arguments.output)}
    }
    write_images([result.volume], arguments.output, record, arguments.overwrite)
    if arguments.report:
        write_text(arguments.report, json_text(record))
    for warning in record["warnings"]:
        print(f"dlrecon: warning: {warning}", file=sys.stderr)
    if arguments.progress != "json":
        print(f"{len(stacks)} stacks, prior by {record['model']['id']}: {record['seconds']['total']:.1f} s, "
              f"{arguments.output}")  # fmt: skip
    return DONE


def explain(arguments: argparse.Namespace) -> int:
    from DLReconLib.explain import explain as attribute
    from DLReconLib.io import check_output, read_volume

    check_output(arguments.output, arguments.overwrite, [arguments.input])
    volume = read_volume(arguments.input, arguments.series)
    names = ("point", "method", "radius", "task", "model", "modality", "device", "precision")
    result = attribute(volume, progress=show_progress("auto"), **{n: getattr(arguments, n) for n in names})
    write_images([result.volume], arguments.output, result.provenance, arguments.overwrite)
    print(f"{result.provenance['model']['id']}: {arguments.method} at {arguments.point}: {arguments.output}")
    return DONE


def list_models(arguments: argparse.Namespace) -> int:
    cards = list_cards(arguments.task, arguments.modality)
    if arguments.json:
        print(json.dumps([c.to_dict() for c in cards], indent=2))
        return DONE
    for card in cards:
        added = "" if card.shipped else f" (in {card.folder})"
        print(f"{card.id:22} {card.task:16} {','.join(card.modalities):6} {card.summary}{added}")
    return DONE


def show(arguments: argparse.Namespace) -> int:
    card = find_card(arguments.model)
    if arguments.json:
        print(json.dumps(card.to_dict(), indent=2))
        return DONE
    from DLReconLib.card_text import describe

    print(describe(card))
    return DONE


def replay(arguments: argparse.Namespace) -> int:
    from DLReconLib import replay as again

    record, beside = again.read_record(arguments.record), arguments.record.parent
    if arguments.script:
        print(again.script(record), end="")
        return DONE
    check_again(arguments)
    found = again.replay(record, input=arguments.input, mask=arguments.mask, beside=beside,
                         tolerance=arguments.tolerance, progress=show_progress("auto"))  # fmt: skip
    if arguments.output and found.results:
        write_images([r.volume for r in found.results], arguments.output, found.results[0].provenance)
    print(json_text(found.to_dict()) if arguments.json else found.text)
    return FAILED if found.verdict == again.DIFFERS else DONE


def report(arguments: argparse.Namespace) -> int:
    from DLReconLib import report as pages
    from DLReconLib.replay import read_record

    check_page(arguments)
    record = read_record(arguments.record)
    before, after, notes = pages.images_of(record, arguments.record.parent, arguments.input, arguments.result)
    write_text(arguments.output, pages.report(record, before, after, notes, str(arguments.record)))
    for note in notes:
        print(f"dlrecon: warning: {note}", file=sys.stderr)
    print(arguments.output)
    return DONE


def metrics(arguments: argparse.Namespace) -> int:
    from DLReconLib.evaluation import measure
    from DLReconLib.quality.figures import as_text

    figures = measure(arguments.image, arguments.reference, arguments.mask, arguments.peak, arguments.labels)
    if arguments.plots:
        from DLReconLib.quality.plots import save_plots

        for path in save_plots(figures["curves"], arguments.plots):
            print(f"dlrecon: {path}", file=sys.stderr)
    print(json_text(figures) if arguments.json else as_text(figures))
    return DONE


def evaluate(arguments: argparse.Namespace) -> int:
    from DLReconLib.cohort import evaluate_cohort

    outcome = evaluate_cohort(arguments.cases, arguments.out, arguments.device, show_progress(arguments.progress))
    if arguments.progress != "json":
        print(outcome.text)
    return DONE if outcome.measured else FAILED


def train(arguments: argparse.Namespace) -> int:
    from DLReconLib.training import train_by_plan

    folder = train_by_plan(arguments.plan, arguments.data, arguments.out, arguments.device, arguments.resume,
                           show_progress("auto"))  # fmt: skip
    print(f"card, weights and log are in {folder}")
    return DONE


def doctor(arguments: argparse.Namespace) -> int:
    from DLReconLib.doctor import examine

    findings = examine()
    if arguments.json:
        print(json.dumps(findings, indent=2))
    else:
        for finding in findings:
            print(f"{'ok ' if finding['ok'] else '!! '} {finding['what']}: {finding['found']}")
            if not finding["ok"]:
                print(f"    mend it: {finding['mend']}")
    return DONE if all(f["ok"] or f["optional"] for f in findings) else FAILED


def demo(arguments: argparse.Namespace) -> int:
    from DLReconLib.demo import run_demo

    print(run_demo(arguments.out, show_progress("auto")))
    return DONE


def batch(arguments: argparse.Namespace) -> int:
    from DLReconLib.batch import run_batch, table

    outcome = run_batch(
        arguments.input,
        arguments.output,
        pattern=arguments.pattern,
        form=arguments.format,
        jobs=arguments.jobs,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        progress=show_progress(arguments.progress),
        **{name: getattr(arguments, name) for name in OPTIONS},
    )
    if arguments.progress != "json":
        print(table(outcome))
    return FAILED if outcome.failed else DONE


def worker(arguments: argparse.Namespace) -> int:
    from DLReconLib.worker import main as serve

    return serve(arguments.folder, arguments.parent)


def add(arguments: argparse.Namespace) -> int:
    from DLReconLib.library import add as take_in

    given = json.loads(arguments.card.read_text(encoding="utf-8")) if arguments.card else {}
    if not isinstance(given, dict):
        raise ValueError(f"{arguments.card}: wanted a JSON object with fields of a card")
    added = take_in(arguments.path, given | ({"id": arguments.id} if arguments.id else {}), show_progress("auto"))
    for warning in added.warnings:
        print(f"dlrecon: warning: {warning}", file=sys.stderr)
    print(f"{added.card.id} is in {added.card.folder}; it obeys: {', '.join(added.laws)}")
    print(f"use it by name: dlrecon run IN OUT --task {added.card.task} --model {added.card.id}")
    return DONE


def remove(arguments: argparse.Namespace) -> int:
    from DLReconLib.library import remove as take_out

    print(f"{arguments.model} was removed from {take_out(arguments.model)}")
    return DONE


def export(arguments: argparse.Namespace) -> int:
    from DLReconLib.library.exporting import export as write

    said = write(arguments.model, arguments.folder, arguments.format, arguments.size)
    print(f"{arguments.folder}: {said}")
    return DONE


def fetch(arguments: argparse.Namespace) -> int:
    from DLReconLib.library.fetching import fetch as download

    print(download(arguments.url, arguments.sha256, arguments.out, show_progress("auto")))
    return DONE


def synthesize(arguments: argparse.Namespace) -> int:
    from DLReconLib.io import check_output, read_volume
    from DLReconLib.outputs import beside
    from DLReconLib.synthesis import synthesize as paint

    label_file = beside(arguments.output, "labels")
    inputs = [arguments.labels] if arguments.labels else []
    for path in (arguments.output, label_file):
        check_output(path, arguments.overwrite, inputs)
    labels = read_volume(arguments.labels) if arguments.labels else None
    image, labels, record = paint(labels, seed=arguments.seed, shape=arguments.size, noise=arguments.noise,
                                  bias=arguments.bias)  # fmt: skip
    write_images([labels], label_file, record, arguments.overwrite)
    write_images([image], arguments.output, record, arguments.overwrite)
    print(f"{arguments.output}: synthetic, seed {arguments.seed}; its labels: {label_file}")
    return DONE


VERBS = {"synthesize": synthesize, "add": add, "remove": remove, "export": export, "fetch": fetch,
         "list": list_models, "show": show, "run": run, "replay": replay, "report": report, "metrics": metrics,
         "evaluate": evaluate, "train": train,
         "doctor": doctor, "demo": demo, "worker": worker, "batch": batch, "explain": explain,
         "fuse": fuse}  # fmt: skip
