"""The project's CUDA kernels compile for every GPU they are meant for, and to what they were written for."""

import os
import re
from dataclasses import dataclass

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable, compile_cuda
from dcnrun.ops.jit.aot import ARCHITECTURES
from dcnrun.ops.jit.build_spec import CUDA_DTYPES, dtype_name, kernel_names
from dcnrun.resources import resource_dir
from tests.ops.jit import cubin
from tests.ops.jit.fakes import in_a_process, needs_nvrtc

pytestmark = needs_nvrtc
needs_tools = pytest.mark.skipif(
    not (cubin.tool("cuobjdump") and cubin.tool("nvdisasm")), reason="there is no cuobjdump or no nvdisasm"
)


@dataclass(frozen=True)
class Limits:
    """What a kernel may need, and what it must have."""

    registers: int  # of a thread, at most: 65,536 of them decide how many threads run side by side
    shared_bytes: int  # of a block, at most
    wide_loads: int = 0  # instructions that load 16 bytes from global memory, at least
    in_flight: int = 0  # of these, how many come before the first of them is used, at least
    loop: int = 0  # instructions of the shortest loop with all `in_flight`, at most; where given
    reductions: int = 0  # instructions that add four numbers to global memory where the GPU has them (9.0), at least


LIMITS = {
    "deform_conv2d": {
        "sample_columns_wide": Limits(48, 11 * 1024, wide_loads=4, in_flight=4, loop=125),
        "sample_columns_single": Limits(40, 11 * 1024),
        "scatter_gradients_wide": Limits(64, 19 * 1024, wide_loads=5, in_flight=4, loop=330, reductions=4),
        "scatter_gradients_single": Limits(48, 19 * 1024),
        "list_corners": Limits(40, 11 * 1024),
        "sum_corners_wide": Limits(64, 17 * 1024, wide_loads=9, in_flight=4, loop=420),
        "sum_corners_single": Limits(48, 17 * 1024),
        "sum_partials_wide": Limits(80, 17 * 1024, wide_loads=9, in_flight=4),
        "sum_partials_single": Limits(40, 17 * 1024),
    },
    "deform_roi_pool": {
        "pool_wide": Limits(64, 27 * 1024, wide_loads=4),
        "pool_single": Limits(80, 27 * 1024),
        "scatter_gradients_wide": Limits(80, 10 * 1024, wide_loads=5, reductions=1),
        "scatter_gradients_single": Limits(80, 10 * 1024),
        "gather_wide": Limits(128, 37 * 1024, wide_loads=1),
        "gather_single": Limits(96, 37 * 1024),
    },
    "deform_sample2d": {
        "sum_samples_wide": Limits(64, 11 * 1024, wide_loads=4, in_flight=4, loop=100),
        "sum_samples_single": Limits(48, 11 * 1024),
        "scatter_gradients_wide": Limits(80, 19 * 1024, wide_loads=5, in_flight=4, loop=240, reductions=4),
        "scatter_gradients_single": Limits(64, 19 * 1024),
        "list_corners": Limits(48, 11 * 1024),
        "sum_corners_wide": Limits(64, 17 * 1024, wide_loads=9, in_flight=4, loop=420),
        "sum_corners_single": Limits(48, 17 * 1024),
        "sum_partials_wide": Limits(80, 17 * 1024, wide_loads=9, in_flight=4),
        "sum_partials_single": Limits(40, 17 * 1024),
    },
}


def test_every_kernel_has_limits():
    assert sorted(LIMITS) == kernel_names("cuda")
    for name, limits in LIMITS.items():
        source = (resource_dir("kernels") / "cuda" / f"{name}.cu").read_text()
        assert set(re.findall(r"__global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\(", source)) == set(limits)


def compiled():
    """Every kernel in every dtype and for every architecture: all of these in fp32, in half precision the first and the last.

    bf16 has the first and fp16 the last, and with the next kernel the other one: they differ in how a number is converted.
    """
    ends = ARCHITECTURES[0], ARCHITECTURES[-1]
    for i, name in enumerate(LIMITS):
        half = {torch.bfloat16: ends[i % 2], torch.float16: ends[(i + 1) % 2]}
        assert half.keys() == set(CUDA_DTYPES) - {torch.float32}
        for dtype, architecture in [*((torch.float32, each) for each in ARCHITECTURES), *half.items()]:
            yield pytest.param(name, dtype, architecture, id=f"{name}-{dtype_name(dtype)}-{architecture}")


@needs_tools
@pytest.mark.parametrize(("name", "dtype", "architecture"), list(compiled()))
def test_the_code(name, dtype, architecture, tmp_path):
    file = tmp_path / "code.cubin"

    # What is wrong in inline PTX can crash the compiler.
    def compile_in_a_process():
        try:
            file.write_bytes(compile_cuda(name, dtype, architecture))
        except KernelUnavailable as problem:
            print(problem.output)
            os._exit(1)

    assert in_a_process(compile_in_a_process) == 0
    kernels = cubin.read(file)
    assert kernels.keys() == LIMITS[name].keys()
    for kernel, limits in LIMITS[name].items():
        code = kernels[kernel]
        found = f"{kernel}: {code.registers} registers, {code.shared_bytes} and {code.local_bytes} bytes, {code.names}"
        assert code.registers <= limits.registers, found
        assert code.shared_bytes <= limits.shared_bytes, found
        assert code.local_bytes == code.count(r"(LDL|STL)\b.*") == 0, found
        assert code.count(cubin.WIDE_LOAD) >= limits.wide_loads, found
        assert code.wide_loads_in_flight() >= limits.in_flight, found
        if limits.loop:
            assert code.loop_with(cubin.WIDE_LOAD, limits.in_flight) <= limits.loop, found
        if architecture == "sm_90a":
            assert code.count(r"RED\w?\.E\.ADD\.F32x4\b.*") >= limits.reductions, found


@needs_tools
def test_what_the_reader_finds(sandbox, tmp_path):
    """On kernels that are known to be bad, so that the limits above mean something."""
    sandbox.cuda_source.write_text(
        """
        struct Problem { float* values; long long count; };
        extern "C" __global__ void wide(const __grid_constant__ Problem problem) {
            __shared__ float4 shared[64];
            shared[threadIdx.x] = reinterpret_cast<float4*>(problem.values)[threadIdx.x];
            __syncthreads();
            reinterpret_cast<float4*>(problem.values)[problem.count] = shared[63 - threadIdx.x];
        }
        extern "C" __global__ void __launch_bounds__(1024, 2) spills(const __grid_constant__ Problem problem) {
            float values[100];
            #pragma unroll
            for (int i = 0; i < 100; i++) values[i] = problem.values[i * 7 + threadIdx.x];
            __syncthreads();
            #pragma unroll
            for (int i = 0; i < 100; i++) problem.values[i * i + threadIdx.x] = values[99 - i];
        }
        extern "C" __global__ void ahead(const __grid_constant__ Problem problem) {
            const float4* from = reinterpret_cast<const float4*>(problem.values) + threadIdx.x;
            float4 read[3];
            for (int i = 0; i < 3; i++) read[i] = from[i * problem.count];
            for (int i = 0; i < 3; i++) problem.values[i] = read[i].x * read[i].y + read[i].z;
        }
        extern "C" __global__ void one_by_one(const __grid_constant__ Problem problem) {
            const float4* from = reinterpret_cast<const float4*>(problem.values) + threadIdx.x;
            #pragma unroll 1
            for (int i = 0; i < problem.count; i++) {
                const float4 read = from[i];
                problem.values[i] = read.x * read.y + read.z;
            }
        }
        extern "C" __global__ void adds(const __grid_constant__ Problem problem) {
            asm volatile("red.global.add.v4.f32 [%0], {%1, %1, %1, %1};" :: "l"(problem.values), "f"(1.0f) : "memory");
        }
        """
    )
    file = tmp_path / "code.cubin"
    file.write_bytes(compile_cuda("deform_conv2d", torch.float32, "sm_90a"))
    kernels = cubin.read(file)
    assert set(kernels) == {"wide", "spills", "ahead", "one_by_one", "adds"}
    assert kernels["wide"].count(cubin.WIDE_LOAD) == kernels["wide"].wide_loads_in_flight() == 1
    assert kernels["ahead"].wide_loads_in_flight() == 3
    assert kernels["one_by_one"].count(cubin.WIDE_LOAD) == kernels["one_by_one"].wide_loads_in_flight() == 1
    assert 5 < kernels["one_by_one"].loop_with(cubin.WIDE_LOAD, 1) < len(kernels["one_by_one"].instructions)
    assert kernels["adds"].wide_loads_in_flight() == 0
    assert 1024 <= kernels["wide"].shared_bytes <= 3 * 1024
    assert kernels["spills"].registers <= 32
    assert kernels["spills"].local_bytes > 100
    assert kernels["spills"].count(r"STL\b.*") > 10
    assert kernels["adds"].count(r"RED\w?\.E\.ADD\.F32x4\b.*") == 1
    assert kernels["wide"].local_bytes == kernels["wide"].count(r"(LDL|STL)\b.*") == 0
