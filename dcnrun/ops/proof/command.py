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
        console.print(f"{dtype}: {said}", markup=False, soft_wrap=True)
        for row in found["wrong"]:
            if row["by"] == "torchvision":
                console.print(f"torchvision is wrong on: {row['problem']}", markup=False, soft_wrap=True)
        if found["times"]:
            _show_times(_times(found), {} if other is None else _times(other["dtypes"].get(dtype, {"times": []})))
    console.print(f"{'kept in ' + str(file) if file else 'not kept'}\n", markup=False, soft_wrap=True)


Times = dict[tuple[str, int, int], dict[str, Any]]


def _times(found: dict[str, Any]) -> Times:
    """The times of ours and of torchvision's, by pass, channels and pixels."""
    return {(row["pass"], row["channels"], row["pixels"]): row for row in found["times"]}


def _show_times(here: Times, there: Times) -> None:
    table = Table(box=None, pad_edge=False)
    titles = ["ours", "torchvision", "faster", *(["ours there", "its there"] if there else [])]
    for title in ("ms, channels x pixels", *titles):
        table.add_column(title, no_wrap=True)
    for (pass_, channels, pixels), row in here.items():
        faster = "ours" if row["ours"] <= SLOWER * row["torchvision"] else "torchvision"
        cells = [f"{pass_} {channels} x {pixels}", _ms(row["ours"]), _ms(row["torchvision"]), faster]
        if there:
            other = there.get((pass_, channels, pixels), {})
            cells += [_ms(other.get("ours")), _ms(other.get("torchvision"))]
        table.add_row(*map(escape, cells))
    console.print(table)


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3g}"
