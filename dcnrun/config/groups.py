"""The groups of `conf/` and the choices in each: ours, and those of a user's own folder."""

from pathlib import Path
from typing import Literal

from dcnrun.errors import ConfigError
from dcnrun.resources import resource_dir

SECTIONS = ("conv", "model", "data", "optim", "trainer", "logger")
"""Groups that fill the section of the config with the same name."""

EXPERIMENT = "experiment"
"""The group whose choices may set anything; none is chosen unless asked for."""

GROUPS = (*SECTIONS, EXPERIMENT)

JOINED = ("logger",)
"""Groups of which several choices may be made at once: `logger=[csv,wandb]`."""

Labels = Literal["masks", "boxes", "instances"]
"""What a choice of `data` may give of an image beside its pixels, and a choice of `model` learns from.

Masks are a class for each pixel; instances are boxes with the mask of each object.
"""

LABELS_IN_WORDS: dict[Labels, str] = {"masks": "masks", "boxes": "boxes", "instances": "masks of objects"}
"""What messages call them."""


def config_dirs(config_dir: Path | None = None) -> list[Path]:
    """Return the folders of choices; ConfigError when the user's is missing or hides a file of ours."""
    ours = resource_dir("conf")
    if config_dir is None:
        return [ours]
    if not config_dir.is_dir():
        raise ConfigError([f"--config-dir {config_dir}: there is no such folder."])
    clashes = [name for name in yaml_files(config_dir) if (ours / name).is_file()]
    if clashes:
        raise ConfigError(
            [f"{config_dir / name} has the name of a choice of dcnrun's own: rename it." for name in clashes]
        )
    return [ours, config_dir.resolve()]


def choices(group: str, config_dir: Path | None = None) -> list[str]:
    """Return the choices of a group, sorted, such as `deformable` for `conv`."""
    return sorted(
        name.removesuffix(".yaml") for folder in config_dirs(config_dir) for name in yaml_files(folder / group)
    )


def yaml_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder and below it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))
