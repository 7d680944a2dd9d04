"""How long the jobs of a batch go on: each that is to come takes what those like it took."""

import heapq
import time
from collections.abc import Callable, Hashable, Sequence
from statistics import mean

from dcnrun.jobs.ledger import Job, State

_LEAST_SHARE = 0.05
"""Of a job's steps, from which on it tells how long it takes: the first are slower, and its start counts too."""


def seconds_left(
    jobs: Sequence[Job],
    share: Callable[[Job], float | None],
    alike: Callable[[Job], Hashable] = lambda job: None,
    to_come: int = 0,
    now: float | None = None,
) -> float | None:
    """Return the seconds until all jobs have ended, with as many at once as run now; None while nothing tells.

    Args:
        jobs: those that there are.
        share: how much of a running job's steps is done, 0 to 1, or None where that is not known.
        alike: what jobs that take as long have in common.
        to_come: how many jobs there will be beside them.
        now: the time, in seconds, on the clock of `Job.started`.
    """
    now = time.time() if now is None else now
    running = {job.number: now - job.started for job in jobs if job.state is State.running and job.started is not None}
    waiting = [job for job in jobs if job.state is State.waiting]
    took = _durations(jobs)
    for job in jobs:
        done = share(job) if job.number in running and job.attempts == 1 else None
        if done is not None and done >= _LEAST_SHARE:
            took.append((job, running[job.number] / done))
    if not took:
        return None
    of_any = mean(seconds for _, seconds in took)

    def expected(job: Job) -> float:
        like = [seconds for other, seconds in took if other is job] or [
            seconds for other, seconds in took if alike(other) == alike(job)
        ]
        return mean(like) if like else of_any

    begun = [job for job in jobs if job.number in running]
    free = [max(expected(job) - running[job.number], 0.0) for job in begun] or [0.0]
    heapq.heapify(free)
    for seconds in (*map(expected, waiting), *[of_any] * to_come):
        heapq.heapreplace(free, free[0] + seconds)  # whoever is free first takes the next
    return max(free)


def _durations(jobs: Sequence[Job]) -> list[tuple[Job, float]]:
    """Return the jobs that have ended and what they took; of those that were interrupted only where there are no others."""
    ended = [
        (job, job.ended - job.started)
        for job in jobs
        if job.state in (State.completed, State.stopped) and job.ended is not None and job.started is not None
    ]
    return [pair for pair in ended if pair[0].attempts == 1] or ended
