"""Where there is no terminal, a line every few seconds, of the first process alone."""

import pytest

from dcnrun.training import progress
from dcnrun.training.progress import ImageProgress, TimeLeft, TrainingProgress


class Clock:
    """A clock that goes on when it is told."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(("seconds", "lines"), [(0.5, [1, 2, 3]), (1.5, [2]), (3600.0, [])])
def test_lines_are_that_far_apart(seconds, lines, monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    with TrainingProgress(TimeLeft(9), first_step=0, is_shown=True) as shown:
        for step in (1, 2, 3):
            clock.now += 1
            shown.step(step, loss=0.5)
        shown.say("step 3: [val] 0.25")
    *steps, last = capsys.readouterr().out.splitlines()
    assert steps == [f"step {step}/9  loss 0.5000" + ("  6 s left" if step == 3 else "") for step in lines]
    assert last == "step 3: [val] 0.25"


def test_other_processes_say_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    with TrainingProgress(TimeLeft(9), first_step=0, is_shown=False) as silent:
        silent.step(1, loss=0.5)
        silent.say("anything")
    assert capsys.readouterr().out == ""


def test_lines_of_images_say_how_long_it_takes(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 9.0)
    clock = iter(range(0, 100, 5))  # an image every five seconds
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with ImageProgress(images=8) as shown:
        for _ in range(4):
            shown.advance()
        shown.say("[bad].jpg is damaged")
    assert capsys.readouterr().out.splitlines() == [
        "image 2/8  0.2 a second  30 s left",
        "image 4/8  0.2 a second  20 s left",
        "[bad].jpg is damaged",
    ]


@pytest.mark.parametrize(("guess", "is_right"), [(10.0, True), (0.0, False)])
def test_the_time_left_is_right_from_a_tenth_of_the_way_on(monkeypatch, guess, is_right):
    """100 steps of 2 s after two slow ones, and a validation of 20 s after each 25th and the last."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    left, estimates, ends = TimeLeft(100, 25, guess), [], []
    for step in range(1, 101):
        clock.now += 30 if step < 3 else 2
        left.step_ends()
        estimates.append(left.seconds(step))
        ends.append(clock.now)
        if step % 25 == 0:
            with left.validation():
                clock.now += 20
    over = clock.now
    assert estimates[:2] == [None, None]
    off = [abs(estimate - (over - end)) / (over - end) for estimate, end in zip(estimates[9:], ends[9:], strict=True)]
    assert (max(off) < 0.01) == is_right
    assert max(off[16:]) < 0.01  # all is known once the first validation is over


def test_a_log_of_days_has_a_hundred_lines(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with TrainingProgress(TimeLeft(10_000), first_step=0, is_shown=True) as shown:
        for step in range(1, 10_001):
            clock.now += 30
            shown.step(step, loss=0.5)
    lines = capsys.readouterr().out.splitlines()
    assert 90 <= len(lines) <= 101
    words = [line.split() for line in lines if " h " in line]  # step 5000/10000 loss 0.5 41 h 40 min left
    assert len(words) > 80
    for _, step, _, _, hours, _, minutes, *_ in words:
        assert int(hours) * 60 + int(minutes) == pytest.approx((10_000 - int(step.partition("/")[0])) / 2, abs=1)
