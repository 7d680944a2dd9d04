"""`dcnrun compare RUN...`: compare runs that exist already."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcnrun.compare import PICTURES
from dcnrun.compare.earlier_runs import settings_of_run
from dcnrun.compare.report import finish_report, print_report
from dcnrun.compare.results import FinishedRun, Unfinished, VariantResult, compare, read_finished
from dcnrun.compare.variants import difference_of_tasks, digest, identity, variant_names
from dcnrun.config.paths import is_path
from dcnrun.errors import RunError, UsageError
from dcnrun.runs import RunFolder


def compare_runs(runs: Sequence[Path], out: Path | None = None, pictures: int = PICTURES) -> dict[str, Any]:
    """Compare finished runs, those with equal settings but for the seed as one variant; print, write, return it.

    The variant of the first run is the reference. Runs that are not completed are listed and left out; UsageError if the
    others differ in their data, steps, classes or metric, which makes their scores incomparable, or if two are the same.
    The files go to `out`, or to a folder named after the runs, beside them; `pictures` images are drawn into the page.
    """
    finished, unfinished = _read(runs)
    if not finished:
        reasons = "\n".join(f"  {run.folder}: {run.reason}" for run in unfinished)
        raise RunError(f"None of these runs is completed:\n{reasons}")
    finished = _with_one_name_for_each_place(finished)
    _check_comparable(finished)
    folder = out or _common_parent(runs) / f"compare-{digest(sorted(str(run.resolve()) for run in runs))}"
    comparison = compare(_variants(finished), unfinished)
    report = finish_report(comparison, folder, pictures)
    print_report(comparison, folder)
    return report


def _read(runs: Sequence[Path]) -> tuple[list[FinishedRun], list[Unfinished]]:
    finished, unfinished = [], []
    for path in dict.fromkeys(runs):
        RunFolder(path).require()
        try:
            finished.append(read_finished(path))
        except RunError as error:
            unfinished.append(Unfinished(path.name, None, path, str(error), failed=False))
    return finished, unfinished


def _with_one_name_for_each_place(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return runs whose settings call a file or folder that is here the same: `data.root=photos` of one may be `/home/me/photos` of another."""
    names: dict[tuple[str, Path], str] = {}
    found = []
    for run in runs:
        here = settings_of_run(run.folder)
        alike = {
            key: names.setdefault((key, Path(here[key]).resolve()), value)
            for key, value in run.settings.items()
            if key in here and is_path(key) and value is not None and Path(here[key]).exists()
        }
        found.append(replace(run, settings={**run.settings, **alike}))
    return found


def _check_comparable(runs: Sequence[FinishedRun]) -> None:
    first = runs[0]
    problems = difference_of_tasks([str(run.folder) for run in runs], [run.settings for run in runs])
    problems += [
        f"the classes are {', '.join(first.classes)} for {first.folder} but {', '.join(run.classes)} for {run.folder}"
        for run in runs
        if run.classes != first.classes
    ]
    if problems:
        raise UsageError(
            "\n".join(problems) + "\nRuns are compared by one metric, on the same data, after the same number of steps."
        )


def _variants(runs: Sequence[FinishedRun]) -> list[VariantResult]:
    """Group runs of equal settings but for the seed, in the order of the first of each group."""
    groups: list[list[FinishedRun]] = []
    for run in runs:
        own = next((group for group in groups if identity(group[0].settings) == identity(run.settings)), None)
        if own is None:
            groups.append([run])
        else:
            own.append(run)
    for group in groups:
        for seed in {run.seed for run in group}:
            same = [str(run.folder) for run in group if run.seed == seed]
            if len(same) > 1:
                raise UsageError(f"{' and '.join(same)} have the same settings and seed {seed}: give only one of them.")
    names = variant_names([group[0].settings for group in groups])
    return [VariantResult(name, group[0].settings, tuple(group)) for name, group in zip(names, groups, strict=True)]


def _common_parent(runs: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([run.resolve().parent for run in runs]))
