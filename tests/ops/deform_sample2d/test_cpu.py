"""The call of the CPU kernel: what it is told, and what its answer means."""

import torch

from dcnrun.ops.deform_sample2d import cpu
from tests.ops.conformance import CpuSuite
from tests.ops.deform_sample2d import factories
from tests.ops.deform_sample2d.factories import compute, make_problem


class TestCpu(CpuSuite):
    factories = factories
    name = "deform_sample2d"
    cpu = cpu

    def test_what_the_kernel_is_told(self, kernel_backend, library):
        fake = library(status=0)
        problem = make_problem(5, 6, (9, 7), (3, 5), (2, 1), (1, 3), (1, 2), groups=3, offset_scale=0.5, softmax=True)
        output = compute(**problem)
        ((function, told),) = fake.calls
        assert function == "dcnrun_deform_sample2d_forward"
        assert (told.batch, told.channels, told.height, told.width) == (5, 6, 9, 7)
        assert (told.out_height, told.out_width) == output.shape[2:]
        sizes = told.kernel, told.stride, told.padding, told.dilation
        assert [list(pair) for pair in sizes] == [[3, 5], [2, 1], [1, 3], [1, 2]]
        assert (told.groups, told.softmax, told.remove_center, told.offset_scale) == (3, 1, 0, 0.5)
        assert told.threads == torch.get_num_threads()
        for name in ("input", "offset", "mask"):
            assert tuple(getattr(told, name).strides) == problem[name].stride()
        assert not told.grad_input.data
