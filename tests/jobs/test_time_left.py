"""The time that a batch of jobs has left, against a simulation that knows it."""

import random

import pytest

from dcnrun.jobs.ledger import Job, State
from dcnrun.jobs.time_left import seconds_left

KINDS = {"standard": 100.0, "deformable": 140.0, "modulated": 150.0}


class Schedule:
    """Jobs of three kinds for six seeds, each within a tenth of what its kind takes, on some agents."""

    def __init__(self, agents: int, seed: int) -> None:
        chance = random.Random(seed)
        self.took = [seconds * chance.uniform(0.9, 1.1) for _ in range(6) for seconds in KINDS.values()]
        free, self.started = [0.0] * agents, []
        for seconds in self.took:
            agent = free.index(min(free))
            self.started.append(free[agent])
            free[agent] += seconds
        self.over = max(free)

    def at(self, now: float) -> list[Job]:
        return [self.job(number, now) for number in range(len(self.took))]

    def job(self, number: int, now: float) -> Job:
        begins, ends = self.started[number], self.started[number] + self.took[number]
        state = State.waiting if now < begins else State.running if now < ends else State.completed
        job = Job(number, (), {}, f"job-{number}", state)
        if state is State.waiting:
            return job
        return Job(
            *(number, (), {}, job.folder, state),
            attempts=1,
            started=begins,
            ended=ends if state is State.completed else None,
        )

    def left(self, now: float, to_come: int = 0) -> float | None:
        def share(job):
            return (now - self.started[job.number]) / self.took[job.number]

        jobs = self.at(now)
        return seconds_left(jobs[: len(jobs) - to_come], share, lambda job: job.number % len(KINDS), to_come, now)


@pytest.mark.parametrize("agents", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("drawn_later", [0, 3])
def test_it_is_right_within_a_quarter_from_a_tenth_of_the_way_on(agents, seed, drawn_later):
    schedule = Schedule(agents, seed)
    for tenths in range(20, 180):
        now = schedule.over * tenths / 200
        to_come = drawn_later if schedule.started[-drawn_later] > now else 0
        left = schedule.left(now, to_come)
        assert left == pytest.approx(schedule.over - now, rel=0.25, abs=40)  # to the end, a job's own chance is in it


def test_nothing_is_said_while_nothing_is_known():
    waiting = Job(0, (), {}, "job-0", State.waiting)
    running = Job(1, (), {}, "job-1", State.running, attempts=1, started=10.0)
    assert seconds_left([waiting, running], lambda job: 0.01, now=20.0) is None
    assert seconds_left([waiting, running], lambda job: None, now=20.0) is None
    assert seconds_left([waiting, running], lambda job: 0.1, now=20.0) == pytest.approx(90 + 100)


def test_what_was_interrupted_says_nothing_where_others_do():
    jobs = [
        Job(0, (), {}, "job-0", State.completed, attempts=2, started=0.0, ended=9_000.0),
        Job(1, (), {}, "job-1", State.completed, attempts=1, started=0.0, ended=100.0),
        Job(2, (), {}, "job-2", State.failed, attempts=1, started=0.0, ended=1.0),
        Job(3, (), {}, "job-3", State.waiting),
    ]
    assert seconds_left(jobs, lambda job: None, now=9_000.0) == 100
