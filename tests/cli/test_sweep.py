from pathlib import Path

import pytest

from dcnrun.jobs.cluster.options import ClusterOptions, Resources, Runs
from dcnrun.sweep.engines.engine import Options, Sampler
from tests.cli.fakes import run


def test_sweep(replaced):
    calls = replaced("dcnrun.sweep.engines.local", "LocalEngine.run")
    assert run("sweep", "lr.yaml").exit_code == 0
    options = ["--count", "12", "--gpus", "0, 1", "--name", "b", "--out", "c", "--search", "gp", "--seed", "3"]
    options += ["--repeats", "4", "--top", "2", "--retry-failed"]
    assert run("sweep", "lr.yaml", "seed=1", *options).exit_code == 0
    assert run("sweep", "lr.yaml", "--agents", "4", "--storage", "sqlite:///b.db").exit_code == 0
    given = Options(12, 1, ("0", "1"), "b", Path("c"), None, Sampler.gp, 3, 4, 2, True)
    assert calls == [
        (Path("lr.yaml"), [], Options()),
        (Path("lr.yaml"), ["seed=1"], given),
        (Path("lr.yaml"), [], Options(agents=4, storage="sqlite:///b.db")),
    ]


def test_sweep_on_weights_and_biases(replaced):
    calls = replaced("dcnrun.sweep.engines.wandb", "WandbEngine.run")
    arguments = ["sweep", "lr.yaml", "seed=1", "--engine", "wandb", "--count", "3"]
    assert run(*arguments).exit_code == 0
    assert calls == [(Path("lr.yaml"), ["seed=1"], Options(count=3))]


def test_sweep_on_a_cluster(replaced):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'dcnrun[ray]'")
    calls = replaced("dcnrun.sweep.engines.ray", "RayEngine.run")
    assert run("sweep", "lr.yaml", "--engine", "ray").exit_code == 0
    options = ["--per-trial", "CPU=4,memory=8GiB", "--runs", "copied", "--agents", "3"]
    assert run("sweep", "lr.yaml", "--engine", "ray", *options).exit_code == 0
    given = ClusterOptions("auto", Resources(4.0, memory=8 * 2**30), Runs.copied, 3)
    assert calls == [
        (Path("lr.yaml"), [], Options(cluster=ClusterOptions())),
        (Path("lr.yaml"), [], Options(agents=3, cluster=given)),
    ]


def test_sweep_that_only_tells(replaced):
    plans = replaced("dcnrun.sweep.engines.local", "LocalEngine.show_plan")
    assert run("sweep", "lr.yaml", "seed=1", "--dry-run").exit_code == 0
    assert plans == [(Path("lr.yaml"), ["seed=1"], Options())]
    told = replaced("dcnrun.sweep.engines.local", "LocalEngine.show_status")
    assert run("sweep", "--status", "lr").exit_code == 0
    assert run("sweep", "--status", "lr", "--storage", "sqlite:///a.db", "--out", "b").exit_code == 0
    assert told == [("lr", Options()), ("lr", Options(storage="sqlite:///a.db", out=Path("b")))]


def test_an_agent_that_is_interrupted_says_how_to_go_on(replaced):
    replaced("dcnrun.sweep.agent", "run_agent", error=KeyboardInterrupt())
    result = run("agent", "lr")
    assert result.exit_code == 130
    assert "This command or any other agent goes on with them." in " ".join(result.output.split())


def test_agent(replaced):
    calls = replaced("dcnrun.sweep.agent", "run_agent")
    assert run("agent", "lr", DCNRUN_STORAGE="").exit_code == 0
    options = ["--count", "2", "--gpus", "0,1", "--out", "b"]
    assert run("agent", "lr", *options, DCNRUN_STORAGE="sqlite:///a.db").exit_code == 0
    assert calls == [("lr", None, None, (), None), ("lr", "sqlite:///a.db", 2, ("0", "1"), Path("b"))]
