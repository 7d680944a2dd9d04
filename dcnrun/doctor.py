"""`dcnrun doctor`: what there is on this machine, what computes which operator, and what is wrong.

The versions are shown also where torch, or what stands on it, can't be imported.
"""

import itertools
import logging
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

import dcnrun
from dcnrun.console import console, printable
from dcnrun.errors import DcnrunError
from dcnrun.masking import masked_variable

_import_error: DcnrunError | None = None
try:
    import torch

    from dcnrun.ops import DISPATCH
    from dcnrun.ops.jit import cuda
    from dcnrun.ops.jit.build_spec import CPU_DTYPES, CUDA_DTYPES, dtype_name, kernel_names
    from dcnrun.ops.jit.cache import kernels_folder
    from dcnrun.ops.jit.compiler import find_compiler
    from dcnrun.ops.jit.errors import CacheUnusable, KernelUnavailable
    from dcnrun.ops.jit.nvrtc import find_nvrtc
    from dcnrun.ops.jit.processor import available_cores, cpu_model, vector_instructions
    from dcnrun.ops.jit.units import KERNELS, UNITS, Unit, choose, load_best, why_absent
    from dcnrun.ops.proof import first_use
    from dcnrun.ops.proof.verdict import Verdict
except Exception as error:
    _import_error = DcnrunError(
        f"The operators can't be imported ({type(error).__name__}: {error}). "
        "Install versions of torch and torchvision that belong together: pip install --upgrade torch torchvision"
    )

_PACKAGES = ("torch", "torchvision", "numpy", "onnxruntime", "wandb")
_UNAVAILABLE = "unavailable"
_OPENMP_RUNTIME = re.compile(r"/\S*/lib(?:gomp|omp|iomp)\S*")

Pairs = dict[str, Any]
Rows = list[dict[str, Any]]
# What is wrong and its remedy, a line each.
Problems = dict[str, str]


def doctor() -> dict[str, Any]:
    """Print what there is and what is wrong, and return it; DcnrunError if torch and the operators can't be imported."""
    problems: Problems = {}
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("DCNRUN_"))
    environment = {name: printable(masked_variable(name, value)) for name, value in variables}
    report: dict[str, Any] = {"versions": _versions(), "environment": environment}
    if _import_error is None:
        report |= {"machine": _machine(), "cuda_devices": _cuda_devices(problems), "compiler": _compiler()}
        report |= {"cuda_compiler": _cuda_compiler(bool(report["cuda_devices"]))}
        devices = ["cpu", "cuda"] if report["cuda_devices"] else ["cpu"]
        with _log_muted(), console.status("Compiling the kernels that are not in the cache, and proving a GPU's"):
            kernels = _kernels(len(report["cuda_devices"]), problems)
            report |= {"kernels": kernels, "bf16_units": _units()}
            report |= {"proofs": _proofs(len(report["cuda_devices"]), problems)}
            report |= {"backends": _backends(devices, kernels, problems)}
        report |= {"cache": _cache(), "openmp_runtimes": _openmp_runtimes(problems)}
    for title, section in report.items():
        _show(title.replace("_", " "), section)
    if _import_error is not None:
        raise _import_error
    for problem, remedy in problems.items():
        console.print(f"Problem: {problem}\n  Remedy: {remedy}", markup=False, soft_wrap=True)
    if not problems:
        console.print("No problems.")
    return report | {"problems": [{"problem": problem, "remedy": remedy} for problem, remedy in problems.items()]}


def _show(title: str, section: Pairs | Rows) -> None:
    """A dictionary as lines of name and value, a list of dictionaries as rows below their keys."""
    if not section:
        console.print(f"{title}: none\n")
        return
    if isinstance(section, dict):
        columns, rows = ["", ""], [*section.items()]
    else:
        columns, rows = [key.replace("_", " ") for key in section[0]], [tuple(row.values()) for row in section]
    table = Table(title=title, title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    console.print(table, "")


# Without torch.


def _versions() -> Pairs:
    versions = {"dcnrun": dcnrun.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


# With it.


def _machine() -> Pairs:
    return {
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "torch_threads": torch.get_num_threads(),
        "vector_instructions": vector_instructions(),
    }


def _cuda_devices(problems: Problems) -> Rows:
    if torch.version.cuda is None and Path("/proc/driver/nvidia/version").exists():
        problems["there is an NVIDIA GPU, but this torch is built without CUDA"] = "install torch for CUDA"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
            usable = torch.cuda.is_available()
        failures = [str(warning.message) for warning in caught]
    except RuntimeError as error:
        devices, usable, failures = [], False, [str(error)]
    for failure in failures:
        problems[f"CUDA: {failure.splitlines()[0]}"] = "see that nvidia-smi works, and install torch for its driver"
    return [
        {
            "name": device.name,
            "capability": f"{device.major}.{device.minor}",
            "memory_gib": round(device.total_memory / 2**30, 1),
        }
        for device in devices
        if usable
    ]


def _compiler() -> Pairs:
    try:
        compiler = find_compiler()
    except KernelUnavailable as problem:
        return {"none": problem.reason}
    return {"command": " ".join(compiler.command), "version": compiler.version.partition("\n")[0]}


def _cuda_compiler(there_is_a_gpu: bool) -> Pairs:
    """NVRTC, which needs no GPU."""
    try:
        nvrtc = find_nvrtc()
    except KernelUnavailable as problem:
        return {"none": problem.reason}
    found = {"nvrtc": nvrtc.version, "headers": nvrtc.headers}
    if not there_is_a_gpu:
        found["without_a_gpu"] = "CUDA kernels can be compiled ahead, with `dcnrun kernels build --cuda all`"
    return found


def _kernels(gpus: int, problems: Problems) -> Rows:
    """Whether each kernel loads for each dtype on the CPU and on each GPU, and how it came about."""
    on_cpu = itertools.product(["cpu"], kernel_names("cpu"), CPU_DTYPES)
    on_gpus = itertools.product([f"cuda:{index}" for index in range(gpus)], kernel_names("cuda"), CUDA_DTYPES)
    rows = []
    for device, name, dtype in itertools.chain(on_cpu, on_gpus):
        row = {"kernel": name, "device": device, "dtype": dtype_name(dtype), "state": _UNAVAILABLE, "runs_on": ""}
        rows.append(row)
        try:
            if device == "cpu":
                built = load_best(name, dtype).loaded.built
                runs_on = "OpenMP threads" if "-fopenmp" in built.record["flags"] else "one thread"
            else:
                index = torch.device(device).index
                built, runs_on = cuda.load(name, dtype, index).built, cuda.architecture_of(index)
        except KernelUnavailable as problem:
            problems[problem.reason] = problem.remedy
            continue
        except DcnrunError as error:
            problems[str(error)] = "unset DCNRUN_CPU_UNITS"
            continue
        row |= {"state": _state(built, problems), "runs_on": runs_on}
        if runs_on == "one thread" and sys.platform == "linux":
            remedy = "install OpenMP for it (clang: apt install libomp-dev), then delete the kernels from the cache"
            problems["the kernels run on one thread: their compiler has no OpenMP"] = remedy
    return rows


def _units() -> Rows:
    """The units that multiply matrices in bf16, which of them is used, and why."""
    asked = os.environ.get("DCNRUN_CPU_UNITS", "auto")
    rows = []
    for name in KERNELS:
        try:
            choice = choose(name)
        except DcnrunError:  # which stands among the kernels' problems
            continue
        for unit in dict.fromkeys((*UNITS, Unit.VECTORS, choice.unit)):
            if unit is choice.unit:
                why = f"DCNRUN_CPU_UNITS is {asked}" if asked != "auto" else "the first that can be used"
            else:
                why = choice.why_not.get(unit) or why_absent(unit) or f"{choice.unit} is used"
            rows.append({"kernel": name, "unit": unit, "used": "yes" if unit is choice.unit else "no", "why": why})
    return rows


def _state(built: Any, problems: Problems) -> str:
    state = "from the cache" if built.was_there else f"compiled in {built.record['seconds']:.1f} s"
    if not built.not_kept:
        return state
    problems[f"{built.not_kept.reason}; every process compiles them again"] = built.not_kept.remedy
    return f"{state}, not kept"


def _proofs(gpus: int, problems: Problems) -> Rows:
    """What was proved of each operator's CUDA kernels on each GPU, now if it was not before."""
    rows = []
    for operator, index in itertools.product(DISPATCH, range(gpus)):
        try:
            verdict = first_use.verdict_for(operator, torch.device("cuda", index))
        except KernelUnavailable as absent:
            verdict = Verdict(why_not=str(absent))
        faster = [f"{dtype} {work.name}" for dtype, works in verdict.slower.items() for work in sorted(works)]
        row = {"operator": operator, "device": f"cuda:{index}", "right": ", ".join(sorted(verdict.right)) or "none"}
        rows.append(
            row | {"torchvision_is_faster": "; ".join(faster) or "nowhere", "report": str(verdict.file or "not kept")}
        )
        if verdict.why_not:
            problem = f"CUDA kernels of {operator} are not trusted on this kind of GPU: {verdict.why_not}"
            problems[problem] = "`dcnrun kernels prove` tries again; report it, with the file that --out writes"
    return rows


def _backends(devices: list[str], kernels: Rows, problems: Problems) -> Rows:
    """What computes each operator on each device, for each dtype, and why."""

    def used(operator: str, device: str, dtype: Any) -> str:
        try:
            return str(DISPATCH[operator].backend_for(device, dtype))
        except KernelUnavailable as problem:
            problems[problem.reason] = problem.remedy
        except DcnrunError as error:
            problems.setdefault(str(error), "unset DCNRUN_BACKEND")
        return "none"

    rows = []
    for operator, device in itertools.product(DISPATCH, devices):
        taken = {dtype_name(dtype): used(operator, device, dtype) for dtype in CPU_DTYPES}
        own = [row for row in kernels if row["kernel"] == operator and row["device"].startswith(device)]
        loads = all(row["state"] != _UNAVAILABLE for row in own)
        rows.append({"operator": operator, "device": device, **taken, "why": _why(device, taken, loads)})
    return rows


def _why(device: str, backends: dict[str, str], loads: bool) -> str:
    asked = os.environ.get("DCNRUN_BACKEND", "auto")
    if asked != "auto":
        return f"DCNRUN_BACKEND is {asked}"
    if not loads:
        return "our kernel is not available for all of them"
    if device == "cuda" and "kernel" not in backends.values():
        return "our kernel has not proved right on this kind of GPU; DCNRUN_BACKEND=cuda takes it all the same"
    return "our kernel where there is one"


def _cache() -> Pairs:
    try:
        folder = kernels_folder()
    except CacheUnusable as problem:
        return {"none": problem.reason}
    sizes = [file.stat().st_size for file in folder.glob("*") if file.suffix in (".so", ".cubin", ".ptx")]
    return {"folder": folder, "compiled_kernels": len(sizes), "mib": round(sum(sizes) / 2**20, 1)}


def _openmp_runtimes(problems: Problems) -> Pairs:
    """The OpenMP runtimes that are loaded by now, where the system tells."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return {}
    runtimes = sorted(set(_OPENMP_RUNTIME.findall(maps.read_text())))
    if len(runtimes) > 1:
        problems["more than one OpenMP runtime is loaded, and each starts threads of its own"] = "set CXX to g++"
    return {Path(path).name: path for path in runtimes}


@contextmanager
def _log_muted() -> Iterator[None]:
    """What the log would say of missing kernels stands among the problems."""
    log = logging.getLogger("dcnrun")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
