"""Expand overrides with several values into the variants and seeds of a comparison."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dcnrun.compare.variants import difference_of_tasks, digest, identity, slugs, variant_names
from dcnrun.config.compose import compose, with_steps
from dcnrun.config.inactive import DILATION, MAY_BE_INACTIVE, Settings, inactive_settings, settings_of
from dcnrun.config.overrides import split_choices
from dcnrun.config.schema import CONV_TRAITS, Config, ConvKind, DataConfig, Dilation, FilesConfig
from dcnrun.config.settings import all_settings, as_typed, default_of
from dcnrun.config.validate import range_problems
from dcnrun.errors import ConfigError, DcnrunError, UsageError

SEED = "seed"


@dataclass(frozen=True)
class Variant:
    """One variant: its name, a name for files, the overrides that `dcnrun train` is given, and the whole config."""

    name: str
    slug: str
    overrides: tuple[str, ...]
    config: Config

    @property
    def settings(self) -> Settings:
        """The config as a flat mapping."""
        return settings_of(self.config)


@dataclass(frozen=True)
class Grid:
    """Every variant with every seed. The first variant is the reference; `left_out` names settings that a kind does not have."""

    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A short hash of the variants without the seeds, so that adding seeds continues the same comparison."""
        return digest([identity(variant.settings) for variant in self.variants])


def build_grid(overrides: Sequence[str], config_dir: Path | None = None) -> Grid:
    """Expand the overrides, and raise now what would stop a run after hours of others."""
    grid = expand(overrides, config_dir)
    _check(grid)
    return grid


def idle_controls(grid: Grid) -> list[str]:
    """Return a line for each dilated control that is the standard network: the dilation is the layers' own."""
    from dcnrun.tasks.validate import why_standard  # imports torch

    if all(variant.config.conv.kind is not ConvKind.standard for variant in grid.variants):
        return []
    return [
        f"{each.name} is the standard network: {why}. Give other values of conv.dilation."
        for each in grid.variants
        if (why := why_standard(each.config))
    ]


def expand(overrides: Sequence[str], config_dir: Path | None = None) -> Grid:
    """Build a variant for every combination of the overrides' values; the values of `seed` are the seeds.

    What a kind of convolution does not have is left out for it and equal variants become one, so that
    `conv=standard,dilated conv.dilation=2,4` is standard, dilated 2 and dilated 4. Where dilated is one of several kinds,
    `conv.dilation` is of that control alone. ConfigError holds every problem of every variant, with its name; or the settings that
    no variant has, and those whose values make none.
    """
    choices = _choices(overrides)
    asked = _combinations([choice for choice in choices if choice[0] != SEED])
    seeds = [f"{SEED}={value}" for key, values in choices if key == SEED for value in values]
    composed = _composed([*asked, *((*asked[0], seed) for seed in seeds)], config_dir)
    configs, with_seeds = composed[: len(asked)], composed[len(asked) :]
    kinds = {config.conv.kind for config in configs}
    control = len(kinds) > 1 and any(CONV_TRAITS[kind].dilation is Dilation.required for kind in kinds)
    reduced: dict[tuple[str, ...], Config] = {}
    left_out: dict[str, dict[str, None]] = {}
    for own, config in zip(asked, configs, strict=True):
        foreign = _foreign(config, control)
        kept = tuple(override for override in own if _key(override) not in foreign)
        if kept not in reduced:
            reduced[kept] = config if kept == own else compose(kept, config_dir)
        for key in {_key(override) for override in own} & foreign.keys():
            left_out.setdefault(key, {})[foreign[key]] = None
    variants = _distinct(
        _as_their_runs([_without_foreign(kept, config, config_dir) for kept, config in reduced.items()])
    )
    _require_effect(choices, variants, left_out)
    return Grid(
        variants,
        tuple(dict.fromkeys(config.seed for config in with_seeds)) or (configs[0].seed,),
        tuple(f"{key} ({', '.join(lacking)})" for key, lacking in sorted(left_out.items())),
    )


def _choices(overrides: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return key and values of each override; ConfigError names all that can't be read."""
    choices: list[tuple[str, list[str]]] = []
    problems: list[str] = []
    for override in overrides:
        try:
            choices.append(split_choices(override))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return choices


def _require_effect(
    choices: Sequence[tuple[str, list[str]]], variants: Sequence[Variant], left_out: Mapping[str, Iterable[str]]
) -> None:
    """Raise ConfigError for what was asked for and is in no comparison: else it would seem to have been compared."""
    problems = []
    for key, values in choices:
        if key == SEED:
            continue
        override, several = f"{key}={','.join(values)}", len(set(values)) > 1
        made = {own for variant in variants for own in variant.overrides if _key(own) == key}
        if not made and (several or key not in MAY_BE_INACTIVE):
            problems.append(f"{override} does nothing with {' and '.join(left_out.get(key, ()))}: leave it out")
        elif several and len(made) == 1:
            problems.append(f"{override} makes no variants, since runs are the same with each: give one value")
    if problems:
        raise ConfigError(problems)


def _combinations(choices: Sequence[tuple[str, list[str]]]) -> list[tuple[str, ...]]:
    """Return overrides with one value each for every combination; the last key's values vary fastest."""
    return list(itertools.product(*([f"{key}={value}" for value in values] for key, values in choices)))


def _composed(all_overrides: Sequence[tuple[str, ...]], config_dir: Path | None) -> list[Config]:
    """Compose the config of each; ConfigError holds the problems of all, which name their override."""
    configs = []
    problems: dict[str, None] = {}
    for overrides in all_overrides:
        try:
            configs.append(compose(overrides, config_dir))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(list(problems))
    return configs


def _foreign(config: Config, control: bool) -> dict[str, str]:
    """Return settings that a variant does not have, each with the reason; a dilated control keeps dilation to itself."""
    dilation = CONV_TRAITS[config.conv.kind].dilation
    settings = settings_of(config)
    if dilation is Dilation.none:
        settings[DILATION] = None
    without_dilation = dilation is Dilation.none or (control and dilation is not Dilation.required)
    return inactive_settings(settings) | ({DILATION: f"conv={config.conv.kind}"} if without_dilation else {})


def _without_foreign(
    overrides: tuple[str, ...], config: Config, config_dir: Path | None
) -> tuple[tuple[str, ...], Config]:
    """Undo what a YAML file sets and this kind does not have, by further overrides."""
    settings = settings_of(config)
    defaults = {
        key: default_of(config, key) for key in sorted(_foreign(config, control=False).keys() - MAY_BE_INACTIVE)
    }
    undone = tuple(f"{key}={as_typed(value)}" for key, value in defaults.items() if settings[key] != value)
    return (overrides + undone, compose(overrides + undone, config_dir)) if undone else (overrides, config)


def _as_their_runs(
    configs: Sequence[tuple[tuple[str, ...], Config]],
) -> Iterator[tuple[tuple[str, ...], Config]]:
    """Yield each config as its run will have it, where only the training images tell: steps of its epochs, bands and their mean, and
    whatever else is auto."""
    found: dict[str, tuple[DataConfig, Mapping[str, Any], int]] = {}
    for overrides, config in configs:
        has_epochs = config.trainer.epochs is not None
        auto = [key for key, value in settings_of(config).items() if value == [] and all_settings()[key].may_be_auto]
        if has_epochs or isinstance(config.data, FilesConfig) or auto:
            from dcnrun.tasks.validate import settled  # imports torch, which most agents don't need

            asked = repr((config.model.head, config.data, auto))
            try:
                found[asked] = found.get(asked) or settled(config)
            except DcnrunError:
                if has_epochs:
                    raise
                found[asked] = config.data, {}, 0  # images that can't be opened from here are left to the runs
            data, of_model, images = found[asked]
            config = with_steps(replace(config, data=data, model=replace(config.model, **of_model)), images)
        yield overrides, config


def _distinct(configs: Iterable[tuple[tuple[str, ...], Config]]) -> tuple[Variant, ...]:
    """Keep equal configs once, as variants with distinct names."""
    distinct: list[tuple[tuple[str, ...], Config]] = []
    for overrides, config in configs:
        if all(identity(settings_of(config)) != identity(settings_of(other)) for _, other in distinct):
            distinct.append((overrides, config))
    names = variant_names([settings_of(config) for _, config in distinct])
    return tuple(
        Variant(name, slug, overrides, config)
        for name, slug, (overrides, config) in zip(names, slugs(names), distinct, strict=True)
    )


def _check(grid: Grid) -> None:
    """Raise for data that differ, settings that can't run, and images that can't be scored."""
    from dcnrun.tasks.validate import check, check_images_of  # imports torch

    differing = difference_of_tasks(
        [variant.name for variant in grid.variants], [variant.settings for variant in grid.variants]
    )
    if differing:
        raise UsageError(
            "\n".join(differing)
            + "\nVariants are compared by one metric, on the same data, after the same number of steps: "
            "give one value here, and start one comparison for each."
        )
    found: dict[str, list[str]] = {}
    for variant in grid.variants:
        try:
            check(variant.config, are_started=False)
        except ConfigError as error:
            for problem in error.problems:
                found.setdefault(problem, []).append(variant.name)
    config = grid.variants[0].config
    problems = [problem for seed in grid.seeds for problem in range_problems(replace(config, seed=seed)).values()]
    for problem, names in found.items():
        problems += [problem] if len(names) == len(grid.variants) else [f"{name}: {problem}" for name in names]
    if problems:
        raise ConfigError(problems)
    check_images_of(config)


def _key(override: str) -> str:
    return override.partition("=")[0]
