"""`dcnrun kernels prove`: prove the CUDA kernels on this machine's GPUs now, and show what came out, beside another machine's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from dcnrun.console import console
from dcnrun.errors import ProblemsError, UsageError
from dcnrun.ops import DISPATCH
from dcnrun.ops.jit.cuda import gpus
from dcnrun.ops.proof.first_use import prove_now
from dcnrun.ops.proof.verdict import SLOWER, Kind, Report, kind_of, verdict_of_report


def prove_kernels(out: Path | None = None, against: Path | None = None) -> dict[str, Any]:
    """Prove every operator on every kind of GPU here, whatever is known of it, and print tables; return the reports.

    Args:
        out: a JSON file to write the reports to.
        against: such a file, of another machine or time, to show times beside.

    Raises:
        UsageError: there is no GPU, or `against` is no such file.
        KernelUnavailable: there is no NVRTC.
        ProblemsError: kernels of ours gave wrong answers or could not be proved.
    """
    others = [] if against is None else read_proofs(against)
    if not gpus():
        raise UsageError("PyTorch finds no NVIDIA GPU here; `dcnrun doctor` tells what it finds.")
    reports = []
    for kind, index in _kinds():
        with console.status(f"Proving {kind.operator} on {escape(kind.facts['gpu'])}"):
            report, file = prove_now(kind, index)
        reports.append(report)
        show(report, file, _same(others, report))
    proofs = {"proofs": reports}
    if out is not None:
        out.write_text(json.dumps(proofs, indent=1) + "\n", "utf-8")
    wrong = [report["operator"] for report in reports if not _is_right(report)]
    if wrong:
        raise ProblemsError(f"Not all kernels of {', '.join(dict.fromkeys(wrong))} are right on this machine.", proofs)
    return proofs


def _kinds() -> Iterator[tuple[Kind, int]]:
    """Every operator on every kind of GPU, with the first GPU of the kind."""
    found: dict[str, tuple[Kind, int]] = {}
    for operator in DISPATCH:
        for index in gpus():
            kind = kind_of(operator, index)
            found.setdefault(str((operator, kind.facts)), (kind, index))
    yield from found.values()


def _is_right(report: Report) -> bool:
    return not report["failure"] and all(found["right"] for found in report["dtypes"].values())


def read_proofs(file: Path) -> list[Report]:
    """Return the reports in a file of `--out` or of `--json`, or the one of a verdict; UsageError where it has none."""
    try:
        content = json.loads(file.read_bytes())
        reports: list[Report] = content.get("proofs", [content])
        for report in reports:
            verdict_of_report(report, None)
            if not isinstance(report["kind"], dict) or not isinstance(report["operator"], str):
                raise TypeError("no kind of GPU")
    except OSError as error:
        raise UsageError(f"--against {file} can't be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"--against {file} is no result of `dcnrun kernels prove --out FILE`.") from None
    return reports


def _same(others: list[Report], report: Report) -> Report | None:
    """The other machine's report of the same operator: of its first kind of GPU, unless one has the name of this one's."""
    same = [other for other in others if other["operator"] == report["operator"]]
    same.sort(key=lambda other: other["kind"].get("gpu") != report["kind"]["gpu"])
    return same[0] if same else None


def show(report: Report, file: Path | None, other: Report | None = None) -> None:
    """Print what a report says, with another's times beside where there is one."""
    console.print(f"{report['operator']} on {report['kind']['gpu']} ({report['kind']['architecture']})", markup=False)
    if other is not None:
        console.print(f"against {other['kind'].get('gpu')}, {other.get('made')}", markup=False)
    if report["failure"]:
        console.print(report["failure"], markup=False, soft_wrap=True)
    for dtype, found in report["dtypes"].items():
        said = f"right on {report['problems']} problems, each in two ways" if found["right"] else found["why_not"]
        console.print(f"  {dtype}: {said}", markup=False, soft_wrap=True)
        for row in found["wrong"]:
            if row["by"] == "torchvision":
                console.print(f"    torchvision is wrong on: {row['problem']}", markup=False, soft_wrap=True)
    rows = list(_times(report, other))
    if rows:
        table = Table()
        for title in ("dtype", "pass", "channels", "pixels", "ours, ms", "torchvision, ms", "computes"):
            table.add_column(title)
        if other is not None:
            table.add_column("ours there, ms")
            table.add_column("torchvision there, ms")
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    console.print(f"{'kept in ' + str(file) if file else 'not kept'}\n", markup=False, soft_wrap=True)


def _times(report: Report, other: Report | None) -> Iterator[list[str]]:
    there = {} if other is None else dict(_rows(other))
    for (dtype, pass_, channels, pixels), row in _rows(report):
        faster = "ours" if row["ours"] <= SLOWER * row["torchvision"] else "torchvision"
        shown = [dtype, pass_, str(channels), str(pixels), _ms(row["ours"]), _ms(row["torchvision"]), faster]
        if other is not None:
            theirs = there.get((dtype, pass_, channels, pixels), {})
            shown += [_ms(theirs.get("ours")), _ms(theirs.get("torchvision"))]
        yield shown


def _rows(report: Report) -> Iterator[tuple[tuple[str, str, int, int], dict[str, Any]]]:
    for dtype, found in report["dtypes"].items():
        for row in found["times"]:
            if row["ours"] is not None and row["torchvision"] is not None:
                yield (dtype, row["pass"], row["channels"], row["pixels"]), row


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3g}"
