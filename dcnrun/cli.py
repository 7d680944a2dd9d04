"""The command line: parse, call one function, print. Nothing heavy is imported before a command runs."""

import contextlib
import json
import os
import sys
import traceback
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dcnrun
from dcnrun.errors import DcnrunError, UsageError
from dcnrun.runs import CheckpointChoice, json_ready
from dcnrun.sweep.engines.engine import Engine, Options, Sampler, engine_for

_INTERRUPTED = 130


class _Commands(TyperGroup):
    """Runs a command: what it returns becomes the object of --json, what it raises a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        # With --json, standard output is for the object alone; what people read goes to standard error.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result, exit_code = self._run(ctx)
        if as_json and _is_first_process():
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
    """What Typer raises for an unknown option and the like; its class has no public name in all versions."""
    if error.ctx is not None:
        print(error.ctx.get_usage(), file=sys.stderr)
    return _failure(error.format_message(), error.exit_code)


def _failure(message: str, exit_code: int) -> tuple[dict[str, Any], int]:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return {"status": "error", "error": message, "exit_code": exit_code}, exit_code


def _is_first_process() -> bool:
    """Whether this is the only process, or the one of several under torchrun that reports."""
    return os.environ.get("RANK", "0") == "0"


def _complete_override(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from dcnrun.config.completion import offers

    config_dir = ctx.params.get("config_dir")
    try:
        return offers(incomplete, os.environ, Path(config_dir) if config_dir else None)
    except DcnrunError:
        return []


class _Labels(StrEnum):
    masks = "masks"
    boxes = "boxes"


class _Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


class _Dtype(StrEnum):
    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


_OVERRIDES = "Settings (optim.lr=0.1) and choices of groups (conv=dilated); `dcnrun config --list` shows all."

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="OVERRIDE", help=_OVERRIDES, autocompletion=_complete_override)
]
ConfigDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A folder of your own, laid out as conf/: its choices join dcnrun's.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Compose and build everything, show it, and train nothing.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, all else on standard error.")
]
Gpus = Annotated[
    str | None,
    typer.Option(metavar="0,1", help="An agent for each of these GPUs, or for as many as a trial trains on."),
]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The database that machines share, postgresql://...; by default what DCNRUN_STORAGE holds."
    ),
]

app = typer.Typer(
    cls=_Commands,
    help="Compare standard, dilated and deformable convolution on your data.",
    no_args_is_help=True,
    # Plain help and plain tracebacks: rich takes longer to import than the rest of --help.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

kernels = typer.Typer(help="The operators' own code.", rich_markup_mode=None)
app.add_typer(kernels, name="kernels")
bench = typer.Typer(help="Measurements of speed and memory.", rich_markup_mode=None)
app.add_typer(bench, name="bench")
data = typer.Typer(help="Data sets.", rich_markup_mode=None)
app.add_typer(data, name="data")


@app.command()
def train(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    dry_run: DryRun = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run from its last checkpoint, as it was set up.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder; by default a new one below runs_dir.")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Train a network for segmentation or detection.

    For example: dcnrun train conv=dilated data=nuclei
    """
    if resume is not None:
        if overrides or config_dir or dry_run or run_dir:
            raise UsageError("--resume goes on with a run as it was set up: give no overrides and no other options.")
        from dcnrun.training.run import resume as resume_run

        return resume_run(resume)

    from dcnrun.training.loggers import under_wandb_agent

    if under_wandb_agent() and not dry_run:
        from dcnrun.training.wandb_agent import train as train_for_agent

        return train_for_agent(overrides or [], config_dir, run_dir)

    from dcnrun.config.compose import compose

    config = compose(overrides or [], config_dir)
    if dry_run:
        if run_dir:
            raise UsageError("--dry-run makes no run folder: leave out --run-dir.")
        from dcnrun.training.dry_run import dry_run as show_plan

        return show_plan(config)

    from dcnrun.training.run import train as train_run

    return train_run(config, overrides or [], run_dir)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    overrides: Overrides = None,
    checkpoint: Annotated[CheckpointChoice, typer.Option(help="Which weights.")] = CheckpointChoice.best,
    save_predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the detections here, as a COCO result file (JSON).")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Evaluate a run again, perhaps on other data.

    For example: dcnrun evaluate runs/20250101-120000-dilated-nuclei --checkpoint last
    """
    from dcnrun.training.evaluate import evaluate as evaluate_run

    return evaluate_run(run, checkpoint, overrides or [], save_predictions)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The ONNX file to write.")],
    overrides: Overrides = None,
    checkpoint: Annotated[CheckpointChoice, typer.Option(help="Which weights.")] = CheckpointChoice.best,
    opset: Annotated[int, typer.Option(help="Version of the ONNX standard: 19 or later.")] = 19,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Fix height and width in pixels; by default any will do.")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Write a run's network as an ONNX file.

    It is compared with PyTorch in onnxruntime first, and written only if they agree.
    For example: dcnrun export runs/20250101-120000-deformable-nuclei --out model.onnx
    """
    from dcnrun.export.run import export_run

    return export_run(run, out, checkpoint, opset, size, overrides or [])


@app.command()
def compare(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OVERRIDE|RUN",
            help="Overrides with several values (conv=standard,dilated seed=0,1,2), or folders of finished runs.",
            autocompletion=_complete_override,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the comparison is written.")] = None,
    config_dir: ConfigDir = None,
    dry_run: DryRun = False,
    storage: Storage = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Train and compare variants, or compare finished runs.

    With --storage, machines on which the same command is started share the runs.
    For example: dcnrun compare conv=standard,dilated,deformable seed=0,1,2
    """
    overrides = [argument for argument in arguments or [] if "=" in argument and not Path(argument).exists()]
    runs = [Path(argument) for argument in arguments or [] if argument not in overrides]
    if not overrides and not runs:
        raise UsageError("Nothing to compare: give overrides such as conv=standard,deformable, or folders of runs.")
    if overrides and runs:
        raise UsageError(f"Give overrides or folders of runs, not both: {', '.join(map(str, runs))} has no `=`.")
    if runs:
        if config_dir or dry_run or storage:
            raise UsageError(
                "--config-dir, --dry-run and --storage are for runs to be trained, not for folders of finished ones."
            )
        from dcnrun.compare.compare_runs import compare_runs

        return compare_runs(runs, out)

    from dcnrun.compare.runner import run_grid
    from dcnrun.jobs.database import storage_url

    return run_grid(overrides, out, config_dir, dry_run, storage_url(storage))


@app.command()
def sweep(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A sweep file of Weights & Biases.")] = None,
    overrides: Overrides = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="The most trials in all, however often it is started; or run_cap, if less."),
    ] = None,
    agents: Annotated[int | None, typer.Option(min=1, help="Trials at a time on this machine; by default 1.")] = None,
    gpus: Gpus = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="By default the name in the file, or of the file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The sweep's folder; by default runs/sweeps/NAME.")
    ] = None,
    storage: Storage = None,
    engine: Annotated[Engine, typer.Option(help="Here, or on Weights & Biases with its agents here.")] = Engine.local,
    search: Annotated[
        Sampler | None, typer.Option(help="What method bayes is here: TPE (the default) or a Gaussian process.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the search; by default 0.")] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="K", help="Run the best settings again over K new seeds and rank them by their means."
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="M", help="How many of the best; by default 3.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials that failed again, from their last checkpoints.")
    ] = False,
    status: Annotated[
        str | None,
        typer.Option(metavar="SWEEP", help="Show how a sweep stands (its name or folder), and do nothing else."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show trials, bands, search space and five suggestions; start nothing.")
    ] = False,
    as_json: Json = False,
) -> dict[str, Any]:
    """Search the best settings with a sweep file; the same command resumes a sweep that was stopped or killed.

    For example: dcnrun sweep sweeps/offset_lr_bayes.yaml --count 12
    """
    if status is not None:
        if file or overrides or retry_failed:
            raise UsageError("--status shows a sweep that was started: leave out FILE, overrides and --retry-failed.")
        return engine_for(engine).show_status(status, Options(storage=storage, out=out))
    if file is None:
        raise UsageError("Nothing to search: give a sweep file, such as sweeps/offset_lr_bayes.yaml.")
    if agents and gpus:
        raise UsageError("Give --agents or --gpus, not both: each GPU has an agent.")
    if dry_run and retry_failed:
        raise UsageError("--dry-run starts nothing: leave out --retry-failed.")
    if top and not repeats:
        raise UsageError("--top says how many settings --repeats runs again: give --repeats too.")
    options = Options(
        count=count,
        agents=agents or 1,
        gpus=_gpu_list(gpus),
        name=name,
        out=out,
        storage=storage,
        sampler=search,
        seed=seed,
        repeats=repeats,
        top=top or 3,
        retry_failed=retry_failed,
    )
    chosen = engine_for(engine)
    return (chosen.show_plan if dry_run else chosen.run)(file, overrides or [], options)


@app.command()
def agent(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Its name, or its folder where there is no --storage.")],
    storage: Storage = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="The most trials that are run here, on all GPUs together.")
    ] = None,
    gpus: Gpus = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of trials on this machine; by default the sweep's own.")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Join a sweep that was started here or on another machine, until no trial is left.

    For example: dcnrun agent offset-lr-bayes --storage postgresql://me@host/sweeps
    """
    from dcnrun.jobs.database import storage_url
    from dcnrun.sweep.agent import run_agent

    return run_agent(sweep, storage_url(storage), count, _gpu_list(gpus), out)


def _gpu_list(gpus: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in gpus.split(",")) if gpus is not None else ()
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--gpus {gpus}: give each GPU once, such as 0,1.")
    return names


@app.command("visualize-offsets")
def visualize_offsets(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|IMAGE|OVERRIDE",
            help="Folders of trained runs; image files, directories of images or names of validation images (by default a "
            "few of those); settings that differ (data.root=...).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where all is written; by default figures/offsets in the first run's folder."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="Y,X",
            help="A place on the images, in pixels as the network sees them, once or more; by default one on an object of "
            "each size and one on background.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A layer to draw, once or more; by default the last three.")
    ] = None,
    checkpoint: Annotated[CheckpointChoice, typer.Option(help="Which weights.")] = CheckpointChoice.best,
    limit: Annotated[
        int, typer.Option(min=0, help="The most validation images for the statistics; 0: no statistics.")
    ] = 200,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no page to explore.")] = False,
    as_json: Json = False,
) -> dict[str, Any]:
    """Show where networks with deformable convolution look: pictures, a page to explore, statistics.

    For example: dcnrun visualize-offsets runs/20250101-120000-deformable-nuclei photo.jpg
    """
    from dcnrun.visualize.command import visualize_offsets as show
    from dcnrun.visualize.options import Options, parse_query_point

    overrides = [argument for argument in arguments if "=" in argument and not Path(argument).exists()]
    return show(
        [argument for argument in arguments if argument not in overrides],
        overrides,
        Options(
            out=out,
            at=tuple(parse_query_point(point) for point in at or []),
            layers=tuple(layer or []),
            checkpoint=checkpoint,
            limit=limit,
            page=not no_page,
        ),
    )


@app.command()
def config(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="Every setting with its value, type and meaning, and each group's choices.")
    ] = False,
    as_json: Json = False,
) -> dict[str, Any]:
    """Show the settings of a run, or list them all.

    For example: dcnrun config conv=dilated data=nuclei
    """
    from dcnrun.config.compose import compose, to_yaml
    from dcnrun.config.settings import list_settings, listing_as_text

    composed = compose(overrides or [], config_dir)
    if list_all:
        listing = list_settings(composed, config_dir)
        print(listing_as_text(listing))
        return listing
    print(to_yaml(composed), end="")
    return {"config": asdict(composed)}


@app.command()
def doctor(as_json: Json = False) -> dict[str, Any]:
    """Show what there is, what would be used, and what is wrong.

    Versions, devices, compiler, kernels and their cache, and what computes each operator.
    """
    from dcnrun.doctor import doctor as examine

    return examine()


@kernels.command("build")
def build_kernels(
    dtype: Annotated[
        list[_Dtype] | None,
        typer.Option(metavar="DTYPE", help="float32, float64, bfloat16 or float16, once or more; by default all."),
    ] = None,
    cuda: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARCH",
            help="CUDA kernels for this GPU architecture (sm_80, sm_86, sm_89, sm_90a; all for these), once or more, "
            "and nothing else; needs no GPU. By default the kernels for this machine's CPU and GPUs.",
        ),
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Compile the kernels before their first use.

    For example: dcnrun kernels build --dtype float32
    """
    from dcnrun.ops.jit.aot import build_kernels as build

    return build(dtype or [], cuda or [])


@bench.command("ops")
def bench_ops(
    device: Annotated[_Device, typer.Option(help="Where: the CPU or an NVIDIA GPU.")] = _Device.cpu,
    dtype: Annotated[
        list[_Dtype] | None,
        typer.Option(
            metavar="DTYPE",
            help="Of all operands: float32, float64, bfloat16 or float16, once or more; by default float32 on the CPU, "
            "and all but float64 on a GPU.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: PyTorch's own choice.")] = 0,
    rounds: Annotated[int, typer.Option(help="Timed runs of every operator on every shape.")] = 9,
    shapes: Annotated[
        str | None, typer.Option(metavar="PARTS", help="Only shapes with one of these in their names (C64,7x7).")
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Compare deformable convolution with its peers.

    Ours, torchvision's, onnxruntime's (on the CPU) and the plain convolution in turn; then the peak memory of each.
    """
    from dcnrun.bench.ops import bench_ops as compare_operators

    return compare_operators(device.value, dtype or [], threads, rounds, shapes)


@data.command("check")
def data_check(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    labels: Annotated[
        _Labels | None,
        typer.Option(help="Which labels; by default those that the model learns from, if the data set has them."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples of each split in the pictures; 0: no pictures.")] = 12,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures are written.")] = Path("data-check"),
    as_json: Json = False,
) -> dict[str, Any]:
    """Read a whole data set, show what it holds and what is wrong with it, and draw samples with their labels.

    For example: dcnrun data check data=treecrowns
    """
    from dcnrun.config.compose import compose
    from dcnrun.data.check import check_data
    from dcnrun.tasks.registry import labels_for

    config = compose(overrides or [], config_dir)
    return check_data(config.data, ("train", "val"), samples, out, labels.value if labels else labels_for(config))


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
