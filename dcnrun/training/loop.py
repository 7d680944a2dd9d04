"""The training loop, from top to bottom: steps, validation, checkpoints."""

import hashlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from dcnrun.data import LabelledDataset, train_batches
from dcnrun.data.files import first_few
from dcnrun.errors import RunError
from dcnrun.models.weights import misfit
from dcnrun.runs import RunFolder
from dcnrun.scores import as_percent
from dcnrun.tasks.task import BatchT, Evaluation, PredictionT, SampleT
from dcnrun.training import checkpoint
from dcnrun.training.loggers import Logger
from dcnrun.training.monitor import OffsetMonitor, first_layer_not_finite, suggest_fixes
from dcnrun.training.optim import learning_rates, set_learning_rates, update_average
from dcnrun.training.pictures import has_sheet, write_pictures
from dcnrun.training.progress import TimeLeft, TrainingProgress
from dcnrun.training.validation import WARM_UP_BATCHES, Inference, on_device, validate

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGXCPU)
"""Ctrl-C, a scheduler, Ctrl-\\, a terminal that is closed, and a limit of CPU time: each asks a run to save its state and end."""


class Stopped(BaseException):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved its state."""


@dataclass
class Clock:
    """Seconds spent, and images they bought; kept in checkpoints, so that they cover the whole run."""

    training: float = 0.0
    waiting: float = 0.0
    trained_images: int = 0
    wall: float = 0.0

    def rates(self) -> dict[str, float | None]:
        """Return images a second in training (waiting for data included), and the share of waiting."""
        busy = self.training + self.waiting
        return {
            "train_images_per_second": self.trained_images / busy if busy else None,
            "data_wait_share": self.waiting / busy if busy else None,
        }


@dataclass
class LossMeans:
    """Means of the loss and its parts over the steps since they were last logged."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, parts: dict[str, float]) -> None:
        """Count the losses of one step."""
        self.steps += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means as they are logged, `train/loss` and so on, and count anew."""
        means = {f"train/{name}": value / self.steps for name, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means


@dataclass
class Training(Inference[SampleT, BatchT, PredictionT]):
    """A network in training and where it stands."""

    network: nn.Module  # as set up by Fabric: precision and DDP
    optimizer: Optimizer
    train_set: LabelledDataset[SampleT, BatchT]
    monitor: OffsetMonitor
    average: AveragedModel | None = None  # of the weights, where optim.ema is set
    step: int = 0
    losses: LossMeans = field(default_factory=LossMeans)
    best: dict[str, float] = field(default_factory=dict)
    last: Evaluation | None = None
    clock: Clock = field(default_factory=Clock)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the average of the weights where there is one."""
        return self.raw_model if self.average is None else self.average.module

    @property
    def images_per_step(self) -> int:
        """The images whose gradients make a step of the optimizer."""
        return self.config.data.batch_size * self.config.trainer.accumulate

    @property
    def epoch(self) -> float:
        """How often the training images have been seen."""
        return self.step * self.images_per_step / len(self.train_set)

    @property
    def ended_early(self) -> str | None:
        """Why training is over before the last step of the config: `trainer.patience` validations without a better metric; else None.

        The best validation and the step tell, so that a resumed run ends where one that was never interrupted does.
        """
        trainer, best = self.config.trainer, int(self.best.get("step", self.step))
        stale = self.step // trainer.eval_every - best // trainer.eval_every
        if trainer.patience is None or stale < trainer.patience or self.step >= trainer.steps:
            return None
        return (
            f"ended after {self.step} of {trainer.steps} steps, since {self.task.traits.metric(self.config)} was no better in "
            f"{stale} validations than at step {best} (trainer.patience={trainer.patience})"
        )

    @property
    def is_over(self) -> bool:
        """Whether no further step is to be taken."""
        return self.step >= self.config.trainer.steps or self.ended_early is not None

    def state(self) -> checkpoint.State:
        """Return everything a resumed run needs; collective over processes.

        `network` is what is evaluated. Where that is an average, the weights in training are beside it.
        """
        in_training = {} if self.average is None else {checkpoint.IN_TRAINING: self.raw_model.state_dict()}
        return {
            "step": self.step,
            "classes": list(self.train_set.classes),
            "network": self.evaluated.state_dict(),
            **in_training,
            "optimizer": self.optimizer.state_dict(),
            "scaler": dict(self._scaler.state_dict()) if self._scaler is not None else {},
            "random": _gathered(self.fabric, checkpoint.random_state()),
            "losses": asdict(self.losses),
            "clock": asdict(self.clock),
            "images": self._images,
        }

    def restore(self, state: checkpoint.State) -> None:
        """Continue from a state; RunError when it belongs to another network or other images."""
        if "images" in state and state["images"] != self._images:  # checkpoints of older runs don't say
            raise RunError(
                f"The images are not those that the run began with (training, validation: {_counts(state['images'])} then, "
                f"{_counts(self._images)} now). Put them back as they were, or start a new run."
            )
        checkpoint.require_state_of_training(state, has_average=self.average is not None)
        in_training = state[checkpoint.IN_TRAINING if self.average is not None else "network"]
        for weights in (state["network"], in_training):
            if wrong := misfit(self.raw_model, weights):
                raise RunError(f"The checkpoint does not fit the run's config: {wrong}.")
        try:
            self.raw_model.load_state_dict(in_training)
            if self.average is not None:
                self.average.module.load_state_dict(state["network"])
                self.average.n_averaged.fill_(state["step"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            self.losses = LossMeans(**state["losses"])
            self.clock = Clock(**state["clock"])
            if self._scaler is not None and state["scaler"]:
                self._scaler.load_state_dict(state["scaler"])
        except Exception as error:  # PyTorch's optimizers check little of what they are given
            raise RunError("The checkpoint does not fit the run's config: its optimizer is another.") from error

    @cached_property
    def _images(self) -> list[checkpoint.State]:
        """Return the number of training and of validation images, with a digest of their names."""
        return [_digest(dataset) for dataset in (self.train_set, self.val_set)]

    @property
    def _scaler(self) -> Any:
        return getattr(self.fabric.strategy.precision, "scaler", None)


def fit(
    training: Training[SampleT, BatchT, PredictionT],
    folder: RunFolder,
    loggers: Sequence[Logger],
    random_state: checkpoint.State | None,
) -> None:
    """Train from `training.step` to the last step of the config, or until `training.ended_early`.

    Stopped is raised, state saved, when the process is asked to stop. RunError when loss or offsets stop being finite.
    """
    config, fabric, clock = training.config, training.fabric, training.clock
    trainer, steps, accumulate = config.trainer, config.trainer.steps, config.trainer.accumulate
    batches = train_batches(
        training.train_set,
        config.data,
        seed=config.seed,
        first_step=training.step * accumulate,
        steps=(steps - training.step) * accumulate,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    if random_state is not None:  # only now: to start the loader draws a random number
        checkpoint.restore_random_state(random_state)
    first_step, began = training.step, time.perf_counter() - clock.wall
    training.network.train()
    # A validation computes forward alone, a third of what a step does for an image.
    left = TimeLeft(steps, trainer.eval_every, len(training.val_set) / training.images_per_step / 3)
    shown = TrainingProgress(left, first_step, fabric.is_global_zero)
    # Closed, else a worker that dies while an error is reported would raise another there.
    with stop_on_signals() as stop, shown as progress, closing(batches):
        while not training.is_over:
            started = time.perf_counter()
            of_step = list(islice(batches, accumulate))
            arrived = time.perf_counter()
            loss = train_step(training, *of_step)
            if training.step - first_step > WARM_UP_BATCHES:
                clock.waiting += arrived - started
                clock.training += time.perf_counter() - arrived
                clock.trained_images += training.images_per_step
            clock.wall = time.perf_counter() - began
            progress.step(training.step, loss)

            if training.step % trainer.log_every == 0 or training.step == steps:
                _log_training(training, folder, loggers, progress)
            if training.step % trainer.eval_every == 0 or training.step == steps:
                with progress.validation():
                    _validate_and_keep_best(training, folder, loggers, progress)
            stopping = _any_process(fabric, stop.is_set())
            if training.step % trainer.save_every == 0 or training.is_over or stopping:
                _save(training, folder, loggers)
            if stopping and not training.is_over:
                raise Stopped
    if training.last is None:  # killed after its last checkpoint, before the end was recorded
        training.last = validate(training)


def train_step(training: Training[SampleT, BatchT, PredictionT], *batches: BatchT) -> float:
    """Take one step of the optimizer, by the gradient of one batch or of several as if they were one, and return the loss,
    checked to be finite."""
    config, fabric, optimizer = training.config, training.fabric, training.optimizer
    training.step += 1
    training.monitor.measure = training.step % config.trainer.log_every == 0 or training.step == config.trainer.steps
    set_learning_rates(optimizer, config.optim, training.step - 1, config.trainer.steps)
    optimizer.zero_grad()
    values: dict[str, float] = {}
    for number, (batch, share) in enumerate(zip(batches, _shares(training, batches), strict=True), start=1):
        batch = on_device(batch, fabric, config)
        is_last = number == len(batches)
        with fabric.no_backward_sync(training.network, enabled=not is_last):  # type: ignore[arg-type]  # set up by Fabric
            parts = training.task.losses(training.network, batch, config, fabric.world_size)
            loss = torch.stack([*parts.values()]).sum()
            # Together: each transfer would wait for the device.
            numbers = torch.stack([loss, *parts.values()]).tolist()
            _check_finite(training, numbers[0], batch)
            fabric.backward(loss * share)
        of_batch = dict(zip(["loss", *parts], numbers, strict=True))  # one of "loss", though a part may have that name
        for name, value in of_batch.items():
            values[name] = values.get(name, 0.0) + value * share
    if config.optim.clip_norm is not None:
        fabric.clip_gradients(training.network, optimizer, max_norm=config.optim.clip_norm, error_if_nonfinite=False)
    optimizer.step()
    if training.average is not None:
        update_average(training.average, training.raw_model)
    training.losses.add(values)
    return values["loss"]


def _shares(training: Training[SampleT, BatchT, PredictionT], batches: Sequence[BatchT]) -> list[float]:
    """Return what each batch counts for in the mean over all, on all processes."""
    if len(batches) == 1:
        return [1.0]
    counted = [training.task.weight(batch, training.config) for batch in batches]
    weights = torch.tensor(counted, device=training.fabric.device, dtype=torch.float64)
    if training.fabric.world_size > 1:
        torch.distributed.all_reduce(weights)
    return [float(share) for share in weights / (weights.sum() or 1)]


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that the signals set by which a terminal or a scheduler ends a process; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    is_kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup asks for
    taken = [number for number in STOP_SIGNALS if not (number == signal.SIGHUP and is_kept)]
    before = {number: signal.signal(number, ask_to_stop) for number in taken}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log(
    training: Training[SampleT, BatchT, PredictionT],
    folder: RunFolder,
    loggers: Sequence[Logger],
    split: str,
    values: Mapping[str, float],
) -> None:
    if loggers:
        folder.require_in_place()
    for logger in loggers:
        logger.log(training.step, training.epoch, split, values)


def _log_training(
    training: Training[SampleT, BatchT, PredictionT],
    folder: RunFolder,
    loggers: Sequence[Logger],
    progress: TrainingProgress,
) -> None:
    rates = training.clock.rates()
    values: dict[str, Any] = {
        **training.losses.take(),
        **learning_rates(training.optimizer),
        **training.monitor.values(),
        "train/images_per_second": rates["train_images_per_second"],
        "train/data_wait_share": rates["data_wait_share"],
    }
    _log(training, folder, loggers, "train", values)
    for name, share in training.monitor.runaway_layers().items():
        progress.say(
            f"step {training.step}: offsets took {share:.0%} of the sampling points of {name} out of the feature map: there they "
            f"read zeros and learn nothing. A lower optim.{training.monitor.layers[name].branch_name}_lr_mult keeps them in."
        )


def _validate_and_keep_best(
    training: Training[SampleT, BatchT, PredictionT],
    folder: RunFolder,
    loggers: Sequence[Logger],
    progress: TrainingProgress,
) -> None:
    is_first = training.last is None
    result = training.last = validate(training)
    metrics, metric = result.metrics, training.task.traits.metric(training.config)
    if has_sheet(training.step, training.config.trainer) and training.fabric.is_global_zero:
        sheet = write_pictures(training, result.images, training.step, folder)
        if sheet is not None:
            for logger in loggers:
                logger.log_picture(training.step, sheet)
    _log(training, folder, loggers, "val", metrics)
    for logger in loggers:
        logger.log_classes(result.per_class)
    shown = [metric, *(name for name in training.task.traits.metric_names[:3] if name != metric)]
    progress.say(f"step {training.step}: " + "  ".join(f"{name} {as_percent(metrics[name])}" for name in shown))
    if is_first and (absent := result.images.absent_classes):
        progress.say(
            "Classes on no validation image, about which the scores say nothing: "
            f"{first_few([repr(name) for name in absent])}. `dcnrun data check` shows what the labels hold."
        )
    if not training.best or not metrics[metric] <= training.best[metric]:  # better, or the first that is a number
        training.best = {"step": training.step, metric: metrics[metric]}
        if training.fabric.is_global_zero:
            save_best(training, folder)
    if training.is_over and training.fabric.is_global_zero:
        result.images.save(folder.per_image_file)


def save_best(training: Training[SampleT, BatchT, PredictionT], folder: RunFolder) -> None:
    """Keep the weights that are evaluated, as they are now, as the best ones."""
    state: checkpoint.State = {
        "step": training.step,
        "classes": list(training.val_set.classes),
        "network": training.evaluated.state_dict(),
        "best": dict(training.best),
    }
    checkpoint.save_best(folder, state)


def _save(training: Training[SampleT, BatchT, PredictionT], folder: RunFolder, loggers: Sequence[Logger]) -> None:
    state = training.state()
    if training.fabric.is_global_zero:
        folder.require_in_place()
        for logger in loggers:
            logger.sync()
        checkpoint.save_last(folder, state)
    training.fabric.barrier()


def _check_finite(training: Training[SampleT, BatchT, PredictionT], loss: float, batch: BatchT) -> None:
    monitor = training.monitor
    deformed = monitor.first_not_finite()
    if np.isfinite(loss) and deformed is None:
        return
    first = first_layer_not_finite(
        training.raw_model, lambda: training.task.losses(training.raw_model, batch, training.config, world_size=1)
    )
    if first is not None:  # offsets that are not finite only because their layer's input is not are not to blame
        deformed = monitor.with_branch(first)
    layer = deformed or first
    where = f"in layer {layer}" if layer else "in the loss itself"
    what = f"The loss ({loss}) is" if deformed is None else "Offsets are"
    fixes = suggest_fixes(training.config, None if deformed is None else monitor.layers[deformed])
    raise RunError(f"{what} not finite at step {training.step}, first {where}. {fixes}")


def _digest(dataset: LabelledDataset[SampleT, BatchT]) -> checkpoint.State:
    names = "\n".join(dataset.name(index) for index in range(len(dataset)))
    return {"count": len(dataset), "names": hashlib.sha256(names.encode()).hexdigest()}


def _counts(images: list[checkpoint.State]) -> str:
    return " and ".join(str(each["count"]) for each in images)


def _any_process(fabric: Fabric, value: bool) -> bool:
    if fabric.world_size == 1:
        return value
    flag = torch.tensor(float(value), device=fabric.device)
    torch.distributed.all_reduce(flag)
    return bool(flag > 0)


def _gathered(fabric: Fabric, value: checkpoint.State) -> list[checkpoint.State]:
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(values, value)
    return values
