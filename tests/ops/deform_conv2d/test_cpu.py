"""The call of the CPU kernel: what it is told, and what its answer means."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d import cpu
from tests.ops.conformance import assert_same_bits
from tests.ops.deform_conv2d.factories import make_problem, results

pytestmark = pytest.mark.parametrize("backend", ["kernel"], indirect=True)


class FakeLibrary:
    """Notes the arguments, and answers with a status."""

    def __init__(self, status):
        self.status, self.calls = status, []

    def __getattr__(self, function):
        def call(pointer):
            self.calls.append((function, pointer._obj))
            return self.status

        return call


@pytest.fixture
def library(monkeypatch):
    def install(status):
        fake = FakeLibrary(status)
        monkeypatch.setattr(cpu, "load_cpu", lambda name, dtype: fake)
        return fake

    return install


def test_no_memory_left(backend, library):
    library(status=1)
    with pytest.raises(MemoryError, match="dcnrun_deform_conv2d_forward: not enough memory"):
        deform_conv2d(**make_problem())


@pytest.mark.parametrize("threads", [1, 3])
def test_what_the_kernel_is_told(backend, library, threads):
    fake, before = library(status=0), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        problem = make_problem(5, 6, 4, (9, 7), (3, 2), (2, 1), (1, 3), (1, 2), groups=2, offset_groups=3)
        output = deform_conv2d(**problem)
    finally:
        torch.set_num_threads(before)
    ((function, told),) = fake.calls
    assert function == "dcnrun_deform_conv2d_forward"
    assert told.threads == threads
    assert (told.batch, told.channels, told.height, told.width) == (5, 6, 9, 7)
    assert (told.out_channels, told.out_height, told.out_width) == output.shape[1:]
    assert (told.kernel_height, told.kernel_width, told.groups, told.offset_groups) == (3, 2, 2, 3)
    assert [list(pair) for pair in (told.stride, told.padding, told.dilation)] == [[2, 1], [1, 3], [1, 2]]
    for name in ("input", "offset", "mask", "weight"):
        assert tuple(getattr(told, name).strides) == problem[name].stride()
    assert not told.grad_input.data


def test_many_callers_at_once(backend):
    """Python's threads call it at the same time, each with a problem of its own."""
    many = [make_problem(1, 8, 8, (9 + i, 8), dtype=torch.float32, seed=i) for i in range(16)]
    wanted = [results(problem) for problem in many]
    with ThreadPoolExecutor(4) as pool:
        for got, alone in zip(pool.map(results, many), wanted, strict=True):
            assert_same_bits(got, alone, alone.keys() - {"bias"})
