import pytest

from dcnrun.errors import DcnrunError
from dcnrun.ops.jit.errors import CacheUnusable, KernelUnavailable, first_error


def test_the_message_is_the_reason_and_the_remedy():
    problem = KernelUnavailable("no compiler", "install one", "all output")
    assert str(problem) == "no compiler; install one"
    assert (problem.reason, problem.remedy, problem.output) == ("no compiler", "install one", "all output")
    assert isinstance(problem, DcnrunError)
    assert isinstance(CacheUnusable("a", "b"), KernelUnavailable)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("In file included from a.h:\n  a.cpp:3:5: error: expected ';'\na.cpp:9: error: another\n", "a.cpp:3:5: error: expected ';'"),
        ("a.cpp:1: warning: unused variable\nld: undefined reference to `omp'\n1 more\n", "ld: undefined reference to `omp'"),
        ("fatal: No space left on device\nstopped", "fatal: No space left on device"),
        ("sh: 1: c++: not found\n", "sh: 1: c++: not found"),
        ("something\nelse\n\n", "else"),
        ("", "exit status 1"),
    ],
)  # fmt: skip
def test_the_line_that_tells_what_failed(output, wanted):
    assert first_error(output, "exit status 1") == wanted
