"""What is printed of names and texts that come from files, and of durations."""

import io

import pytest
from rich.panel import Panel
from rich.table import Table

from dcnrun.console import PlainConsole, in_words, printable


@pytest.mark.parametrize("text", ["cat", "дърво", "[red]a[/red]", "a b", "50 % ± 2", "'\\"])
def test_what_can_be_read_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\tc", r"a\nb\tc"),
        ("right\u202eleft", r"right\u202eleft"),
        ("half \udce9", r"half \udce9"),
        ("\x9b2J", r"\x9b2J"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown
    assert printable(text).encode("ascii")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_text_reaches_the_terminal_as_a_command(is_terminal):
    """Nor does what Rich itself draws with control codes lose them."""
    out = io.StringIO()
    shown = PlainConsole(
        file=out,
        force_terminal=is_terminal,
        color_system="standard" if is_terminal else None,
        width=60,
        highlight=False,
    )
    table = Table("name\x1b[2J", title="title\x07", caption="[bold]caption[/bold]")
    table.add_row("cell\x1b]0;x\x07")
    shown.print("line\x1b[31m\nnext \u202e", table, Panel("in\x9b2Jside"), markup=False)
    text = out.getvalue()
    drawn = "\x1b[1m" in text
    for code in ("\x1b[2J", "\x07", "\x1b[31m", "\x1b]0;", "\u202e", "\x9b"):
        assert code not in text
    assert "line\\x1b[31m\nnext" in text
    assert drawn == is_terminal


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (192, "3 min 12 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert in_words(seconds) == text
