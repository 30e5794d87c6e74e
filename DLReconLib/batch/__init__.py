"""Batch: a folder of images through warm workers, with a manifest that survives whatever ends the process.

The order of steps makes it so. The result is written under a hidden name, its checksum goes into the manifest, and
only then it takes its own name: a case is finished when its line and its file are there and agree.
"""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import DLReconLib
from DLReconLib.batch.cases import Case, file_digest, find_cases
from DLReconLib.batch.manifest import Manifest
from DLReconLib.batch.page import draw, page
from DLReconLib.claims import extension
from DLReconLib.client import Client
from DLReconLib.io import read_series, read_volume, write_volume
from DLReconLib.models import find_card
from DLReconLib.outputs import json_text, options_for, write_images, write_text
from DLReconLib.progress import Progress, silent
from DLReconLib.result import Result
from DLReconLib.series import record_of, wants_series
from DLReconLib.volume import Volume

MANIFEST, PAGE, PICTURES = "manifest.jsonl", "index.html", "pictures"
PATIENCE = 0.02  # seconds between two looks at the workers


@dataclass(frozen=True)
class Outcome:
    """records: the manifest's line of each case, in order of names; before: how many of them were finished before."""

    records: tuple[dict[str, Any], ...]
    before: int

    @property
    def failed(self) -> int:
        return sum(r["state"] == "failed" for r in self.records)


def run_batch(
    source: Path,
    target: Path,
    *,
    pattern: str = "*",
    form: str = "",
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
    make_client: Callable[[], Client] | None = None,
    **options: Any,
) -> Outcome:
    """Make better images of all in a folder and below it; the results lie in `target` at the same places.

    pattern, form: which files, and the extension of the results, see cases.find_cases. jobs: workers at once.
    resume: leave alone what an earlier batch into this target finished, from the same input with the same options
    and version; do the rest. overwrite: begin again, and replace files that are in the way.
    options: of pipeline.Options, without uncertainty. A case that fails is noted and does not stop the others.
    target gets manifest.jsonl (a record a line), index.html (to look at) and pictures/.

    Raises ValueError for bad folders, options or patterns; OSError where the manifest cannot be written; what
    `progress` raises, after the page was written. With `resume` the next call goes on from there.
    """
    source, target = Path(source), Path(target)
    key = _key(options)
    cases = find_cases(source, pattern, target, form)
    _check(source, target, pattern, jobs, cases)
    target.mkdir(parents=True, exist_ok=True)
    with Manifest(target / MANIFEST) as manifest, contextlib.ExitStack() as stack:
        if manifest.records and not (resume or overwrite):
            raise ValueError(
                f"{target}: holds the manifest of a batch; give resume to go on, or overwrite to begin again"
            )
        if not resume:
            manifest.clear()
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))} if jobs > 1 else {}
        make = make_client or (lambda: Client(environment=threads))
        clients = [stack.enter_context(make()) for _ in range(min(jobs, len(cases)))]
        batch = _Batch(target, manifest, key, options, overwrite)
        try:
            batch.run(cases, clients, progress)
        finally:
            records = [manifest.records[c.name] for c in cases if c.name in manifest.records]
            write_text(target / PAGE, page(records, target, len(cases)))
    return Outcome(tuple(records), batch.before)


def _key(options: dict[str, Any]) -> dict[str, Any]:
    """What makes two runs of one input the same. Raises ValueError for options that do not exist."""
    from DLReconLib.pipeline import Options

    try:
        chosen = asdict(Options(**options))
    except TypeError as error:
        raise ValueError(f"options: {error}") from None
    if chosen["uncertainty"]:
        raise ValueError("uncertainty True; a batch writes no such maps; give `dlrecon run` the images that want one")
    if chosen["task"] == "inpaint":
        raise ValueError("task inpaint: a batch has no masks; give `dlrecon run` each image with its own")
    weights = "" if chosen["model"] == "auto" else find_card(chosen["model"]).sha256
    key = {"software": f"DLRecon {DLReconLib.__version__}", "weights": weights, **chosen}
    return json.loads(json.dumps(key))  # as it comes back from the manifest


def _check(source: Path, target: Path, pattern: str, jobs: int, cases: list[Case]) -> None:
    if jobs < 1:
        raise ValueError(f"jobs {jobs}; wanted 1 or more")
    if not cases:
        raise ValueError(
            f"{source}: no image fits {pattern!r}; wanted NRRD, NIfTI, MetaImage, DICOM, PNG or TIFF files"
        )
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: is a file; wanted a folder for the results")
    inputs = {p.resolve() for c in cases for p in (c.path, *c.files)}
    for case in cases:
        if (target / case.output).resolve() in inputs:
            raise ValueError(f"{target / case.output}: would replace an input; wanted another folder for the results")


class _Work:
    """One case in one worker; steps() is to be called again and again. fraction, text: how far it is."""

    def __init__(self, case: Case, client: Client) -> None:
        self.case, self.client, self.fraction, self.text = case, client, 0.0, "reading"
        self.started = time.perf_counter()
        self.advance: Iterator[None] = iter(())

    def results(self, options: dict[str, Any]) -> Iterator[None]:
        """Read, and run each time point; the generator's value is the list of results. Raises what they raise."""
        case = self.case
        if case.trouble:
            raise ValueError(case.trouble)
        volumes = [read_volume(case.path, case.series)] if case.series else read_series(case.path)
        options = options | options_for(volumes, Path(case.output))
        together = len(volumes) > 1 and wants_series(options.get("model", "auto"))
        jobs, results = [volumes] if together else volumes, []
        for number, work in enumerate(jobs):
            job = self.client.submit(work, **options)
            try:
                while not job.finished:
                    self.client.poll(PATIENCE)
                    self.fraction, self.text = (number + job.fraction) / len(jobs), job.text
                    yield
            finally:
                job.cancel()  # where the batch is given up; a finished one does not mind
            job.wait()
            results += job.results
            if options.get("model", "auto") == "auto":  # one series, one model
                options = options | {"model": results[0].provenance["model"]["id"]}
        return results


class _Batch:
    """What is the same for all cases. before: cases that an earlier batch finished."""

    def __init__(
        self, target: Path, manifest: Manifest, key: dict[str, Any], options: dict[str, Any], overwrite: bool
    ) -> None:
        self.target, self.manifest, self.key, self.options, self.overwrite = target, manifest, key, options, overwrite
        self.ours = {r["output"] for r in manifest.records.values()}
        self.before = 0

    def run(self, cases: list[Case], clients: list[Client], progress: Progress) -> None:
        waiting, free, active = iter(cases), list(clients), []
        finished, last = 0, None
        try:
            while True:
                while free and (case := next(waiting, None)):
                    if self.is_finished(case):
                        self.before, finished = self.before + 1, finished + 1
                        continue
                    work = _Work(case, free.pop())
                    work.advance = self.handle(work)
                    active.append(work)
                if not active:
                    break
                for work in list(active):
                    if next(work.advance, "end") == "end":
                        active.remove(work)
                        free.append(work.client)
                        finished += 1
                fraction = (finished + sum(w.fraction for w in active)) / len(cases)
                told = f"{finished} of {len(cases)}" + "".join(f"; {w.case.name}: {w.text}" for w in active)
                if (fraction, told) != last:
                    last = fraction, told
                    progress(min(fraction, 0.999), told)  # the end is where the last result is in its place
        finally:
            for work in active:
                work.advance.close()
        progress(1.0, "done")

    def is_finished(self, case: Case) -> bool:
        """Whether line and file are there and agree; a result that had no time to take its name gets it now."""
        record = self.manifest.records.get(case.name)
        if record is None or record["state"] != "done" or (record["output"], record["key"]) != (case.output, self.key):
            return False
        if record["input_sha256"] != case.fingerprint():
            return False
        path, hidden = self.target / case.output, _hidden(self.target / case.output)

        def agrees(candidate: Path) -> bool:
            with contextlib.suppress(OSError):
                size = candidate.stat().st_size
                return size == record["output_bytes"] and file_digest(candidate) == record["output_sha256"]
            return False

        if agrees(path):
            return True
        if agrees(hidden):
            os.replace(hidden, path)
            return True
        return False

    def handle(self, work: _Work) -> Iterator[None]:
        """Work on a case to its end, its line in the manifest; nothing that is wrong with it is raised."""
        case = work.case
        record = {"name": case.name, "state": "failed", "input": str(case.path), "series": case.series,
                  "input_sha256": "", "output": case.output, "key": self.key, "error": ""}  # fmt: skip
        path = self.target / case.output
        hidden = _hidden(path)
        try:
            if path.exists() and not self.overwrite and case.output not in self.ours:
                raise ValueError(
                    f"{path} exists, and no manifest tells that a batch made it; give overwrite to replace it"
                )
            record["input_sha256"] = case.fingerprint() if case.files else ""
            results = yield from work.results(self.options)
            path.parent.mkdir(parents=True, exist_ok=True)
            record |= self.store(case, results, hidden)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            hidden.unlink(missing_ok=True)
            record["error"] = str(error) or type(error).__name__
        except BaseException:
            hidden.unlink(missing_ok=True)
            raise
        record["seconds"] = time.perf_counter() - work.started
        record["finished"] = datetime.now(timezone.utc).isoformat()
        try:
            self.manifest.append(json.loads(json_text(record)))
        finally:  # also where a Ctrl-C came while the line went to the disk
            noted = self.manifest.records.get(case.name, {}).get("finished") == record["finished"]
            if noted and not record["error"]:
                os.replace(hidden, path)
            else:
                hidden.unlink(missing_ok=True)

    def store(self, case: Case, results: list[Result], hidden: Path) -> dict[str, Any]:
        """Write result and picture; what the manifest says of them."""
        first, provenance = results[0].provenance, record_of(results)
        write_images([r.volume for r in results], hidden, provenance, overwrite=True)
        middle = results[len(results) // 2]
        picture = self.target / PICTURES / f"{case.output}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_volume(Volume(draw(middle)), picture, overwrite=True)
        return {
            "state": "done",
            "output_bytes": hidden.stat().st_size,
            "output_sha256": file_digest(hidden),
            "picture": f"{PICTURES}/{case.output}.png",
            "model": first["model"]["id"],
            "noise": first["noise"],
            "figures": first.get("figures", {}),
            "trust": first.get("trust", {}),
            "warnings": list(dict.fromkeys(itertools.chain.from_iterable(r.provenance["warnings"] for r in results))),
            "provenance": provenance,
        }


def _hidden(path: Path) -> Path:
    kind = extension(path)
    return path.with_name(f".{path.name[: -len(kind)]}.part{kind}")


def table(outcome: Outcome) -> str:
    """For a terminal: a line a case, and how many went well."""
    width = max(len(r["name"]) for r in outcome.records)
    lines = []
    for record in outcome.records:
        light = record.get("trust", {}).get("light", "")
        figures = record.get("figures", {})
        noise = [figures.get(when, {}).get("noise_sigma") for when in ("before", "after")]
        change = f"noise {noise[0]:.4g} -> {noise[1]:.4g}" if None not in noise else ""
        what = record["error"].splitlines()[0] if record["error"] else f"{record['model']:20} {light:6} {change}"
        lines.append(f"{record['name']:{width}}  {record['state']:6} {record['seconds']:7.1f} s  {what}".rstrip())
    done = len(outcome.records) - outcome.failed
    lines.append(f"{done} done ({outcome.before} of them before), {outcome.failed} failed")
    return "\n".join(lines)
