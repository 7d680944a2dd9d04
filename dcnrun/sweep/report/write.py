"""Writes the report of a sweep."""

from typing import Any

from dcnrun.runs import json_ready, write_json, write_text
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import Repeated
from dcnrun.sweep.report.content import content
from dcnrun.sweep.report.figures import write_figures
from dcnrun.sweep.report.importance import importance
from dcnrun.sweep.report.markdown import markdown
from dcnrun.sweep.status import Progress

JSON = "report.json"
MARKDOWN = "report.md"
FIGURES = "figures"


def write_report(plan: Plan, progress: Progress, repeated: Repeated | None = None) -> dict[str, Any]:
    """Write report.json, report.md and the figures into the sweep's folder, each beside and renamed; return the object.

    `repeated` are the best settings over several seeds, where they were run.
    """
    found = importance(plan.sweep, progress)
    report: dict[str, Any] = json_ready(content(plan, progress, found, repeated))
    figures = write_figures(plan.sweep, progress, found, progress.folder / FIGURES)
    write_json(progress.folder / JSON, report)
    pictures = [(f"{FIGURES}/{name}", caption) for name, caption in figures.items()]
    write_text(progress.folder / MARKDOWN, markdown(plan, progress, found, repeated, report["command"], pictures))
    return report
