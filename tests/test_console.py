"""What is printed of names and texts that come from files."""

import pytest

from dcnrun.console import printable


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
