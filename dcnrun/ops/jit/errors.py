"""The one error of this package: whatever went wrong, there is no kernel, and something slower computes instead."""

import re

from dcnrun.errors import DcnrunError

_ERROR = re.compile(r".*(\berror\b|undefined (reference|symbol)|not found|No space left).*", re.IGNORECASE)


class KernelUnavailable(DcnrunError):
    """A kernel that can't be compiled or loaded here.

    Attributes:
        reason: what failed, in one line.
        remedy: how to get the kernel, in one line.
        output: all that the compiler printed, where it was the compiler that failed.
    """

    def __init__(self, reason: str, remedy: str, output: str = "") -> None:
        super().__init__(reason, remedy, output)
        self.reason, self.remedy, self.output = reason, remedy, output

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


class CacheUnusable(KernelUnavailable):
    """A folder that compiled kernels can't be kept in, or that nothing should be loaded from."""


def first_error(output: str, otherwise: str) -> str:
    """The first line of a compiler's output that reports an error, else the last line, else what is given."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.fullmatch(line)]
    return (errors or lines[-1:] or [otherwise])[0]
