"""Repeat a run from its record, and say whether the same came out.

A record is the JSON file of `dlrecon run --report`, or an image that carries its record in the header (NRRD,
MetaImage). record["files"] holds the paths as they were given.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DLReconLib.fingerprint import fingerprint, samples
from DLReconLib.io import read_series, read_volume
from DLReconLib.pipeline import Options
from DLReconLib.progress import Progress, silent
from DLReconLib.result import Result
from DLReconLib.series import reconstruct_series
from DLReconLib.volume import Volume

KEY = "DLRecon.Provenance"
TOLERANCE = 1e-4
IDENTICAL, EQUAL, DIFFERS = "identical", "equal", "differs"


@dataclass(frozen=True)
class Replay:
    """How a repeated run compares with its record.

    verdict: "identical" (bit for bit), "equal" (within the limit) or "differs".
    difference, limit: the largest difference found and allowed, in the unit of the image; None where nothing could
    be compared. compared: with what. changed: what is not as it was: input, weights, versions, device.
    results: what came out, one for each time point.
    """

    verdict: str
    difference: float | None
    limit: float | None
    compared: str
    changed: tuple[str, ...]
    results: tuple[Result, ...] = ()

    @property
    def text(self) -> str:
        """A few lines for people."""
        if self.verdict == IDENTICAL:
            lines = ["identical: every bit is as in the record"]
        elif self.difference is None:
            lines = [f"differs: {self.compared}"]
        else:
            sign = "at most" if self.verdict == EQUAL else "up to"
            lines = [f"{self.verdict}: off by {sign} {self.difference:.3g}, {self.limit:.3g} is allowed; compared with "
                     f"{self.compared}"]  # fmt: skip
        return "\n".join([*lines, *(f"changed: {c}" for c in self.changed)])

    def to_dict(self) -> dict[str, Any]:
        names = ("verdict", "difference", "limit", "compared", "changed")
        return {n: list(v) if isinstance(v := getattr(self, n), tuple) else v for n in names}


def read_record(path: Path) -> dict[str, Any]:
    """The record in a JSON file or in the header of an image.

    Raises FileNotFoundError where there is nothing, ValueError where it holds no record.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"record {path}: no such file; check the name")
    if path.suffix.lower() == ".json":
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        text = read_series(path)[0].metadata.get(KEY, "")
        if not text:
            raise ValueError(f"{path}: carries no record; wanted the JSON file of --report, or an NRRD or MetaImage "
                             "file that `dlrecon run` wrote")  # fmt: skip
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ValueError(f"record {path}: not readable as JSON ({error}); wanted the file of --report") from None
    if not isinstance(record, dict) or not {"model", "options", "input"} <= set(record):
        raise ValueError(f"record {path}: wanted model, options and input, which a run writes; is it another file?")
    return record


def find(record: Mapping[str, Any], name: str, beside: Path | None = None) -> Path | None:
    """The file that the record names as `name` ("input", "mask", "output"), where it was or beside the record.

    None where the record names none. Raises FileNotFoundError where it is gone.
    """
    given = (record.get("files") or {}).get(name)
    if not given:
        return None
    places = [Path(given)]
    if beside is not None:
        places += [beside / given, beside / Path(given).name]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"record: its {name} {given} is gone; give --{name} FILE to say where it is now")


def chosen_options(record: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of reconstruct() that make this run again; the model that "auto" chose is named.

    Raises ValueError where the record has an option that this version does not know.
    """
    options = dict(record["options"])
    unknown = sorted(set(options) - set(Options.__dataclass_fields__))
    if unknown:
        raise ValueError(f"record: options {unknown} are unknown to this version; it was made by "
                         f"{record.get('software', 'another version')}: install that one")  # fmt: skip
    if options.get("model", "auto") == "auto":
        options["model"] = record["model"]["id"]
    found = record.get("found") or {}
    if not options.get("steps"):  # of learning from the image: as many as the clock allowed then
        options["steps"] = found.get("steps") or (found.get("adapted") or {}).get("steps", 0)
    if options.get("tile"):
        options["tile"] = tuple(options["tile"])
    return options


def replay(
    record: Mapping[str, Any], *, input: Path | None = None, mask: Path | None = None, beside: Path | None = None,
    tolerance: float = TOLERANCE, progress: Progress = silent,
) -> Replay:  # fmt: skip
    """Run again what the record describes and compare.

    input, mask: where those files are now; else where the record says, from here or from the folder `beside`.
    tolerance: what counts as equal, a fraction of the input's range of values (0.5th to 99.5th percentile).
    Where input or mask are not those of the record nothing is run: the verdict is "differs".
    Raises FileNotFoundError where a file is gone, ValueError for a bad record.
    """
    options = chosen_options(record)
    input = input or find(record, "input", beside)
    if input is None:
        raise ValueError("record: it names no input file (a run in Slicer?); give --input FILE")
    uid = (record.get("files") or {}).get("series")
    volumes = [read_volume(input, uid)] if uid and input.is_dir() else read_series(input)
    parts = record.get("time_points") or [record]
    mask = mask or (find(record, "mask", beside) if record.get("mask") else None)
    if record.get("mask") and mask is None:
        raise ValueError("record: a mask was used, and it names no file; give --mask FILE")
    region = read_volume(mask) if mask else None
    wrong = other_sources(volumes, region, parts, input)
    if wrong:
        return Replay(DIFFERS, None, None, "what went in is not what the record names, so nothing was run", wrong)
    results = reconstruct_series(volumes, mask=region, progress=progress, **options)
    return verdict(record, parts, results, tolerance, beside)


def other_sources(volumes: list[Volume], region: Volume | None, parts: list, path: Path) -> tuple[str, ...]:
    """What is another image than in the record, in words."""
    if len(volumes) != len(parts):
        return (f"input {path}: {len(volumes)} time points, the record has {len(parts)}",)
    found = []
    for number, (volume, part) in enumerate(zip(volumes, parts, strict=True)):
        now, then = fingerprint(volume), part["input"]["sha256"]
        if now != then:
            which = f", time point {number}" if len(parts) > 1 else ""
            found.append(f"input {path}{which}: another image; SHA-256 {now[:16]}..., in the record {then[:16]}...")
    then = parts[0].get("mask_sha256")
    if region is not None and then and fingerprint(region) != then:
        found.append(f"mask: another image; SHA-256 {fingerprint(region)[:16]}..., in the record {then[:16]}...")
    return tuple(found)


def verdict(
    record: Mapping[str, Any], parts: list, results: list[Result], tolerance: float, beside: Path | None
) -> Replay:
    """Compare what came out with the record, and with the output file where it is still there."""
    changed = changes(record, results[0].provenance)
    if any("output" not in part for part in parts):
        return Replay(DIFFERS, None, None, "the record keeps nothing of its output; an older version made it",
                      changed, tuple(results))  # fmt: skip
    spread = [np.percentile(r.source.array, (0.5, 99.5)) for r in results]
    limit = tolerance * max(float(high - low) for low, high in spread)
    if all(r.provenance["output"]["sha256"] == p["output"]["sha256"] for r, p in zip(results, parts, strict=True)):
        return Replay(IDENTICAL, 0.0, limit, "the fingerprint", changed, tuple(results))
    if any(list(r.volume.array.shape) != p["output"]["shape"] for r, p in zip(results, parts, strict=True)):
        return Replay(DIFFERS, None, limit, "the shape of the output is another", changed, tuple(results))
    earlier = earlier_output(record, parts, beside)
    if earlier:
        pairs = [(r.volume.array, v.array) for r, v in zip(results, earlier, strict=True)]
        compared = "the output file"
    else:
        pairs = [(samples(r.volume.array), p["output"]["samples"]) for r, p in zip(results, parts, strict=True)]
        compared = f"{len(pairs[0][0])} values that the record keeps (the output file is gone or was changed)"
    difference = max(float(np.abs(np.subtract(a, b, dtype=np.float64)).max()) for a, b in pairs)
    return Replay(EQUAL if difference <= limit else DIFFERS, difference, limit, compared, changed, tuple(results))


def earlier_output(record: Mapping[str, Any], parts: list, beside: Path | None) -> list[Volume]:
    """The output that the record names, if it is still that one by its samples; else nothing."""
    try:
        path = find(record, "output", beside)
        volumes = read_series(path) if path else []
    except (FileNotFoundError, ValueError):
        return []
    if len(volumes) != len(parts):
        return []
    for volume, part in zip(volumes, parts, strict=True):
        kept = part["output"]
        if list(volume.array.shape) != kept["shape"] or samples(volume.array) != kept["samples"]:
            return []
    return volumes


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as it was and may change the result, in words."""
    pairs = {
        "DLRecon": (then.get("software"), now["software"]),
        "weights": (then["model"].get("sha256", "")[:16], now["model"]["sha256"][:16]),
        **{name: (then.get(name), now[name]) for name in ("device", "precision", "tile", "fallbacks")},
    }
    versions = then.get("versions") or {}
    pairs |= {name: (versions.get(name), now["versions"][name]) for name in now["versions"]}
    return tuple(f"{name}: {was or 'unknown'} then, {found or 'none'} now" for name, (was, found) in pairs.items()
                 if was != found)  # fmt: skip


def script(record: Mapping[str, Any]) -> str:
    """The lines of Python that make this run again, every option spelled out."""
    files, model = record.get("files") or {}, record["model"]
    several = "time_points" in record
    folder = bool(files.get("dicom"))
    writer = "write_series" if several else "write_volume"
    source = files.get("input") or "input.nrrd"
    target = files.get("output") or "output.nrrd"
    reading = f"read_volume({source!r}, {files['series']!r})" if files.get("series") else f"read_volume({source!r})"
    names = ["read_series" if several else "read_volume", "reconstruct"]
    names += [] if folder else [writer]
    if files.get("mask") and several:
        names.append("read_volume")
    lines = [
        f"# Repeats the run of {record.get('created', 'an unknown date')} by {record.get('software', 'DLRecon')}:",
        f"# model {model['id']}" + (f", weights SHA-256 {model['sha256'][:16]}..." if model.get("sha256") else ""),
        f"from DLReconLib import {', '.join(sorted(names))}",
        *(["from DLReconLib.derived import write_derived"] if folder else []),
        "",
        f"volumes = read_series({source!r})" if several else f"volume = {reading}",
    ]
    options = "".join(f"    {name}={value!r},\n" for name, value in chosen_options(record).items())
    if record.get("mask"):
        lines.append(f"mask = read_volume({(files.get('mask') or 'mask.nrrd')!r})")
        options = "    mask=mask,\n" + options
    if several:
        lines += [f"options = dict(\n{options})", "results = [reconstruct(v, **options) for v in volumes]",
                  "result = results[0]"]  # fmt: skip
    else:
        lines.append(f"result = reconstruct(\n    volume,\n{options})")
    for name in ("input", "output"):
        kept = record.get(name, {}).get("sha256")
        if kept:
            same = f"result.provenance[{name!r}]['sha256'] == {kept!r}"
            lines.append(f"print({'the same ' + name + ':'!r}, {same})")
    if folder:
        lines.append(f"write_derived(result.volume, {files['dicom']!r}, {target!r}, record=result.provenance)")
    else:
        written = "[r.volume for r in results]" if several else "result.volume"
        lines.append(f"{writer}({written}, {target!r})")
    return "\n".join(lines) + "\n"
