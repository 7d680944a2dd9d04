"""Hydra's part: compose one choice of each group from the YAML files, on top of the schema."""

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dcnrun.config.groups import config_dirs, yaml_files
from dcnrun.config.messages import explain
from dcnrun.config.schema import KINDS, Config
from dcnrun.config.yaml_files import read_yaml, require_bounded
from dcnrun.errors import ConfigError
from dcnrun.resources import resource_dir


def compose_choices(choices: Mapping[str, str], config_dir: Path | None = None) -> DictConfig:
    """Compose `{"conv": "dilated", ...}` and the defaults of the other groups; interpolations stay as they are.

    Raises ConfigError when a YAML file can't be read or holds what is not in the schema.
    """
    chosen = tuple(sorted(choices.items()))
    # Only the files of a user's own folder may change while a program runs.
    return copy.deepcopy(_composed_of_ours(chosen)) if config_dir is None else _composed(chosen, config_dir)


@cache
def _composed_of_ours(chosen: tuple[tuple[str, str], ...]) -> DictConfig:
    return _composed(chosen, None)


def _composed(chosen: tuple[tuple[str, str], ...], config_dir: Path | None) -> DictConfig:
    register_resolvers()
    _register_schema()
    ours, *users = config_dirs(config_dir)
    for file in (folder / name for folder in users for name in yaml_files(folder)):
        require_bounded(file)  # Hydra's reader repeats aliases without end
    for file, group in ((folder / group / f"{choice}.yaml", group) for folder in users for group, choice in chosen):
        _require_one_length(file, group)
    search_path = [QuotedString(f"file://{folder}", Quote.single).with_quotes() for folder in users]
    overrides = [f"{group}={choice}" for group, choice in chosen]
    try:
        with initialize_config_dir(str(ours), version_base="1.3"):
            return compose("config", [*overrides, f"hydra.searchpath=[{','.join(search_path)}]"])
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError([_explain_composition(error, config_dir)]) from error


def _require_one_length(file: Path, group: str) -> None:
    """Raise ConfigError for a file that sets both trainer.steps and trainer.epochs: the steps would be ignored."""
    try:
        content = read_yaml(file) if file.is_file() else None
    except ConfigError:  # Hydra says what is wrong with it
        return
    trainer = content.get("trainer") if isinstance(content, dict) and group != "trainer" else content
    if isinstance(trainer, dict) and all(trainer.get(key) is not None for key in ("steps", "epochs")):
        raise ConfigError([f"{file}: trainer.steps and trainer.epochs both say how long to train: give one of them."])


@cache
def register_resolvers() -> None:
    """Make `${sample:nuclei}`, the folder of a sample data set, known to OmegaConf."""
    OmegaConf.register_new_resolver("sample", lambda name: str(resource_dir("samples") / name))


@cache
def _register_schema() -> None:
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for section, kinds in KINDS.items():
        for kind, schema in kinds.schemas.items():
            store.store(group=f"schema/{section}", name=kind.value, node=schema)


def _explain_composition(error: Exception, config_dir: Path | None) -> str:
    """Name the file, which Hydra's message begins with, and what OmegaConf found in it."""
    message = " ".join(str(error).partition("Config search path")[0].split())
    found = error.__cause__ or error.__context__
    if isinstance(found, OmegaConfBaseException):
        file = message.partition(":")[0]
        return f"{file}: {explain(found)}"
    return f"--config-dir {config_dir}: {message}" if config_dir else message
