"""The project's CUDA kernels compile for every GPU they are meant for, and to what they were written for."""

import os
import re
from dataclasses import dataclass

import pytest
import torch

from dcnrun.ops.jit import KernelUnavailable, compile_cuda
from dcnrun.ops.jit.ahead import ARCHITECTURES
from dcnrun.ops.jit.recipe import CUDA_DTYPES, dtype_name, kernel_names
from dcnrun.resources import resource_dir
from tests.ops.jit import cubin
from tests.ops.jit.gpuless import in_a_process, needs_nvrtc

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
    reductions: int = 0  # instructions that add four numbers to global memory where the GPU has them (9.0), at least


LIMITS = {
    "deform_conv2d": {
        "sample_columns_wide": Limits(64, 11 * 1024, wide_loads=4),
        "sample_columns_single": Limits(40, 11 * 1024),
        "give_back_wide": Limits(80, 14 * 1024, wide_loads=5, reductions=4),
        "give_back_single": Limits(48, 14 * 1024),
        "list_corners": Limits(40, 11 * 1024),
        "sum_given_wide": Limits(80, 17 * 1024, wide_loads=9),
        "sum_given_single": Limits(40, 17 * 1024),
        "sum_summed_wide": Limits(80, 17 * 1024, wide_loads=9),
        "sum_summed_single": Limits(40, 17 * 1024),
    },
    "deform_roi_pool": {
        "pool_wide": Limits(64, 27 * 1024, wide_loads=4),
        "pool_single": Limits(80, 27 * 1024),
        "give_back_wide": Limits(80, 10 * 1024, wide_loads=5, reductions=1),
        "give_back_single": Limits(80, 10 * 1024),
        "gather_wide": Limits(128, 37 * 1024, wide_loads=1),
        "gather_single": Limits(96, 37 * 1024),
    },
}


def test_every_kernel_has_limits():
    assert sorted(LIMITS) == kernel_names("cuda")
    for name, limits in LIMITS.items():
        source = (resource_dir("kernels") / "cuda" / f"{name}.cu").read_text()
        assert set(re.findall(r"__global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\(", source)) == set(limits)


@needs_tools
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", CUDA_DTYPES, ids=dtype_name)
@pytest.mark.parametrize("name", LIMITS)
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
        found = f"{kernel}: {code}"
        assert code.registers <= limits.registers, found
        assert code.shared_bytes <= limits.shared_bytes, found
        assert code.local_bytes == code.count(r"(LDL|STL)\b.*") == 0, found
        assert code.count(r"LDG\.E\b.*\.128\b.*") >= limits.wide_loads, found
        if architecture == "sm_90a":
            assert code.count(r"RED\w?\.E\.ADD\.F32x4\b.*") >= limits.reductions, found


@needs_tools
def test_what_the_reader_finds(workshop, tmp_path):
    """On kernels that are known to be bad, so that the limits above mean something."""
    workshop.cuda_source.write_text(
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
        extern "C" __global__ void adds(const __grid_constant__ Problem problem) {
            asm volatile("red.global.add.v4.f32 [%0], {%1, %1, %1, %1};" :: "l"(problem.values), "f"(1.0f) : "memory");
        }
        """
    )
    file = tmp_path / "code.cubin"
    file.write_bytes(compile_cuda("deform_conv2d", torch.float32, "sm_90a"))
    kernels = cubin.read(file)
    assert set(kernels) == {"wide", "spills", "adds"}
    assert kernels["wide"].count(r"LDG\.E\b.*\.128\b.*") == 1
    assert 1024 <= kernels["wide"].shared_bytes <= 3 * 1024
    assert kernels["spills"].registers <= 32
    assert kernels["spills"].local_bytes > 100
    assert kernels["spills"].count(r"STL\b.*") > 10
    assert kernels["adds"].count(r"RED\w?\.E\.ADD\.F32x4\b.*") == 1
    assert kernels["wide"].local_bytes == kernels["wide"].count(r"(LDL|STL)\b.*") == 0
