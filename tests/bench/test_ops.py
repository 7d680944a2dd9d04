"""`dcnrun bench ops` on tiny shapes; ratios from given numbers."""

import json
import math
import sys

import pytest
import torch

from dcnrun.bench import ops
from dcnrun.bench.machine import describe, describe_kernel
from dcnrun.bench.operators import BOTH, CONV2D, FORWARD, ONNXRUNTIME, OURS, OURS_NCHW, TORCHVISION, Case
from dcnrun.bench.ops import COLUMNS, bench_ops, ratios
from dcnrun.errors import DcnrunError, UsageError

TINY = (Case(1, 4, 6, reference=True), Case(1, 2, 5, kernel=1))


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
    result = ratios(rows)
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
def test_all_is_measured():
    pytest.importorskip("onnxruntime")
    result = bench_ops(rounds=2, threads=1, cases=TINY[:1])
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


def test_shapes_are_chosen_and_what_is_not_known_is_left_out(monkeypatch, capsys):
    def refuse(*arguments):
        raise DcnrunError("no /proc here")

    monkeypatch.setattr(ops, "in_fresh_process", refuse)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    threads = torch.get_num_threads()
    result = bench_ops(rounds=1, threads=threads + 1, shapes="1X1, nothing", cases=TINY)
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
        bench_ops(**options, cases=TINY)


def test_a_forced_backend_is_said(monkeypatch, capsys):
    monkeypatch.setattr(ops, "in_fresh_process", lambda *_: 0)
    monkeypatch.setenv("DCNRUN_BACKEND", "reference")
    assert bench_ops(rounds=1, cases=TINY[1:])["machine"]["backend"] == "reference"
    assert "`ours` is computed by reference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/somewhere/bin/dcnrun", "bench", "ops"], "dcnrun bench ops"),
        (["/somewhere/dcnrun/__main__.py", "bench"], "dcnrun bench"),
        (["benchmarks/startup.py", "out.json"], "python benchmarks/startup.py out.json"),
    ],
)
def test_the_machine_is_described(monkeypatch, arguments, command):
    monkeypatch.setattr(sys, "argv", arguments)
    machine = describe()
    assert machine["command"] == command
    assert machine["torch"] == torch.__version__
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert machine["vector_instructions"]
    assert machine["load_average"] >= 0


def test_the_kernel_is_described(monkeypatch):
    kernel = describe_kernel(torch.float32)
    assert "unavailable" in kernel or ("-O3" in kernel["flags"] and kernel["file"].startswith("deform_conv2d-float32"))
    assert "unavailable" in describe_kernel(torch.int32)
