"""What all commands share: --json, errors and exit codes, how quick they start."""

import io
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dcnrun
from dcnrun.cli import main
from dcnrun.errors import DataError, RunError
from tests.cli.fakes import ENVIRONMENT, last_object, median_seconds, run, run_process


def test_version():
    assert run("--version").stdout == f"dcnrun {dcnrun.__version__}\n"


def test_an_interrupt_after_the_command_is_over_ends_it_without_a_word(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "argv", ["dcnrun", "--version"])
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    try:
        with pytest.raises(SystemExit):
            main()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # the system's own end, which prints nothing
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("dcnrun.training.run", "train", ["train"]),
        ("dcnrun.training.prepare", "dry_run", ["train", "--dry-run"]),
        ("dcnrun.training.run", "resume", ["train", "--resume", "x"]),
        ("dcnrun.training.lr_range", "lr_range_test", ["lr"]),
        ("dcnrun.training.evaluate", "evaluate", ["evaluate", "x"]),
        ("dcnrun.export.run", "export_run", ["export", "x", "--out", "y.onnx"]),
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
    first, *others = result.stderr.splitlines()
    assert first.endswith(" ...")
    assert others == ["progress"]
    assert run(*arguments).stdout == "progress\n"


def test_only_the_first_of_several_processes_prints_json(replaced):
    replaced("dcnrun.training.run", "train", {"a": 1})
    assert run("train", "--json", RANK="0").stdout == '{"a": 1}\n'
    assert run("train", "--json", RANK="1").stdout == ""


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
    first, *lines = result.stderr.splitlines()
    assert first == "Preparing a run ..."
    assert len(lines) == 3
    assert all(line.startswith("error: ") for line in lines)
    assert any("optim.lr?" in line for line in lines)
    assert json.loads(result.stdout)["error"].splitlines() == [line.removeprefix("error: ") for line in lines]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["train", "--nope"], "--nope"),
        (["trian"], "train"),
        (["evaluate"], "a run's folder, or --model"),
        (["evaluate", "x", "--checkpoint", "worst"], "best"),
        (["export", "x"], "--out"),
        (["bench", "ops", "--dtype", "int8"], "bfloat16"),
        (["bench", "ops", "--device", "tpu"], "cuda"),
        (["train", "--config-dir", "nowhere"], "no such folder"),
        (["train", "--resume", "x", "seed=1"], "not a run folder"),
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
        (["sweep", "x", "--per-trial", "CPU=4"], "for --engine ray"),
        (["sweep", "x", "--engine", "ray", "--per-trial", "CPU=four"], "CPU=four must be a number"),
        (["sweep", "x", "--engine", "ray", "--gpus", "0"], "--per-trial GPU=1"),
        (["compare", "seed=0,1", "--runs", "copied"], "for --engine ray"),
        (["compare", "runs/a", "--engine", "ray"], "--engine"),
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


def test_the_first_words_come_before_torch():
    """Every command but the one that only prints settings; on standard error, since standard output may be data."""
    code = (
        "import sys, dcnrun.cli as cli\n"
        "class Torch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': raise SystemExit(7)\n"
        "sys.meta_path.insert(0, Torch())\n"
        "cli.main()"
    )
    told = run_process("-c", code, "train")
    assert (told.returncode, told.stdout, told.stderr) == (7, "", "Preparing a run ...\n")
    assert run("config").stderr == ""
    assert run("train", "conv=x", RANK="1").stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "runs/[b]x"), "runs/[b]x can't be used: Permission denied."),
        (OSError(28, "No space left on device"), "The system refused: No space left on device."),
        (DataError("\x1b[31ma.png\x07: unreadable"), r"\x1b[31ma.png\x07: unreadable"),
    ],
)
def test_errors_of_the_system_are_a_line_that_a_terminal_does_not_obey(replaced, error, message):
    replaced("dcnrun.training.run", "train", error=error)
    result = run("train")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1:] == [f"error: {message}"]


@pytest.mark.alone
def test_help_is_quick():
    assert median_seconds(lambda: run_process("-m", "dcnrun", "--help"), "dcnrun --help") < 0.6
