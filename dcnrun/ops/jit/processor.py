"""What the CPU can do: a library built for one CPU dies of an illegal instruction on a lesser one."""

import functools
import os
import platform
import subprocess
import sys
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# What /proc/cpuinfo (x86: flags, Arm: Features) and sysctl call them, widest first; a part of the name is enough.
_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE", "asimd": "NEON", "neon": "NEON"}


@functools.cache
def cpu_features() -> str:
    """The instruction sets of this CPU, in words of the operating system."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        return asked.stdout or platform.processor()
    return " ".join(sorted(_cpuinfo("flags", "Features").split())) or platform.processor()


def cpu_model() -> str:
    """The name of this CPU."""
    if sys.platform == "darwin":
        named = [line for line in cpu_features().splitlines() if line.startswith("machdep.cpu.brand_string:")]
        return named[0].partition(":")[2].strip() if named else platform.processor()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_vendor() -> str:
    """The maker of this CPU as /proc/cpuinfo names it, such as GenuineIntel; empty where it does not."""
    return _cpuinfo("vendor_id")


def available_cores() -> int | None:
    """The cores that this process may use, where the system tells; else all there are."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


def vector_instructions() -> str:
    """The widest vector instructions that kernels can use."""
    # sysctl also lists what the CPU lacks, with a 0.
    features = "\n".join(line for line in cpu_features().lower().splitlines() if not line.endswith(": 0"))
    return next((name for part, name in _VECTORS.items() if part in features), "none known")


def _cpuinfo(*keys: str) -> str:
    """The value of the first line of /proc/cpuinfo that has one of these keys."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() in keys), "")
