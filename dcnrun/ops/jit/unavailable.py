"""The one error of this package: whatever went wrong, there is no kernel, and something slower computes instead."""

from dcnrun.errors import DcnrunError


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
