"""The targets of denoising, each beside what was measured."""

from tables import best_classical, gain_over_bm4d, markdown, mean_of, number, unique

Line = tuple[str, str, bool]


def target_table(record: dict) -> str:
    scores = record["scores"]
    lines = [*mr_lines(scores), *ct_lines(scores), *real_lines(scores), *clean_lines(scores)]
    if record.get("speed"):
        lines += speed_lines(record["speed"])
    return markdown(["target", "measured", "met"], ([a, b, "yes" if met else "**no**"] for a, b, met in lines))


def conditions(rows: list[dict], key: str = "condition") -> list[str]:
    return unique(r[key] for r in rows)


def margins(rows: list[dict], key: str = "condition") -> dict[str, float]:
    """Ours minus the best classical method, dB, for each condition."""
    found = {}
    for value in conditions(rows, key):
        best = best_classical(rows, **{key: value})
        ours = mean_of(rows, "psnr", method="ours", **{key: value})
        if best and ours is not None:
            found[value] = ours - best[1]
    return found


def worst(found: dict[str, float], form: str = "+.2f", unit: str = " dB") -> str:
    name = min(found, key=found.get)
    return f"{number(found[name], form)}{unit} at worst ({name})"


def mr_lines(scores: list[dict]) -> list[Line]:
    rows = [s for s in scores if s["group"] == "mr"]
    if not rows:
        return []
    found = margins(rows)
    gain = gain_over_bm4d(rows)
    ssim = {c: gain_over_bm4d(rows, "ssim", condition=c) for c in conditions(rows)}
    return [
        ("MR: at every level at least the best classical method", worst(found), min(found.values()) >= 0),
        ("MR: 0.5 dB above BM4D on average", f"{gain:+.2f} dB", gain >= 0.5),
        ("MR: SSIM above BM4D at every level", worst(ssim, "+.4f", ""), min(ssim.values()) > 0),
    ]


def ct_lines(scores: list[dict]) -> list[Line]:
    rows = [s for s in scores if s["group"] == "ct"]
    if not rows:
        return []
    found = margins(rows)
    ours = [s for s in rows if s["method"] == "ours"]
    shift, moved = (max(s[key] for s in ours if s[key] is not None) for key in ("shift", "moved"))
    structure = [abs(s["structure"]) for s in ours if s["structure"] is not None]
    rival = [abs(s["structure"]) for s in rows if s["method"] == "bm4d" and s["structure"] is not None]
    mean, other = (sum(x) / max(len(x), 1) for x in (structure, rival))
    return [
        ("CT: 1.5 dB above the best classical method", worst(found), min(found.values()) >= 1.5),
        (
            "CT: mean shift in a homogeneous region below 1 HU",
            f"{shift:.2f} HU at most ({moved:.2f} from the input)",
            shift < 1,
        ),
        ("CT: anatomy in the residual, correlation not above BM4D's", f"{mean:.3f}, {other:.3f}", mean <= other),
    ]


def real_lines(scores: list[dict]) -> list[Line]:
    lines = []
    rows = [s for s in scores if s["group"] == "real"]
    for image in conditions(rows, "image"):
        part = [s for s in rows if s["image"] == image]
        found = margins(part) if "phantom" in image else margins(part, "image")
        if found:
            lines.append((f"{image}: better than every rival", worst(found), min(found.values()) > 0))
    return lines


def clean_lines(scores: list[dict]) -> list[Line]:
    rows = [s for s in scores if s["group"] == "clean" and s["method"] == "ours"]
    return [(f"clean {s['image']}: above 45 dB", f"{s['psnr']:.1f} dB", s["psnr"] > 45) for s in rows]


def speed_lines(speed: dict) -> list[Line]:
    seconds = {m["name"]: m["seconds"] for m in speed["methods"]}
    lines = []
    for start, factor in (("BM4D", 100), ("ANTs", 10)):
        ratio = min(s for name, s in seconds.items() if name.startswith(start)) / seconds["ours"]
        lines.append((f"{factor} times faster than {start}", f"{ratio:.0f} times", ratio >= factor))
    for b in speed["big"]:
        small = b["voxels"] < 1e8
        limit = (15 if b["bfloat16_allowed"] else 30) if small else None
        if limit:
            name = f"{b['name']} within {limit} s ({b['precision']})"
            lines.append((name, f"{b['seconds']:.1f} s", b["seconds"] <= limit))
        gigabytes = 3 if small else 6
        measured = b["peak_mb"] / 1024
        name = f"{b['name']} below {gigabytes} GB ({b['precision']})"
        lines.append((name, f"{measured:.2f} GB", measured < gigabytes))
        name = f"{b['name']}: below 10 % of the time outside the network ({b['precision']})"
        lines.append((name, f"{b['outside']:.1%}", b["outside"] < 0.1))
    return lines
