"""Which implementation computes: our kernel, or the definition where it can't be had."""

import pytest

from dcnrun.ops import Backend
from dcnrun.ops.deform_sample2d import dispatch
from tests.ops.conformance import STORED, CudaDispatchSuite, assert_close
from tests.ops.deform_sample2d import factories
from tests.ops.deform_sample2d.factories import make_problem, results

pytestmark = pytest.mark.usefixtures("auto")


@pytest.mark.parametrize("dtype", STORED)
def test_the_fallback_computes_the_same(no_compiler, dtype, monkeypatch):
    problem = make_problem(dtype=dtype, softmax=True)
    got = results(problem)
    monkeypatch.undo()
    assert_close(got, results(problem), {2: 1e-2, 4: 1e-5, 8: 1e-10}[dtype.itemsize])


class TestDispatch(CudaDispatchSuite):
    factories = factories
    name = "deform_sample2d"
    dispatch = dispatch
    fallback = Backend.REFERENCE
