"""What a proof found out about an operator's CUDA kernels on a kind of GPU, and the file that keeps it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision

from dcnrun.ops.jit import cache
from dcnrun.ops.jit.build_spec import cuda_texts
from dcnrun.ops.jit.errors import CacheUnusable
from dcnrun.ops.jit.nvrtc import find_nvrtc

FORMAT = 1
CHANNELS = (64, 256)
PIXELS = (4096, 16384)
PASSES = ("forward", "backward")
# Ours is passed over where it takes so much longer than torchvision's: less is no reason to change what computes.
SLOWER = 1.05

Report = dict[str, Any]


class Work(NamedTuple):
    """A class of calls, which one of them stands for: it is what is timed."""

    backward: bool
    channels: int  # of the input
    pixels: int  # of the output, of all images; for RoI pooling the bins of all RoIs

    @classmethod
    def of(cls, backward: bool, channels: int, pixels: int) -> "Work":
        """Return the class of a call: the next in channels and in pixels, on a logarithmic scale."""
        return cls(backward, CHANNELS[channels > 128], PIXELS[pixels > 8192])

    @property
    def size(self) -> str:
        """How large it is, such as "64 channels, 4096 pixels"."""
        return f"{self.channels} channels, {self.pixels} pixels"

    @property
    def name(self) -> str:
        """The name, such as "backward, 64 channels, 4096 pixels"."""
        return f"{PASSES[self.backward]}, {self.size}"


EVERY_WORK = tuple(Work(backward, c, p) for c in CHANNELS for p in PIXELS for backward in (False, True))


@dataclass(frozen=True)
class Verdict:
    """Which kernels compute without being asked.

    Attributes:
        right: the dtypes, such as "float32", whose kernels gave every right answer.
        slower: for a dtype, the classes of calls that torchvision's operator computes faster.
        why_not: for people, why kernels of other dtypes are not used.
        file: where the whole report is, if it could be kept.
        final: whether this is all that the process needs to know; False where a proof could not even begin now.
    """

    right: frozenset[str] = frozenset()
    slower: Mapping[str, frozenset[Work]] = field(default_factory=dict)
    why_not: str = ""
    file: Path | None = None
    final: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of GPU with all that decides what an operator's kernels compute on it: one proof is for all of them."""

    operator: str
    facts: Mapping[str, str]

    @property
    def file(self) -> Path:
        """The verdict's file, in the cache beside the kernels; CacheUnusable where there is no such folder."""
        digest = hashlib.sha256(json.dumps(dict(self.facts), sort_keys=True).encode()).hexdigest()
        name = f"{self.operator}-{self.facts['architecture']}-{digest[:12]}.json"
        return cache.kernels_folder().with_name("proofs") / name


def kind_of(operator: str, index: int) -> Kind:
    """Return the kind of a GPU, for an operator; KernelUnavailable without NVRTC."""
    gpu, nvrtc = torch.cuda.get_device_properties(index), find_nvrtc()
    facts = {
        "gpu": gpu.name,
        "architecture": f"sm_{gpu.major}{gpu.minor}",
        "driver": _driver(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "nvrtc": f"{nvrtc.version}, headers {nvrtc.headers_version}",
        "sources": _sources(operator),
    }
    return Kind(operator, facts)


def _driver() -> str:
    """The version of NVIDIA's driver, where Linux tells it, and of the CUDA that it is for."""
    from cuda.bindings import driver

    (_, cuda), module = driver.cuDriverGetVersion(), Path("/sys/module/nvidia/version")
    return f"{module.read_text('utf-8').strip()}, CUDA {cuda}" if module.is_file() else f"CUDA {cuda}"


def _sources(operator: str) -> str:
    """A digest of the kernels, of what launches them and of the proof itself."""
    ops = Path(__file__).parents[1]
    folders = ops / operator, ops / "common", ops / "jit", ops / "proof"
    modules = [[path.name, path.read_text("utf-8")] for folder in folders for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(json.dumps([cuda_texts(operator), modules]).encode()).hexdigest()[:16]


def read(kind: Kind) -> Verdict | None:
    """Return the verdict that is kept for a kind; None where there is none, or one that is damaged, or of another version."""
    report = read_report(kind)
    return None if report is None else verdict_of_report(report, kind.file)


def read_report(kind: Kind) -> Report | None:
    """Return the whole report that is kept for a kind, with the same exceptions."""
    try:
        content = cache.read(kind.file)
    except CacheUnusable:
        return None
    try:
        report = json.loads(content or b"")
        if report["format"] != FORMAT or report["operator"] != kind.operator or report["kind"] != dict(kind.facts):
            return None
        verdict_of_report(report, None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    checked: Report = report
    return checked


def keep(kind: Kind, report: Report) -> Path | None:
    """Keep a report, whole or not at all; None where it can't be kept."""
    try:
        cache.put(json.dumps(report, indent=1).encode() + b"\n", kind.file)
        return kind.file
    except CacheUnusable:
        return None


def verdict_of_report(report: Report, file: Path | None) -> Verdict:
    """Return what follows from a report; ValueError, KeyError or TypeError where it is none."""
    right, wrong, slower = set(), [], {}
    for dtype, found in report["dtypes"].items():
        if found["right"] is True:
            right.add(str(dtype))
            slower[str(dtype)] = frozenset(_slower(found["times"]))
        else:
            wrong.append(f"{dtype}: {found['why_not']}")
    if failure := report["failure"]:
        wrong.append(str(failure))
    return Verdict(frozenset(right), slower, "; ".join(wrong), file)


def _slower(times: list[dict[str, Any]]) -> list[Work]:
    return [
        Work(PASSES.index(row["pass"]) == 1, int(row["channels"]), int(row["pixels"]))
        for row in times
        if row["ours"] > SLOWER * row["torchvision"]
    ]
