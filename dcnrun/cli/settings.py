"""Commands that show what settings lead to, and which a file needs: `dcnrun config`, `data check` and `weights inspect`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcnrun.cli.imports import kept_imports
from dcnrun.cli.options import ConfigDir, Json, Overrides
from dcnrun.config.groups import Labels
from dcnrun.errors import ProblemsError, UsageError

if TYPE_CHECKING:
    from dcnrun.data.discover.reading import Reading


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


def data_check(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    labels: Annotated[
        Labels | None,
        typer.Option(
            help="Which labels; by default those that the model learns from, if one is chosen and the data set has them."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples of each split in the pictures; 0: no pictures.")] = 12,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures are written.")] = Path("data-check"),
    no_images: Annotated[
        bool,
        typer.Option(
            "--no-images",
            help="Check boxes alone, without opening an image: seconds for a million of them. No pictures.",
        ),
    ] = False,
    as_json: Json = False,
) -> dict[str, Any]:
    """Read a whole data set, show what it holds and what is wrong with it, and draw samples with their labels.

    In place of settings it takes a folder, whose format it finds out; it then prints the settings to train on it.
    It exits with 1 if something is wrong.
    For example: dcnrun data check data=treecrowns, or dcnrun data check my-data
    """
    from dcnrun.config.compose import compose
    from dcnrun.tasks.registry import labels_for

    with kept_imports():
        from dcnrun.data.check import check_data

    overrides = overrides or []
    readings = _readings([text for text in overrides if "=" not in text])
    if readings:
        overrides = [*readings[0].overrides, *(text for text in overrides if "=" in text)]
    config = compose(overrides, config_dir)
    if labels is None and any(text.partition("=")[0] in ("model", "experiment") for text in overrides):
        labels = labels_for(config)
    report = check_data(config.data, ("train", "val"), samples, out, labels, not no_images)
    if readings:
        report["found"] = [reading.report() for reading in readings]
    if found := report.get("problems"):
        raise ProblemsError(f"the data set has {found} problem{'s' * (found > 1)}, listed above", report)
    return report


def weights_inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file, or a run's folder.")], as_json: Json = False
) -> dict[str, Any]:
    """Show whose network a file of weights is of, and the settings that take it: backbone, deformable layers, classes.

    Then what of it they load, rename, reorder and leave out. It is read without running anything in it.
    For example: dcnrun weights inspect faster_rcnn_r50_fpn_dconv_c3-c5_1x_coco.pth
    """
    with kept_imports():
        from dcnrun.tasks.inspect_weights import inspect_weights

    return inspect_weights(file)


def _readings(paths: list[str]) -> list["Reading"]:
    """Print what the folder of a command line holds, and return it, the likeliest first."""
    if not paths:
        return []
    from dcnrun.console import console, printable
    from dcnrun.data.discover.folder import discover
    from dcnrun.data.discover.unread import ARCHIVES
    from dcnrun.data.files import first_few

    for path in map(Path, paths):
        if path.is_file() and path.name.lower().endswith(ARCHIVES):
            raise UsageError(f"{path}: it is an archive: unpack it, and give the folder.")
        if not path.is_dir() and not (path.is_file() and path.suffix in (".json", ".yaml", ".yml")):
            what = "is no folder and no .json or .yaml" if path.exists() else "there is no such folder"
            raise UsageError(f"{path}: {what}; an override is written key=value.")
    if len(paths) > 1:
        raise UsageError(f"{' '.join(paths)}: expected one folder to look at.")

    readings = discover(Path(paths[0]))
    for number, reading in enumerate(readings):
        lines = [
            f"{'It may also be' if number else 'Format'}: {reading.format} ({reading.because})",
            f"  classes: {first_few(reading.classes, 20) or 'none found'}",
            f"  split: {reading.split}",
            f"  {reading.command}",
        ]
        for line in lines:
            console.print(printable(line), markup=False, soft_wrap=True)
    return readings
