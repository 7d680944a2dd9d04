"""The emulated GPU itself: barriers, warps and atomics do what CUDA's do, and wrong kernels don't pass."""

import ctypes

import pytest
import torch

from dcnrun.ops.deform_conv2d import cuda
from tests.ops.cuda_emulation.fakes import compiled_text, launch, skip_without_emulation

SOURCE = """
struct Numbers { int* out; int count; };

__device__ int thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
__device__ int block() { return blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z); }

extern "C" __global__ void places(const Numbers numbers) {
    const int threads = blockDim.x * blockDim.y * blockDim.z;
    numbers.out[block() * threads + thread()] = block() * 1000 + thread();
}

extern "C" __global__ void reversed(const Numbers numbers) {
    __shared__ int shared[256];
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();
    numbers.out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void racing(const Numbers numbers) {
    __shared__ int shared[256];
    shared[threadIdx.x] = threadIdx.x;
    numbers.out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void unwritten(const Numbers numbers) {
    __shared__ int shared[256];
    numbers.out[threadIdx.x] = shared[threadIdx.x];
    shared[threadIdx.x] = 1;
}

extern "C" __global__ void sums(const Numbers numbers) {
    int sum = threadIdx.x;
    for (int distance = numbers.count / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    numbers.out[threadIdx.x] = sum;
}

extern "C" __global__ void shuffles(const Numbers numbers) {
    const int i = threadIdx.x;
    int* out = numbers.out + 6 * i;
    out[0] = __shfl_sync(0xffffffffu, i, 5);
    out[1] = __shfl_sync(0xffffffffu, i, 5, 8);
    out[2] = __shfl_up_sync(0xffffffffu, i, 3, 16);
    out[3] = __shfl_down_sync(0xffffffffu, i, 3, 16);
    out[4] = __ballot_sync(0xffffffffu, i % 3 == 0);
    out[5] = i % 2 ? __shfl_xor_sync(0xaaaaaaaau, i, 2) : __shfl_xor_sync(0x55555555u, -i, 2);
}

extern "C" __global__ void counts(const Numbers numbers) { atomicAdd(numbers.out, 1); }

extern "C" __global__ void some_leave(const Numbers numbers) {
    if (threadIdx.x >= numbers.count) return;
    __syncthreads();
    numbers.out[threadIdx.x] = 1;
}

extern "C" __global__ void part_of_a_warp(const Numbers numbers) {
    if (threadIdx.x < numbers.count) numbers.out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}

extern "C" __global__ void not_in_its_mask(const Numbers numbers) {
    numbers.out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 0);
}

extern "C" __global__ void here_and_there(const Numbers numbers) {
    if (threadIdx.x < numbers.count) __syncwarp();
    else __syncthreads();
    numbers.out[threadIdx.x] = 1;
}
"""


class Numbers(ctypes.Structure):
    _fields_ = (("out", ctypes.c_void_p), ("count", ctypes.c_int))


@pytest.fixture(scope="module")
def run():
    skip_without_emulation()
    library = compiled_text(SOURCE)

    def run(kernel, size, grid=(1, 1, 1), block=(64, 1, 1), count=0, seed=0):
        out = torch.full((size,), -1, dtype=torch.int32)
        launch(library, kernel, grid, block, Numbers(out.data_ptr(), count), seed)
        return out.tolist()

    return run


@pytest.mark.parametrize("seed", [0, 1])
def test_every_thread_of_every_block_runs_once(run, seed):
    got = run("places", 2 * 3 * 2 * 40, (2, 3, 2), (5, 4, 2), seed=seed)
    assert got == [1000 * block + thread for block in range(12) for thread in range(40)]


@pytest.mark.parametrize("seed", range(4))
def test_barriers(run, seed):
    assert run("reversed", 100, block=(100, 1, 1), seed=seed) == list(range(100))[::-1]


def test_a_missing_barrier_shows(run):
    assert any(run("racing", 64, seed=seed) != list(range(64))[::-1] for seed in range(4))


def test_shared_memory_holds_nothing_of_the_last_block(run):
    assert run("unwritten", 4, grid=(3, 1, 1), block=(4, 1, 1)) == [0x7F7F7F7F] * 4


@pytest.mark.parametrize("width", [1, 2, 8, 32])
def test_sums_over_parts_of_a_warp(run, width):
    sums = [sum(range(start, start + width)) for start in range(0, 64, width)]
    assert run("sums", 64, count=width, seed=1) == [part for part in sums for _ in range(width)]


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffles(run, seed):
    got = torch.tensor(run("shuffles", 64 * 6, seed=seed)).view(64, 6)
    for i, row in enumerate(got.tolist()):
        lane = i % 32
        up, down = (i - 3 if lane % 16 >= 3 else i), (i + 3 if lane % 16 < 13 else i)
        ballot = sum(1 << other for other in range(32) if (i - lane + other) % 3 == 0)
        other = i ^ 2 if i % 2 else -(i ^ 2)
        wanted = [i - lane + 5, i // 8 * 8 + 5, up, down, ballot, other]
        assert [value % 2**32 for value in row] == [value % 2**32 for value in wanted], i


def test_atomics(run):
    assert run("counts", 1, grid=(3, 2, 1)) == [3 * 2 * 64 - 1]


def test_threads_that_are_over_keep_nobody_at_a_barrier(run):
    assert run("some_leave", 64, count=40) == [1] * 40 + [-1] * 24


@pytest.mark.parametrize("kernel", ["part_of_a_warp", "here_and_there"])
def test_threads_that_wait_for_others_in_vain(run, kernel):
    with pytest.raises(AssertionError, match="wait for others that don't come"):
        run(kernel, 64, count=20)
    assert run("reversed", 8, block=(8, 1, 1)) == list(range(8))[::-1]  # and the next one runs


def test_a_lane_outside_its_mask(run):
    with pytest.raises(AssertionError, match="without being in its mask"):
        run("not_in_its_mask", 32, block=(32, 1, 1))


@pytest.mark.parametrize(
    ("grid", "block", "reason"),
    [
        ((1, 1, 1), (1025, 1, 1), "can't have 1025 threads"),
        ((1, 1, 1), (0, 1, 1), "can't have 0 threads"),
        ((1, 65536, 1), (1, 1, 1), "can't be a grid"),
        ((0, 1, 1), (1, 1, 1), "can't be a grid"),
    ],
)
def test_launches_that_a_gpu_refuses(run, grid, block, reason):
    with pytest.raises(AssertionError, match=reason):
        run("counts", 1, grid, block)


@pytest.mark.parametrize("sizes", [(37, 65, 68), (2, 8, 65, 16)])
def test_a_row_with_nan_makes_no_other_row_of_a_product_nan(gpu, sizes):
    """As PyTorch's own products in bf16 do on CPUs with AMX."""
    *groups, rows, inner, columns = sizes
    left = torch.ones(*groups, rows, inner, dtype=torch.bfloat16)
    right = torch.ones(*groups, columns, inner, dtype=torch.bfloat16).mT
    left[..., 3, 2] = torch.nan
    for bias in (None, torch.ones(columns * (groups[0] if groups else 1), dtype=torch.bfloat16)):
        out = torch.empty(*groups, rows, columns, dtype=torch.bfloat16)
        cuda._multiply(left, right, bias, out)
        assert out[..., 3, :].isnan().all()
        assert (torch.cat([out[..., :3, :], out[..., 4:, :]], -2) == inner + (bias is not None)).all()
