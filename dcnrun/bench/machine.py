"""The machine that something was measured on, for its result."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

import dcnrun
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.compiler import find_compiler
from dcnrun.ops.jit.load import load
from dcnrun.ops.jit.processor import available_cores, cpu_model, vector_instructions


def describe() -> dict[str, Any]:
    """CPU, threads, versions, what else the machine was doing, and the command."""
    return {
        "cpu": cpu_model(),
        "vector_instructions": vector_instructions(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "dcnrun": dcnrun.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "onnxruntime": _version("onnxruntime"),
        "numpy": np.__version__,
        "command": _command(),
    }


def describe_kernel(dtype: torch.dtype) -> dict[str, Any]:
    """Which compiled kernel computes deformable convolution, and what it was compiled with."""
    try:
        built = load("deform_conv2d", dtype).built
        return {
            "file": built.file.name,
            "flags": built.record["flags"],
            "compiler": find_compiler().version.partition("\n")[0],
        }
    except KernelUnavailable as problem:
        return {"unavailable": problem.reason}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _command() -> str:
    """As one would type it: without the folder that the program happens to be in."""
    program, *arguments = sys.argv
    typed = "dcnrun" if Path(program).name in ("dcnrun", "__main__.py") else f"python {program}"
    return " ".join([typed, *arguments])
