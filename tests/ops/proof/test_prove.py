"""The proof, of kernels that are emulated as a GPU would run them: the project's, and wrong ones."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dcnrun.ops.common import cuda_call
from dcnrun.ops.deform_conv2d import cuda as conv_cuda
from dcnrun.ops.deform_conv2d import dispatch as conv_dispatch
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.proof import prove as proving
from dcnrun.ops.proof.child import subject_of
from dcnrun.ops.proof.prove import exact, prove
from dcnrun.ops.proof.verdict import EVERY_WORK, Work, verdict_of_report
from tests.ops.cuda_emulation.fakes import skip_without_emulation
from tests.ops.proof.fakes import CONV, CPU, FAULTS, ROI, SAMPLE, prove_emulated, wrong_dtypes

# benchmarks/proof_faults.py plants all of them, each of which takes seconds to compile.
SOME_FAULTS = [fault for fault in FAULTS if fault.name.startswith(("a race: slopes", "sums kept in half"))]


@pytest.fixture(autouse=True)
def _emulation():
    skip_without_emulation()


@pytest.mark.parametrize(("operator", "dtype"), [(CONV, torch.bfloat16), (SAMPLE, torch.float32), (ROI, torch.float16)])
def test_our_kernels_are_right(operator, dtype):
    found = prove_emulated(operator, dtypes=(dtype,), seed=5, order=3)
    assert wrong_dtypes(found) == {}
    assert all(row["wrong"] == [] for row in found["dtypes"].values())
    assert found["problems"] == len(subject_of(operator).problems(0))


@pytest.mark.parametrize("fault", SOME_FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault, tmp_path):
    found = prove_emulated(fault.operator, fault=fault, folder=tmp_path)
    assert len(wrong_dtypes(found)) == 1


@pytest.mark.parametrize("operator", [CONV, SAMPLE, ROI])
def test_our_cpu_kernels_give_the_same_bits(operator):
    """Another implementation altogether, which adds up in other orders and parts, on vectors and on units for bf16."""
    found = prove(subject_of(operator), CPU, None)
    wrong = {
        row["problem"].removesuffix(", deterministic") for each in found["dtypes"].values() for row in each["wrong"]
    }
    # On the CPU, RoIs of images that are not there are refused before.
    assert wrong == ({"images that are not there"} if operator == ROI else set())


def test_there_are_faults_of_more_than_ten_kinds():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
    assert {fault.operator for fault in FAULTS} == {CONV, ROI, SAMPLE}


def test_a_driver_that_takes_launches_and_runs_nothing_is_caught(monkeypatch):
    """Every problem shows it, by the very calls that a GPU would get."""
    launched = []
    module = SimpleNamespace(launch=lambda kernel, *more: launched.append(kernel))
    kernels = SimpleNamespace(**{name: getattr(conv_cuda, name) for name in ("forward", "backward")})
    kernels.DTYPES, kernels.load = (torch.float32,), lambda dtype, device: module
    monkeypatch.setattr(conv_cuda, "load", kernels.load)
    monkeypatch.setattr(cuda_call, "cache_and_multiprocessors", lambda device: (10**7, 10))
    monkeypatch.setitem(conv_dispatch.KERNELS, "cpu", kernels)
    found = only(prove(subject_of(CONV), CPU, None))
    assert not found["right"]
    assert len(found["wrong"]) == 2 * len(subject_of(CONV).problems(0))
    assert all("error" not in row for row in found["wrong"])
    ways = ("sample_columns", "scatter_gradients", "sum_corners")
    assert set(launched) >= {"list_corners", *(f"{way}_{width}" for way in ways for width in ("wide", "single"))}


class Peer:
    """Kernels of a convolution that are the definition, changed as a test wants it, and two problems for them."""

    def __init__(self, monkeypatch):
        self.change = lambda results: results
        self.refuse = None
        small = {problem.name: problem for problem in subject_of(CONV).problems(0)}
        problems = [small["one pixel"], small["the weight's gradient alone"]]
        self.timed = problems[0]
        self.subject = replace(subject_of(CONV), problems=lambda seed: problems, timed=lambda work: self.timed)
        monkeypatch.setitem(conv_dispatch.KERNELS, "cpu", self)
        monkeypatch.setattr(proving, "_SECONDS_FOR_A_CLASS", 1000)

    DTYPES = (torch.float32,)

    def load(self, dtype, device):
        if self.refuse:
            raise self.refuse

    def forward(self, operands, output):
        output.copy_(conv_dispatch.deform_conv2d_reference(*operands))
        self.change([output])

    def backward(self, grad_output, operands, grads):
        computed = conv_dispatch.deform_conv2d_backward_reference(grad_output, operands)
        conv_dispatch.write_gradients(grads, computed)
        self.change(grads)


@pytest.fixture
def peer(monkeypatch):
    return Peer(monkeypatch)


def only(found):
    return found["dtypes"]["float32"]


def test_errors_are_wrong_results(peer):
    def change(results):
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    peer.change = change
    found = only(prove(peer.subject, CPU, None))
    assert not found["right"]
    assert found["why_not"] == "one pixel: RuntimeError: CUDA error: an illegal memory access"


def test_kernels_that_can_not_be_had(peer):
    peer.refuse = KernelUnavailable("the reason", "the remedy")
    assert only(prove(peer.subject, CPU, None))["why_not"] == "the reason; the remedy"


def test_what_is_not_written_shows(peer, monkeypatch):
    monkeypatch.setattr(peer, "forward", lambda operands, output: None)
    assert "nan instead of" in only(prove(peer.subject, CPU, None))["why_not"]


def clock_of(forward, backward, theirs):
    """Seconds of ours forward and backward, in the order in which they are asked for, and of torchvision's."""
    turns = itertools.cycle([forward, theirs] * proving._ROUNDS + [backward, theirs] * proving._ROUNDS)
    return lambda work: (work(), next(turns))[1]


def test_classes_in_which_torchvisions_is_faster(peer):
    found = prove(peer.subject, CPU, clock_of(1.0, 3.0, 2.0))
    assert len(only(found)["times"]) == len(EVERY_WORK)
    verdict = verdict_of_report(found | {"failure": ""}, None)
    assert verdict.right == {"float32"}
    assert verdict.slower["float32"] == {Work(True, c, p) for c in (64, 256) for p in (4096, 16384)}


@pytest.fixture
def wrong_torchvision(monkeypatch):
    """Its output is wrong for the operands that `is_meant` tells."""
    true, meant = conv_dispatch.forward_on, SimpleNamespace(by=lambda operands: True)

    def forward_on(backend, operands, output):
        true(backend, operands, output)
        if backend == "torchvision" and meant.by(operands):
            output.view(-1)[0] += 1

    monkeypatch.setattr(conv_dispatch, "forward_on", forward_on)
    return meant


def test_a_torchvision_that_is_wrong_is_never_taken_for_faster(peer, wrong_torchvision):
    found = only(prove(peer.subject, CPU, clock_of(9.0, 9.0, 1.0)))
    assert {row["by"] for row in found["wrong"]} == {"torchvision"}
    assert (found["right"], found["times"]) == (True, [])


def test_ours_is_not_trusted_where_the_two_disagree_on_a_large_problem(peer, wrong_torchvision):
    """Of which nobody knows the answer."""
    peer.timed = peer.timed.changed("large", input=peer.timed.operands.input + 7)
    wrong_torchvision.by = lambda operands: operands.input.max() > 3
    found = only(prove(peer.subject, CPU, clock_of(1.0, 1.0, 2.0)))
    assert {row["by"] for row in found["wrong"]} == {"both"}
    assert found["why_not"].startswith("64 channels, 4096 pixels: output 1 of ")
    assert not found["right"]


def test_a_full_memory_leaves_times_out(peer):
    def full(work):
        raise torch.OutOfMemoryError("CUDA out of memory")

    found = only(prove(peer.subject, CPU, full))
    assert (found["right"], found["times"]) == (True, [])
    peer.change = full
    with pytest.raises(torch.OutOfMemoryError):  # which is nobody's fault, and so no verdict
        prove(peer.subject, CPU, full)


def test_settings_and_random_numbers_are_as_they_were(peer, monkeypatch):
    matmul = torch.backends.cuda.matmul
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    prove(peer.subject, CPU, None)
    assert torch.equal(torch.rand(1), wanted)
    before = matmul.allow_bf16_reduced_precision_reduction, matmul.fp32_precision
    with exact(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not matmul.allow_bf16_reduced_precision_reduction
    assert not torch.are_deterministic_algorithms_enabled()
    assert before == (matmul.allow_bf16_reduced_precision_reduction, matmul.fp32_precision)
