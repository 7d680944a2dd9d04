"""The public names: functions, although folders of the package have the same names."""

import subprocess
import sys
from types import FunctionType

import torch

import dcnrun.ops
from dcnrun.ops.jit.build_spec import kernel_names

IMPORTS = [
    "import dcnrun.ops",
    "import dcnrun.ops.deform_conv2d.reference, dcnrun.ops.deform_roi_pool.reference",
    "from dcnrun.ops.deform_roi_pool import operator\nfrom dcnrun.ops.deform_conv2d import dispatch",
    "import importlib\nimportlib.import_module('dcnrun.ops.deform_conv2d')\nimport dcnrun.ops.deform_roi_pool",
]
# In processes that have torch and nothing of ours, and start at once since the first one's memory is theirs.
FORK = """
import os, sys, torch, torchvision
for code in sys.argv[1:]:
    if os.fork() == 0:
        exec(code, {})
        os._exit(0)
    assert os.wait()[1] == 0, code
"""
LOOK = """
import dcnrun.ops
from dcnrun.ops import deform_conv2d, deform_psroi_pool, deform_roi_pool, deform_sample2d
print(*(type(name).__name__ for name in (deform_conv2d, deform_psroi_pool, deform_roi_pool, deform_sample2d)))
print(dcnrun.ops.deform_conv2d is deform_conv2d, dcnrun.ops.deform_roi_pool is deform_roi_pool, flush=True)
"""


def test_the_names_are_functions_whatever_was_imported_first():
    command = [sys.executable, "-c", FORK, *(first + LOOK for first in IMPORTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == len(IMPORTS) * "function function function function\nTrue True\n"


def test_the_names_are_functions_in_a_process_that_imported_everything():
    for name in ("deform_conv2d", "deform_psroi_pool", "deform_roi_pool", "deform_sample2d"):
        assert isinstance(getattr(dcnrun.ops, name), FunctionType)


def test_every_operator_with_kernels_has_a_row():
    assert sorted(dcnrun.ops.DISPATCH) == kernel_names("cpu")
    for name, dispatch in dcnrun.ops.DISPATCH.items():
        assert hasattr(torch.ops.dcnrun, name)
        assert dispatch.KERNELS.keys() == {kind for kind in ("cpu", "cuda") if name in kernel_names(kind)}
