"""The call of the CPU kernel: what it is told, and what its answer means."""

import pytest
import torch

from dcnrun.ops.deform_roi_pool import cpu
from tests.ops.conformance import CpuSuite
from tests.ops.deform_roi_pool import factories
from tests.ops.deform_roi_pool.factories import compute, make_problem


class TestCpu(CpuSuite):
    factories = factories
    name = "deform_roi_pool"
    cpu = cpu

    @pytest.mark.parametrize("position_sensitive", [True, False])
    def test_what_the_kernel_is_told(self, kernel_backend, library, position_sensitive):
        fake = library(status=0)
        problem = make_problem(3, 6, (9, 7), 5, (3, 2), groups=2, gamma=0.3, position_sensitive=position_sensitive)
        compute(**problem)
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
