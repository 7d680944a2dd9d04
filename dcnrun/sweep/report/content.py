"""The content of a report as one object (report.json): every trial, importance of parameters, and what the stop rule saved."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna
from optuna.trial import create_trial

from dcnrun.compare.notes import VERSIONS, different_beginnings
from dcnrun.jobs.ledger import Job, State
from dcnrun.jobs.owner import host_of
from dcnrun.runs import RunFolder
from dcnrun.sweep.hyperband import bands
from dcnrun.sweep.objective import ENDED
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import Repeated
from dcnrun.sweep.space import dimension
from dcnrun.sweep.spec.sweep_file import Parameter, SweepFile
from dcnrun.sweep.status import Progress, as_json
from dcnrun.sweep.trial import command_line

FEWEST = 8
METHOD = "PED-ANOVA (Optuna)"
EXPLAINED = (
    "how differently a parameter is distributed among the better half of the trials than among all; shares of the sum"
)
# Optuna's own 0.1 leaves two trials of twenty, too few to tell a choice that matters from one that does not.
_BETTER = 0.5
_MOST_NAMED = 10


@dataclass(frozen=True)
class Importance:
    """Each parameter's share, the largest first, with sum 1, or why there is none."""

    shares: dict[str, float] = field(default_factory=dict)
    why_not: str | None = None


@dataclass(frozen=True)
class Cost:
    """Reports of the metric (validations) and training steps: those that were run, and those of the sweep without its stop rule."""

    validations: int
    steps: int
    validations_without_rule: int
    steps_without_rule: int

    @property
    def share(self) -> float:
        """The share of the steps that were run."""
        return self.steps / self.steps_without_rule if self.steps_without_rule else 1.0

    def __str__(self) -> str:
        return (
            f"{self.validations} validations and {self.steps} steps were run; without the stop rule it would have been "
            f"{self.validations_without_rule} and {self.steps_without_rule} ({100 * (1 - self.share):.0f} % of the steps were saved)."
        )


def content(plan: Plan, progress: Progress, found: Importance, repeated: Repeated | None) -> dict[str, Any]:
    """Return the sweep, every trial, the best settings as a command line, importance and cost, for report.json."""
    sweep = plan.sweep
    best = repeated.best if repeated else progress.best
    spent = cost(progress)
    status = as_json(progress)
    return {
        **status,
        "method": sweep.method.value,
        "search": plan.sampler,
        "seed": plan.seed,
        "command": command_line(best.overrides) if best else None,
        "warnings": trial_warnings(sweep, progress),
        "ranking": [job.number for job in progress.ranked()],
        "bands": _bands(plan, progress),
        "cost": {**asdict(spent), "share_of_steps": spent.share},
        "importance": {"method": METHOD, "meaning": EXPLAINED, "shares": found.shares, "why_not": found.why_not},
        "repeats": repeated.as_json() if repeated else None,
        "trials": [
            {**trial, **_more(job, progress)} for trial, job in zip(status["trials"], progress.jobs, strict=True)
        ],
    }


def importance(sweep: SweepFile, progress: Progress) -> Importance:
    """Compute how much each parameter that varies decides whether a trial is among the better half of those with a value."""
    ended = [(job, value) for job, value in progress.valued() if job.state in ENDED]
    dimensions = {each.name: dimension(each.distribution) for each in sweep.parameters if varies(each)}
    domains = {name: each.domain for name, each in dimensions.items()}
    if not dimensions:
        return Importance(why_not="no parameter varies")
    if len(ended) < FEWEST:
        return Importance(why_not=f"it takes {FEWEST} trials with a value, and there are {len(ended)}")
    if len({value for _, value in ended}) == 1:
        return Importance(why_not="all trials have the same value")
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # scikit-learn too, where it is

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=progress.goal.value)
    for job, value in ended:
        points = {name: each.point(job.parameters[name]) for name, each in dimensions.items()}
        study.add_trial(create_trial(value=value, params=points, distributions=domains))
    with warnings.catch_warnings():  # many equal values: then the shares are equal, too
        warnings.simplefilter("ignore")
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=_BETTER))
    return Importance(shares)


def trial_warnings(sweep: SweepFile, progress: Progress) -> list[str]:
    """Return a line for each thing but the parameters in which trials differ: a sweep goes on after an update, or after labels were mended.

    Trials whose folders are on another machine are passed over; so are data where a parameter changes them.
    """
    changes_data = any(each.name.startswith("data.") and varies(each) for each in sweep.parameters)
    trials = []
    for job in progress.jobs:
        if job.state is not State.failed:
            began = RunFolder(progress.folder / job.folder).read_environment()
            compared = {name: began[name] for name in VERSIONS if name in began} if changes_data else began
            trials.append((str(job.number), compared))
    return [
        f"Trials were trained {what} ({'; '.join(f'{begun}: {_numbered(own)}' for begun, own in beginnings.items())}): part of a difference "
        "between them may be theirs. `dcnrun sweep --name` begins a sweep whose trials are alike."
        for what, beginnings in different_beginnings(trials)
    ]


def _numbered(trials: Sequence[str]) -> str:
    more = f" and {len(trials) - _MOST_NAMED} more" if len(trials) > _MOST_NAMED else ""
    return f"{'trial' if len(trials) == 1 else 'trials'} {', '.join(trials[:_MOST_NAMED])}{more}"


def varies(parameter: Parameter) -> bool:
    """Whether a parameter has more than one value."""
    return not dimension(parameter.distribution).domain.single()


def most_important(names: Sequence[str], found: Importance) -> list[str]:
    """Sort names by importance, the most important first; in their order where that is not known."""
    return sorted(names, key=lambda name: -found.shares.get(name, 0.0))


def cost(progress: Progress) -> Cost:
    """Compute what the trials cost, and what they would have cost if the stopped ones had run to their end.

    Where a stopped trial's folder is on another machine, its end is that of the longest completed trial.
    """
    reached = {job.number: progress.steps(job) for job in progress.jobs}
    longest = max((reached[job.number][0] for job in progress.jobs if job.state is State.completed), default=0)
    validations = without_rule = sum(len(job.history) for job in progress.jobs)
    steps = steps_without_rule = sum(step for step, _ in reached.values())
    for job in progress.jobs:
        if job.state is State.stopped and job.band is not None:
            step, planned = reached[job.number]
            end = max(step, longest if planned is None else planned)
            steps_without_rule += end - step
            if job.history:  # its reports to the end would be as far apart as those that it made; the last step has one
                reports = math.ceil(end * len(job.history) / job.history[-1][0])
                without_rule += max(reports - len(job.history), 0)
    return Cost(validations, steps, without_rule, steps_without_rule)


def _bands(plan: Plan, progress: Progress) -> list[int]:
    """Return the bands that any trial has reached; the ladder itself may have no end."""
    rule = plan.sweep.early_terminate
    longest = max((len(job.history) for job in progress.jobs), default=0)
    return [band for band in bands(rule) if band <= longest] if rule else []


def _more(job: Job, progress: Progress) -> Mapping[str, Any]:
    value = progress.value(job)
    return {
        "best_step": next((step for step, reported in job.history if reported == value), None),
        "host": host_of(job.owner) if job.owner else None,
        "seconds": job.ended - job.started if job.ended is not None and job.started is not None else None,
    }
