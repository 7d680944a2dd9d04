"""What every operator must do: the tests of each inherit these suites.

A subclass names the modules of its operator and the values that the tests are run with. `factories` are its module of that
name, which has OPERANDS (what is differentiated), `make_problem`, `compute`, `results`, `arguments` and
`backward_arguments`, and `away_from_integer_positions`.
"""

import cProfile
import logging
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest
import torch

from dcnrun.errors import UsageError
from dcnrun.ops import Backend
from dcnrun.ops.jit import KernelUnavailable
from dcnrun.ops.jit.build_spec import dtype_name
from dcnrun.ops.proof import first_use
from dcnrun.ops.proof.verdict import Verdict
from tests.ops.factories import random_like
from tests.ops.fakes import FakeLibrary

HALF = [torch.bfloat16, torch.float16]
STORED = [torch.float32, torch.float64, *HALF]
CUDA_STORED = [torch.float32, *HALF]
FORMATS = [torch.contiguous_format, torch.channels_last]


def assert_close(got, wanted, relative, names=None, summands=0.0):
    """Each result within `relative` of the largest value of the one that is wanted, or of the largest that it is a sum of (`summands`)."""
    for name in names or wanted:
        largest = wanted[name].nan_to_num(0, 0, 0).abs().max().item() if wanted[name].numel() else 0
        largest = max(largest, summands)
        torch.testing.assert_close(
            got[name].to(wanted[name].dtype),
            wanted[name],
            rtol=relative,
            atol=relative * largest,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_same_bits(got, wanted, names=None):
    for name in names or wanted:
        assert torch.equal(got[name], wanted[name]), name


class Suite:
    """A suite's tests are parametrized with the subclass's `values`: for an argument's name, its values."""

    factories = None
    values = {}

    def pytest_generate_tests(self, metafunc):
        for name, values in self.values.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values, ids=str, indirect=name == "backend")


class OperatorSuite(Suite):
    """torch.library's own checks, derivatives, compilers and autocast.

    Attributes:
        name: the operator's, in torch.ops.dcnrun.
        cases: problems by name.
        empty: the settings of a problem with nothing to compute.
        features: the operands that autocast converts to its dtype.
        fast: whether first derivatives are checked along one random direction only.
        sizes: for several calls of a network, the arguments that `inputs` makes its inputs of.
        values: of `case`, `case_and_second` (whether the backward is differentiated too), `wanted`, `derivative`, `backend`.
    """

    name = None
    cases = {}
    empty = {}
    features = ()
    fast = False
    sizes = ()

    def network(self):
        """A network with the operator, always the same."""
        raise NotImplementedError

    def inputs(self, *size):
        """Inputs of the network, the first of them differentiable."""
        raise NotImplementedError

    def as_function(self, problem):
        """The operator as a function of the operands that are there, and these."""
        names = [name for name in self.factories.OPERANDS if problem[name] is not None]

        def compute(*operands):
            return self.factories.compute(**problem | dict(zip(names, operands, strict=True)))

        return compute, [problem[name] for name in names]

    def differentiable(self, problem):
        names = [name for name in self.factories.OPERANDS if problem[name] is not None]
        return problem | {name: problem[name].clone().requires_grad_() for name in names}

    def outcome(self, network, x, *more):
        """The output, and the gradients of the first input and every parameter."""
        leaves = [x.requires_grad_(), *network.parameters()]
        output = network(x, *more)
        return [output, *torch.autograd.grad(output.square().mean(), leaves)]

    def test_opcheck(self, case):
        operator = getattr(torch.ops.dcnrun, self.name).default
        problem = self.differentiable(self.cases[case])
        checked = torch.library.opcheck(operator, self.factories.arguments(problem))
        assert set(checked.values()) == {"SUCCESS"}

    def test_opcheck_of_the_backward(self, case_and_second, wanted):
        case, second = case_and_second
        if second and not all(wanted):
            pytest.skip("to trace them again takes long: second derivatives of some operands alone are tested below")
        operator = getattr(torch.ops.dcnrun, f"{self.name}_backward").default
        problem = self.differentiable(self.cases[case]) if second else self.cases[case]
        grad_output = random_like(self.factories.compute(**problem)).requires_grad_(second)
        checked = torch.library.opcheck(operator, (grad_output, *self.factories.backward_arguments(problem), wanted))
        assert set(checked.values()) == {"SUCCESS"}

    def test_first_and_second_derivatives(self, derivative):
        compute, operands = self.as_function(self.factories.away_from_integer_positions(**derivative))
        operands = [operand.requires_grad_() for operand in operands]
        assert torch.autograd.gradcheck(compute, operands, fast_mode=self.fast)
        assert torch.autograd.gradgradcheck(compute, operands, fast_mode=True)

    def test_second_derivatives_of_some_operands_alone(self):
        compute, operands = self.as_function(self.factories.away_from_integer_positions())
        for i in range(len(operands)):
            alone = [operand.detach().requires_grad_(j == i) for j, operand in enumerate(operands)]
            assert torch.autograd.gradgradcheck(lambda *o: compute(*o).square(), alone, fast_mode=True)

    def test_second_derivatives_where_there_is_nothing_to_compute(self):
        compute, operands = self.as_function(self.factories.make_problem(**self.empty))
        operands = [operand.requires_grad_() for operand in operands]
        first = torch.autograd.grad(compute(*operands).square().sum(), operands, create_graph=True)
        second = torch.autograd.grad(sum(grad.sum() for grad in first), operands, allow_unused=True)
        assert not any(grad.any() for grad in second if grad is not None)

    @pytest.mark.parametrize("recorded", [True, False])
    def test_what_torch_library_does_for_autograd_is_passed_by(self, recorded):
        """In it a call would spend as long as in all else, even without gradients."""
        problem = self.differentiable(self.factories.make_problem())
        profile = cProfile.Profile()
        with torch.set_grad_enabled(recorded):
            output = profile.runcall(self.factories.compute, **problem)
            if recorded:
                profile.runcall(output.sum().backward)
        assert output.requires_grad == recorded
        called = {entry.code.co_name for entry in profile.getstats() if not isinstance(entry.code, str)}
        assert "autograd_impl" not in called
        assert ("_forward" in called, "_backward" in called) == (True, recorded)

    def test_forward_mode_is_refused(self):
        """PyTorch would leave the tangents out without a word."""
        compute, operands = self.as_function(self.factories.make_problem())
        refused = pytest.raises(NotImplementedError, match=f"{self.name} has no derivatives in forward mode")
        with refused:
            torch.func.jvp(compute, tuple(operands), tuple(torch.ones_like(operand) for operand in operands))
        with refused, torch.autograd.forward_ad.dual_level():
            compute(torch.autograd.forward_ad.make_dual(operands[0], torch.ones_like(operands[0])), *operands[1:])

    @pytest.mark.parametrize("masked", [True, False])
    def test_func_grad_is_autograd(self, masked):
        compute, operands = self.as_function(self.factories.make_problem(masked=masked))
        every = tuple(range(len(operands)))
        got = torch.func.grad(lambda *o: compute(*o).pow(3).sum(), every)(*operands)
        leaves = [operand.clone().requires_grad_() for operand in operands]
        for ours, theirs in zip(got, torch.autograd.grad(compute(*leaves).pow(3).sum(), leaves), strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_reverse_over_reverse_is_autograds_hessian(self):
        compute, operands = self.as_function(self.factories.away_from_integer_positions())

        def loss(*operands):
            return compute(*operands).pow(3).sum()

        got = torch.func.grad(lambda *o: sum(g.sum() for g in torch.func.grad(loss, tuple(range(len(o))))(*o)))(
            *operands
        )
        leaves = [operand.clone().requires_grad_() for operand in operands]
        first = torch.autograd.grad(loss(*leaves), leaves, create_graph=True)
        torch.testing.assert_close(got, torch.autograd.grad(sum(g.sum() for g in first), leaves[0])[0])

    def test_func_grad_under_autocast(self):
        problem = self.factories.make_problem(dtype=torch.float32)

        def loss(input):
            return self.factories.compute(**problem | {"input": input}).float().square().sum()

        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = torch.func.grad(loss)(problem["input"])
            leaf = problem["input"].clone().requires_grad_()
            (wanted,) = torch.autograd.grad(loss(leaf), leaf)
        torch.testing.assert_close(got, wanted)

    def test_torch_fx_traces_it(self):
        network, inputs = self.network(), self.inputs(*self.sizes[0])
        torch.testing.assert_close(torch.fx.symbolic_trace(network)(*inputs), network(*inputs))

    @pytest.mark.parametrize("format", FORMATS)
    def test_compile_without_graph_breaks(self, fresh_compiler, format):
        network, (x, *more) = self.network().to(memory_format=format), self.inputs(*self.sizes[0])
        x = x.contiguous(memory_format=format)
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
        for got, wanted in zip(self.outcome(compiled, x, *more), self.outcome(network, x, *more), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)

    def test_compile_once_for_all_sizes(self, fresh_compiler):
        network, graphs = self.network(), []

        def count(graph, example):
            graphs.append(graph)
            return graph

        compiled = torch.compile(network, backend=count, fullgraph=True, dynamic=True)
        with torch.no_grad():
            for size in self.sizes:
                inputs = self.inputs(*size)
                torch.testing.assert_close(compiled(*inputs), network(*inputs))
        assert len(graphs) == 1

    def test_autocast_computes_as_half_precision_does(self):
        problem = self.factories.make_problem(dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = self.factories.compute(**problem)
        half = {name: problem[name].bfloat16() for name in self.features}
        assert torch.equal(got, self.factories.compute(**problem | half))

    def test_autocast_leaves_double_precision_alone(self):
        problem = self.factories.make_problem()
        wanted = self.factories.compute(**problem)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = self.factories.compute(**problem)
        assert got.dtype == torch.float64
        assert torch.equal(got, wanted)

    def test_a_backward_pass_under_autocast(self, backend):
        problem = self.factories.make_problem(dtype=torch.float32)
        wanted = self.factories.results(problem)
        leaf = problem["input"].requires_grad_()
        output = self.factories.compute(**problem | {"input": leaf})
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (got,) = torch.autograd.grad(output, leaf, random_like(output))
        torch.testing.assert_close(got, wanted["input"])


class ResultSuite(Suite):
    """Operands wherever they lie, results that are asked for and no others, and the same bits on every run.

    Attributes:
        layouts: functions that give a tensor another layout.
        not_ours: gradients that PyTorch computes and not our kernels.
        values: of `backend`, `layout`, `operand` (of which this is the layout), and of settings of problems:
            `layout_settings`, `some_settings` and `bits_settings`.
    """

    layouts = {}
    not_ours = frozenset()

    def problem_of_layouts(self, settings):
        raise NotImplementedError

    def problem_of_bits(self, settings):
        raise NotImplementedError

    def test_any_layout(self, kernel_backend, layout, operand, layout_settings):
        problem = self.problem_of_layouts(layout_settings)
        tensors = problem | {"grad_output": random_like(self.factories.compute(**problem))}
        strided = self.layouts[layout](tensors[operand])
        assert not strided.is_contiguous() or strided.shape[1] == 1
        changed = [tensors | {operand: tensor} for tensor in (strided, strided.contiguous())]
        got, wanted = (self.factories.results(each, grad_output=each.pop("grad_output")) for each in changed)
        assert_close(got, wanted, 1e-6)

    def test_gradients_of_some_operands_alone(self, backend, some_settings):
        problem = self.factories.make_problem(**some_settings)
        wanted = self.factories.results(problem)
        present = [name for name in self.factories.OPERANDS if problem[name] is not None]
        for names in (*combinations(present, 1), *combinations(present, 2)):
            leaves = {name: problem[name].clone().requires_grad_() for name in names}
            output = self.factories.compute(**problem | leaves)
            grads = torch.autograd.grad(output, leaves.values(), random_like(output))
            assert_close(dict(zip(names, grads, strict=True)) | {"output": output}, wanted, 1e-12, [*names, "output"])

    @pytest.mark.parametrize("format", FORMATS)
    def test_the_same_bits_on_every_run_for_any_number_of_threads(self, kernel_backend, bits_settings, format, threads):
        problem = self.problem_of_bits(bits_settings)
        problem |= {"input": problem["input"].contiguous(memory_format=format)}
        first = self.factories.results(problem)
        for count in (1, 2, 3, 5, 5):
            threads(count)
            assert_same_bits(self.factories.results(problem), first, first.keys() - self.not_ours)


class CpuSuite(Suite):
    """The call of a CPU kernel.

    Attributes:
        name: the operator's.
        cpu: the module that calls the kernel.
    """

    name = None
    cpu = None

    @pytest.fixture
    def library(self, monkeypatch):
        """Put a library that computes nothing in the kernel's place."""

        def install(status):
            fake = FakeLibrary(status)
            monkeypatch.setattr(self.cpu, "load_cpu", lambda name, dtype: fake)
            return fake

        return install

    def test_no_memory_left(self, kernel_backend, library):
        library(status=1)
        with pytest.raises(MemoryError, match=f"dcnrun_{self.name}_forward: not enough memory"):
            self.factories.compute(**self.factories.make_problem())

    def test_many_callers_at_once(self, kernel_backend):
        """Python's threads call it at the same time, each with a problem of its own."""
        many = [
            self.factories.make_problem(batch=1, channels=8, size=(9 + i, 8), dtype=torch.float32, seed=i)
            for i in range(16)
        ]
        wanted = [self.factories.results(problem) for problem in many]
        with ThreadPoolExecutor(4) as pool:
            for got, alone in zip(pool.map(self.factories.results, many), wanted, strict=True):
                assert_same_bits(got, alone, alone.keys() - {"bias"})


@pytest.mark.usefixtures("auto")
class DispatchSuite(Suite):
    """Which implementation computes.

    Attributes:
        name: the operator's.
        dispatch: the module that chooses.
        fallback: what computes where our kernel can't be had.
    """

    name = None
    dispatch = None
    fallback = None

    def backend_for(self, *kind):
        return self.dispatch.backend_for(*kind)

    @pytest.mark.parametrize("dtype", STORED)
    def test_our_kernel_comes_first(self, compiler, dtype):
        assert self.backend_for("cpu", dtype) is Backend.KERNEL

    @pytest.mark.parametrize("dtype", STORED)
    def test_the_fallback_where_there_is_no_kernel(self, no_compiler, dtype):
        assert self.backend_for("cpu", dtype) is self.fallback

    def test_other_devices(self, compiler):
        assert self.backend_for("cuda", torch.float32) is self.fallback
        assert self.backend_for("mps", torch.float32) is Backend.REFERENCE
        assert self.backend_for("meta", torch.float32) is Backend.REFERENCE

    def test_a_dtype_without_kernel(self, compiler, monkeypatch):
        assert self.backend_for("cpu", torch.float8_e4m3fn) is Backend.REFERENCE
        monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
        message = r"DCNRUN_BACKEND=kernel, but there is no kernel for torch.float8_e4m3fn on cpu"
        with pytest.raises(UsageError, match=message):
            self.backend_for("cpu", torch.float8_e4m3fn)

    def test_one_line_says_what_is_lost_and_how_to_get_it_back(self, no_compiler, caplog):
        with caplog.at_level(logging.INFO, "dcnrun"):
            for _ in range(3):
                self.factories.compute(**self.factories.make_problem(dtype=torch.float32))
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        message = record.getMessage()
        assert "slower" in message
        assert message.endswith("since no C++ compiler was found; install one")
        assert "\n" not in message
        assert no_compiler == [(self.name, torch.float32, torch.device("cpu"))]

    def test_the_definition_can_be_forced(self, compiler, monkeypatch):
        monkeypatch.setenv("DCNRUN_BACKEND", "reference")
        kinds = [(device, dtype) for device in ("cpu", "cuda") for dtype in STORED]
        assert {self.backend_for(*kind) for kind in kinds} == {Backend.REFERENCE}

    def test_auto_is_the_default(self, compiler, monkeypatch):
        monkeypatch.setenv("DCNRUN_BACKEND", "auto")
        assert self.backend_for("cpu", torch.float32) is Backend.KERNEL

    def test_a_forced_kernel_does_not_fall_back(self, no_compiler, monkeypatch):
        monkeypatch.setenv("DCNRUN_BACKEND", "kernel")
        with pytest.raises(KernelUnavailable, match=r"no C\+\+ compiler was found; install one"):
            self.factories.compute(**self.factories.make_problem())
        with pytest.raises(UsageError, match=r"no kernel for torch.float32 on mps"):
            self.backend_for("mps", torch.float32)

    @pytest.mark.parametrize("asked", ["fastest", "", "Kernel"])
    def test_an_unknown_backend(self, asked, monkeypatch):
        monkeypatch.setenv("DCNRUN_BACKEND", asked)
        message = f"DCNRUN_BACKEND is {asked!r}: it must be one of auto, kernel, cuda, torchvision, reference"
        with pytest.raises(UsageError, match=message):
            self.factories.compute(**self.factories.make_problem())


class CudaDispatchSuite(DispatchSuite):
    """The choice of an operator that has CUDA kernels too."""

    @pytest.mark.parametrize("dtype", CUDA_STORED)
    def test_our_cuda_kernels_come_first_where_they_proved_right(self, gpu, dtype, verdicts, caplog):
        verdicts[self.name] = Verdict(why_not="float32: 3x3: output wrong", file=Path("/cache/report.json"))
        assert [self.backend_for("cuda:0", dtype) for _ in range(3)] == [self.fallback] * 3
        (record,) = caplog.records
        why = "since our kernels are not trusted here: float32: 3x3: output wrong"
        assert record.getMessage().endswith(f"{why}; `dcnrun kernels prove` tries again; see /cache/report.json")
        self.dispatch.DISPATCHER.forget()
        verdicts[self.name] = Verdict(frozenset({dtype_name(dtype)}))
        assert self.backend_for("cuda:0", dtype) is Backend.KERNEL
        assert gpu == [(self.name, dtype, torch.device("cuda:0"))]
        other = CUDA_STORED[CUDA_STORED.index(dtype) - 1]
        assert self.backend_for("cuda:0", other) is self.fallback
        assert self.backend_for("cuda:0", torch.float64) is self.fallback

    def test_without_a_compiler_nothing_is_proved(self, gpu, caplog, monkeypatch):
        def no_nvrtc(operator, device):
            raise KernelUnavailable("NVRTC was not found", "install torch again")

        monkeypatch.setattr(first_use, "verdict_for", no_nvrtc)
        assert [self.backend_for("cuda:0", torch.float32) for _ in range(3)] == [self.fallback] * 3
        (record,) = caplog.records
        assert record.getMessage().endswith("since NVRTC was not found; install torch again")

    def test_what_can_not_be_proved_now_is_proved_later(self, gpu, verdicts, caplog):
        verdicts[self.name] = Verdict(why_not="a CUDA graph is being captured", final=False)
        assert self.backend_for("cuda", torch.float32) is self.fallback
        verdicts[self.name] = Verdict(frozenset({"float32"}))
        assert self.backend_for("cuda", torch.float32) is Backend.KERNEL
        assert caplog.records == []

    @pytest.mark.parametrize("asked", ["cuda", "kernel", "reference"])
    def test_what_is_asked_for_is_not_proved(self, gpu, verdicts, asked, monkeypatch):
        monkeypatch.setenv("DCNRUN_BACKEND", asked)
        verdicts.clear()
        self.backend_for("cuda", torch.float32)

    @pytest.mark.parametrize("asked", ["cuda", "kernel"])
    def test_our_cuda_kernels_can_be_forced(self, gpu, compiler, asked, monkeypatch):
        monkeypatch.setenv("DCNRUN_BACKEND", asked)
        assert {self.backend_for("cuda", dtype) for dtype in CUDA_STORED} == {Backend.KERNEL}
        assert [dtype for _, dtype, _ in gpu] == CUDA_STORED
        message = rf"DCNRUN_BACKEND={asked}, but there is no kernel for torch.float64 on cuda"
        with pytest.raises(UsageError, match=message):
            self.backend_for("cuda", torch.float64)

    @pytest.mark.parametrize("dtype", STORED)
    def test_forced_cuda_kernels_change_nothing_elsewhere(self, gpu, dtype, compiler, monkeypatch):
        monkeypatch.setenv("DCNRUN_BACKEND", "cuda")
        assert self.backend_for("cpu", dtype) is Backend.KERNEL
        assert self.backend_for("mps", dtype) is Backend.REFERENCE

    def test_without_nvrtc(self, no_nvrtc, monkeypatch, caplog):
        with caplog.at_level(logging.INFO, "dcnrun"):
            assert [self.backend_for("cuda", torch.float16) for _ in range(3)] == [self.fallback] * 3
        (record,) = caplog.records
        assert record.getMessage().endswith("since NVRTC was not found; install torch again")
        monkeypatch.setenv("DCNRUN_BACKEND", "cuda")
        with pytest.raises(KernelUnavailable, match="NVRTC was not found; install torch again"):
            self.backend_for("cuda", torch.float16)


def named_problem(problems, name):
    """One of the problems on which kernels prove themselves."""
    (problem,) = (problem for problem in problems(0) if problem.name == name)
    return problem


class SamplingProblemsSuite:
    """Where the points of problems with offsets for each pixel lie.

    Attributes:
        problems: makes them from a seed.
        places: of a problem, where its sampling points lie along y and x.
    """

    def test_samples_lie_on_the_border_and_on_both_sides_of_it(self):
        problem = named_problem(self.problems, "on the border")
        for along, side in zip(self.places(problem), problem.operands.input.shape[2:], strict=True):
            assert {-1.25, -1, 0, side - 1, side} <= set(along.unique().tolist())

    def test_all_lie_between_the_same_four_pixels(self):
        y, x = self.places(named_problem(self.problems, "all to one pixel"))
        assert (y.unique().tolist(), x.unique().tolist()) == ([3.25], [2.5])
