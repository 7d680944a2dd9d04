"""The machine that something was measured on, for its result."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

import dcnrun
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit import cuda as cuda_kernels
from dcnrun.ops.jit.compiler import find_compiler
from dcnrun.ops.jit.nvrtc import find_nvrtc
from dcnrun.ops.jit.processor import available_cores, cpu_model, vector_instructions
from dcnrun.ops.jit.units import load_best
from dcnrun.resources import git_commit

_CPU = torch.device("cpu")
_NVIDIA_SMI = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")


def describe() -> dict[str, Any]:
    """Return CPU, threads, versions, load of the machine, the command, and the commit of the code."""
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
        "commit": git_commit(),
    }


def describe_gpu(device: torch.device) -> dict[str, Any]:
    """Return the GPU, CUDA's versions, and the driver, clocks and power limit where `nvidia-smi` tells them."""
    gpu = torch.cuda.get_device_properties(device)
    return {
        "gpu": gpu.name,
        "architecture": f"sm_{gpu.major}{gpu.minor}",
        "multiprocessors": gpu.multi_processor_count,
        "l2_bytes": gpu.L2_cache_size,
        "memory_bytes": gpu.total_memory,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "nvidia_smi": _ask_nvidia_smi(f"GPU-{gpu.uuid}"),
    }


def describe_kernel(dtype: torch.dtype, device: torch.device = _CPU) -> dict[str, Any]:
    """Return which compiled kernel computes deformable convolution, what it was compiled with, and for bf16 the CPU's unit."""
    try:
        if device.type == "cuda":
            built = cuda_kernels.load("deform_conv2d", dtype, device.index).built
            compiler = f"NVRTC {find_nvrtc().version}"
        else:
            choice = load_best("deform_conv2d", dtype)
            built = choice.loaded.built
            compiler = find_compiler().version.partition("\n")[0]
        described = {"file": built.file.name, "flags": built.record["flags"], "compiler": compiler}
        return described | ({"unit": choice.unit} if device.type == "cpu" and dtype is torch.bfloat16 else {})
    except KernelUnavailable as problem:
        return {"unavailable": problem.reason}


def _ask_nvidia_smi(gpu: str) -> dict[str, str]:
    """Return what nvidia-smi says, with units, by its own names; nothing where there is no such program or GPU."""
    command = ["nvidia-smi", f"--id={gpu}", f"--query-gpu={','.join(_NVIDIA_SMI)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(_NVIDIA_SMI, answer.strip().split(", "), strict=False))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _command() -> str:
    """Return the command as it is typed: without the folder of the program."""
    program, *arguments = sys.argv
    typed = "dcnrun" if Path(program).name in ("dcnrun", "__main__.py") else f"python {program}"
    return " ".join([typed, *arguments])
