"""The one harness of the pages of results: cases times methods, one table, a picture a case.

A page NAME is NAME.json, which keeps what was measured, NAME.md, which is made of it, and figures/.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from cases import Source, check_role, crop

from DLReconLib.io import read_volume
from DLReconLib.volume import Volume

HERE = Path(__file__).parent


def arguments(description: str, name: str) -> argparse.ArgumentParser:
    """What every script of a page takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DLRECON_DATA"), help="folder of the images")
    parser.add_argument("--out", type=Path, default=HERE, help=f"folder of {name}.md, {name}.json and figures/")
    parser.add_argument("--cards", action="store_true", help="put the figures of an earlier run into the models' cards")
    return parser


def write_page(
    parser: argparse.ArgumentParser,
    name: str,
    work: Callable[[argparse.Namespace, dict], None],
    summary: Callable[[list[dict]], list[dict]],
    as_markdown: Callable[[dict], str],
    write_cards: Callable[[dict, argparse.Namespace], None],
) -> int:
    """Measure and write the page, or with --cards take it into the cards; returns the exit status.

    work: gets the options and a record with "scores" and "figures", both empty, to be filled; options.earlier is the
    record of an earlier run, {} without.
    """
    options = parser.parse_args()
    store = options.out / f"{name}.json"
    options.earlier = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    if options.cards:
        write_cards(options.earlier, options)
        return 0
    if not options.data:
        parser.error("where are the images? give --data FOLDER or set DLRECON_DATA")
    record: dict = {"date": time.strftime("%Y-%m-%d"), "scores": [], "figures": []}
    work(options, record)
    record["figures"] = sorted({*record["figures"]})
    record["summary"] = summary(record["scores"])
    options.out.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.out / f"{name}.md").write_text(as_markdown(record), encoding="utf-8")
    print(as_markdown(record))
    return 0


def own_pixels(source: Source, data: Path, model: str, largest: tuple[int, int, int] | None = None) -> Volume:
    """The crop of a reference in the pixels it was scanned with, float32, its modality set; of a larger one the middle
    `largest` voxels (k, j, i). model: whose split tells that it may be opened, MODALITY standing for mr or ct."""
    modality = source.path[:2].upper()
    check_role(source.path, model.replace("MODALITY", modality.lower()))
    first, size = ([a * f for a, f in zip(part, source.average, strict=True)] for part in (source.first, source.size))
    kept = [min(n, most) for n, most in zip(size, largest or size, strict=True)]
    start = tuple(a + (n - m) // 2 for a, n, m in zip(first, size, kept, strict=True))
    volume = crop(replace(read_volume(data / source.path), modality=modality), start, tuple(kept))
    return volume.with_array(volume.array.astype(np.float32))
