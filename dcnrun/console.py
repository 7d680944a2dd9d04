"""The terminal that people read."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment


class PlainConsole(Console):
    """Prints texts that come from files, wherever they stand in a line or table, without whatever a terminal would obey."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is printed, control codes of texts written out."""
        for segment in super().render(renderable, options):
            lines = segment.text.split("\n")
            if segment.control or all(map(str.isprintable, lines)):
                yield segment
            else:
                yield segment._replace(text="\n".join(map(printable, lines)))


console = PlainConsole(highlight=False)


def printable(text: str) -> str:
    """Return a text from a data set or file with whatever a terminal would obey written out, such as \\x1b."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def in_words(seconds: float) -> str:
    """Return a duration for people: `3 min 12 s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
