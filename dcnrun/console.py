"""The terminal that people read."""

from rich.console import Console

console = Console(highlight=False)
