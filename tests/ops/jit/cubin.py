"""What the compiler made of CUDA kernels, as NVIDIA's own tools tell: resources, and instructions."""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

_USAGE = re.compile(r"Function (\w+):\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_SECTION = re.compile(r"\s*\.section\s+\.text\.(\w+),")
# After the address, and perhaps a predicate: `/*0070*/  @!P0 LDG.E.128 R4, ...`.
_INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*(?:\.\w+)*)")


@dataclass
class Code:
    """One kernel of a cubin."""

    registers: int  # of a thread
    shared_bytes: int  # of a block, without those that a launch adds
    local_bytes: int  # of a thread: what spilled from registers, and arrays that are indexed
    instructions: Counter[str]

    def count(self, pattern: str) -> int:
        """How many instructions match."""
        return sum(n for name, n in self.instructions.items() if re.fullmatch(pattern, name))


def tool(name: str) -> Path | None:
    """`cuobjdump` or `nvdisasm`, where its wheel is installed."""
    try:
        return next(Path(file.locate()) for file in files(f"nvidia-cuda-{name}") or [] if file.name == name)
    except (PackageNotFoundError, StopIteration):
        return None


def read(cubin: Path) -> dict[str, Code]:
    """Every kernel of a file."""
    instructions: dict[str, Counter[str]] = {}
    for line in _output(tool("nvdisasm"), "-c", cubin).splitlines():
        if section := _SECTION.match(line):
            counted = instructions.setdefault(section[1], Counter())
        elif instruction := _INSTRUCTION.match(line):
            counted[instruction[1]] += 1
    return {
        name: Code(int(registers), int(shared), int(stack) + int(local), instructions[name])
        for name, registers, stack, shared, local in _USAGE.findall(_output(tool("cuobjdump"), "-res-usage", cubin))
    }


def _output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
