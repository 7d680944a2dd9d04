"""Progress for people: a bar on a terminal, a line every few seconds elsewhere."""

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dcnrun.console import console

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows the step, the loss and the last validation; silent on every process but the first."""

    def __init__(self, steps: int, first_step: int, is_shown: bool) -> None:
        self._steps = steps
        self._is_shown = is_shown
        self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if is_shown and console.is_terminal:
            self._bar = Progress(
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )
            self._task = self._bar.add_task("train", total=steps, completed=first_step, note="")

    def __enter__(self) -> "TrainingProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Show a finished training step."""
        if self._bar:
            self._bar.update(self._task, completed=step, note=f"loss {loss:.4f}")
        elif self._is_shown and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            console.print(f"step {step}/{self._steps}  loss {loss:.4f}")

    def say(self, message: str) -> None:
        """Print a line that stays."""
        if self._is_shown:
            console.print(message, markup=False)


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
            console.print(f"image {self._done}/{self._images}  {rate:.3g} a second  {left:.0f} s left")

    def say(self, message: str) -> None:
        """Print a line that stays."""
        console.print(message, markup=False, soft_wrap=True)
