"""Pages as files, without a browser."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from dcnrun.pages.page import CHARTS, REPORT_STYLE, Html, element, items, joined, report_body, table, write_page

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'& <!-- \u2028 \u202e \x1b é"


class Parsed(html.parser.HTMLParser):
    """The elements of a page, and its texts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def page(tmp_path):
    body = report_body(HOSTILE, HOSTILE, table(HOSTILE, (HOSTILE, "b"), [(HOSTILE, HOSTILE)]), items([HOSTILE]))
    write_page(tmp_path / "page.html", HOSTILE, body, {HOSTILE: [HOSTILE, 1.5]}, [REPORT_STYLE], [CHARTS])
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_text_of_data_makes_no_element(page):
    parsed = Parsed(page)
    assert {tag for tag, _ in parsed.elements}.isdisjoint({"img"})
    assert [tag for tag, _ in parsed.elements].count("script") == 2  # the data and the page's own
    assert sum("alert(2)" in text for text in parsed.texts) >= 6
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\u2028" not in page


def test_data_are_read_as_they_were(page):
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(held) == {HOSTILE: [HOSTILE, 1.5]}
    assert "<" not in held


def test_nothing_is_loaded_and_only_its_own_script_may_run(page):
    elements = Parsed(page).elements
    for _, attributes in elements:
        assert not {"src", "href", "srcset", "action", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    rules = next(a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy").split(";")
    policy = dict(rule.strip().split(" ", 1) for rule in rules)
    assert policy["default-src"] == "'none'"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[kind] == f"'sha256-{digest}'"


def test_elements_escape_what_is_no_html():
    assert element("p", "a<b", Html("<i>c</i>"), aria_label='"x"', class_="y") == (
        '<p aria-label="&quot;x&quot;" class="y">a&lt;b<i>c</i></p>'
    )
    assert joined("<", element("b", "&")) == "&lt;<b>&amp;</b>"


def test_long_lists_are_opened_by_the_reader():
    assert items([]) == ""
    assert "details" not in items(["a", "b"], 2)
    tags = [tag for tag, _ in Parsed(items(["a", "b", "c"], 1)).elements]
    assert tags == ["ul", "li", "details", "summary", "ul", "li", "li"]


def test_a_table_has_headers_of_rows_and_columns():
    elements = Parsed(table("Scores", ("class", "score", "word"), [("a", "1", "x"), ("b", "2", "y")], (0, 2))).elements
    scopes = [attributes.get("scope") for tag, attributes in elements if tag == "th"]
    assert scopes == ["col", "col", "col", "row", "row"]
    assert [attributes["class"] for tag, attributes in elements if tag == "td"] == ["number", "word"] * 2
    assert elements[0][1] == {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Scores"}
