"""What the stop rule saved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dcnrun.jobs.ledger import Job, State
from dcnrun.sweep.status import Progress


@dataclass(frozen=True)
class Cost:
    """Reports of the metric (validations) and training steps: those that were run, and those of a sweep without the stop rule."""

    validations: int
    steps: int
    validations_without_rule: int
    steps_without_rule: int

    @property
    def share(self) -> float:
        """Steps that were run, of those without the rule."""
        return self.steps / self.steps_without_rule if self.steps_without_rule else 1.0


def cost(progress: Progress) -> Cost:
    """What the trials cost, and what they would have, had those that the rule stopped gone on to their end.

    Where a stopped trial's folder is on another machine, its end is that of the longest completed trial.
    """
    reached = {job.number: progress.steps(job) for job in progress.jobs}
    longest = max((reached[job.number][0] for job in progress.jobs if job.state is State.completed), default=0)
    whole = {job.number: _whole(job, reached, longest) for job in progress.jobs}
    return Cost(
        validations=sum(len(job.history) for job in progress.jobs),
        steps=sum(step for step, _ in reached.values()),
        validations_without_rule=sum(_reports(job, whole[job.number]) for job in progress.jobs),
        steps_without_rule=sum(whole.values()),
    )


def _whole(job: Job, reached: Mapping[int, tuple[int, int | None]], longest: int) -> int:
    """Steps of a trial without the rule."""
    step, steps = reached[job.number]
    return max(step, longest if steps is None else steps) if _is_stopped_by_rule(job) else step


def _reports(job: Job, steps: int) -> int:
    """Reports after so many steps, as far apart as those of the trial; the last step has one."""
    if not _is_stopped_by_rule(job) or not job.history:
        return len(job.history)
    return max(math.ceil(steps * len(job.history) / job.history[-1][0]), len(job.history))


def _is_stopped_by_rule(job: Job) -> bool:
    return job.state is State.stopped and job.band is not None
