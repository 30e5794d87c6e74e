"""The frame of a report: one page of HTML, its style inside, nothing from elsewhere."""

from DLReconLib.pages import frame

STYLE = """
:root { color-scheme: light dark; --page: #fff; --card: #f5f6f8; --ink: #16191d; --soft: #5a626d; --line: #d7dbe0;
  --before: #8a94a3; --after: #1769c2; --green: #1a7f45; --amber: #b26a00; --red: #c02626; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1e2329; --ink: #e8eaed; --soft: #a2abb7;
  --line: #39414b; --before: #8a94a3; --after: #5aa9f5; --green: #46c37b; --amber: #f0a93b; --red: #ff6b6b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 20px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6em; margin: 0; } h2 { font-size: 1.2em; margin: 1.6em 0 .5em; border-bottom: 1px solid var(--line); }
h3 { font-size: 1em; margin: 1.1em 0 .3em; } p { margin: .4em 0; } small, .soft { color: var(--soft); }
.research { margin: 12px 0; padding: 8px 12px; border: 1px solid var(--amber); border-left-width: 6px;
  border-radius: 4px; }
.trust { display: flex; gap: 14px; align-items: center; padding: 12px; background: var(--card); border-radius: 6px; }
.dot { display: inline-block; width: 1em; height: 1em; border-radius: 50%; flex: none; vertical-align: -.12em;
  background: var(--soft); } .trust .dot { width: 34px; height: 34px; }
.green { background: var(--green); } .amber { background: var(--amber); } .red { background: var(--red); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 4px 8px; vertical-align: top;
  border-bottom: 1px solid var(--line); } td:first-child { white-space: nowrap; } .card td { font-size: .9em; }
.card { overflow-x: auto; } .card td:first-child { white-space: normal; }
.slices { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px; }
.slices figure, .plot { margin: 0; } .slices figcaption { font-size: .85em; color: var(--soft); }
.frame { position: relative; background: #000; } .frame img { width: 100%; height: 100%; display: block; }
.frame span { position: absolute; color: #ffd75e; font: 600 12px/1 sans-serif; text-shadow: 0 0 3px #000; }
.w, .e { top: 50%; transform: translateY(-50%); } .n, .s { left: 50%; transform: translateX(-50%); }
.w { left: 5px; } .e { right: 5px; } .n { top: 5px; } .s { bottom: 5px; }
.scale { display: flex; align-items: center; gap: 8px; margin: 8px 0; font-size: .85em; color: var(--soft); }
.scale i { width: 180px; height: 12px; background: linear-gradient(90deg, #000, #fff); border: 1px solid var(--line); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 14px; }
.plot { background: var(--card); border-radius: 6px; padding: 10px; } .plot figcaption { font-size: .85em;
  color: var(--soft); } .plot b { color: var(--ink); } .plot svg { width: 100%; }
svg text { fill: var(--ink); font: 12px sans-serif; } svg rect.before { fill: var(--before); }
svg rect.after { fill: var(--after); } svg polyline { fill: none; stroke-width: 1.4; }
polyline.before { stroke: var(--before); } polyline.after { stroke: var(--after); } .axis { stroke: var(--line); }
.key::before { content: ""; display: inline-block; width: 14px; height: 3px; margin: 0 4px 3px 8px; }
.key.before::before { background: var(--before); } .key.after::before { background: var(--after); }
pre { background: var(--card); padding: 10px; border-radius: 6px; overflow-x: auto; font-size: .85em;
  white-space: pre-wrap; overflow-wrap: anywhere; } code { overflow-wrap: anywhere; }
.card img { max-width: 100%; } summary { cursor: pointer; } ul { margin: .3em 0; padding-left: 1.3em; }
@media (max-width: 620px) { .slices { gap: 4px; } body { padding: 10px; } }
@media print { :root { color-scheme: light; --page: #fff; --card: #f5f6f8; --ink: #000; --soft: #444; --line: #bbb;
  --before: #8a94a3; --after: #1769c2; --green: #1a7f45; --amber: #b26a00; --red: #c02626; }
  body { max-width: none; padding: 0; font-size: 10.5pt; } @page { margin: 14mm; }
  figure, .trust, tr, .research { break-inside: avoid; } h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

# Lets the page load nothing at all, whatever it holds.
POLICY = """\
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
"""


def page(title: str, body: str) -> str:
    """title: escaped text; body: HTML."""
    return frame(title, STYLE, body, POLICY)
