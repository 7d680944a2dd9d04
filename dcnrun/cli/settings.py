"""Commands that show what settings lead to: `dcnrun config` and `dcnrun data check`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dcnrun.cli.options import ConfigDir, Json, Overrides
from dcnrun.config.groups import Labels
from dcnrun.errors import ProblemsError


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
        typer.Option(help="Which labels; by default those that the model learns from, if the data set has them."),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples of each split in the pictures; 0: no pictures.")] = 12,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures are written.")] = Path("data-check"),
    as_json: Json = False,
) -> dict[str, Any]:
    """Read a whole data set, show what it holds and what is wrong with it, and draw samples with their labels.

    It exits with 1 if something is wrong.
    For example: dcnrun data check data=treecrowns
    """
    from dcnrun.config.compose import compose
    from dcnrun.data.check import check_data
    from dcnrun.tasks.registry import labels_for

    config = compose(overrides or [], config_dir)
    report = check_data(config.data, ("train", "val"), samples, out, labels or labels_for(config))
    if found := report.get("problems"):
        raise ProblemsError(f"the data set has {found} problem{'s' * (found > 1)}, listed above", report)
    return report
