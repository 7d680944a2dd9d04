"""The system's C++ compiler: which it is, its flags, and a run of it that always ends."""

import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dcnrun.ops.jit.errors import KernelUnavailable, first_error

# A kernel takes some five seconds; on a machine that has much else to do, a minute is not enough.
SECONDS_TO_COMPILE = 300.0
_SECONDS_TO_ANSWER = 10.0
_NAMES = ("c++", "g++", "clang++")
# Never -ffast-math: in an offset, NaN and infinity have a meaning.
_FLAGS = (
    *("-O3", "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
_NATIVE = {"x86_64": "-march=native", "amd64": "-march=native", "aarch64": "-mcpu=native", "arm64": "-mcpu=native"}
# Compilers that took too long in this process: every further kernel would take as long again.
_hung: dict[str, KernelUnavailable] = {}

INSTALL = (
    "install a C++ compiler with `xcode-select --install`, or set CXX to one"
    if sys.platform == "darwin"
    else "install a C++ compiler (Debian and Ubuntu: apt install g++; conda: conda install cxx-compiler), or set CXX to one"
)


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, and all that it says of its version."""

    command: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Flags:
    """What a kernel is compiled with; a compiler that lacks one of the optional flags goes without it."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]


def find_compiler() -> Compiler:
    """The compiler that CXX names, else the first of c++, g++ and clang++; KernelUnavailable if there is none that runs."""
    asked = _words("CXX")
    names = [asked] if asked else [[name] for name in _NAMES]
    found = [(path, *arguments) for name, *arguments in names if (path := shutil.which(name))]
    if not found and asked:
        raise KernelUnavailable(
            f"CXX is {asked[0]}, and there is no such program", "unset CXX, or set it to a compiler"
        )
    if not found:
        raise KernelUnavailable(f"no C++ compiler was found ({', '.join(_NAMES)})", INSTALL)
    status, output = _run([*found[0], "--version"], _SECONDS_TO_ANSWER)
    if status != 0:
        raise KernelUnavailable(
            f"{found[0][0]} does not work: {first_error(output, f'exit status {status}')}", INSTALL, output
        )
    return Compiler(found[0], output)


def kernel_flags(*defines: str) -> Flags:
    """The flags of a kernel with what is defined in it, ending with those of DCNRUN_CXXFLAGS."""
    native = _NATIVE.get(platform.machine().lower())
    # Apple's compiler has no OpenMP; kernels run on one thread there.
    optional = [flag for flag in (native, None if sys.platform == "darwin" else "-fopenmp") if flag]
    return Flags(
        needed=(*_FLAGS, *(f"-D{define}" for define in defines), *_words("DCNRUN_CXXFLAGS")), optional=tuple(optional)
    )


def compile_library(compiler: Compiler, flags: Flags, source: Path, library: Path) -> list[str]:
    """Compile a source to a library and return the flags that were used; KernelUnavailable says why it could not."""

    def run(source: Path, *used: str) -> tuple[int, str]:
        return _run([*compiler.command, *used, str(source), "-o", str(library)], SECONDS_TO_COMPILE)

    used = [*flags.optional, *flags.needed]
    status, output = run(source, *used)
    if status != 0:
        probe = library.with_name("probe.cpp")
        probe.write_text("#ifdef _OPENMP\n#include <omp.h>\n#endif\n")
        missing = [flag for flag in flags.optional if run(probe, flag, *flags.needed)[0] != 0]
        if missing:
            used = [flag for flag in used if flag not in missing]
            status, output = run(source, *used)
    if status != 0 or not library.is_file():
        raise KernelUnavailable(
            f"{compiler.command[0]} can't compile {source.name}: {first_error(output, f'exit status {status}')}",
            "`dcnrun kernels build` prints all that the compiler says; another may do better: set CXX to it",
            f"{shlex.join([*compiler.command, *used, str(source)])}\n{output}",
        )
    return used


def _words(variable: str) -> list[str]:
    """The words of an environment variable, as a shell would have them."""
    value = os.environ.get(variable, "")
    try:
        return shlex.split(value)
    except ValueError as error:
        raise KernelUnavailable(f"{variable} is {value!r}: {error}", f"mend {variable}, or unset it") from None


def _run(command: list[str], seconds: float) -> tuple[int, str]:
    """The exit status of a command and what it printed; KernelUnavailable if it can't start or takes too long."""
    if command[0] in _hung:
        raise _hung[command[0]]
    try:
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"LC_ALL": "C"},
                # A group of its own, so that the programs it starts end with it.
                start_new_session=True,
            )
            try:
                process.wait(seconds)
            finally:
                if process.poll() is None:
                    with suppress(OSError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            return process.returncode, output.read().decode(errors="replace")
    except subprocess.TimeoutExpired:
        _hung[command[0]] = KernelUnavailable(
            f"{command[0]} did not end within {seconds:.0f} s", "see why it hangs, or set CXX to another compiler"
        )
        raise _hung[command[0]] from None
    except OSError as error:
        raise KernelUnavailable(f"{command[0]} can't be run: {error}", INSTALL) from error
