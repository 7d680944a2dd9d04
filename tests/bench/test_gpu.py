"""`dcnrun bench ops --device cuda` on a true GPU, with tiny shapes."""

import json

import pytest
import torch

from dcnrun.bench.devices import Cuda, the_gpu
from dcnrun.bench.operators import (
    BACKWARD,
    BOTH,
    CONV2D,
    FORWARD,
    OURS,
    OURS_DETERMINISTIC,
    SAMPLING,
    TINY,
    TORCHVISION_FP16,
    TORCHVISION_FP32,
    Case,
)
from dcnrun.bench.ops import bench_ops
from dcnrun.bench.timing import interleaved
from dcnrun.errors import UsageError

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
CANDIDATES = {OURS, OURS_DETERMINISTIC, SAMPLING, TORCHVISION_FP16, TORCHVISION_FP32, CONV2D}
PASSES = (FORWARD, BACKWARD, BOTH)


@pytest.fixture(autouse=True)
def _small_cases(monkeypatch):
    monkeypatch.setattr(Cuda, "cases", (Case(2, 64, 32, reference=True), Case(1, 32, (20, 33), offset_groups=4)))


def test_all_is_measured():
    results = bench_ops("cuda", rounds=2)
    assert json.loads(json.dumps(results)).keys() == {"bfloat16", "float16", "float32"}
    for dtype, result in results.items():
        assert result["unavailable"] == {}
        assert result["machine"]["backend"] == "kernel"
        assert dtype in result["machine"]["kernel"]["file"]
        for row in result["results"]:
            for pass_ in PASSES:
                times, extra = row["milliseconds"][pass_], row["extra_bytes"][pass_]
                assert times.keys() == extra.keys() == CANDIDATES
                assert all(0 < time["q1"] <= time["median"] <= time["q3"] < 1000 for time in times.values())
                assert all(0 < size < 2**30 for size in extra.values())
            # torchvision has columns of the whole batch, at least.
            assert row["extra_bytes"][FORWARD][TORCHVISION_FP32] >= row["columns_bytes"]
        assert all(0 < launch["median"] < 1000 for launch in result["launch_microseconds"].values())


@pytest.mark.parametrize("dtype", Cuda.dtypes)
def test_candidates_agree(dtype):
    """Ours and torchvision's, on the same numbers."""
    gpu, case = the_gpu(), Cuda.cases[0]
    with gpu.prepared():
        outputs = {name: gpu.candidate(name, case, dtype)[FORWARD]()[0].float() for name in CANDIDATES}
    for name in CANDIDATES - {OURS, CONV2D}:
        # Positions that torchvision has in fp16 alone make a difference of half as much.
        torch.testing.assert_close(outputs[OURS], outputs[name], rtol=0.1, atol=0.1 * float(outputs[OURS].std()))


def test_events_see_the_gpu_work_and_not_the_host_wait():
    gpu = the_gpu()
    cycles = 2_000_000
    seconds = interleaved(
        {"long": lambda: torch.cuda._sleep(4 * cycles), "short": lambda: torch.cuda._sleep(cycles)}, 3, gpu.clock
    )
    assert min(seconds["long"]) / min(seconds["short"]) == pytest.approx(4, rel=0.2)
    started = gpu.launch_clock(lambda: torch.cuda._sleep(cycles))
    torch.cuda.synchronize()
    assert started < min(seconds["short"]) / 4


def test_operands_do_not_stay_in_the_cache():
    gpu = the_gpu()
    before = torch.cuda.memory_allocated()
    works = gpu.works(CONV2D, TINY, torch.float16)
    assert torch.cuda.memory_allocated() - before > gpu.cache_bytes
    del works


def test_a_dtype_without_kernel():
    with pytest.raises(UsageError, match="float64"):
        bench_ops("cuda", ["float64"], rounds=1)
