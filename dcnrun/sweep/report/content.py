"""What a report says, as one object: report.json."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dcnrun.jobs.ledger import Job
from dcnrun.jobs.owner import host_of
from dcnrun.sweep.hyperband import bands
from dcnrun.sweep.plan import Plan
from dcnrun.sweep.repeats import Repeated
from dcnrun.sweep.report.cost import cost
from dcnrun.sweep.report.importance import EXPLAINED, METHOD, Importance
from dcnrun.sweep.status import Progress, as_json
from dcnrun.sweep.trial import command_line


def content(plan: Plan, progress: Progress, found: Importance, repeated: Repeated | None) -> dict[str, Any]:
    """The sweep, every trial, the best settings as a command line, and what was learnt."""
    sweep = plan.sweep
    best = repeated.best if repeated else progress.best
    spent = cost(progress)
    status = as_json(progress)
    return {
        **status,
        "method": sweep.method.value,
        "search": plan.sampler,
        "seed": plan.seed,
        "command": command_line(best.overrides) if best else None,
        "ranking": [job.number for job in progress.ranked()],
        "bands": _bands(plan, progress),
        "cost": {**asdict(spent), "share_of_steps": spent.share},
        "importance": {"method": METHOD, "meaning": EXPLAINED, "shares": found.shares, "why_not": found.why_not},
        "repeats": repeated.as_json() if repeated else None,
        "trials": [
            {**trial, **_more(job, progress)} for trial, job in zip(status["trials"], progress.jobs, strict=True)
        ],
    }


def _bands(plan: Plan, progress: Progress) -> list[int]:
    """Those that any trial has reached; the ladder itself may go on for ever."""
    rule = plan.sweep.early_terminate
    longest = max((len(job.history) for job in progress.jobs), default=0)
    return [band for band in bands(rule) if band <= longest] if rule else []


def _more(job: Job, progress: Progress) -> Mapping[str, Any]:
    value = progress.value(job)
    return {
        "best_step": next((step for step, reported in job.history if reported == value), None),
        "host": host_of(job.owner) if job.owner else None,
        "seconds": job.ended - job.started if job.ended is not None and job.started is not None else None,
    }
