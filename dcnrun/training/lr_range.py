"""`dcnrun lr`: a learning-rate range test (Smith 2017): the loss while the rate grows from step to step until it diverges."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dcnrun.config.schema import Config, Schedule
from dcnrun.console import console
from dcnrun.data import train_batches
from dcnrun.errors import RunError, UsageError
from dcnrun.plotting import BLUE, GREY, LABEL_SIZE, VERMILION, new_figure, save_png, tidy
from dcnrun.runs import write_json
from dcnrun.tasks.validate import check
from dcnrun.training.loop import train_step
from dcnrun.training.prepare import describe, prepare
from dcnrun.training.progress import TimeLeft, TrainingProgress

FEWEST_STEPS = 10
_SMOOTHING = 0.9
_DIVERGED = 4.0
_WINDOW = 0.1
RULE = (
    "The middle of the tenth of the tested decades over which the smoothed loss falls most, before its minimum. Smoothed: a moving "
    f"average that keeps {_SMOOTHING:g} of itself at each step. The test ends where that is {_DIVERGED:g} times its minimum, or "
    "no number."
)


@dataclass(frozen=True)
class RangeTest:
    """Learning rates, each with the loss of its step, and what they suggest."""

    rates: list[float]
    losses: list[float]
    diverged: bool

    @property
    def smoothed(self) -> list[float]:
        """The losses without most of the differences from batch to batch."""
        return smooth(self.losses)

    def suggestion(self, steps: int) -> float | None:
        """Return the rate that RULE gives for a test that was to have so many steps; None where the loss never fell."""
        width = max(1, round(_WINDOW * steps))
        smoothed = self.smoothed
        last = int(np.argmin(smoothed)) if smoothed else 0
        falls = [smoothed[start] - smoothed[start + width] for start in range(last - width + 1)]
        if not falls or max(falls) <= 0:
            return None
        start = int(np.argmax(falls))
        return math.sqrt(self.rates[start] * self.rates[start + width])


def smooth(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving average, corrected for its start from 0."""
    average, smoothed = 0.0, []
    for number, loss in enumerate(losses, start=1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed.append(average / (1 - _SMOOTHING**number))
    return smoothed


def lr_range_test(config: Config, low: float, high: float, steps: int, out: Path) -> dict[str, Any]:
    """Train for some steps while `optim.lr` grows from `low` to `high`; print, draw and return the losses and a suggestion.

    All else is as the config says, its schedule and warm-up aside, on one device. The network is thrown away.
    """
    if steps < FEWEST_STEPS:
        raise UsageError(f"--steps {steps}: fewer than {FEWEST_STEPS} tell nothing.")
    if not 0 < low < high < math.inf:
        raise UsageError(f"--from {low:g} --to {high:g}: two rates above 0, the smaller first.")
    config = replace(config, trainer=replace(config.trainer, devices=1, nodes=1))
    check(config)
    constant = replace(config.optim, schedule=Schedule.constant, warmup_steps=0, ema=None)
    tested = replace(config, optim=constant, trainer=replace(config.trainer, steps=steps, epochs=None))
    result = _train(tested, [low * (high / low) ** (step / (steps - 1)) for step in range(steps)])
    suggestion = result.suggestion(steps)
    report = {
        "suggestion": suggestion,
        "rule": RULE,
        "diverged": result.diverged,
        "rates": result.rates,
        "losses": result.losses,
        "smoothed": result.smoothed,
    }
    write_json(out / "lr.json", report)
    picture = save_png(plot_range_test(result, suggestion), out / "lr.png")
    _print(result, suggestion, picture)
    return {**report, "picture": str(picture)}


def plot_range_test(result: RangeTest, suggestion: float | None) -> Figure:
    """Plot the loss of each step and the smoothed loss against the learning rate, and the rate that is suggested."""
    figure = new_figure((6.5, 4))
    axes = figure.subplots()
    axes.semilogx(result.rates, result.losses, ".", color=GREY, markersize=4, label="loss of a step")
    axes.semilogx(result.rates, result.smoothed, color=BLUE, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=VERMILION, linestyle="--", linewidth=1.2, label=f"suggested: {suggestion:.2g}")
    if result.smoothed:
        lowest, highest = min(result.smoothed), result.smoothed[0]
        # Where it diverges, it leaves the picture.
        axes.set_ylim(lowest - 0.1 * abs(lowest), max(highest, lowest) * 1.5)
    axes.set_xlabel("optim.lr", fontsize=LABEL_SIZE)
    axes.set_ylabel("train/loss", fontsize=LABEL_SIZE)
    axes.legend(fontsize=LABEL_SIZE, frameon=False)
    tidy(axes, "Loss while the learning rate grows")
    return figure


def _train(config: Config, rates: Sequence[float]) -> RangeTest:
    """Take a step with each rate until the loss diverges."""
    training, model = prepare(config)
    describe(training, model, folder=None)
    accumulate, steps = config.trainer.accumulate, len(rates)
    batches = train_batches(training.train_set, config.data, seed=config.seed, first_step=0, steps=steps * accumulate)
    losses: list[float] = []
    diverged = False
    training.network.train()
    with TrainingProgress(TimeLeft(steps), 0, is_shown=True) as progress, closing(batches):
        for step, rate in enumerate(rates, start=1):
            training.config.optim.lr = rate
            try:
                losses.append(train_step(training, *islice(batches, accumulate)))
            except RunError:  # the loss, or an offset, is no finite number
                diverged = True
                break
            progress.step(step, losses[-1])
            smoothed = smooth(losses)
            diverged = smoothed[-1] > _DIVERGED * min(smoothed)
            if diverged:
                break
    return RangeTest(list(rates[: len(losses)]), losses, diverged)


def _print(result: RangeTest, suggestion: float | None, picture: Path) -> None:
    if result.diverged:
        console.print(f"The loss diverged at a rate of {result.rates[-1]:.2g}, after {len(result.rates)} steps.")
    if suggestion is None:
        console.print(
            "The loss fell at no rate: test others (--from, --to), more --steps, or look at the data and labels."
        )
    else:
        lowest = result.rates[int(np.argmin(result.smoothed))]
        console.print(f"The smoothed loss is lowest at {lowest:.2g}. Suggested: optim.lr={suggestion:.2g}")
        console.print(RULE)
    console.print(f"Written: {picture}", markup=False, soft_wrap=True)
