"""The choice of a backend, with kernels that compute nothing."""

import logging

import pytest
import torch

from dcnrun.errors import UsageError
from dcnrun.ops.common.dispatch import (
    Backend,
    Dispatcher,
    for_torchvision,
    requested_backend,
    write_gradients,
    write_zeros,
)
from dcnrun.ops.deform_conv2d import cpu, cuda
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.proof import first_use
from dcnrun.ops.proof.verdict import Verdict, Work
from tests.ops.fakes import FakeKernels

pytestmark = pytest.mark.usefixtures("auto")
CPU = torch.device("cpu")


def dispatcher(loaded, problem=None):
    kernels = {"cpu": FakeKernels("one", cpu, loaded, problem), "cuda": FakeKernels("one", cuda, loaded, problem)}
    return Dispatcher("one", kernels, "one runs slowly on the {device}")


@pytest.mark.parametrize("backend", Backend)
def test_what_is_asked_for(backend, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", backend.value)
    assert requested_backend() is backend


def test_nothing_is_asked_for():
    assert requested_backend() is Backend.AUTO


@pytest.mark.parametrize("value", ["", "KERNEL", "cuda "])
def test_a_wrong_value_has_one_message(value, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", value)
    with pytest.raises(UsageError) as raised:
        requested_backend()
    names = "auto, kernel, cuda, torchvision, reference"
    assert str(raised.value) == f"DCNRUN_BACKEND is {value!r}: it must be one of {names}"


def test_a_backend_reads_as_its_name():
    """In reports and JSON."""
    assert f"{Backend.KERNEL}" == Backend.KERNEL == "kernel"


def test_kernels_are_tried_once():
    loaded = []
    one = dispatcher(loaded)
    for _ in range(3):
        assert one.backend_for("cpu", torch.float32, torchvision=False) is Backend.KERNEL
    assert loaded == [("one", torch.float32, CPU)]
    one.forget()
    one.backend_for("cpu", torch.float32, torchvision=False)
    assert len(loaded) == 2


def test_a_failure_is_remembered_and_told_once(caplog):
    loaded = []
    one = dispatcher(loaded, KernelUnavailable("the reason", "the remedy"))
    with caplog.at_level(logging.INFO, "dcnrun"):
        backends = [one.backend_for("cpu", torch.float32, torchvision=has_one) for has_one in (True, False, True)]
    assert backends == [Backend.TORCHVISION, Backend.REFERENCE, Backend.TORCHVISION]
    assert [record.getMessage() for record in caplog.records] == [
        "dcnrun: one runs slowly on the CPU, since the reason; the remedy"
    ]
    assert len(loaded) == 1


@pytest.mark.parametrize("has_one", [True, False])
def test_torchvision_is_taken_only_where_it_has_the_operator(has_one, monkeypatch):
    monkeypatch.setenv("DCNRUN_BACKEND", "torchvision")
    wanted = Backend.TORCHVISION if has_one else Backend.KERNEL
    assert dispatcher([]).backend_for("cpu", torch.float32, torchvision=has_one) is wanted


def test_a_kernel_that_is_asked_for_is_loaded_each_time(monkeypatch):
    """So that its failure is raised each time."""
    monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
    one = dispatcher([], KernelUnavailable("the reason", "the remedy"))
    for _ in range(2):
        with pytest.raises(KernelUnavailable, match="the reason; the remedy"):
            one.backend_for("cpu", torch.float32, torchvision=True)


@pytest.mark.parametrize("has_one", [True, False])
def test_where_torchvisions_is_faster_it_computes(has_one, monkeypatch):
    slower = {"float32": frozenset({Work(True, 256, 16384)})}
    verdict = Verdict(frozenset({"float32", "float16"}), slower)
    monkeypatch.setattr(first_use, "verdict_for", lambda operator, device: verdict)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    one = dispatcher([])

    def backend_for(backward, channels, pixels, dtype=torch.float32):
        return one.backend_for("cuda", dtype, torchvision=has_one, work=lambda: Work.of(backward, channels, pixels))

    assert backend_for(True, 512, 10**6) is (Backend.TORCHVISION if has_one else Backend.KERNEL)
    assert {backend_for(False, 512, 10**6), backend_for(True, 64, 10**6), backend_for(True, 512, 100)} == {
        Backend.KERNEL
    }
    assert backend_for(True, 512, 10**6, torch.float16) is Backend.KERNEL
    assert one.backend_for("cuda", torch.float32, torchvision=has_one) is Backend.KERNEL
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert backend_for(True, 512, 10**6) is Backend.KERNEL


def test_on_a_cpu_nothing_is_proved(monkeypatch):
    monkeypatch.setattr(first_use, "verdict_for", None)
    assert dispatcher([]).backend_for("cpu", torch.float32, torchvision=True) is Backend.KERNEL


def test_the_kernels_of_both_devices_say_what_they_store():
    assert set(cpu.DTYPES) - set(cuda.DTYPES) == {torch.float64}
    assert set(cuda.DTYPES) < set(cpu.DTYPES)


def test_gradients_are_written_where_they_are_wanted():
    first, second = torch.ones(2), torch.ones(3)
    write_zeros([first, None])
    assert first.tolist() == [0, 0]
    write_gradients([first, None, second], [torch.tensor([1.0, 2.0]), torch.tensor(3.0), None])
    assert (first.tolist(), second.tolist()) == ([1, 2], [1, 1, 1])


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2],
)
def test_torchvision_gets_no_half_precision(dtype, wanted):
    assert for_torchvision(torch.ones(1, dtype=dtype)).dtype == wanted
