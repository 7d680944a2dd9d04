"""Write a page: its body, data, style and scripts in one HTML file, which loads nothing and connects nowhere.

The content security policy of a page allows only the scripts and the style that were put into it, by their hashes, and pictures from
`data:` addresses. Whatever comes from data sets and settings is escaped: text of the body by `element` and `table`, data by
`write_page`, as JSON that scripts only ever set as text.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from dcnrun.console import printable
from dcnrun.runs import write_text

_FILES = Path(__file__).parent
REPORT_STYLE = _FILES / "report.css"
"""The style of pages that are read from top to bottom: sections, tables, figures."""
CHARTS = _FILES / "charts.js"
"""Draws the charts of reports, as SVG."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Html:
    """Return an element; children that are no `Html` are escaped, and so are attributes, whose names may end in `_` (`class_`)."""
    return Html(f"<{tag}{_pairs(attributes)}>{joined(*children)}</{tag}>")


def jpeg_image(base64_text: str, alt: str) -> Html:
    """Return a picture, a JPEG file in base64 that becomes a part of the page; `alt` says what it shows."""
    return Html(f"<img{_pairs({'src': f'data:image/jpeg;base64,{base64_text}', 'alt': alt})}>")


def joined(*children: str) -> Html:
    """Return children one after the other; those that are no `Html` are escaped."""
    parts = (child if isinstance(child, Html) else html.escape(printable(child)) for child in children)
    return Html("".join(parts))


def table(label: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,)) -> Html:
    """Return a table in a box of its own, which scrolls where the table is wider than the page.

    Args:
        label: what the table shows, for those who don't see it.
        columns: headers.
        rows: cells; the first of a row is its header, which stays where the others scroll.
        text: the columns that hold words, and not numbers.
    """
    kinds = ["word" if column in text else "number" for column in range(len(columns))]
    head = element(
        "tr",
        *(
            element("th", element("bdi", name), scope="col", class_=kind)
            for name, kind in zip(columns, kinds, strict=True)
        ),
    )
    body = (
        element(
            "tr",
            element("th", element("bdi", row[0]), scope="row", class_=kinds[0]),
            *(element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    )
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=label)


def section(title: str, *children: str) -> Html:
    """Return a section with a heading."""
    return element("section", element("h2", title), *children)


def items(texts: Sequence[str], most: int | None = None) -> Html:
    """Return a list; nothing where there are no texts, and those after the first `most` where a reader opens them."""
    if not texts:
        return Html("")
    listed = element("ul", *(element("li", text) for text in texts[:most]))
    more = texts[most:] if most else []
    return joined(listed, element("details", element("summary", f"{len(more)} more"), items(more))) if more else listed


def left_out(why: str) -> Html:
    """Return the line that says of something that a reader may look for that it is not there, and why."""
    return element("p", f"Left out: {why}", class_="note")


def chart(name: str, caption: str) -> Html:
    """Return the place of a chart, which the page's script draws into the element `name`."""
    return element("figure", element("figcaption", caption), element("div", id=name, class_="plot"), class_="chart")


def report_body(title: str, about: str, *sections: str) -> Html:
    """Return the body of a report: its header, with the button for dark or light, and its sections."""
    button = element("button", "◐", type="button", id="theme", title="Dark or light", aria_label="Dark or light")
    header = element("header", element("h1", title), button)
    script_needed = (
        "The charts of this page need JavaScript; it loads nothing and connects nowhere. The tables don't need it."
    )
    return joined(
        header, element("main", element("p", about, class_="about"), element("noscript", script_needed), *sections)
    )


def write_page(path: Path, title: str, body: Html, data: Any, styles: Sequence[Path], scripts: Sequence[Path]) -> None:
    """Write a page, beside `path` and renamed.

    Args:
        path: the HTML file.
        title: of the window.
        body: the content, whose element `data` the page's scripts find the data in.
        data: anything that JSON holds; its numbers are finite.
        styles: CSS files, after the base of all pages.
        scripts: JavaScript files, in the order in which they run, after those of all pages.
    """
    style, script = (_text([_FILES / base, *files]) for base, files in (("base.css", styles), ("theme.js", scripts)))
    frame = Template((_FILES / "frame.html").read_text(encoding="utf-8"))
    parts = {
        "title": html.escape(printable(title)),
        "body": body,
        "style": style,
        "script": script,
        "data": as_json(data),
    }
    write_text(path, frame.substitute(parts, style_hash=_hash(style), script_hash=_hash(script)))


def as_json(data: Any) -> str:
    """Return JSON that no text in it can end: without `<` and non-ASCII characters there is no `</script>` or `<!--`."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _pairs(attributes: Mapping[str, str]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(printable(value))}"' for name, value in attributes.items()
    )


def _text(files: Sequence[Path]) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files)


def _hash(text: str) -> str:
    """Return the hash by which a content security policy allows a text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
