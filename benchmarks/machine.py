"""The machine that a benchmark ran on, for its result file."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision


def describe() -> dict[str, Any]:
    cpu = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "command": " ".join(["python", *sys.argv]),
    }
