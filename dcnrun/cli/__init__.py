"""The command line: parse, call one function, print. Nothing heavy is imported before a command runs."""

import contextlib
import functools
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dcnrun
from dcnrun.cli import compare, machine, run_folder, settings, sweep, train
from dcnrun.cli.output import Output
from dcnrun.errors import DcnrunError, ProblemsError, UsageError, explained
from dcnrun.runs import json_ready

_INTERRUPTED = 130


class _Commands(TyperGroup):
    """Runs a command: what it returns becomes the object of --json, what it raises a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        # With --json, standard output is for the object alone; what people read goes to standard error.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result, exit_code = self._run(ctx)
        if as_json and os.environ.get("RANK", "0") == "0":  # of several processes under torchrun, the first reports
            print(json.dumps(json_ready(result), default=str), flush=True)
        sys.stdout.flush()
        if isinstance(sys.stdout, Output) and sys.stdout.failure is not None and exit_code == 0:
            why = sys.stdout.failure.strerror
            _, exit_code = _failure(f"Standard output can't be written ({why}); all else was done.", 1)
        raise typer.Exit(exit_code)

    def _run(self, ctx: Any) -> tuple[Any, int]:
        try:
            return super().invoke(ctx), 0
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            return _failure("interrupted", _INTERRUPTED)
        except Exception as error:
            if hasattr(error, "format_message"):
                return _wrong_command_line(error)
            known = error if isinstance(error, DcnrunError) else explained(error)
            if known is None or os.environ.get("DCNRUN_DEBUG") == "1":
                traceback.print_exc()
            if known is None:
                return _failure(f"unexpected {type(error).__name__}: {error}", 1)
            failure, exit_code = _failure(str(known), known.exit_code)
            return {**known.report, **failure} if isinstance(known, ProblemsError) else failure, exit_code


def _wrong_command_line(error: Any) -> tuple[dict[str, Any], int]:
    """Report what Typer raises for an unknown option and the like; its class has no public name in all versions."""
    if error.ctx is not None:
        print(error.ctx.get_usage(), file=sys.stderr)
    return _failure(error.format_message(), error.exit_code)


def _failure(message: str, exit_code: int) -> tuple[dict[str, Any], int]:
    from dcnrun.console import printable  # and rich with it

    for line in message.splitlines():
        _say(f"error: {printable(line)}")
    return {"status": "error", "error": message, "exit_code": exit_code}, exit_code


def _say(line: str) -> None:
    """Print a line on standard error, at once, if that takes it."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


app = typer.Typer(
    cls=_Commands,
    help="Compare standard, dilated and deformable convolution on your data.",
    no_args_is_help=True,
    # Plain help and plain tracebacks: rich takes longer to import than the rest of --help.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _command(function: Callable[..., Any], first_words: str) -> Callable[..., Any]:
    """Return a command that says at once what it is about to do, since its imports take seconds.

    For it, `~` in a path is the home folder; shells leave it in `--out=~/x`.
    """

    @functools.wraps(function)
    def run(**arguments: Any) -> Any:
        if first_words and os.environ.get("RANK", "0") == "0":
            _say(f"{first_words} ...")
        return function(**{name: _expanded(value) for name, value in arguments.items()})

    return run


def _expanded(value: Any) -> Any:
    if not isinstance(value, Path):
        return value
    try:
        return value.expanduser()
    except RuntimeError:
        raise UsageError(f"{value}: there is no such home folder.") from None


app.command()(_command(train.train, "Preparing a run"))
app.command()(_command(train.lr, "Preparing a range of learning rates"))
app.command()(_command(run_folder.evaluate, "Reading a run, to evaluate it"))
app.command()(_command(run_folder.predict, "Reading runs, to predict with them"))
app.command()(_command(run_folder.export, "Reading a run, to export it"))
app.command()(_command(compare.compare, "Preparing a comparison"))
app.command()(_command(sweep.sweep, "Reading a sweep"))
app.command()(_command(sweep.agent, "Joining a sweep"))
app.command("visualize-offsets")(_command(run_folder.visualize_offsets, "Reading runs, to show where they look"))
app.command()(_command(settings.config, first_words=""))
app.command()(_command(machine.doctor, "Examining this machine, and compiling kernels that are not in the cache"))

for group, meaning, named in (
    (
        "kernels",
        "The operators' own code.",
        {
            "build": _command(machine.build_kernels, "Preparing to compile kernels"),
            "prove": _command(machine.prove_kernels, "Preparing to prove kernels"),
        },
    ),
    ("bench", "Measurements of speed and memory.", {"ops": _command(machine.bench_ops, "Preparing measurements")}),
    ("data", "Data sets.", {"check": _command(settings.data_check, "Opening a data set, to read all of it")}),
    ("weights", "Files of weights.", {"inspect": _command(settings.weights_inspect, "Reading a file of weights")}),
):
    commands = typer.Typer(help=meaning, rich_markup_mode=None)
    for name, command in named.items():
        commands.command(name)(command)
    app.add_typer(commands, name=group)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dcnrun {dcnrun.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Compare standard, dilated and deformable convolution on your data."""


def main() -> None:
    """Run the command line and exit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = Output.over(sys.stdout)
    try:
        app()
    except KeyboardInterrupt:  # between commands: within one it is reported
        sys.exit(_INTERRUPTED)
    finally:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        # What is left is Python's own end, of which nobody wants a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
