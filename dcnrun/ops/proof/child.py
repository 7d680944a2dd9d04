"""What runs in the process of a proof: `python -P child.py OPERATOR GPU SECONDS FILE` writes what it found.

`python -P child.py answers GPU SECONDS` only computes a sum there, and ends with 0 if it is right. It is a script of its own so that
a GPU that can't be used shows before all of dcnrun's operators are imported.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcnrun.ops.proof.problem import Subject

ANSWERS = "answers"
_CALLS = 4  # that are timed together, so that the host is ahead of the GPU


def main(arguments: list[str]) -> int:
    """Prove an operator on a GPU, or see whether that answers."""
    what, index, seconds, *files = arguments
    # Whatever becomes of the process that started this one, and wherever this one hangs.
    signal.alarm(int(seconds) + 5)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without which deterministic products are refused
    import torch

    device = torch.device("cuda", int(index))
    torch.cuda.set_device(device)
    if what == ANSWERS:
        return 0 if float(torch.ones(1024, device=device).sum()) == 1024 else 1
    import_torchvision_operators()
    from dcnrun.ops.proof.prove import prove

    # A GPU that has no room, or is another's alone, shows here and not as a wrong result.
    torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    torch.set_num_threads(min(4, torch.get_num_threads()))
    found = prove(subject_of(what), device, _seconds_on_gpu)
    Path(files[0]).write_text(json.dumps(found), "utf-8")
    return 0


def import_torchvision_operators() -> None:
    """Import torchvision for its operators alone: the import of its models takes as long as that of PyTorch."""
    found = find_spec("torchvision")
    if "torchvision" in sys.modules or found is None:
        return
    package: Any = ModuleType("torchvision")
    package.__path__ = found.submodule_search_locations
    sys.modules["torchvision"] = package
    try:
        package.__version__ = importlib.import_module("torchvision.version").__version__
        importlib.import_module("torchvision.extension")
    except (ImportError, AttributeError):  # another version has them elsewhere: then all of it is imported
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]


def subject_of(operator: str) -> "Subject":
    """Return an operator's problems, and what computes them."""
    from dcnrun.ops.deform_conv2d import proof as conv
    from dcnrun.ops.deform_roi_pool import proof as roi
    from dcnrun.ops.deform_sample2d import proof as sample

    subjects: dict[str, Subject] = {proof.SUBJECT.name: proof.SUBJECT for proof in (conv, roi, sample)}
    return subjects[operator]


def _seconds_on_gpu(work: Callable[[], object]) -> float:
    """Return the seconds of one call, between two events on the GPU."""
    import torch

    make_event: Any = torch.cuda.Event
    started, ended = make_event(enable_timing=True), make_event(enable_timing=True)
    started.record()
    for _ in range(_CALLS):
        work()
    ended.record()
    ended.synchronize()
    return float(started.elapsed_time(ended)) / 1e3 / _CALLS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
