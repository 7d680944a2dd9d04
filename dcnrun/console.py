"""The terminal that people read: standard output, or standard error where a machine reads the other."""

from rich.console import Console

console = Console(highlight=False)


def leave_stdout_to_json() -> None:
    """Send everything for people to standard error from now on."""
    console.stderr = True
