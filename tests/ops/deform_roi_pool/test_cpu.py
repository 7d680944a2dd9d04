"""The call of the CPU kernel: what it is told, and what its answer means."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dcnrun.ops.deform_roi_pool import cpu
from tests.ops.conformance import assert_same_bits
from tests.ops.deform_roi_pool.factories import make_problem, pool, results

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
    with pytest.raises(MemoryError, match="dcnrun_deform_roi_pool_forward: not enough memory"):
        pool(**make_problem())


@pytest.mark.parametrize("position_sensitive", [True, False])
def test_what_the_kernel_is_told(backend, library, position_sensitive):
    fake = library(status=0)
    problem = make_problem(3, 6, (9, 7), 5, (3, 2), groups=2, gamma=0.3, position_sensitive=position_sensitive)
    pool(**problem)
    ((function, told),) = fake.calls
    assert function == "dcnrun_deform_roi_pool_forward"
    assert (told.batch, told.height, told.width) == (3, 9, 7)
    assert (told.rois, told.channels, told.bins_high, told.bins_wide) == (5, 6, 3, 2)
    assert (told.planes, told.groups, told.threads) == (6 if position_sensitive else 1, 2, torch.get_num_threads())
    assert told.gamma == 0.3
    for name in ("input", "offset", "mask"):
        assert tuple(getattr(told, name).strides) == problem[name].stride()
    assert not told.grad_input.data
    assert torch.equal(told.tensors["regions"][:, 0], problem["rois"][:, 0])


def test_many_callers_at_once(backend):
    """Python's threads call it at the same time, each with a problem of its own."""
    many = [make_problem(1, 8, (9 + i, 8), dtype=torch.float32, seed=i) for i in range(16)]
    wanted = [results(problem) for problem in many]
    with ThreadPoolExecutor(4) as pool_of_threads:
        for got, alone in zip(pool_of_threads.map(results, many), wanted, strict=True):
            assert_same_bits(got, alone)
