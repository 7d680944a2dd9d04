"""Where there is no terminal, a line every few seconds, of the first process alone."""

import pytest

from dcnrun.training import progress
from dcnrun.training.progress import ImageProgress, TrainingProgress


@pytest.mark.parametrize(("seconds", "lines"), [(-1.0, 3), (3600.0, 0)])
def test_lines_are_that_far_apart(seconds, lines, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    with TrainingProgress(steps=9, first_step=0, is_shown=True) as shown:
        for step in (1, 2, 3):
            shown.step(step, loss=0.5)
        shown.say("step 3: [val] 0.25")
    *steps, last = capsys.readouterr().out.splitlines()
    assert steps == [f"step {step}/9  loss 0.5000" for step in range(1, lines + 1)]
    assert last == "step 3: [val] 0.25"


def test_other_processes_say_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    with TrainingProgress(steps=9, first_step=0, is_shown=False) as silent:
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
