"""Progress for people: a bar on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dcnrun.console import console, in_words

SECONDS_BETWEEN_LINES = 10.0
_LINES_OF_A_RUN = 100
"""At most, so that the log of a run of days can be read."""
_SLOW_STEPS = 2
"""The first, which load kernels and wait for workers to start."""
_REMEMBERED = 200
"""The number of last steps that the time of those to come is judged by."""


@dataclass
class TimeLeft:
    """How long a run goes on, by what its steps and validations have taken so far."""

    steps: int
    eval_every: int | None = None
    validation_in_steps: float = 0.0
    """How many steps take as long as a validation, as far as is known before the first."""
    _counted: int = 0
    _step_seconds: float = 0.0
    _validations: int = 0
    _validation_seconds: float = 0.0
    _since: float | None = None

    def step_ends(self) -> None:
        """Count what a step took, which began where the last one or a validation ended."""
        now = time.monotonic()
        self._counted += 1
        if self._since is not None and (known := self._counted - _SLOW_STEPS) > 0:
            self._step_seconds += (now - self._since - self._step_seconds) / min(known, _REMEMBERED)
        self._since = now

    @contextmanager
    def validation(self) -> Iterator[None]:
        """Count what a validation takes."""
        began = time.monotonic()
        yield
        self._since = time.monotonic()
        self._validations += 1
        self._validation_seconds += (self._since - began - self._validation_seconds) / self._validations

    def seconds(self, step: int) -> float | None:
        """Return the seconds from the end of a step, before its validation, to that of the run; None while nothing is known."""
        if self._counted <= _SLOW_STEPS:
            return None
        left = (self.steps - step) * self._step_seconds
        if self.eval_every is None:
            return left
        to_come = math.ceil(self.steps / self.eval_every) - (step - 1) // self.eval_every
        each = self._validation_seconds if self._validations else self.validation_in_steps * self._step_seconds
        return left + to_come * each


class TrainingProgress:
    """Shows the step, the loss, the time left and the last validation; silent on every process but the first."""

    def __init__(self, left: TimeLeft, first_step: int, is_shown: bool) -> None:
        self._left = left
        self._is_shown = is_shown
        self._began = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if is_shown and console.is_terminal:
            self._bar = Progress(
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.fields[note]}"),
                console=console,
            )
            self._task = self._bar.add_task("train", total=left.steps, completed=first_step, note="", left="")

    def __enter__(self) -> "TrainingProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Show a finished training step."""
        self._left.step_ends()
        seconds = self._left.seconds(step)
        left = "" if seconds is None else f"{in_words(seconds)} left"
        if self._bar:
            self._bar.update(self._task, completed=step, note=f"loss {loss:.4f}", left=left)
        elif self._is_shown and time.monotonic() - self._last_line > self._seconds_between_lines(seconds):
            self._last_line = time.monotonic()
            console.print(f"step {step}/{self._left.steps}  loss {loss:.4f}  {left}".rstrip())

    @contextmanager
    def validation(self) -> Iterator[None]:
        """Have what is done within count as a validation, and not as a step, for the time left."""
        with self._left.validation():
            yield

    def say(self, message: str) -> None:
        """Print a line that stays."""
        if self._is_shown:
            console.print(message, markup=False)

    def _seconds_between_lines(self, left: float | None) -> float:
        whole = time.monotonic() - self._began + (left or 0.0)
        return max(SECONDS_BETWEEN_LINES, whole / _LINES_OF_A_RUN)


class ImageProgress:
    """Shows how many images of how many are done, and the time that is left."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._done = 0
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("images", total=images)

    def __enter__(self) -> "ImageProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self) -> None:
        """Count an image."""
        self._done += 1
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=self._done)
        elif now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            rate = self._done / (now - self._started)
            left = (self._images - self._done) / rate
            console.print(f"image {self._done}/{self._images}  {rate:.3g} a second  {in_words(left)} left")

    def say(self, message: str) -> None:
        """Print a line that stays."""
        console.print(message, markup=False, soft_wrap=True)
