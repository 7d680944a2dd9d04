"""What the compiler made of CUDA kernels, as NVIDIA's own tools tell: resources, and instructions."""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

_USAGE = re.compile(r"Function (\w+):\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_SECTION = re.compile(r"\s*\.section\s+\.text\.(\w+),")
_LABEL = re.compile(r"(\.L\w+):")
# After the address, and perhaps a predicate: `/*0070*/  @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;`.
_INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*(?:\.\w+)*)([^;]*);")
_REGISTER = re.compile(r"\bR(\d+)(\.64)?")
_WRITES_NO_REGISTER = re.compile(r"(ST|RED|BRA|[IF]SETP)\w*\b.*")

WIDE_LOAD = r"LDG\.E\b.*\.128\b.*"


@dataclass(frozen=True)
class Instruction:
    """Such as `LDG.E.128` with operands `R4, desc[UR4][R2.64]`, and the label before it, if there is one."""

    name: str
    operands: str
    label: str | None

    @property
    def reads(self) -> set[int]:
        """The numbers of the registers that it reads, as far as its text has them."""
        _, _, read = self.operands.partition(",")
        if _WRITES_NO_REGISTER.fullmatch(self.name):
            read = self.operands
        return {int(first) + i for first, wide in _REGISTER.findall(read) for i in range(2 if wide else 1)}

    @property
    def loaded(self) -> set[int]:
        """The registers that a wide load fills."""
        if not re.fullmatch(WIDE_LOAD, self.name):
            return set()
        first = _REGISTER.search(self.operands)
        return set() if first is None else set(range(int(first[1]), int(first[1]) + 4))


@dataclass
class Code:
    """One kernel of a cubin."""

    registers: int  # of a thread
    shared_bytes: int  # of a block, without those that a launch adds
    local_bytes: int  # of a thread: what spilled from registers, and arrays that are indexed
    instructions: list[Instruction]

    @property
    def names(self) -> Counter[str]:
        """How often each instruction is there."""
        return Counter(each.name for each in self.instructions)

    def count(self, pattern: str) -> int:
        """How many instructions match."""
        return sum(bool(re.fullmatch(pattern, each.name)) for each in self.instructions)

    def wide_loads_in_flight(self) -> int:
        """How many wide loads follow each other, at most, before an instruction needs what one of them loads."""
        most, loading = 0, []
        for each in self.instructions:
            if each.reads & set().union(*loading):
                loading = []
            if each.loaded:
                loading.append(each.loaded)
                most = max(most, len(loading))
        return most

    def loop_with(self, pattern: str, count: int) -> int:
        """The length of the shortest loop with so many instructions that match."""
        at = {each.label: i for i, each in enumerate(self.instructions) if each.label}
        lengths = []
        for end, each in enumerate(self.instructions):
            target = re.search(r"\((\.L\w+)\)", each.operands) if each.name.startswith("BRA") else None
            start = at.get(target[1], end) if target else end
            body = self.instructions[start : end + 1]
            if start < end and sum(bool(re.fullmatch(pattern, inner.name)) for inner in body) >= count:
                lengths.append(len(body))
        return min(lengths)


def tool(name: str) -> Path | None:
    """`cuobjdump` or `nvdisasm`, where its wheel is installed."""
    try:
        return next(Path(file.locate()) for file in files(f"nvidia-cuda-{name}") or [] if file.name == name)
    except (PackageNotFoundError, StopIteration):
        return None


def read(cubin: Path) -> dict[str, Code]:
    """Every kernel of a file."""
    instructions: dict[str, list[Instruction]] = {}
    label = None
    for line in _output(tool("nvdisasm"), "-c", cubin).splitlines():
        if section := _SECTION.match(line):
            found = instructions.setdefault(section[1], [])
        elif before := _LABEL.match(line.strip()):
            label = before[1]
        elif instruction := _INSTRUCTION.match(line):
            found.append(Instruction(instruction[1], instruction[2], label))
            label = None
    return {
        name: Code(int(registers), int(shared), int(stack) + int(local), instructions[name])
        for name, registers, stack, shared, local in _USAGE.findall(_output(tool("cuobjdump"), "-res-usage", cubin))
    }


def _output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
