"""The call of the CPU kernel: what it is told, and what its answer means."""

import pytest
import torch

from dcnrun.ops import deform_conv2d
from dcnrun.ops.deform_conv2d import cpu
from tests.ops.conformance import CpuSuite
from tests.ops.deform_conv2d import factories
from tests.ops.deform_conv2d.factories import make_problem


class TestCpu(CpuSuite):
    factories = factories
    name = "deform_conv2d"
    cpu = cpu

    @pytest.mark.parametrize("threads", [1, 3])
    def test_what_the_kernel_is_told(self, kernel_backend, library, threads):
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
