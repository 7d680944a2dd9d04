"""What was found out about a folder: how to read it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dcnrun.config.overrides import as_override
from dcnrun.config.schema import PairedFilesConfig
from dcnrun.data.files import first_few

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


def not_read(others: Sequence[str]) -> str:
    """Say which files or folders of the same kind are not read; nothing where there are none."""
    return f"; not read: {first_few(others)}" if others else ""


def where_to_look(folders: Mapping[str, str], val: str | None) -> list[str]:
    """Return the settings of images and masks that are not the default ones, and of what is validated on."""
    default, given = PairedFilesConfig(), {**folders} | ({"val": val} if val else {})
    overrides = [as_override(f"data.{key}", text) for key, text in given.items() if text != getattr(default, key)]
    return overrides if val else [*overrides, VAL_SHARE]


def which_splits(train: str, val: str) -> list[str]:
    """Return the settings of what is trained and validated on: the share of what is trained on where `val` is empty."""
    named = [
        as_override(f"data.{key}", name) for key, name in (("train", train), ("val", val)) if name not in ("", key)
    ]
    return named if val else [*named, VAL_SHARE]
