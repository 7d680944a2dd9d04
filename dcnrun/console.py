"""The terminal that people read."""

from rich.console import Console

console = Console(highlight=False)


def printable(text: str) -> str:
    """Return a text from a data set or file with whatever a terminal would obey written out, such as \\x1b."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
