"""`dcnrun bench ops` on tiny shapes; ratios from given numbers."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from dcnrun.bench import devices, ops
from dcnrun.bench.devices import COLUMNS, Cpu, Cuda
from dcnrun.bench.operators import (
    BACKWARD,
    BOTH,
    CONV2D,
    FORWARD,
    ONNXRUNTIME,
    OURS,
    OURS_DETERMINISTIC,
    OURS_NCHW,
    SAMPLING,
    TORCHVISION,
    TORCHVISION_FP16,
    TORCHVISION_FP32,
    Case,
)
from dcnrun.bench.ops import bench_ops, ratios
from dcnrun.bench.timing import EventClock, LaunchClock
from dcnrun.errors import DcnrunError, UsageError
from tests.bench.fakes import Gpu

TINY = (Case(1, 4, 6, reference=True), Case(1, 2, 5, kernel=1))
KEPT = Path(__file__).parents[2] / "benchmarks" / "results" / "ops.json"


@pytest.fixture(autouse=True)
def _tiny_cases(monkeypatch):
    monkeypatch.setattr(Cpu, "cases", TINY)
    monkeypatch.setattr(Cuda, "cases", (*TINY, Case(1, 4, (3, 4), offset_groups=2)))


def row(reference, forward, both, extra, columns):
    def timed(times):
        return {name: {"median": time, "q1": 0, "q3": 0} for name, time in times.items()}

    return {
        "reference": reference,
        "milliseconds": {FORWARD: timed(forward), BOTH: timed(both)},
        "extra_bytes": {FORWARD: extra, BOTH: {}},
        "columns_bytes": columns,
    }


def test_ratios_of_given_numbers():
    rows = [
        row(
            True,
            {OURS: 2, CONV2D: 1, TORCHVISION: 20, ONNXRUNTIME: 6},
            {OURS: 5, CONV2D: 5},
            {OURS: 10, TORCHVISION: 50},
            100,
        ),
        row(True, {OURS: 8, CONV2D: 1, TORCHVISION: 20}, {OURS: 20, CONV2D: 5}, {OURS: 40, TORCHVISION: 50}, 100),
        row(False, {OURS: 999, CONV2D: 1}, {OURS: 999, CONV2D: 1}, {OURS: 999}, 1),
    ]
    result = ratios(rows, Cpu())
    assert result["shapes"] == 2
    forward = result[FORWARD]["time"]
    assert forward["ours / conv2d"] == {"geometric_mean": pytest.approx(4), "smallest": 2, "largest": 8}
    assert forward["torchvision / ours"] == {"geometric_mean": pytest.approx(5), "smallest": 2.5, "largest": 10}
    assert forward["onnxruntime / ours"]["geometric_mean"] == pytest.approx(3)
    assert "ours, NCHW / conv2d" not in forward
    assert result[BOTH]["time"]["ours / conv2d"] == {"geometric_mean": pytest.approx(2), "smallest": 1, "largest": 4}
    memory = result[FORWARD]["memory"]
    assert memory[f"ours / {COLUMNS}"] == {"geometric_mean": pytest.approx(0.2), "smallest": 0.1, "largest": 0.4}
    assert memory["ours / torchvision"]["geometric_mean"] == pytest.approx(math.sqrt(0.2 * 0.8))
    assert result[BOTH]["memory"] == {}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_all_is_measured(monkeypatch):
    pytest.importorskip("onnxruntime")
    peers = Cpu.peers
    monkeypatch.setattr(Cpu, "peers", (TORCHVISION, ONNXRUNTIME, CONV2D))  # the kept result's
    result = bench_ops(rounds=2, threads=1, shapes="6x6")
    assert json.loads(json.dumps(result)) == result
    (measured,) = result["results"]
    forward, both = {OURS, OURS_NCHW, TORCHVISION, ONNXRUNTIME, CONV2D}, {OURS, OURS_NCHW, TORCHVISION, CONV2D}
    for quantity in ("milliseconds", "extra_bytes"):
        assert {pass_: set(values) for pass_, values in measured[quantity].items()} == {FORWARD: forward, BOTH: both}
    times = [time for times in measured["milliseconds"].values() for time in times.values()]
    assert all(0 < time["q1"] <= time["median"] <= time["q3"] < 1000 for time in times)
    assert all(abs(size) < 2**24 for sizes in measured["extra_bytes"].values() for size in sizes.values())
    assert result["machine"]["threads"] == 1
    assert result["ratios"][FORWARD]["time"]["ours / conv2d"]["geometric_mean"] > 0
    kept = json.loads(KEPT.read_text("utf-8"))
    del kept["made"]
    assert set(kept.pop("unavailable")) <= set(peers) - {TORCHVISION, ONNXRUNTIME, CONV2D}
    assert result.pop("unavailable") == {}
    del result["machine"]["commit"]  # the kept result, older than this entry, has its commit under "made"
    assert form(json.loads(json.dumps(result))) == form(kept)


def form(result):
    """The keys of an object in JSON, as deep as they go; of a list's first element."""
    if isinstance(result, list):
        return [form(each) for each in result[:1]]
    return {key: form(value) for key, value in result.items()} if isinstance(result, dict) else type(result)


def test_shapes_are_chosen_and_what_is_not_known_is_left_out(monkeypatch, capsys):
    def refuse(*arguments):
        raise DcnrunError("no /proc here")

    monkeypatch.setattr(devices, "in_fresh_process", refuse)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    threads = torch.get_num_threads()
    result = bench_ops(rounds=1, threads=threads + 1, shapes="1X1, nothing")
    assert torch.get_num_threads() == threads
    assert [row["shape"] for row in result["results"]] == ["N1 C2 5x5 1x1 kernel"]
    assert result["results"][0]["memory_unknown"] == "no /proc here"
    assert ONNXRUNTIME in result["unavailable"]
    assert "Without onnxruntime" in capsys.readouterr().out
    assert result["ratios"]["shapes"] == 0


@pytest.mark.parametrize(
    ("options", "part"),
    [({"shapes": "9x9"}, "N1 C4 6x6, N1 C2 5x5 1x1 kernel"), ({"rounds": 0}, "--rounds 0"), ({"threads": -1}, "-1")],
)
def test_wrong_options(options, part):
    with pytest.raises(UsageError, match=part):
        bench_ops(**options)


def test_a_forced_backend_is_said(monkeypatch, capsys):
    monkeypatch.setattr(devices, "in_fresh_process", lambda *_: 1)
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    assert bench_ops(rounds=1, shapes="1x1")["machine"]["backend"] == "reference"
    assert "`ours` is computed by reference" in capsys.readouterr().out


def test_several_dtypes(monkeypatch):
    """A result under the name of each."""
    monkeypatch.setattr(devices, "in_fresh_process", lambda *_: 1)
    results = bench_ops(dtypes=["float64", "bfloat16"], rounds=1, shapes="1x1")
    assert list(results) == ["float64", "bfloat16"]
    assert {name: result["dtype"] for name, result in results.items()} == {"float64": "float64", "bfloat16": "bfloat16"}
    assert TORCHVISION in results["bfloat16"]["unavailable"]
    assert TORCHVISION in results["float64"]["results"][0]["milliseconds"][FORWARD]


@pytest.fixture
def gpu(monkeypatch):
    """One that is not there: the CPU computes, and ten calls of anything take ten milliseconds."""
    gpu = Gpu(event_milliseconds=10)
    monkeypatch.setattr(devices, "peak_extra_gpu_bytes", lambda work, device: len(list(work())))
    monkeypatch.setattr(devices, "describe_gpu", lambda device: {"gpu": "none"})
    monkeypatch.setattr(
        ops,
        "DEVICES",
        {
            "cuda": lambda: Cuda(
                torch.device("cpu"), 4000, EventClock(gpu.event, 10, 1), LaunchClock(gpu.synchronize, 2)
            )
        },
    )
    return gpu


def test_a_gpu(gpu, capsys):
    """All that is run and told, with events of a GPU that is not there."""
    results = bench_ops("cuda", rounds=2)
    assert list(results) == ["bfloat16", "float16", "float32"]
    result = results["float32"]
    missing = {name for name in (TORCHVISION_FP16,) if name in result["unavailable"]}
    candidates = {OURS, OURS_DETERMINISTIC, SAMPLING, TORCHVISION_FP16, TORCHVISION_FP32, CONV2D} - missing
    assert [row["shape"] for row in result["results"]] == [case.name for case in Cuda.cases]
    for row in result["results"]:
        for quantity in ("milliseconds", "extra_bytes"):
            assert {pass_: set(values) for pass_, values in row[quantity].items()} == dict.fromkeys(
                (FORWARD, BACKWARD, BOTH), candidates
            )
        assert row["milliseconds"][BOTH][OURS] == {"median": 1.0, "q1": 1.0, "q3": 1.0}
        # The stand-in counts results: an output, four gradients, or both.
        assert [row["extra_bytes"][pass_][OURS] for pass_ in (FORWARD, BACKWARD, BOTH)] == [1, 4, 5]
    compared = result["ratios"]
    assert compared["shapes"] == 1
    for pass_ in (FORWARD, BACKWARD, BOTH):
        assert set(compared[pass_]["time"]) >= {
            "ours / conv2d",
            "torchvision fp32 / ours",
            "ours, deterministic / ours",
        }
    assert set(result["launch_microseconds"]) == {OURS, CONV2D}
    assert result["launch_microseconds"][OURS]["median"] > 1
    assert result["machine"]["gpu"] == "none"
    kept = json.loads(KEPT.read_text("utf-8"))
    del kept["made"]
    assert list(result) == [*kept, "launch_microseconds"]
    assert set(result["results"][0]) == set(kept["results"][0])
    shown = capsys.readouterr().out
    assert shown.count("backward: median milliseconds") >= 3
    assert shown.count("the host's median microseconds") == 3


def test_what_is_measured_is_shown_at_once(gpu, monkeypatch, capsys):
    """And one operator that fails on one shape is told, and left out there."""
    works = Cuda.works

    def fail(self, name, case, dtype):
        if name == OURS_DETERMINISTIC and case == TINY[1]:
            print("so far:", capsys.readouterr().out)
            raise RuntimeError("CUDA out of memory\nand more")
        return works(self, name, case, dtype)

    monkeypatch.setattr(Cuda, "works", fail)
    first, second, third = bench_ops("cuda", ["float32"], rounds=1)["results"]
    shown = capsys.readouterr().out
    assert "so far:" in shown
    assert f"{TINY[0].name}, forward, milliseconds: ours 1.0, ours, deterministic 1.0" in shown.split("so far:")[1]
    assert f"{TINY[1].name}, without ours, deterministic: RuntimeError: CUDA out of memory\n" in shown
    assert second["failed"] == {OURS_DETERMINISTIC: "RuntimeError: CUDA out of memory"}
    assert set(second["milliseconds"][FORWARD]) == set(first["milliseconds"][FORWARD]) - {OURS_DETERMINISTIC}
    assert first.keys() == third.keys() == second.keys() - {"failed"}


def test_one_dtype_on_a_gpu_has_the_form_of_the_cpus(gpu):
    result = bench_ops("cuda", ["bfloat16"], rounds=1, shapes="3x4")
    assert result["dtype"] == "bfloat16"
    assert json.loads(json.dumps(result))["results"][0]["size"] == [3, 4]
    assert result["ratios"] == {"shapes": 0} | {
        pass_: {"time": {}, "memory": {}} for pass_ in (FORWARD, BACKWARD, BOTH)
    }


def test_what_must_be_shown_of_a_gpu():
    """Ratios of given numbers, over the one shape that the claims are about."""
    forward = {OURS: 0.1, OURS_DETERMINISTIC: 0.1, TORCHVISION_FP16: 0.8, TORCHVISION_FP32: 1.6, CONV2D: 0.05}
    backward = {OURS: 0.3, OURS_DETERMINISTIC: 0.45, TORCHVISION_FP16: 2.4, TORCHVISION_FP32: 3.0, CONV2D: 0.1}
    first = row(True, forward, {OURS: 0.4, TORCHVISION_FP16: 3.2, CONV2D: 0.16}, {OURS: 2, TORCHVISION_FP16: 8}, 16)
    first["milliseconds"][BACKWARD] = {name: {"median": time} for name, time in backward.items()}
    first["extra_bytes"][BACKWARD] = {}
    result = ratios([first], Cuda(torch.device("cpu"), 0, EventClock(None), LaunchClock(None)))

    def mean(pass_, name, quantity="time"):
        return result[pass_][quantity][name]["geometric_mean"]

    assert mean(FORWARD, "ours / conv2d") == pytest.approx(2)
    assert mean(BOTH, "ours / conv2d") == pytest.approx(2.5)
    assert mean(FORWARD, "torchvision fp16 / ours") == pytest.approx(8)
    assert mean(BOTH, "torchvision fp16 / ours") == pytest.approx(8)
    assert mean(BACKWARD, "ours, deterministic / ours") == pytest.approx(1.5)
    assert mean(FORWARD, "ours / torchvision fp16", "memory") == pytest.approx(0.25)
    assert mean(FORWARD, f"ours / {COLUMNS}", "memory") == pytest.approx(0.125)
