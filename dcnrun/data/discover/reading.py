"""What was found out about a folder: how to read it."""

import shlex
from dataclasses import asdict, dataclass, field
from typing import Any

VAL_SHARE = "data.val_share=0.2"
"""What is validated on where a set has no split."""


@dataclass(frozen=True)
class Reading:
    """One way to read a folder."""

    format: str
    because: str
    """What it was decided by."""
    overrides: list[str]
    classes: list[str] = field(default_factory=list)
    split: str = ""

    @property
    def command(self) -> str:
        """The command line that trains on it, to be copied into a shell."""
        return shlex.join(["dcnrun", "train", *self.overrides])

    def report(self) -> dict[str, Any]:
        """Return it as --json has it."""
        return {**asdict(self), "command": self.command}


def in_words(train: str, val: str | None) -> str:
    """Say what is trained on and what is validated on."""
    return f"trained on {train}, validated on {val}" if val else f"a fifth of {train} is drawn to validate on"
