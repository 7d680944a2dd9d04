"""The command line: parse, call one function, print. Nothing heavy is imported before a command runs."""

import contextlib
import json
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dcnrun
from dcnrun.cli import compare, machine, run_folder, settings, sweep, train
from dcnrun.errors import DcnrunError
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
        raise typer.Exit(exit_code)

    def _run(self, ctx: Any) -> tuple[Any, int]:
        try:
            return super().invoke(ctx), 0
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            return _failure("interrupted", _INTERRUPTED)
        except DcnrunError as error:
            if os.environ.get("DCNRUN_DEBUG") == "1":
                traceback.print_exc()
            return _failure(str(error), error.exit_code)
        except Exception as error:
            if hasattr(error, "format_message"):
                return _wrong_command_line(error)
            traceback.print_exc()
            return _failure(f"unexpected {type(error).__name__}: {error}", 1)


def _wrong_command_line(error: Any) -> tuple[dict[str, Any], int]:
    """Report what Typer raises for an unknown option and the like; its class has no public name in all versions."""
    if error.ctx is not None:
        print(error.ctx.get_usage(), file=sys.stderr)
    return _failure(error.format_message(), error.exit_code)


def _failure(message: str, exit_code: int) -> tuple[dict[str, Any], int]:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return {"status": "error", "error": message, "exit_code": exit_code}, exit_code


app = typer.Typer(
    cls=_Commands,
    help="Compare standard, dilated and deformable convolution on your data.",
    no_args_is_help=True,
    # Plain help and plain tracebacks: rich takes longer to import than the rest of --help.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(train.train)
app.command()(run_folder.evaluate)
app.command()(run_folder.export)
app.command()(compare.compare)
app.command()(sweep.sweep)
app.command()(sweep.agent)
app.command("visualize-offsets")(run_folder.visualize_offsets)
app.command()(settings.config)
app.command()(machine.doctor)

for group, meaning, name, command in (
    ("kernels", "The operators' own code.", "build", machine.build_kernels),
    ("bench", "Measurements of speed and memory.", "ops", machine.bench_ops),
    ("data", "Data sets.", "check", settings.data_check),
):
    commands = typer.Typer(help=meaning, rich_markup_mode=None)
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
    app()
