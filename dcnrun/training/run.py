"""A run from start to end: its folder, its environment, its status."""

import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from dcnrun.config.changes import require_same_numbers
from dcnrun.config.compose import load, to_yaml
from dcnrun.config.paths import find_paths, paths_to_keep
from dcnrun.config.schema import Config
from dcnrun.console import console
from dcnrun.data.contents import changed_contents, contents_of
from dcnrun.data.files import first_few
from dcnrun.errors import DcnrunError, RunError, UsageError, explained
from dcnrun.runs import RunFolder, RunStatus, locked, new_run_folder, write_json, write_text
from dcnrun.tasks.build import BuiltModel, forward_flops, parameter_count
from dcnrun.tasks.validate import check, check_images
from dcnrun.training import checkpoint
from dcnrun.training.launch import device_name, environment
from dcnrun.training.loggers import Logger, forget_after, open_loggers
from dcnrun.training.loop import Stopped, fit, save_best
from dcnrun.training.prepare import AnyTraining, data_notes, describe, prepare, say
from dcnrun.training.trained_run import check_saved, learnt_classes
from dcnrun.training.validation import image_size, inference_speed


def train(config: Config, overrides: Sequence[str] = (), run_dir: Path | None = None) -> dict[str, Any]:
    """Train a config from the start in a new run folder (or `run_dir`) and return the run's summary."""
    check(config)
    training, model = prepare(config)
    check_images(config, training.train_set, training.val_set)
    folder = _make_folder(training.fabric, config, run_dir)
    with _alone_in(folder, training.fabric):
        if training.fabric.is_global_zero:
            write_json(folder.paths_file, paths_to_keep(config, config, folder.path))
            write_text(folder.overrides_file, "".join(f"{override}\n" for override in overrides))
            taken = {"data": data_notes(training), **contents_of(training.train_set, training.val_set)}
            write_json(folder.environment_file, environment(training.fabric, config) | taken)
            # Last: with this file the run counts as begun, and is resumed with the others.
            write_text(folder.config_file, to_yaml(training.config))
        return _run(training, model, folder, random_state=None)


def resume(run_dir: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Resume a run from its last checkpoint; a completed one is left as it is, unless it is given more steps.

    Overrides change what decides no number: where the data are, devices, loggers, and the like. ConfigError names others.
    """
    folder = RunFolder(run_dir)
    folder.require()
    begun, as_set = load(folder.config_file), load(folder.config_file, overrides)
    require_same_numbers(begun, as_set)
    is_longer = (as_set.trainer.steps, as_set.trainer.epochs) != (begun.trainer.steps, begun.trainer.epochs)
    changed = folder.changed_files()
    if folder.is_completed() and not is_longer:
        for line in changed:
            console.print(f"Warning: {line}", markup=False, soft_wrap=True)
        console.print(f"{run_dir} is completed: nothing to resume.", markup=False)
        return folder.read_summary()
    config, moved = find_paths(as_set, folder.read_paths(), folder.path)
    check_saved(config, folder)
    state = file = warning = random_state = classes = None
    if folder.last_checkpoint.exists() or folder.previous_checkpoint.exists():
        state, file, warning = checkpoint.load_last(folder)
        classes = learnt_classes(state, folder)
    training, model = prepare(config, pretrained=state is None, classes=classes)
    with _alone_in(folder, training.fabric):
        if state is not None:
            try:
                training.restore(state)
                random_state = _random_state_of(training.fabric, state["random"])
                checkpoint.restore_random_state(random_state)  # again before the first step: now to know that it can be
            except RunError as error:
                raise RunError(f"{file}: {error}") from error
        training.best, lost = checkpoint.best_so_far(folder, training.task.traits.metric(config), training.step)
        for line in (*moved, *(f"Warning: {text}" for text in (warning, lost) if text)):
            say(training.fabric, line)
        say(training.fabric, f"Resuming {run_dir} after step {training.step}.")
        if training.fabric.is_global_zero:
            changed += _changed_data(folder, training)
            for line in (*changed, *forget_after(folder, training.step)):
                say(training.fabric, f"Warning: {line}")
            if missing := _unlogged(folder, training):
                say(training.fabric, f"Warning: {folder.metrics_file} lacks what was logged at {missing}: it is lost.")
            if lost and training.best.get("step") == training.step:
                save_best(training, folder)
            if overrides:
                as_set.trainer.steps = training.config.trainer.steps
                write_text(folder.config_file, to_yaml(as_set))
            write_json(folder.paths_file, paths_to_keep(as_set, config, folder.path))
        return _run(training, model, folder, random_state)


def _changed_data(folder: RunFolder, training: AnyTraining) -> list[str]:
    """Return a line on what has changed in the data since the run began: images that are others are refused before."""
    changed = changed_contents(folder.read_environment(), contents_of(training.train_set, training.val_set))
    if not changed:
        return []
    return [f"{' and '.join(changed)} have changed since the run began: it goes on with those that are there now."]


def _run(
    training: AnyTraining, model: BuiltModel, folder: RunFolder, random_state: checkpoint.State | None
) -> dict[str, Any]:
    config, fabric = training.config, training.fabric
    describe(training, model, folder)
    costs: dict[str, float | None] = {
        "parameters": parameter_count(training.raw_model),
        "flops": forward_flops(model, *image_size(training)),
        "inference_images_per_second": None,
    }
    loggers: list[Logger] = []
    status: RunStatus = RunStatus.failed
    reason: str | None = None
    try:
        if fabric.is_global_zero:
            _write_summary(training, folder, costs, RunStatus.running, None)
            loggers = open_loggers(folder, config)
        fit(training, folder, loggers, random_state)
        costs["inference_images_per_second"] = inference_speed(training)
        status, reason = RunStatus.completed, training.ended_early
    except Stopped:
        status, reason = RunStatus.stopped, f"asked to stop after step {training.step}"
        say(fabric, f"Stopped. Resume with: dcnrun train --resume {folder.path}")
        raise KeyboardInterrupt from None
    except KeyboardInterrupt:
        status, reason = RunStatus.stopped, f"interrupted at step {training.step}"
        raise
    except BaseException as error:
        named = explained(error)
        reason = str(named or error) or type(error).__name__
        if named is not None:
            raise named from error
        raise
    finally:
        if fabric.is_global_zero:
            _close(training, folder, loggers, costs, status, reason)
    say(fabric, f"Done, {reason}: {folder.path}" if reason else f"Done: {folder.path}")
    return folder.read_summary() if fabric.is_global_zero else {}


def _close(
    training: AnyTraining,
    folder: RunFolder,
    loggers: list[Logger],
    costs: dict[str, float | None],
    status: RunStatus,
    reason: str | None,
) -> None:
    """Record how the run ended; a full disk must not hide why it failed."""
    for logger in loggers:
        with suppress(OSError):  # what could not be written is still in its buffer
            logger.close(status)
    try:
        folder.require_in_place()
        _write_summary(training, folder, costs, status, reason)
    except DcnrunError as error:
        if status is RunStatus.completed:
            raise
        if str(error) != reason:
            console.print(f"The summary could not be written: {error}", markup=False)


def _write_summary(
    training: AnyTraining, folder: RunFolder, costs: dict[str, float | None], status: RunStatus, reason: str | None
) -> None:
    last = training.last
    folder.write_summary(
        {
            "status": status,
            "reason": reason,
            "run": str(folder.path),
            "step": training.step,
            "steps": training.config.trainer.steps,
            "seed": training.config.seed,
            "metrics": last.metrics if last else {},
            "per_class": last.per_class if last else {},
            "metric": training.task.traits.metric(training.config),
            "best": training.best,
            **costs,
            **training.clock.rates(),
            "peak_memory_bytes": _peak_memory(training.fabric),
            "wall_seconds": training.clock.wall,
            "device": device_name(training.fabric),
        }
    )


def _make_folder(fabric: Fabric, config: Config, run_dir: Path | None) -> RunFolder:
    """Return the run folder, made by the first process and known to all."""
    path: str | None = None
    if fabric.is_global_zero:
        path = str(_fresh(run_dir) if run_dir else new_run_folder(Path(config.runs_dir), config.name).path)
    return RunFolder(Path(fabric.broadcast(path)))  # type: ignore[arg-type]


def _fresh(run_dir: Path) -> Path:
    if (run_dir / RunFolder(run_dir).config_file.name).exists():
        raise UsageError(
            f"{run_dir} already holds a run: resume it with --resume {run_dir}, or give another --run-dir."
        )
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--run-dir {run_dir} can't be made: {error.strerror}.") from error
    return run_dir


def _unlogged(folder: RunFolder, training: AnyTraining) -> str:
    """Name the steps up to that of the checkpoint that the run logged and metrics.jsonl has not."""
    logged = {(record.split, record.step) for record in folder.read_metrics()}
    trainer = training.config.trainer
    expected = {
        *(("train", step) for step in range(trainer.log_every, training.step + 1, trainer.log_every)),
        *(("val", step) for step in range(trainer.eval_every, training.step + 1, trainer.eval_every)),
    }
    steps = sorted({step for _, step in expected - logged})
    return first_few([f"step {step}" for step in steps]) if steps else ""


@contextmanager
def _alone_in(folder: RunFolder, fabric: Fabric) -> Iterator[None]:
    """Keep other runs out of the folder; UsageError if one is at work there. What a killed one left is deleted."""
    if not fabric.is_global_zero:
        yield
        return
    with locked(folder.lock_file, f"Another process is training in {folder.path}: wait, or stop it."):
        folder.remove_leftovers()
        yield


def _random_state_of(fabric: Fabric, states: Sequence[checkpoint.State]) -> checkpoint.State:
    if len(states) != fabric.world_size:
        raise RunError(
            f"The run was saved by {len(states)} processes and can't be resumed by {fabric.world_size}: start as many again."
        )
    return states[fabric.global_rank]


def _peak_memory(fabric: Fabric) -> int:
    """Largest memory so far in bytes: on the device, or of the whole process on the CPU."""
    if fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated(fabric.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
