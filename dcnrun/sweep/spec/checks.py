"""Checks that the parameters of a sweep file are settings of dcnrun, and that a run accepts each of their values.

Conditional parameters are refused. A sweep file can't hold them: Weights & Biases refuse a key that they do not know, so
a key of our own would make the file ours alone, and a parameter that some trials ignore would be searched as if it mattered in
all. Where a setting has no effect for a drawn kind of convolution (offset groups of a standard one), each kind is to be tuned
in a sweep file of its own, as `sweeps/offset_lr_bayes.yaml` and `sweeps/dilation_control.yaml` do.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice, product

from dcnrun.config.compose import compose
from dcnrun.config.groups import GROUPS, choices
from dcnrun.config.inactive import inactive_settings, settings_of
from dcnrun.config.messages import did_you_mean, unknown_key
from dcnrun.config.overrides import as_override, parse
from dcnrun.config.schema import Config
from dcnrun.config.settings import all_settings
from dcnrun.errors import ConfigError
from dcnrun.sweep.spec.distributions import Categorical, Constant, sample_values, usual_draws
from dcnrun.sweep.spec.sweep_file import Goal, Parameter, SweepFile
from dcnrun.tasks.registry import task_traits

_MOST_PAIRS = 1000
_FEW = 16
_OF_THE_RUN = ("name", "runs_dir")
_OF_THE_MACHINE = ("trainer.devices", "trainer.nodes")
LOSS = "train/loss"


def check_against_settings(sweep: SweepFile, overrides: Sequence[str] = ()) -> None:
    """Check every parameter's name and values, and the metric, for runs with these overrides beside the file's own.

    The values that stand for each parameter (see `sample_values`) are checked beside the first ones of the other parameters, then with every
    one of each other parameter, two at a time (at most 1000 such pairs). Nothing is built or trained.

    Raises ConfigError with every problem, each with its line in the file.
    """
    problems = [*_name_problems(sweep), *_set_twice(sweep, overrides)]
    if problems:
        raise ConfigError(problems)
    trials = _Trials(sweep, overrides)
    trials.check()
    trials.check_usual_draws()
    if trials.base is not None:
        trials.problems += _metric_problems(sweep, trials.base)
    if not trials.problems and trials.base is not None:
        trials.problems += _unscored(sweep, trials.base)
    if trials.problems:
        raise ConfigError(trials.problems)


def _at(sweep: SweepFile, name: str) -> str:
    return f"{sweep.at(f'parameters.{name}')}: {name}"


def _name_problems(sweep: SweepFile) -> Iterator[str]:
    for parameter in sweep.parameters:
        name = parameter.name
        if name in GROUPS:
            if not isinstance(parameter.distribution, Constant | Categorical):
                yield f"{_at(sweep, name)}: takes `values`, some of {', '.join(choices(name))}."
        elif name in _OF_THE_RUN or name.partition(".")[0] == "logger":
            yield f"{_at(sweep, name)}: has no effect on what a run finds: it can't be tuned."
        elif name in _OF_THE_MACHINE:
            yield f"{_at(sweep, name)}: every trial has as many: set it once, in `command` or as an override."
        elif name not in all_settings():
            yield f"{_at(sweep, name)}: {unknown_key(name)}"
        elif any(isinstance(value, list) and None in value for value in sample_values(parameter.distribution)):
            yield f"{_at(sweep, name)}: a list can't hold null, which an agent of W&B would pass as the text None."


def _set_twice(sweep: SweepFile, overrides: Sequence[str]) -> Iterator[str]:
    names = [parameter.name for parameter in sweep.parameters]
    for override in overrides:
        key = parse(override).key
        if key in names:
            yield f"{override}: {_at(sweep, key)} is varied by the sweep: take it out of the file, or leave out the override."


@dataclass(frozen=True)
class _Value:
    """One value of a parameter."""

    name: str
    override: str


class _Trials:
    """Configs of trials that might be drawn, checked one after another; `problems` are those found so far."""

    def __init__(self, sweep: SweepFile, overrides: Sequence[str]) -> None:
        self.sweep = sweep
        self.overrides = overrides
        self.values = {parameter.name: _values_of(parameter) for parameter in sweep.parameters}
        self.base: Config | None = None  # the first config that could be composed
        self.problems: list[str] = []
        self._said: set[str] = set()

    def check(self) -> None:
        """Check the first values together, then each other value with the first ones of the rest, then pairs of these."""
        self._composed()
        accepted = {
            value: config
            for values in self.values.values()
            for value in values[1:]
            if (config := self._composed(value)) is not None
        }
        by_name = [[value for value in values[1:] if value in accepted] for values in self.values.values()]
        pairs = (pair for one, other in combinations(by_name, 2) for pair in product(one, other))
        for first, second in islice(pairs, _MOST_PAIRS):
            if {first.name, second.name} & {*GROUPS}:
                self._composed(first, second)
            else:
                self._accepts(_with(accepted[first], accepted[second], second.name), (first, second))

    def check_usual_draws(self) -> None:
        """Check what a distribution without ends usually gives: all multiples of a step where they are few, else both sides."""
        for parameter in self.sweep.parameters:
            draws = usual_draws(parameter.distribution)
            tried = dict.fromkeys(draws) if len({*draws}) <= _FEW else draws[:1] + draws[-1:]
            if self.problems or not any(self._refusal(parameter.name, draw) for draw in tried):
                continue
            refusals = {draw: self._refusal(parameter.name, draw) for draw in {*draws}}
            share = sum(refusals[draw] is not None for draw in draws) / len(draws)
            first = next(problem for draw in draws if (problem := refusals[draw]))
            advice = "Move mu, make sigma smaller, or take a distribution with min and max."
            self.problems.append(
                f"{_at(self.sweep, parameter.name)}: a run refuses {share:.0%} of the draws: {first}. {advice}"
            )

    def _refusal(self, name: str, value: float) -> str | None:
        """Return the first problem of a trial with this value and the first ones of the other parameters."""
        one = _Trials(self.sweep, self.overrides)
        one._composed(_Value(name, as_override(name, value)))
        return one.problems[0].partition(": ")[2].rstrip(".") if one.problems else None

    def _composed(self, *tried: _Value) -> Config | None:
        """The config of these values and the first ones of all other parameters; None where it is refused."""
        drawn = {name: values[0] for name, values in self.values.items()} | {value.name: value for value in tried}
        overrides = [*self.sweep.fixed, *(value.override for value in drawn.values()), *self.overrides]
        try:
            config = compose(overrides)
        except ConfigError as error:
            self._say(error.problems, tried)
            return None
        self.base = self.base or config
        return config if self._accepts(config, tried) else None

    def _accepts(self, config: Config, tried: Sequence[_Value]) -> bool:
        from dcnrun.tasks.validate import check  # imports torch

        trainer = config.trainer
        if trainer.nodes > 1:
            why = "a trial runs on one machine; many machines have an agent each"
            self._say([f"trainer.nodes={trainer.nodes}: {why}."], tried)
            return False
        try:
            # Each trial is started with as many processes as it wants; the one that checks here stands for any of them.
            check(replace(config, trainer=replace(trainer, devices=min(trainer.devices, 1))))
        except ConfigError as error:
            self._say(error.problems, tried)
            return False
        without = inactive_settings(settings_of(config))
        idle = sorted(without.keys() & self.values.keys())
        advice = "which the sweep may draw: tune each kind in a sweep file of its own."
        self._say([f"{name} has no effect with {without[name]}, {advice}" for name in idle], tried)
        return not idle

    def _say(self, found: Sequence[str], tried: Sequence[_Value]) -> None:
        """Add problems, each once, at the line of the parameter that was tried, or else of the one that the problem names."""
        for problem in found:
            if problem in self._said:
                continue
            self._said.add(problem)
            beside = f" (with {tried[1].override})" if len(tried) > 1 else ""
            self.problems.append(f"{self._location(problem, tried)}{problem}{beside}")

    def _location(self, problem: str, tried: Sequence[_Value]) -> str:
        """Return the file and line of a problem, as messages begin; nothing for one that names an override beside the file."""
        blamed = tried[0].name if tried else _named_first(problem, self.values)
        if blamed:
            return f"{self.sweep.at(f'parameters.{blamed}')}: "
        beside_the_file = tuple(f"{override}{end}" for override in self.overrides for end in (":", " "))
        return "" if problem.startswith(beside_the_file) else f"{self.sweep.at('command')}: "


def _named_first(problem: str, names: Iterable[str]) -> str | None:
    """Return the first parameter that a problem names."""
    found = ((re.search(rf"(?<![\w.]){re.escape(name)}(?!\.?\w)", problem), name) for name in names)
    return min(((match.start(), name) for match, name in found if match), default=(0, None))[1]


def _values_of(parameter: Parameter) -> list[_Value]:
    name = parameter.name
    return [_Value(name, as_override(name, value)) for value in sample_values(parameter.distribution)]


def _with(config: Config, other: Config, key: str) -> Config:
    """Return a config with one setting taken from another."""
    section, _, name = key.rpartition(".")
    if not section:
        return replace(config, **{name: getattr(other, name)})
    inner = getattr(config, section)
    return replace(config, **{section: replace(inner, **{name: getattr(getattr(other, section), name)})})


def _metric_problems(sweep: SweepFile, config: Config) -> Iterator[str]:
    """Yield what is wrong with the metric: runs must report it, and the goal must be its better end."""
    if sweep.metric is None:
        return
    scores = task_traits(config.model).metric_names
    metric, where = sweep.metric, f"{sweep.at('metric')}: metric"
    if metric.name not in (*scores, LOSS):
        hint = did_you_mean(metric.name, scores) or "."
        yield f"{where}: a run reports {', '.join((*scores, LOSS))}, and no {metric.name}{hint}"
    elif (metric.name == LOSS) != (metric.goal is Goal.minimize):
        better = Goal.minimize if metric.name == LOSS else Goal.maximize
        yield f"{where}: of {metric.name}, {'less' if better is Goal.minimize else 'more'} is better: say goal: {better.value}."
    elif metric.target is not None and metric.name != LOSS and not 0 <= metric.target <= 1:
        meant = f": write {metric.target / 100:g} for {metric.target:g} %" if 1 < metric.target <= 100 else ""
        yield f"{where}: target is {metric.target:g}, but {metric.name} is from 0 to 1{meant}."


def _unscored(sweep: SweepFile, config: Config) -> Iterator[str]:
    """Yield what the validation images can't be scored by, of the sweep's metric and the runs' own."""
    from dcnrun.tasks.validate import check_images_of, why_not_scored  # imports torch

    check_images_of(config)
    metric = sweep.metric
    if metric is not None and metric.name != LOSS and (why := why_not_scored(config, metric.name)):
        yield f"{sweep.at('metric')}: metric: {metric.name}: {why}."
