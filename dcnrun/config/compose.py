"""Compose overrides into one checked config; read and write a run's config.yaml."""

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from dcnrun.config.groups import EXPERIMENT, JOINED, SECTIONS, choices, config_dirs
from dcnrun.config.inactive import settings_of
from dcnrun.config.messages import choose, did_you_mean, explain, is_unknown_key, one_value, unknown_key
from dcnrun.config.overrides import Parsed, parse
from dcnrun.config.paths import expand_home, is_path, lead_from_here
from dcnrun.config.ranges import AUTO
from dcnrun.config.schema import KINDS, Config
from dcnrun.config.settings import all_settings
from dcnrun.config.store import compose_choices, register_resolvers
from dcnrun.config.yaml_files import construct, read_text
from dcnrun.config.yaml_files import parse as parse_yaml
from dcnrun.errors import ConfigError

# In a YAML file some of these come back as blanks: U+0085 and the line and paragraph separators are line breaks to it.
_LINE_BREAKS = set("\n\r\x85\u2028\u2029")
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_PREPARATION = ("mean", "std", "bands", "short_sides", "eval_short_side", "long_side_max")
"""Settings of `data` that say how an image becomes what a network sees: a run's network has learnt them, whatever data it is shown."""


def compose(overrides: Sequence[str], config_dir: Path | None = None) -> Config:
    """Compose the config of a run from `conf/`, a user's own folder beside it and overrides such as `conv=dilated`.

    Raises ConfigError with every problem of the overrides at once.
    """
    config_dirs(config_dir)
    changes, problems = _read_overrides(overrides, config_dir)
    try:
        node = compose_choices(_chosen(changes), config_dir)
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from error
    return _finish(node, changes, problems)


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the config.yaml of a run and apply overrides; a group override composes that section anew from `conf/`.

    With other data, how images are prepared stays as the run has it, unless it is overridden too. A path that an override names
    leads from here, though the run may have the same text for another place.

    Raises ConfigError when the file is not the config of a run, or with every problem of the overrides at once.
    """
    return load_text(read_text(path), path, overrides)


def load_text(text: str, path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the text of a config.yaml, of which messages say that it is in `path`, as `load` does."""
    register_resolvers()  # for overrides: what was saved is text
    node = _read_saved(text, path)
    changes, problems = _read_overrides(overrides, None)
    chosen = _chosen(changes)
    if chosen.pop(EXPERIMENT, None):
        problems.append(f"An {EXPERIMENT} can't be applied to the saved {path}: override its settings one by one.")
    asked, share = _asked(changes), node.data.get("val_share")
    if "data" not in chosen and share:
        if "data.root" not in asked:
            problems += _other_shares(node, changes)
        elif not {"data.val", "data.val_share"} & asked:
            warnings.warn(
                f"data.val_share={share:g} of the images in data.root are validated on, as of the run's own; data.val=... names others, or all of them",
                stacklevel=3,
            )
    learnt = {key: node.data[key] for key in _PREPARATION}
    of_run = {change.key: OmegaConf.select(node, change.key) for change in changes if is_path(change.key)}
    if chosen:
        fresh = compose_choices(chosen)
        for section in chosen:
            node[section] = fresh[section]
        node.data.update(learnt)
    config = _finish(node, changes, problems)
    lead_from_here(config, of_run)
    return config


def with_steps(config: Config, train_images: int) -> Config:
    """Return a config whose `trainer.steps` see so many training images `trainer.epochs` times, where these are set.

    ConfigError when its warm-up does not end within these steps.
    """
    trainer, warmup = config.trainer, config.optim.warmup_steps
    if trainer.epochs is None:
        return config
    steps = math.ceil(trainer.epochs * train_images / (config.data.batch_size * trainer.accumulate))
    if warmup >= steps:
        raise ConfigError(
            [f"optim.warmup_steps={warmup} must be less than the {steps} steps of trainer.epochs={trainer.epochs:g}"]
        )
    return replace(config, trainer=replace(trainer, steps=steps))


def to_yaml(config: Config) -> str:
    """Write a config as YAML that `load` reads; enums by their plain names."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read_overrides(overrides: Sequence[str], config_dir: Path | None) -> tuple[list[Parsed], list[str]]:
    """Return the overrides that can be read, each with one value and an existing choice, and the problems."""
    changes, problems = [], []
    for override in overrides:
        try:
            change = parse(override)
            if len(change.values) > 1:
                wanted = f"one value is wanted here; {one_value(change.key, change.values)}"
                raise ConfigError([f"{override}: {wanted}."])
            if change.is_group:
                _require_choice(change, config_dir)
        except ConfigError as error:
            problems += error.problems
        else:
            changes.append(change)
    return changes, problems


def _require_choice(change: Parsed, config_dir: Path | None) -> None:
    if change.key == EXPERIMENT and change.elements == [None]:
        return
    available = choices(change.key, config_dir)
    chosen = change.elements[0]
    for choice in chosen if isinstance(chosen, list) and change.key in JOINED else change.values[:1]:
        if choice not in available:
            hint = did_you_mean(str(choice), available) or "."
            raise ConfigError([f"{change.text}: {change.key} is one of {', '.join(available)}{hint}"])


def _chosen(changes: list[Parsed]) -> dict[str, str]:
    return {change.key: change.values[0] for change in changes if change.is_group and change.elements != [None]}


def _finish(node: DictConfig, changes: list[Parsed], problems: list[str]) -> Config:
    """Set the values on the composed node, report every problem so far, or resolve it."""
    data_refused = any(problem.startswith(("data=", f"{EXPERIMENT}=")) for problem in problems)
    asked = _asked(changes)
    problems = problems + _set_values(node, changes, data_refused) + _set_length(node, asked)
    if "data.val" in asked and "data.val_share" not in asked and "val_share" in node.data:
        node.data.val_share = 0.0  # a file's, in whose place these images were asked for
        for key, default in (("split_seed", 0), ("split_by", None)):
            if f"data.{key}" not in asked:
                node.data[key] = default
    if problems:
        raise ConfigError(problems)
    return _resolve(node)


def _set_values(node: DictConfig, changes: list[Parsed], data_refused: bool) -> list[str]:
    """Set the values that are no choices of a group, in their order; returns what was wrong with them."""
    problems = []
    for change in changes:
        if change.is_group:
            continue
        if change.key not in all_settings() and change.key not in SECTIONS:
            problems.append(f"{change.text}: {unknown_key(change.key)}")
            continue
        value = change.elements[0]
        if value == AUTO and change.key in all_settings() and all_settings()[change.key].may_be_auto:
            value = []
        try:
            OmegaConf.update(node, change.key, value, merge=True)
        except OmegaConfBaseException as error:
            # With another data set in the refused one's place, a setting of the wanted one is no second mistake.
            if not (data_refused and is_unknown_key(error)):
                problems.append(f"{change.text}: {explain(error)}")
    return problems


def _asked(changes: list[Parsed]) -> set[str]:
    """Return the settings that were given a value, by themselves or with their section."""
    in_sections = {
        f"{change.key}.{name}"
        for change in changes
        for value in change.elements
        if isinstance(value, dict)
        for name in value
    }
    return in_sections | {change.key for change in changes if change.elements != [None]}


def _other_shares(node: DictConfig, changes: list[Parsed]) -> list[str]:
    """Return what would validate a run on images that it was trained on, as another share of the same images does."""
    given = {change.key: change for change in changes}
    of_run = {key: OmegaConf.select(node, key) for key in ("data.val_share", "data.split_seed", "data.split_by")}
    share, seed, by = of_run.values()
    together = f", by data.split_by={by}," if by else ""
    if "data.val_share" in given and not given["data.val_share"].elements[0]:
        return []
    return [
        f"{given[key].text}: the run was trained on what data.val_share={share:g} and data.split_seed={seed}{together} leave of its images, and would be"
        " validated on some of these. data.val=... or data.root=... names others."
        for key, value in of_run.items()
        if key in given and given[key].elements[0] != value
    ]


def _set_length(node: DictConfig, asked: set[str]) -> list[str]:
    """Let steps that were asked for replace epochs of a file; returns what is wrong where both were asked for."""
    if {"trainer.steps", "trainer.epochs"} <= asked:
        return ["trainer.steps and trainer.epochs both say how long to train: give one of them."]
    if "trainer.steps" in asked:
        node.trainer.epochs = None
    return []


def _resolve(node: DictConfig) -> Config:
    """Make the dataclasses, with interpolations resolved and nothing missing."""
    try:
        config = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise ConfigError([explain(error)]) from error
    assert isinstance(config, Config)
    expand_home(config)
    for section, (key, schemas) in KINDS.items():
        kind = getattr(getattr(config, section), key)
        if type(getattr(config, section)) is not schemas[kind]:
            raise ConfigError([f"{section}.{key}={kind} needs other settings: {choose(section, kind)}."])
    values = ((key, value if isinstance(value, list) else [value]) for key, value in settings_of(config).items())
    texts = {key: "".join(map(str, value)) for key, value in values}
    if broken := [key for key, text in texts.items() if _LINE_BREAKS & set(text)]:
        raise ConfigError([f"{key} has a line break in it: write it in one line." for key in broken])
    if broken := [key for key, text in texts.items() if not _is_writable(text)]:
        raise ConfigError([f"{key} has a ${{ that nothing closes: write it without." for key in broken])
    return config


def _is_writable(text: str) -> bool:
    """Return whether OmegaConf can write a text: not one with the start of an interpolation alone."""
    if "${" not in text:
        return True
    try:
        OmegaConf.create([text])
    except GrammarParseError:
        return False
    return True


def _read_saved(text: str, path: Path) -> DictConfig:
    """Read a saved config into the schema, with the settings of the kinds that it names."""
    saved = construct(parse_yaml(text, path), path)
    if not isinstance(saved, dict) or not all(isinstance(saved.get(section), dict) for section in SECTIONS):
        raise ConfigError([f"{path} is not the config of a run: it must have the sections {', '.join(SECTIONS)}."])
    sections = {}
    for section, (key, schemas) in KINDS.items():
        kind = saved[section].get(key)
        if kind not in list(schemas):  # of any type, also one that has no hash
            raise ConfigError([f"{path}: {section}.{key} is {kind}; it must be one of {', '.join(schemas)}."])
        sections[section] = schemas[kind]()
    node: DictConfig = OmegaConf.structured(Config(**sections))
    try:
        node.merge_with(_as_text(saved))
        OmegaConf.to_object(node)  # finds what is missing
        return node
    except OmegaConfBaseException as error:
        raise ConfigError([f"{path}: {explain(error)}"]) from error


def _as_text(value: Any) -> Any:
    """Return saved values with `${` escaped: what a run holds was resolved when it began, and is text since."""
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return _INTERPOLATION.sub(r"\1\1\\${", value) if isinstance(value, str) else value
