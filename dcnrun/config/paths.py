"""Settings that are paths: `~`, and where a run finds them again from another folder, or when they have moved."""

import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from operator import attrgetter
from pathlib import Path

from dcnrun.config.schema import Config
from dcnrun.config.settings import all_settings, schemas_of, settings
from dcnrun.errors import ConfigError

KeptPaths = Mapping[str, Mapping[str, str]]
"""By setting: its value, the absolute path, and the path from the run's folder."""

_VALUE, _ABSOLUTE, _FROM_RUN = "value", "absolute", "from_run"


def is_path(key: str) -> bool:
    """Whether a setting names a file or folder."""
    return key in all_settings() and all_settings()[key].is_path


def expand_home(config: Config) -> None:
    """Write the home folder out where a path begins with `~`; ConfigError where `~name` is no user."""
    for key, value in _paths(config):
        if value.startswith("~"):
            try:
                _set(config, key, str(Path(value).expanduser()))
            except RuntimeError:
                raise ConfigError([f"{key}={value}: there is no such home folder."]) from None


def lead_from_here(config: Config, of_run: Mapping[str, str | None]) -> None:
    """Write the paths that overrides name as absolute ones where the run's own text is the same, of which `find_paths` knows another place."""
    for key, value in _paths(config):
        if key in of_run and of_run[key] == value and (key == "data.root" or Path(value).exists()):
            _set(config, key, str(Path(value).absolute()))


def paths_to_keep(config: Config, found: Config, run: Path) -> KeptPaths:
    """Return what a run's folder keeps of the paths in its config, where `found` has them and they exist."""
    places = dict(_paths(found))
    return {
        key: {
            _VALUE: value,
            _ABSOLUTE: str(Path(places[key]).absolute()),
            _FROM_RUN: os.path.relpath(places[key], run.resolve()),
        }
        for key, value in _paths(config)
        if Path(places[key]).exists()
    }


def paths_to_read(config: Config) -> dict[str, str]:
    """Return the absolute paths that a run reads, each with the setting that names it: its data, and weights that are a file here."""
    return {
        str(Path(value).absolute()): key
        for key, value in _paths(config)
        if key != "runs_dir" and (key == "data.root" or Path(value).exists())
    }


def find_paths(config: Config, kept: KeptPaths, run: Path) -> tuple[Config, list[str]]:
    """Return a copy of a run's config with its paths where they are now, and a line for each that has moved.

    A path is where it was when the run began, or where it lies from the run's folder as it did then, or where its value
    leads from here. One that is found nowhere stays where it was. What an override gave another value stays as it is.
    """
    found, moved = deepcopy(config), []
    for key, value in _paths(config):
        was = kept.get(key, {})
        if was.keys() != {_VALUE, _ABSOLUTE, _FROM_RUN} or was[_VALUE] != value:
            continue
        old = Path(was[_ABSOLUTE])
        places = [old, (run / was[_FROM_RUN]).resolve(), Path(value).absolute()]
        place = next(filter(Path.exists, places), old)
        _set(found, key, str(place))
        if place != old:
            moved.append(f"{key}: {old} is gone; taken instead: {place}")
    return found, moved


def _paths(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the settings of a config that are paths and set, with their values."""
    for setting in settings(schemas_of(config)):
        if setting.is_path and (value := attrgetter(setting.key)(config)) is not None:
            yield setting.key, value


def _set(config: Config, key: str, value: str) -> None:
    *sections, name = key.split(".")
    setattr(attrgetter(*sections)(config) if sections else config, name, value)
