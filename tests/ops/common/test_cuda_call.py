"""The form of CUDA kernels' blocks, and where sums are kept."""

import pytest
import torch

from dcnrun.ops.common.cuda_call import THREADS, Team, channels_of_access, starts_whole, zero_sums


@pytest.mark.parametrize(("dtype", "wanted"), [(torch.float32, 4), (torch.bfloat16, 8), (torch.float16, 8)])
def test_channels_of_an_access_of_16_bytes(dtype, wanted):
    assert channels_of_access(dtype) == wanted


@pytest.mark.parametrize(
    ("team", "threads", "channels", "suffix"),
    [
        (Team.of(4, 64), 16, 64, "_wide"),
        (Team.of(8, 64), 8, 64, "_wide"),
        (Team.of(8, 320), 32, 256, "_wide"),  # a warp at most
        (Team.of(4, 12), 4, 16, "_wide"),  # a power of two
        (Team.of(4, 4, least=8), 8, 32, "_wide"),
        (Team.of(4, 256, most=8), 8, 32, "_wide"),
        (Team.of(1, 3), 4, 4, "_single"),
        (Team.of(1, 1), 1, 1, "_single"),
    ],
)
def test_teams(team, threads, channels, suffix):
    assert (team.threads, team.channels, team.suffix) == (threads, channels, suffix)
    assert team.block == (threads, THREADS // threads, 1)
    assert team.small_block[1] <= 16
    assert team.small_block[0] * team.small_block[1] % 32 == 0 or threads < 2


def test_wide_accesses_begin_at_multiples_of_16_bytes():
    memory = torch.zeros(64)
    start = -memory.data_ptr() // 4 % 4  # the first element at such an address
    assert starts_whole(memory[start:], None)
    assert not starts_whole(memory[start + 1 :])
    assert not starts_whole(memory[start:], memory[start + 2 :])


def test_sums_are_kept_in_the_gradient_itself_if_it_is_fp32():
    rows = torch.ones(3, 4)
    assert zero_sums(rows) is rows
    assert not rows.any()
    for other in (torch.ones(3, 4, dtype=torch.bfloat16), torch.ones(4, 3).mT):
        sums = zero_sums(other)
        assert sums.dtype == torch.float32
        assert not sums.any()
        assert other.all()
