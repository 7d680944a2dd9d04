"""The state of training on disk: everything that makes a resumed run equal one that was never interrupted."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcnrun.errors import RunError
from dcnrun.models.torch_files import NotTensorsError, is_plain, read_torch_file
from dcnrun.runs import RunFolder, replacing

State = dict[str, Any]

_OF_TRAINING = {"optimizer": dict, "scaler": dict, "random": list, "losses": dict, "clock": dict}
"""What a state of training has beside the network and its step."""
IN_TRAINING = "in_training"
"""The weights in training, where `network` is their average (`optim.ema`)."""


def save_last(folder: RunFolder, state: State) -> None:
    """Write the newest checkpoint; the one before stays as `previous.pt`."""
    data = _serialised(state)
    with replacing(folder.last_checkpoint, folder.previous_checkpoint) as beside:
        beside.write_bytes(data)


def save_best(folder: RunFolder, state: State) -> None:
    """Write the weights with the best validation metric."""
    with replacing(folder.best_checkpoint) as beside:
        beside.write_bytes(_serialised(state))


def best_so_far(folder: RunFolder, metric: str, step: int) -> tuple[dict[str, float], str | None]:
    """Return step and metric that `best.pt` was kept for, and a warning if metrics.jsonl, up to a step, has to tell them.

    A run may be killed between this file and the next `last.pt`, which therefore does not speak of it.
    """
    try:
        best = load(folder.best_checkpoint).get("best")
        if isinstance(best, dict) and all(type(best.get(key)) in (int, float) for key in ("step", metric)):
            return best, None
        reason = f"{folder.best_checkpoint} does not say for which {metric} it was kept."
    except RunError as error:
        reason = str(error)
    curve = [point for point in folder.curve(metric) if point[0] <= step]
    if not curve:  # a run that was killed before its first validation has no such file
        return {}, reason if folder.best_checkpoint.exists() else None
    best_step, value = max(curve, key=lambda point: point[1])  # of equal ones the first, as while training
    warning = f"{reason} The best so far is {metric} {value:.4f} at step {best_step}, by {folder.metrics_file.name}: "
    if best_step == step:
        warning += "its weights are those of the last checkpoint, and kept again."
    else:
        warning += "its weights are lost, and the file is written again by what scores more."
    return {"step": best_step, metric: value}, warning


def load_last(folder: RunFolder) -> tuple[State, Path, str | None]:
    """Return the newest checkpoint that is whole, its file, and a warning when that is not `last.pt`.

    RunError names both files and what is wrong with them when neither can be read.
    """
    wrong = []
    for path in (folder.last_checkpoint, folder.previous_checkpoint):
        try:
            state = load(path)
        except RunError as error:
            wrong.append(str(error))
            continue
        warning = f"{wrong[0]} Resuming from {path.name}, step {state['step']}." if wrong else None
        return state, path, warning
    raise RunError(" ".join([*wrong, "Start the run anew."]))


def load(path: Path) -> State:
    """Read a checkpoint of tensors and plain values; RunError when it is missing, damaged or anything else."""
    try:
        state = read_torch_file(path)
    except NotTensorsError as error:
        if not path.exists():
            raise RunError(f"{path} does not exist.") from None
        raise RunError(f"{path} is damaged or not a checkpoint (it {error}).") from error
    if not isinstance(state, dict) or not _is_of_a_run(state):
        raise RunError(f"{path} is not a checkpoint of dcnrun.")
    return state


def _is_of_a_run(state: State) -> bool:
    network, step, classes = state.get("network"), state.get("step"), state.get("classes", [])
    if not (isinstance(network, dict) and isinstance(classes, list) and type(step) is int):
        return False
    return step >= 0 and all(map(is_plain, network.values())) and all(isinstance(name, str) for name in classes)


def require_state_of_training(state: State, has_average: bool = False) -> None:
    """Raise RunError for a state that training can't continue from, such as that of a `best.pt`."""
    expected = _OF_TRAINING | ({IN_TRAINING: dict} if has_average else {})
    wrong = [key for key, kinds in expected.items() if not isinstance(state.get(key), kinds)]
    wrong += [key for key, fits in _FITS.items() if key not in wrong and not fits(state[key])]
    if wrong:
        raise RunError(f"The checkpoint is not the state of a run in training: it has no {', '.join(wrong)}.")


def _are_numbers(values: State) -> bool:
    return all(type(value) in (int, float) for value in values.values())


def _are_loss_sums(losses: State) -> bool:
    """Whether they are sums of losses with the number of steps that they were summed over."""
    sums, steps = losses.get("sums"), losses.get("steps")
    return isinstance(sums, dict) and _are_numbers(sums) and type(steps) is int and steps >= bool(sums)


_FITS: dict[str, Callable[[State], bool]] = {"losses": _are_loss_sums, "clock": _are_numbers}


def random_state() -> State:
    """Return every random generator's state as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": {
            "kind": kind,
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": position,
            "has_gauss": has_gauss,
            "gauss": gauss,
        },
        "python": {"version": version, "internal": list(internal), "gauss_next": gauss_next},
    }


def restore_random_state(state: State) -> None:
    """Put every random generator where `random_state` found it; RunError where it holds something else."""
    try:
        torch.set_rng_state(state["torch"])
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        from_numpy = state["numpy"]
        keys = from_numpy["keys"].numpy().astype(np.uint32)
        np.random.set_state(
            (from_numpy["kind"], keys, from_numpy["position"], from_numpy["has_gauss"], from_numpy["gauss"])
        )
        from_python = state["python"]
        random.setstate((from_python["version"], tuple(from_python["internal"]), from_python["gauss_next"]))
    except Exception as error:  # a foreign state fails in many ways
        raise RunError("The checkpoint's random state can't be restored: it is not what dcnrun saved.") from error


def _serialised(state: State) -> bytes:
    # in memory first: a full disk then is an OSError of our own write, not an abort inside torch
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
