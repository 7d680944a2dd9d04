import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

import dcnrun
from dcnrun.cli import app
from dcnrun.config.compose import compose
from dcnrun.errors import DataError, RunError
from dcnrun.sweep.engines.engine import Options, Sampler
from dcnrun.visualize.options import Options as OffsetOptions

CODE = Path(dcnrun.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CODE), "COLUMNS": "100"}


def run(*arguments, **environment):
    """Run the command line in this process."""
    return CliRunner().invoke(app, list(arguments), env=environment)


def run_process(*command, **environment):
    return subprocess.run(
        [sys.executable, *command], env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=60
    )


def last_object(standard_output):
    return json.loads(standard_output.splitlines()[-1])


@pytest.fixture
def replaced(monkeypatch):
    """Put a function, or a class with one method, in the place of one that a command calls; returns the arguments of its calls."""

    def replace(module, name, result=None, error=None):
        calls = []

        def function(*arguments):
            calls.append(arguments)
            print("progress")
            if error is not None:
                raise error
            return {} if result is None else result

        fake = ModuleType(module)
        engine, _, method = name.rpartition(".")
        if engine:
            setattr(fake, engine, type(engine, (), {method: staticmethod(function)}))
        else:
            setattr(fake, name, function)
        monkeypatch.setitem(sys.modules, module, fake)
        return calls

    return replace


def test_the_options_of_every_command_are_those_that_users_rely_on():
    commands = dict(typer.main.get_command(app).commands)
    for group in ("bench", "data", "kernels"):
        commands |= {f"{group} {name}": command for name, command in commands.pop(group).commands.items()}
    options = {name: sorted(option for p in command.params for option in p.opts) for name, command in commands.items()}
    assert options == {
        "train": ["--config-dir", "--dry-run", "--json", "--resume", "--run-dir", "overrides"],
        "evaluate": ["--checkpoint", "--json", "--save-predictions", "overrides", "run"],
        "export": ["--checkpoint", "--json", "--opset", "--out", "--size", "overrides", "run"],
        "compare": ["--config-dir", "--dry-run", "--json", "--out", "--storage", "arguments"],
        "sweep": [
            "--agents",
            "--count",
            "--dry-run",
            "--engine",
            "--gpus",
            "--json",
            "--name",
            "--out",
            "--repeats",
            "--retry-failed",
            "--search",
            "--seed",
            "--status",
            "--storage",
            "--top",
            "file",
            "overrides",
        ],
        "agent": ["--count", "--gpus", "--json", "--out", "--storage", "sweep"],
        "visualize-offsets": [
            "--at",
            "--checkpoint",
            "--json",
            "--layer",
            "--limit",
            "--no-page",
            "--out",
            "arguments",
        ],
        "config": ["--config-dir", "--json", "--list", "overrides"],
        "data check": ["--config-dir", "--json", "--labels", "--out", "--samples", "overrides"],
        "doctor": ["--json"],
        "kernels build": ["--cuda", "--dtype", "--json"],
        "bench ops": ["--device", "--dtype", "--json", "--rounds", "--shapes", "--threads"],
    }


# What each command calls.


def test_train(replaced, tmp_path):
    calls = replaced("dcnrun.training.run", "train")
    assert run("train", "conv=dilated", "--run-dir", str(tmp_path), "seed=3").exit_code == 0
    overrides = ["conv=dilated", "seed=3"]
    assert calls == [(compose(overrides), overrides, tmp_path)]
    assert run("train").exit_code == 0
    assert calls[1:] == [(compose([]), [], None)]


def test_train_with_an_own_folder(replaced, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cells.yaml").write_text("defaults: [folder, _self_]\nclasses: [background, cell]\n")
    calls = replaced("dcnrun.training.run", "train")
    assert run("train", "data=cells", "--config-dir", str(tmp_path)).exit_code == 0
    assert calls[0][0].data.classes == ["background", "cell"]


def test_dry_run(replaced):
    calls = replaced("dcnrun.training.dry_run", "dry_run")
    assert run("train", "--dry-run", "conv=standard").exit_code == 0
    assert calls == [(compose(["conv=standard"]),)]


def test_resume(replaced, tmp_path):
    calls = replaced("dcnrun.training.run", "resume")
    assert run("train", "--resume", str(tmp_path)).exit_code == 0
    assert calls == [(tmp_path,)]


def test_evaluate(replaced, tmp_path):
    calls = replaced("dcnrun.training.evaluate", "evaluate")
    assert run("evaluate", str(tmp_path)).exit_code == 0
    more = ["--checkpoint", "last", "--save-predictions", "a.json"]
    assert run("evaluate", str(tmp_path), "data.flip=0", *more, "seed=1").exit_code == 0
    assert calls == [
        (tmp_path, "best", [], None),
        (tmp_path, "last", ["data.flip=0", "seed=1"], Path("a.json")),
    ]


def test_export(replaced):
    calls = replaced("dcnrun.export.run", "export_run")
    assert run("export", "runs/a", "--out", "a.onnx").exit_code == 0
    more = ["--checkpoint", "last", "--opset", "22", "--size", "64x96"]
    assert run("export", "runs/a", "data.root=x", "--out", "b/a.onnx", *more).exit_code == 0
    assert calls == [
        (Path("runs/a"), Path("a.onnx"), "best", 19, None, []),
        (Path("runs/a"), Path("b/a.onnx"), "last", 22, "64x96", ["data.root=x"]),
    ]


def test_bench_ops(replaced):
    calls = replaced("dcnrun.bench.ops", "bench_ops")
    assert run("bench", "ops").exit_code == 0
    more = ["--dtype", "float64", "--dtype", "float16", "--threads", "1", "--rounds", "3", "--shapes", "C64,7x7"]
    assert run("bench", "ops", "--device", "cuda", *more).exit_code == 0
    assert calls == [("cpu", [], 0, 9, None), ("cuda", ["float64", "float16"], 1, 3, "C64,7x7")]


def test_data_check(replaced):
    calls = replaced("dcnrun.data.check", "check_data")
    assert run("data", "check").exit_code == 0
    assert run("data", "check", "model=retinanet").exit_code == 0
    more = ["--labels", "boxes", "--samples", "3", "--out", "a"]
    assert run("data", "check", "data.image_size=64", *more).exit_code == 0
    splits = ("train", "val")
    assert calls == [
        (compose([]).data, splits, 12, Path("data-check"), "masks"),
        (compose([]).data, splits, 12, Path("data-check"), "boxes"),
        (compose(["data.image_size=64"]).data, splits, 3, Path("a"), "boxes"),
    ]


def test_compare_trains_a_grid_or_takes_finished_runs(replaced, tmp_path):
    grids = replaced("dcnrun.compare.runner", "run_grid")
    overrides = ["conv=standard,dilated", "seed=0,1"]
    assert run("compare", *overrides, "--dry-run", "--out", str(tmp_path)).exit_code == 0
    assert run("compare", *overrides, "--storage", "sqlite:///a.db").exit_code == 0
    assert grids == [(overrides, tmp_path, None, True, None), (overrides, None, None, False, "sqlite:///a.db")]
    finished = replaced("dcnrun.compare.compare_runs", "compare_runs")
    assert run("compare", "runs/a", "runs/b").exit_code == 0
    (tmp_path / "lr=0.1").mkdir()
    assert run("compare", "runs/a", str(tmp_path / "lr=0.1")).exit_code == 0
    assert finished == [([Path("runs/a"), Path("runs/b")], None), ([Path("runs/a"), tmp_path / "lr=0.1"], None)]


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


def test_sweep_that_only_tells(replaced):
    plans = replaced("dcnrun.sweep.engines.local", "LocalEngine.show_plan")
    assert run("sweep", "lr.yaml", "seed=1", "--dry-run").exit_code == 0
    assert plans == [(Path("lr.yaml"), ["seed=1"], Options())]
    told = replaced("dcnrun.sweep.engines.local", "LocalEngine.show_status")
    assert run("sweep", "--status", "lr").exit_code == 0
    assert run("sweep", "--status", "lr", "--storage", "sqlite:///a.db", "--out", "b").exit_code == 0
    assert told == [("lr", Options()), ("lr", Options(storage="sqlite:///a.db", out=Path("b")))]


def test_agent(replaced):
    calls = replaced("dcnrun.sweep.agent", "run_agent")
    assert run("agent", "lr", DCNRUN_STORAGE="").exit_code == 0
    options = ["--count", "2", "--gpus", "0,1", "--out", "b"]
    assert run("agent", "lr", *options, DCNRUN_STORAGE="sqlite:///a.db").exit_code == 0
    assert calls == [("lr", None, None, (), None), ("lr", "sqlite:///a.db", 2, ("0", "1"), Path("b"))]


def test_visualize_offsets(replaced, tmp_path):
    calls = replaced("dcnrun.visualize.command", "visualize_offsets")
    assert run("visualize-offsets", "runs/a").exit_code == 0
    file = tmp_path / "a=b.png"
    file.touch()
    more = ["--at", "1,2", "--at", "3,4", "--layer", "x", "--layer", "y", "--limit", "0", "--no-page"]
    words = ["runs/a", "runs/b", str(file)]
    assert run("visualize-offsets", *words, "data.root=x", "--out", "c", "--checkpoint", "last", *more).exit_code == 0
    assert calls == [
        (["runs/a"], [], OffsetOptions()),
        (words, ["data.root=x"], OffsetOptions(Path("c"), ((1, 2), (3, 4)), ("x", "y"), "last", 0, False)),
    ]


def test_config():
    result = run("config", "conv=dilated", "data=nuclei")
    assert result.exit_code == 0
    shown = yaml.safe_load(result.stdout)
    assert (shown["conv"]["kind"], shown["conv"]["dilation"], shown["data"]["source"]) == ("dilated", 4, "folder")


def test_config_list():
    result = run("config", "--list", "optim.lr=0.125")
    assert result.exit_code == 0
    for part in ["optim.lr=0.125", "base learning rate", "a number", "deformable, dilated, modulated, standard"]:
        assert part in result.stdout


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


def test_version():
    assert run("--version").stdout == f"dcnrun {dcnrun.__version__}\n"


# --json.


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("dcnrun.training.run", "train", ["train"]),
        ("dcnrun.training.dry_run", "dry_run", ["train", "--dry-run"]),
        ("dcnrun.training.run", "resume", ["train", "--resume", "x"]),
        ("dcnrun.training.evaluate", "evaluate", ["evaluate", "x"]),
        ("dcnrun.export.run", "export_run", ["export", "x", "--out", "y"]),
        ("dcnrun.bench.ops", "bench_ops", ["bench", "ops"]),
        ("dcnrun.compare.runner", "run_grid", ["compare", "seed=0,1"]),
        ("dcnrun.compare.compare_runs", "compare_runs", ["compare", "x"]),
        ("dcnrun.sweep.engines.local", "LocalEngine.run", ["sweep", "x"]),
        ("dcnrun.sweep.engines.local", "LocalEngine.show_status", ["sweep", "--status", "x"]),
        ("dcnrun.sweep.engines.local", "LocalEngine.show_plan", ["sweep", "x", "--dry-run"]),
        ("dcnrun.sweep.agent", "run_agent", ["agent", "x"]),
        ("dcnrun.data.check", "check_data", ["data", "check"]),
        ("dcnrun.visualize.command", "visualize_offsets", ["visualize-offsets", "x"]),
        ("dcnrun.doctor", "doctor", ["doctor"]),
        ("dcnrun.ops.jit.aot", "build_kernels", ["kernels", "build"]),
    ],
)
def test_json_is_all_there_is_on_standard_output(replaced, module, name, arguments):
    replaced(module, name, {"loss": math.nan, "all": [1.5, (math.inf, "a")], "run": Path("runs/x"), "none": None})
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {"loss": None, "all": [1.5, [None, "a"]], "run": "runs/x", "none": None}
    assert result.stderr == "progress\n"
    assert run(*arguments).stdout == "progress\n"


def test_json_of_config():
    assert last_object(run("config", "conv=dilated", "--json").stdout)["config"]["conv"]["dilation"] == 4
    listing = last_object(run("config", "--list", "--json").stdout)
    assert listing["groups"]["optim"] == ["adamw", "sgd"]
    assert {"key", "type", "value", "meaning"} <= listing["settings"][0].keys()


def test_only_the_first_of_several_processes_prints_json(replaced):
    replaced("dcnrun.training.run", "train", {"a": 1})
    assert run("train", "--json", RANK="0").stdout == '{"a": 1}\n'
    assert run("train", "--json", RANK="1").stdout == ""


# Errors.


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (RunError("the disk is full"), 1, "the disk is full"),
        (DataError("a.png: unreadable"), 1, "a.png: unreadable"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("not foreseen"), 1, "unexpected ValueError: not foreseen"),
    ],
)
def test_errors_while_running(replaced, error, exit_code, message):
    replaced("dcnrun.training.run", "train", error=error)
    result = run("train", "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stdout) == {"status": "error", "error": message, "exit_code": exit_code}
    assert result.stderr.splitlines()[-1] == f"error: {message}"
    assert ("Traceback" in result.stderr) == isinstance(error, ValueError)
    assert run("train").stdout == "progress\n"


def test_all_problems_a_line_each():
    result = run("train", "lr=0.1", "conv=deformabel", "+a=1", "--json")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: ") for line in lines)
    assert any("optim.lr?" in line for line in lines)
    assert json.loads(result.stdout)["error"].splitlines() == [line.removeprefix("error: ") for line in lines]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["train", "--nope"], "--nope"),
        (["trian"], "train"),
        (["evaluate"], "RUN"),
        (["evaluate", "x", "--checkpoint", "worst"], "best"),
        (["export", "x"], "--out"),
        (["bench", "ops", "--dtype", "int8"], "bfloat16"),
        (["bench", "ops", "--device", "tpu"], "cuda"),
        (["train", "--config-dir", "nowhere"], "no such folder"),
        (["train", "--resume", "x", "seed=1"], "no overrides"),
        (["train", "--resume", "x", "--dry-run"], "no other options"),
        (["train", "--resume", "x", "--run-dir", "y"], "no other options"),
        (["train", "--dry-run", "--run-dir", "y"], "--run-dir"),
        (["compare"], "Nothing to compare"),
        (["compare", "seed=0,1", "runs/a"], "runs/a"),
        (["compare", "runs/a", "--dry-run"], "--dry-run"),
        (["compare", "runs/a", "--config-dir", "x"], "--config-dir"),
        (["compare", "runs/a", "--storage", "sqlite:///a.db"], "--storage"),
        (["sweep"], "a sweep file"),
        (["sweep", "nowhere.yaml"], "nowhere.yaml"),
        (["sweep", "x", "--status", "x"], "leave out FILE"),
        (["sweep", "x", "--agents", "2", "--gpus", "0"], "not both"),
        (["sweep", "x", "--agents", "0"], "--agents"),
        (["sweep", "x", "--gpus", "0,,1"], "such as 0,1"),
        (["sweep", "x", "--engine", "wandb", "--seed", "0"], "local engine"),
        (["sweep", "x", "--engine", "wandb", "--dry-run"], "local engine"),
        (["sweep", "x", "--engine", "wandb", "--retry-failed"], "local engine"),
        (["sweep", "x", "--dry-run", "--retry-failed"], "leave out --retry-failed"),
        (["sweep", "--status", "x", "--retry-failed"], "and --retry-failed"),
        (["sweep", "--status", "nowhere"], "There is no sweep nowhere"),
        (["agent"], "SWEEP"),
        (["agent", "nowhere"], "There is no sweep nowhere"),
        (["agent", "x", "--gpus", "0,0"], "such as 0,1"),
        (["agent", "x", "--storage", "mysql://me:secret@host/x"], "can't be mysql"),
        (["visualize-offsets", "."], "run folder"),
        (["visualize-offsets", "x", "--at", "1"], "--at 1"),
        (["visualize-offsets", "x", "--limit", "-1"], "--limit"),
        (["config", "conv=x"], "conv is one of"),
        (["data", "check", "--labels", "points"], "boxes"),
        (["kernels", "build", "--dtype", "int8"], "float16"),
        (["kernels", "build", "--cuda", "hopper"], "sm_90a"),
        (["kernels", "build", "--cuda", "all", "--dtype", "float64"], "float16"),
    ],
)
def test_wrong_usage(arguments, part):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert part in result.stderr
    assert "Traceback" not in result.stderr
    as_json = run(*arguments, "--json")
    assert as_json.exit_code == 2
    assert part in json.loads(as_json.stdout)["error"]


def test_tracebacks_on_request():
    assert "Traceback" not in run("config", "conv=x").stderr
    assert "Traceback" in run("config", "conv=x", DCNRUN_DEBUG="1").stderr


# As a process.


def test_exit_codes_of_a_process():
    assert run_process("-m", "dcnrun", "--help").returncode == 0
    failed = run_process("-m", "dcnrun", "config", "modle=fcn", "--json")
    assert failed.returncode == 2
    assert last_object(failed.stdout)["exit_code"] == 2
    assert "did you mean model" in failed.stderr


def test_a_closed_pipe_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "dcnrun", "config", "--list"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert "Traceback" not in process.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import dcnrun.cli", ["torch", "hydra", "omegaconf", "rich", "numpy"]),
        ("import dcnrun.config.compose, dcnrun.config.settings; dcnrun.config.compose.compose([])", ["torch", "numpy"]),
        ("import dcnrun.config.completion as c; c.complete('conv=')", ["torch", "hydra"]),
        ("import dcnrun.compare.statistics", ["torch", "scipy.stats"]),
        ("import dcnrun.sweep.engines.local", ["torch", "matplotlib", "scipy"]),
    ],
)
def test_nothing_heavy_is_imported(code, unwanted):
    result = run_process("-c", f"{code}; import sys; print([m for m in {unwanted} if m in sys.modules])")
    assert (result.stdout, result.stderr) == ("[]\n", "")


def median_seconds(work, name):
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    print(f"{name}: {statistics.median(times):.3f} s")
    return statistics.median(times)


def test_help_is_quick():
    assert median_seconds(lambda: run_process("-m", "dcnrun", "--help"), "dcnrun --help") < 0.6


# Shell completion.


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A folder with a program `dcnrun`, as an installation makes it."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "dcnrun").write_text(f"#!{sys.executable}\nfrom dcnrun.cli import main\n\nmain()\n")
    (folder / "dcnrun").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def bash(program):
    """A bash one types into, with completion set up as `dcnrun --show-completion` says."""
    pexpect = pytest.importorskip("pexpect")
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    environment = ENVIRONMENT | {"PATH": f"{program}:{os.environ['PATH']}", "TERM": "dumb", "INPUTRC": "/dev/null"}
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env=environment,
        encoding="utf-8",
        timeout=20,
        dimensions=(50, 300),
        cwd=program,
    )
    shell.sendline("bind 'set enable-bracketed-paste off'")
    shell.sendline('eval "$(dcnrun --show-completion)"; echo "ready:$?"')
    shell.expect_exact("ready:0")
    yield shell
    shell.close(force=True)


def after_tab(shell, typed):
    """The line as it stands after Tab: the shell is made to print it."""
    to_start, to_end = "\x01", "\x05"
    shell.send(f"{typed}\t{to_start}echo '<{to_end}>'\r")
    shell.expect(r"\n<(.*?)>\r\n")
    return shell.match.group(1)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dcnrun tra", "dcnrun train "),
        ("dcnrun train conv=def", "dcnrun train conv=deformable "),
        ("dcnrun train conv=d", "dcnrun train conv=d"),
        ("dcnrun train conv=", "dcnrun train conv="),
        ("dcnrun train seed=1 model=fc", "dcnrun train seed=1 model=fcn "),
        ("dcnrun train logger.csv=t", "dcnrun train logger.csv=true "),
        ("dcnrun train optim.l", "dcnrun train optim.lr="),
        ("dcnrun train optim.lr=", "dcnrun train optim.lr=0.01 "),
        ("dcnrun train mod", "dcnrun train model"),
        ("dcnrun train experi", "dcnrun train experiment="),
        ("dcnrun compare conv=standard,dil", "dcnrun compare conv=standard,dilated "),
        ("dcnrun evaluate runs/x data=tre", "dcnrun evaluate runs/x data=treecrowns "),
        ("dcnrun config data.root=dcn", "dcnrun config data.root=dcnrun "),
        ("dcnrun evaluate dcn", "dcnrun evaluate dcnrun "),
        ("dcnrun train nothing", "dcnrun train nothing"),
    ],
)
def test_completion_in_bash(bash, typed, expected):
    assert after_tab(bash, typed) == expected


def completed(program, shell, line):
    """What Typer's script for zsh or fish is given for a line; here an override arrives whole."""
    environment = {
        "_DCNRUN_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    return run_process(str(program / "dcnrun"), **environment).stdout


def test_completion_in_zsh_and_fish(program):
    zsh = completed(program, "zsh", "dcnrun train conv=d")
    assert re.findall(r'"(conv=\w+)"', zsh) == ["conv=deformable", "conv=dilated"]
    fish = completed(program, "fish", "dcnrun train optim.s")
    assert [line.split("\t")[0] for line in fish.splitlines()] == [
        "optim.schedule=",
        "optim.step_at=",
        "optim.step_gamma=",
    ]
    assert "over trainer.steps" in fish


def test_completion_knows_an_own_folder_and_keeps_quiet_when_it_is_missing(program, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cells.yaml").touch()
    assert completed(program, "fish", f"dcnrun train --config-dir {tmp_path} data=ce").startswith("data=cells")
    assert completed(program, "fish", "dcnrun train --config-dir nowhere data=ce").strip() == ""


def test_completion_is_quick(program):
    words = {"COMP_WORDS": "dcnrun\ntrain\nconv\n=\nd", "COMP_CWORD": "4", "_DCNRUN_COMPLETE": "complete_bash"}

    def complete():
        assert run_process(str(program / "dcnrun"), **words).stdout == "deformable\ndilated\n"

    assert median_seconds(complete, "completion") < 1.0
