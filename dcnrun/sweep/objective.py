"""The objective of a trial: the best of its reports, or the value that the sweep file imputes."""

from collections.abc import Sequence

from dcnrun.jobs.ledger import Job, State
from dcnrun.sweep.spec.sweep_file import Goal, Impute, Metric

ENDED = {State.completed, State.stopped, State.failed}


def best_value(job: Job, goal: Goal) -> float | None:
    """Return the best value that a job reported; None if there is none."""
    return job.lowest if goal is Goal.minimize else job.highest


def target_reached(metric: Metric, jobs: Sequence[Job]) -> bool:
    """Whether any job has reported the metric's target, or better."""
    target = metric.target
    if target is None:
        return False
    values = [value for job in jobs if (value := best_value(job, metric.goal)) is not None]
    return any(value <= target if metric.goal is Goal.minimize else value >= target for value in values)


def worst_value(jobs: Sequence[Job], goal: Goal) -> float | None:
    """Return the worst value that any job that ended has reported; None if there is none."""
    ended = [job for job in jobs if job.state in ENDED]
    if goal is Goal.minimize:
        return max((job.highest for job in ended if job.highest is not None), default=None)
    return min((job.lowest for job in ended if job.lowest is not None), default=None)


def value_in_search(job: Job, metric: Metric, worst: float | None) -> float | None:
    """Return the value of a job for the search, as W&B's search defines it; None if it has none.

    A job that ended has the best of its reports. One that failed has the value that `impute` says (W&B take `worst` by
    default, here it has none), and one that runs has a value only with `impute_while_running`: its best so far, or what that says.
    `worst` is the worst value of all jobs that ended, by `worst_value`.
    """
    ended = job.state in ENDED
    strategy = metric.impute if ended else metric.impute_while_running
    if not ended and strategy is None:
        return None
    own = None if job.state is State.failed else best_value(job, metric.goal)
    return _imputed(strategy, job, metric.goal, worst) if own is None else own


def _imputed(strategy: Impute | None, job: Job, goal: Goal, worst: float | None) -> float | None:
    match strategy:
        case None:
            return None
        case Impute.best:
            return best_value(job, goal)
        case Impute.latest:
            return next(reversed(job.values), None)
        case Impute.worst:
            return worst
