"""One self-contained HTML page: no script, no address outside of it, and text that stays text.

Text of files, such as the name of a run or a label of a table, goes through `text`, `table` or
`markdown`, none of which lets it become an element with an address or a handler. The content
security policy of the page forbids a browser the rest: it allows this style, and pictures that are
data in the page. The same arguments give the same page.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from rnnae import files

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif"}  # first bytes -> type
# Everything that is not named here, such as HTML, links and images, stays text.
_MARKDOWN = MarkdownIt("zero").enable(
    ["heading", "table", "list", "code", "backticks", "emphasis", "escape"]
)
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5b6472; --line: #dde1e7; --paper: #fff;
  --shade: #f4f6f8; --accent: #0b62b8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #9aa4b2; --line: #353c47; --paper: #15181d; --shade: #1e232a;
    --accent: #79b8ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 78rem; padding: 2.5rem 1.5rem 5rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial,
  sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.8em 0 .7em; padding-bottom: .3em;
  border-bottom: 1px solid var(--line); }
p, ul { max-width: 48rem; margin: .7em 0; }
a { color: var(--accent); }
.lead { color: var(--soft); font-size: 1.1rem; margin-top: 0; }
.small { color: var(--soft); font-size: .88rem; }
code, pre { font: .88em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  background: var(--shade); border-radius: 4px; }
code { padding: .1em .35em; }
pre { padding: .8em 1em; overflow-x: auto; }
pre code { padding: 0; font-size: 1em; white-space: pre-wrap; }
table { display: block; max-width: 100%; overflow-x: auto; border-collapse: collapse;
  font-size: .88rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; margin: 1em 0; }
th, td { padding: .32em .9em .32em 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody tr:hover { background: var(--shade); }
.numbers td + td, .numbers th + th { text-align: right; padding-left: .6em; }
.numbers td + td { white-space: nowrap; }
.numbers td:first-child { min-width: min(17rem, 45vw); }
.numbers :is(td, th):first-child { position: sticky; left: 0; background: var(--paper); }
.pictures { display: flex; flex-wrap: wrap; gap: 1.6rem 2rem; align-items: flex-start; }
figure { margin: 0; max-width: 100%; }
figcaption { color: var(--soft); font-size: .88rem; margin-bottom: .35em; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
@media (min-width: 70rem) { .pixels { image-rendering: pixelated; } }
.contents { max-width: none; padding: 0; list-style: none; }
.contents li { margin: 1em 0; max-width: 56rem; }
.contents a { font-weight: 600; text-decoration: none; }
"""


def page(title: str, body: str) -> str:
    """The page with this title and these HTML elements. A character that is not Unicode, as in a
    file name of another encoding, becomes a question mark."""
    head = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    return "\n".join([*head, body, ""]).encode("utf-8", "replace").decode("utf-8")


def text(value: object) -> str:
    """The text of a value."""
    return html.escape(str(value))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of texts."""
    head = "".join(f"<th>{text(heading)}</th>" for heading in headings)
    body = ["".join(f"<td>{text(cell)}</td>" for cell in row) for row in rows]
    lines = "\n".join(f"<tr>{row}</tr>" for row in body)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def markdown(source: str) -> str:
    """The elements of a Markdown text: headings, tables, lists, code and emphasis."""
    return _MARKDOWN.render(source)


def picture(path: Path, caption: str = "", *, pixels: bool = False) -> str:
    """A PNG or GIF file with its caption; `pixels` are enlarged without smoothing. Any other file
    is not read into the page, and a sentence says so. OSError if the file cannot be read."""
    content = files.read_bytes(path)
    kind = next((kind for start, kind in _PICTURES.items() if content.startswith(start)), None)
    if kind is None:
        return f"<p>{text(path.name)} is no PNG or GIF, and is left out.</p>"
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    style = ' class="pixels"' * pixels
    above = f"<figcaption>{text(caption)}</figcaption>" * bool(caption)
    return f'<figure>{above}<img{style} alt="{text(caption)}" src="{source}"></figure>'
