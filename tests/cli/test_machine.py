from pathlib import Path

from tests.cli.fakes import run


def test_doctor(replaced):
    calls = replaced("dcnrun.doctor", "doctor")
    assert run("doctor").exit_code == 0
    assert calls == [()]


def test_kernels_build(replaced):
    calls = replaced("dcnrun.ops.jit.aot", "build_kernels")
    assert run("kernels", "build").exit_code == 0
    more = ["--dtype", "float64", "--dtype", "bfloat16", "--cuda", "sm_80", "--cuda", "all"]
    assert run("kernels", "build", *more).exit_code == 0
    assert calls == [([], []), (["float64", "bfloat16"], ["sm_80", "all"])]
    assert "Missing command" in run("kernels").stderr


def test_kernels_prove(replaced):
    calls = replaced("dcnrun.ops.proof.command", "prove_kernels")
    assert run("kernels", "prove").exit_code == 0
    assert run("kernels", "prove", "--out", "here.json", "--against", "other.json").exit_code == 0
    assert calls == [(None, None), (Path("here.json"), Path("other.json"))]


def test_bench_ops(replaced):
    calls = replaced("dcnrun.bench.ops", "bench_ops")
    assert run("bench", "ops").exit_code == 0
    more = ["--dtype", "float64", "--dtype", "float16", "--threads", "1", "--rounds", "3", "--shapes", "C64,7x7"]
    assert run("bench", "ops", "--device", "cuda", *more).exit_code == 0
    assert calls == [("cpu", [], 0, 9, None), ("cuda", ["float64", "float16"], 1, 3, "C64,7x7")]
