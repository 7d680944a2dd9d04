"""What a user may say of a Ray cluster. The command line imports this module at its start, so that it imports little itself."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec

from dcnrun.errors import UsageError

_UNITS = {
    "": 1,
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)},
}
_EXAMPLE = "CPU=4,GPU=1,memory=8GiB"


class Runs(StrEnum):
    """Where the run folders of a cluster's nodes are."""

    shared = "shared"  # in a folder that all nodes see under the same path
    copied = "copied"  # on the disk of each node, and copied to the head node's


@dataclass(frozen=True)
class Resources:
    """What a run needs of a node."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0  # bytes
    others: Mapping[str, float] = field(default_factory=dict)  # resources that the cluster's nodes were started with

    def as_ray(self) -> dict[str, float]:
        """Return them by Ray's names, without those of which none is needed."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory), **self.others}
        return {name: amount for name, amount in named.items() if amount}

    def in_words(self) -> str:
        """Return them as `--per-trial` takes them."""
        return ",".join(f"{name}={amount:g}" for name, amount in self.as_ray().items())


@dataclass(frozen=True)
class ClusterOptions:
    """The options of a command that runs on a cluster, as the user gave them."""

    address: str = "auto"
    """The head node's address; auto: the cluster that this machine is a node of."""
    per_trial: Resources | None = None
    """What a run needs; None: what its settings say."""
    runs: Runs = Runs.shared
    agents: int | None = None
    """The most runs at a time; None: as many as there is room for."""


def require_ray() -> None:
    """Raise UsageError where Ray is not installed."""
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray: pip install 'dcnrun[ray]'.")


def resources_of(devices: int, threads: int, on_gpus: bool) -> Resources:
    """Return what a run on so many devices needs, where nothing else is said: a GPU for each, and CPUs for its threads."""
    return Resources(cpus=float(devices * max(threads, 1)), gpus=float(devices if on_gpus else 0))


def read_resources(text: str) -> Resources:
    """Read `CPU=4,GPU=1,memory=8GiB`, where any other name is a resource of the cluster's own; UsageError says what is wrong."""
    amounts: dict[str, float] = {}
    for word in text.split(","):
        name, equals, amount = (part.strip() for part in word.partition("="))
        if not (name and equals) or name in amounts:
            raise UsageError(f"--per-trial {text}: give each resource once, as in {_EXAMPLE}.")
        amounts[name] = _amount(name, amount, text)
    for name in ("cpu", "gpu", "Memory"):
        if name in amounts:
            raise UsageError(f"--per-trial {text}: {name} is written as in {_EXAMPLE}.")
    cpus, gpus, memory = amounts.pop("CPU", 1.0), amounts.pop("GPU", 0.0), amounts.pop("memory", 0.0)
    return Resources(cpus, gpus, int(memory), amounts)


def _amount(name: str, text: str, all_of_it: str) -> float:
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)([KMGT]i?B)?", text)
    if not found or (found[2] and name != "memory"):
        wanted = "a number, or one of KiB, MiB, GiB or TiB" if name == "memory" else "a number"
        raise UsageError(f"--per-trial {all_of_it}: {name}={text} must be {wanted}, as in {_EXAMPLE}.")
    amount: float = float(found[1]) * _UNITS[found[2] or ""]
    if not math.isfinite(amount) or (amount > 1 and name != "memory" and amount != int(amount)):
        raise UsageError(f"--per-trial {all_of_it}: {name}={text} must be an integer, or a share of one below 1.")
    return amount
