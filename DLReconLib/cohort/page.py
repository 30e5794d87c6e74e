"""The outcome of a cohort as words, CSV and one HTML page that needs nothing beside it."""

import csv
import io
from collections.abc import Callable
from html import escape
from typing import Any

import DLReconLib
from DLReconLib.cohort.statistics import Comparison, FigureResult, reach
from DLReconLib.pages import data_uri, frame
from DLReconLib.quality.figures import AGAINST, FIGURES, NOISE, STRUCTURE, TASK, Figure

SHORT = ("psnr", "ssim", "noise_sigma", "snr", "mtf50", "dice")
GROUPS = {"Task": TASK, "Against the reference": AGAINST, "Noise": NOISE, "Structure": STRUCTURE}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --mark: #1f6fb4; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 74rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { margin-top: 2.4rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.6rem 0 .4rem; } h3 small { font-weight: normal; opacity: .7; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th.words, td.words { text-align: left; } td.words { white-space: normal; }
.figure { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
.figure > .scroll { flex: 1 1 30rem; } td small { display: block; opacity: .75; }
img { background: #fff; border-radius: 4px; max-width: 100%; }
.scroll { overflow-x: auto; } .note { opacity: .75; font-size: .9rem; } .warn { color: #b3541e; }
b.better { color: var(--mark); } b.worse { color: #b3541e; } summary { cursor: pointer; }
"""


def number(value: float | None) -> str:
    if value is None or value != value:
        return "–"
    return "∞" if abs(value) == float("inf") else f"{value:.4g}"


def span(interval: list[float] | None) -> str:
    return f"[{number(interval[0])}, {number(interval[1])}]" if interval else "–"


def sentence(result: FigureResult, found: Comparison) -> str:
    """What a comparison says, in words."""
    test = found.test
    if found.p is None:
        return f"{found.second} and {found.first}: no case differs"
    change = f"{'+' if test.difference > 0 else ''}{number(test.difference)} {FIGURES[result.name].unit}".strip()
    verdict = f"{found.better} is better" if found.better else "differs" if found.p < 0.05 else "not shown to differ"
    return f"{found.second} against {found.first}: {change} {span(test.interval)}, p = {found.p:.3g}: {verdict}"


def as_words(outcome: Any) -> str:
    """For the terminal: the main figures, what differs, what failed, and where the rest is."""
    plan, results = outcome.plan, {r.name: r for r in outcome.results}
    lines = [f"{plan.title}: {len(plan.cases)} cases, methods {', '.join(m.name for m in plan.methods)}"]
    for name in SHORT:
        result = results.get(name)
        if result is None or not result.cases:
            continue
        unit = f", {FIGURES[name].unit}" if FIGURES[name].unit else ""
        lines.append(f"\n{FIGURES[name].title}{unit} ({len(result.cases)} common cases; mean, 95 % interval by t)")
        lines += [f"  {s.method:20} {number(s.mean):>9}  {span(s.interval)}" for s in result.summaries]
        lines += [f"  {sentence(result, c)}" for c in result.comparisons]
        if reach(result):
            lines.append(f"  note: {reach(result)}")
    if outcome.failures:
        lines.append(f"\n{len(outcome.failures)} failed:")
        lines += [f"  {f.case}{f', {f.method}' if f.method else ''}: {f.reason}" for f in outcome.failures]
    return "\n".join([*lines, "", *(f"written: {p}" for p in outcome.files)])


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["" if v is None else v for v in row] for row in rows])
    return text.getvalue()


def as_csv(outcome: Any) -> str:
    """A row for each case, method and figure, with the 95 % interval within that image where there is one."""
    rows: list[list[Any]] = [["case", "method", "figure", "unit", "value", "low", "high"]]
    for method, cases in outcome.figures.items():
        for case, figures in cases.items():
            sure = outcome.intervals[method][case]
            for name, value in figures.items():
                if value is not None:
                    rows.append([case, method, name, FIGURES[name].unit, value, *sure.get(name, [None, None])])
    return _csv(rows)


def summary_csv(outcome: Any) -> str:
    """A row for each figure and method over the common cases; then one for each comparison in the same columns."""
    columns = ["figure", "unit", "method", "against", "cases", "mean", "low", "high", "sd", "median", "p", "p_holm"]
    rows: list[list[Any]] = [columns]
    for r in outcome.results:
        start = [r.name, FIGURES[r.name].unit]
        for s in r.summaries:
            rows.append(
                [*start, s.method, "", len(r.cases), s.mean, *(s.interval or (None, None)), s.sd, s.median, "", ""]
            )
        for c in r.comparisons:
            t = c.test
            sure = t.interval or (None, None)
            rows.append([*start, c.second, c.first, t.n, t.difference, *sure, "", "", t.p, c.p])
    return _csv(rows)


def _picture(draw: Callable[[Any], None], width: float, words: str) -> str:
    """An SVG inside an <img>; "" without matplotlib."""
    try:
        from matplotlib.figure import Figure as Sheet
    except ImportError:
        return ""
    sheet = Sheet(figsize=(width, 3.1))
    draw(sheet.add_subplot())
    # Margins in inches; matplotlib's own layouts draw everything twice.
    sheet.subplots_adjust(left=0.75 / width, right=1 - 0.1 / width, bottom=0.2, top=0.95)
    data = io.BytesIO()
    sheet.savefig(data, format="svg", metadata={"Date": None})
    return f'<img alt="{escape(words)}" src="{data_uri(data.getvalue(), "image/svg+xml")}">'


def _table(head: list[str], rows: list[list[str]], words: frozenset[int] = frozenset()) -> str:
    """Cells are HTML already; `words`: the columns of running text."""
    body = "".join(
        "<tr>" + "".join(f"<td{' class=words' if n in words else ''}>{c}</td>" for n, c in enumerate(row)) + "</tr>"
        for row in rows
    )
    titles = "".join(f"<th{' class=words' if n in words else ''}>{h}</th>" for n, h in enumerate(head))
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _verdict(found: Comparison) -> str:
    if found.better:
        return f"<b class=better>{escape(found.better)} is better</b>"
    return "no case differs" if found.p is None else "differs" if found.p < 0.05 else "not shown to differ"


def _figure(result: FigureResult, about: Figure, said: str) -> str:
    """One figure of all methods; `said`: the warning that the page has given already."""
    from DLReconLib.quality.plots import draw_boxes

    way = {1: "more is better", -1: "less is better", 0: "no better direction"}[about.better]
    unit = f", {about.unit}" if about.unit else ""
    title = f"<h3>{escape(result.name)} <small>{escape(about.title)}{unit}; {way}</small></h3>"
    if not result.cases:
        return title + "<p class=warn>no case has it from every method: nothing is compared</p>"
    box = _picture(
        lambda axes: draw_boxes(axes, result.values, about.unit), 1.6 + 0.75 * len(result.values), result.name
    )
    rows = [
        [escape(s.method), number(s.mean), span(s.interval), number(s.sd), number(s.median)] for s in result.summaries
    ]
    means = _table(["method", "mean", "95 % interval (t)", "sd", "median"], rows)
    rows = [
        [
            f"{escape(c.second)} − {escape(c.first)}<small>{_verdict(c)}</small>",
            number(c.test.difference),
            span(c.test.interval),
            number(c.test.p),
            number(c.p),
        ]
        for c in result.comparisons
    ]
    tests = _table(["difference", "mean", "95 % interval (t)", "p (Wilcoxon)", "p (Holm)"], rows) if rows else ""
    notes = [f"{len(result.cases)} common cases"]
    if result.left_out:
        notes.append(f"without this figure: {escape(', '.join(result.left_out))}")
    warning = f"<p class=warn>{reach(result)}</p>" if reach(result) not in ("", said) else ""
    words = f"<p class=note>{'; '.join(notes)}</p>{warning}"
    return f"{title}<div class=figure>{box}<div class=scroll>{means}<br>{tests}{words}</div></div>"


def _short(outcome: Any, said: str) -> str:
    """The main figures in one table: the mean of each method, and below it the difference from the input."""
    results = [r for r in outcome.results if r.name in SHORT and r.cases]
    rows = []
    for r in results:
        about = FIGURES[r.name]
        row = [f"{escape(about.title)}<small>{escape(about.unit)}</small>"]
        against = {c.second: c for c in r.comparisons if c.first == "input"}
        means = {s.method: number(s.mean) for s in r.summaries}
        for method in outcome.figures:
            cell, found = means.get(method, "–"), against.get(method)
            if found and found.better == "input":
                cell = f"<b class=worse>{cell}</b>"
            if found and found.p is not None:
                change = f"{found.test.difference:+.3g} {span(found.test.interval)}"
                cell = f"<b class=better>{cell}</b>" if found.better == method else cell
                cell += f"<small>{change}<br>p = {found.p:.3g}</small>"
            row.append(cell)
        rows.append(row)
    if not rows:
        return "<h2>In short</h2><p class=warn>Nothing could be compared.</p>"
    table = _table(["mean over the common cases", *map(escape, outcome.figures)], rows)
    note = (
        "<p class=note>Below each mean: the difference from the input with its 95 % interval, and Wilcoxon's p after "
        "Holm's correction. Blue: better than the input, brown: worse, p &lt; 0.05.</p>"
    )
    return f"<h2>In short</h2><div class=scroll>{table}</div>{note}" + (f"<p class=warn>{said}</p>" if said else "")


def _curves(outcome: Any) -> str:
    """MTF and noise power of each method, the mean over its cases."""
    from DLReconLib.quality.plots import draw_mtf, draw_nps

    pictures = []
    for kind, key, draw in (("mtf", "mtf", draw_mtf), ("nps", "power", draw_nps)):
        means = {}
        for method, cases in outcome.curves.items():
            each = [c[kind] for c in cases.values() if kind in c]
            if each:
                means[method] = _mean_curve(each, key)
        if means:
            pictures.append(_picture(lambda axes, draw=draw, means=means: draw(axes, means), 5.2, kind))
    if not any(pictures):
        return ""
    note = "<p class=note>Mean over the cases that have it; MTF of the strongest edges, radial noise power.</p>"
    return f"<h2>Curves</h2><div class=figure>{''.join(pictures)}</div>{note}"


def _mean_curve(curves: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """On the frequencies that all have, 64 of them, by straight lines between."""
    import numpy as np

    low = max(min(c["frequency"]) for c in curves)
    high = min(max(c["frequency"]) for c in curves)
    frequency = np.linspace(low, high, 64)
    mean = np.mean([np.interp(frequency, c["frequency"], c[key]) for c in curves], axis=0)
    further = {"nyquist": min(c["nyquist"] for c in curves)} if "nyquist" in curves[0] else {}
    return {"frequency": frequency.tolist(), key: mean.tolist(), **further}


def _every_case(outcome: Any) -> str:
    names = [n for n in FIGURES if any(r.name == n for r in outcome.results)]
    rows = []
    for case in outcome.plan.cases:
        for method, cases in outcome.figures.items():
            if case.id in cases:
                figures = cases[case.id]
                how = outcome.notes[method][case.id].get("segmentation", "")
                rows.append([escape(case.id), escape(method), *(number(figures.get(n)) for n in names), escape(how)])
    table = _table(["case", "method", *names, "segmentation"], rows)
    return f"<h2>Every case</h2><details><summary>{len(rows)} rows</summary><div class=scroll>{table}</div></details>"


def _failures(outcome: Any) -> str:
    if not outcome.failures:
        return ""
    rows = [[escape(f.case), escape(f.method or "the case itself"), escape(f.reason)] for f in outcome.failures]
    return f"<h2>What failed</h2>{_table(['case', 'method', 'why'], rows, frozenset({1, 2}))}"


def as_page(outcome: Any) -> str:
    """The page: HTML with everything inside it, no script, nothing loaded from elsewhere."""
    plan, results = outcome.plan, {r.name: r for r in outcome.results}
    methods = ", ".join(escape(m.name) + (f" ({escape(m.model)})" if m.model else "") for m in plan.methods)
    said = max((reach(r) for r in outcome.results), key=[reach(r) for r in outcome.results].count, default="")
    parts = [_short(outcome, said), _failures(outcome)]
    for title, table in GROUPS.items():
        here = [_figure(results[n], f, said) for n, f in table.items() if n in results]
        if here:
            parts += [f"<h2>{title}</h2>", _task_words(outcome) if table is TASK else "", *here]
    plots = "" if _picture(lambda axes: None, 1, "") else "<p class=warn>matplotlib is not installed: no plots.</p>"
    body = f"""<h1>{escape(plan.title)}</h1>
<p class=note>{len(plan.cases)} cases; methods: {methods}. DLRecon {DLReconLib.__version__}. Research use only.</p>
{plots}{"".join(parts)}{_curves(outcome)}{_every_case(outcome)}
<h2>How it was computed</h2>
<p>Only cases that every method has a figure for are compared (their number is said), so all means are over the same
cases. Intervals of means are Student's t, 95 %. p is Wilcoxon's signed-rank test, two-sided, exact up to 50 pairs
without ties, corrected by Holm for all comparisons of a figure; figures are not corrected for one another. A difference
that is not shown is not shown to be absent. The boxes are quartiles, the whiskers reach to 1.5 times their distance,
each line is a case. Noise is measured in the mask, else in the tissue of the reference (or of the input), sharpness at
the edges of the reference (or of the input): at the same places for all methods. In figures.csv the intervals are
within one image, by a bootstrap over its regions.</p>"""
    return frame(escape(plan.title), STYLE, body)


def _task_words(outcome: Any) -> str:
    threshold = outcome.plan.threshold
    how = "Otsu's threshold of each image" if threshold == "otsu" else f"the given threshold {threshold}"
    drawn = [m.name for m in outcome.plan.methods if m.segmentations]
    words = (
        f"Is a segmentation better on the result? Voxels above {how} against all labels."
        if threshold is not None
        else ""
    )
    if drawn:
        words += f" Given segmentations, mean over the labels: {escape(', '.join(drawn))}."
    return f"<p>{words}</p>"
