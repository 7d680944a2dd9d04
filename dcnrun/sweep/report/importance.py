"""Which parameters mattered."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, create_trial

from dcnrun.jobs.ledger import Job
from dcnrun.sweep.space import Dimension, dimension
from dcnrun.sweep.spec.sweep_file import Parameter, SweepFile
from dcnrun.sweep.status import Progress
from dcnrun.sweep.values import ENDED

FEWEST = 8
METHOD = "PED-ANOVA (Optuna)"
EXPLAINED = (
    "how differently a parameter is distributed among the better half of the trials than among all; shares of the sum"
)
# Optuna's own 0.1 leaves two trials of twenty, too few to tell a choice that matters from one that does not.
_BETTER = 0.5


@dataclass(frozen=True)
class Importance:
    """Each parameter's share, the largest first and 1 in all, or why there is none."""

    shares: dict[str, float] = field(default_factory=dict)
    why_not: str | None = None


def importance(sweep: SweepFile, progress: Progress) -> Importance:
    """How much each parameter that varies had to do with being among the better half of the trials that have a value."""
    ended = [(job, value) for job, value in progress.valued() if job.state in ENDED]
    dimensions = {each.name: dimension(each.distribution) for each in sweep.parameters if varies(each)}
    if not dimensions:
        return Importance(why_not="no parameter varies")
    if len(ended) < FEWEST:
        return Importance(why_not=f"it takes {FEWEST} trials with a value, and there are {len(ended)}")
    if len({value for _, value in ended}) == 1:
        return Importance(why_not="all trials have the same value")
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # scikit-learn too, where it is

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=progress.goal.value)
    study.add_trials([_trial(job, value, dimensions) for job, value in ended])
    with warnings.catch_warnings():  # many equal values: then no share is told apart, which the shares say
        warnings.simplefilter("ignore")
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=_BETTER))
    return Importance(shares)


def varies(parameter: Parameter) -> bool:
    """Whether a parameter has more than one value."""
    return not dimension(parameter.distribution).domain.single()


def most_important(names: Sequence[str], found: Importance) -> list[str]:
    """The names with the most important first; as they were where that is not known."""
    return sorted(names, key=lambda name: -found.shares.get(name, 0.0))


def _trial(job: Job, value: float, dimensions: dict[str, Dimension]) -> FrozenTrial:
    return create_trial(
        value=value,
        params={name: each.point(job.parameters[name]) for name, each in dimensions.items()},
        distributions={name: each.domain for name, each in dimensions.items()},
    )
