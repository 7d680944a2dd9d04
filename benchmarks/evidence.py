"""Every result again, by one command: those that are missing, and those whose code has changed since they were made.

    python -m benchmarks.evidence [NAME ...]      makes them all, or these (`make evidence PART="shapes ops"`)
    python -m benchmarks.evidence --list          what there is, how many hours each takes, and how it stands
    python -m benchmarks.evidence --table         writes the table of benchmarks/README.md

`benchmarks/evidence_list.py` says what they are. A result is passed over where it is there and no commit since its own has changed what
it measures; `--again` makes it in any case. What was killed goes on: runs are kept in `runs/evidence/`, in a folder for the state of the
code that is measured. Each file has the commit, the command and the load of the machine under "made". What needs a machine of another
kind is passed over, and what needs a quiet one too while others work on this one, unless --busy is given.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.evidence_list import RESULTS, Need, Result

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "benchmarks" / "README.md"
BEGIN, END = "<!-- written by `python -m benchmarks.evidence --table` -->", "<!-- to here -->"
MEASURED = ("dcnrun", "kernels", "conf", "sweeps", "benchmarks/*.py")
BUSY = 20.0
"""Percent of the cores' time in five seconds from which on a machine is not quiet."""


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def json_files(result: Result) -> list[Path]:
    """The files of a result that say how they were made: one in each folder, and those that are JSON."""
    found = []
    for file in result.files:
        path = ROOT / file
        if file.endswith("/"):
            found.append(
                next(
                    (path / name for name in ("compare.json", "vary.json") if (path / name).exists()),
                    path / "made.json",
                )
            )
        elif path.suffix == ".json":
            found.append(path)
    return found


def commit_of(file: Path) -> str | None:
    """The commit that a result was made at, as its file says; None where it is missing or does not."""
    if not file.exists():
        return None
    content = json.loads(file.read_text())
    for place in ("made", "machine"):
        if commit := content.get(place, {}).get("commit"):
            return str(commit)
    commit = content.get("commit")
    return None if commit is None else str(commit)


def changes_since(commit: str, paths: Sequence[str]) -> list[str]:
    """The commits since another one that change any of these paths, the newest first; CalledProcessError where git knows no such commit."""
    return git("log", "--format=%h %s", f"{commit.removesuffix('-dirty')}..HEAD", "--", *paths).splitlines()


def why_to_make(result: Result) -> str | None:
    """Why a result is to be made; None where it is as new as what it measures."""
    if missing := [file for file in result.files if not (ROOT / file).exists()]:
        return f"{missing[0]} is missing"
    for file in json_files(result):
        commit = commit_of(file)
        if commit is None:
            return f"{file.relative_to(ROOT)} does not say its commit"
        try:
            changes = changes_since(commit, result.measures)
        except subprocess.CalledProcessError:
            return f"{file.relative_to(ROOT)} is of {commit}, which is not among the commits here"
        if changes:
            return f"{len(changes)} commits since {commit[:7]} change what it measures: {changes[0]}"
    return None


def unmet(result: Result, busy: bool) -> str | None:
    """What this machine lacks for a result, as far as it can be told."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lacks = {
        Need.gpu: not torch.cuda.is_available(),
        Need.amx: "amx_tile" not in flags,
        Need.amd: "AuthenticAMD" not in flags or "avx512_bf16" not in flags,
        Need.quiet: Need.quiet in result.needs and not busy and psutil.cpu_percent(5) > BUSY,
    }
    return next((str(need) for need in result.needs if lacks.get(need)), None)


def make(result: Result) -> bool:
    """Make a result; whether all of its commands succeeded. Its files then say how they were made."""
    state = git("log", "-1", "--format=%h", "--", *result.measures) or "new"
    runs = ROOT / "runs" / "evidence" / f"{result.runs or result.name}-{state}"
    runs.mkdir(parents=True, exist_ok=True)
    before = "" if result.before is None else str(checkout_of(result.before).relative_to(ROOT))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    made: dict[str, Any] = {
        "commit": git("rev-parse", "HEAD"),
        "command": f"make evidence PART={result.name}",
        "load_before": round(os.getloadavg()[0], 2),
    }
    started = time.monotonic()
    for command in result.commands:
        filled = command.replace("{runs}", str(runs.relative_to(ROOT))).replace("{before}", before)
        print(f"+ {filled}", flush=True)
        if subprocess.run(["bash", "-euo", "pipefail", "-c", filled], cwd=ROOT, env=environment).returncode:
            return False
    made["minutes"] = round((time.monotonic() - started) / 60, 1)
    for file in json_files(result):
        stamp(file, made)
    return True


def checkout_of(commit: str) -> Path:
    """A checkout of an earlier commit, made when first asked for."""
    path = ROOT / "runs" / "evidence" / f"checkout-{commit}"
    if not path.exists():
        git("worktree", "add", "--detach", str(path), commit)
    return path


def stamp(file: Path, made: dict[str, Any]) -> None:
    """Put how a result was made at the head of its file, whose text otherwise stays as it is; places in the repository begin there."""
    text = (file.read_text() if file.exists() else "{}\n").replace(f"{ROOT}/", "")
    content = json.loads(text)
    if "made" in content:
        file.write_text(json.dumps(content | {"made": made}, indent=1) + "\n")
        return
    line = f'\n "made": {json.dumps(made)}' + ("," if content else "\n")
    file.write_text(text.replace("{", "{" + line, 1))


def table() -> str:
    """The table of all results, in Markdown."""
    lines = ["| part | result | made at | on two cores | by, and what came of it |", "|---|---|---|---:|---|"]
    for result in RESULTS:
        files = ", ".join(f"`{file.removeprefix('benchmarks/')}`" for file in result.files)
        commits = dict.fromkeys(commit[:7] for file in json_files(result) if (commit := commit_of(file)))
        at = ", ".join(commits) or "not there yet"
        takes = "; ".join([hours(result), *result.needs])
        commands = "; ".join(f"`{command}`" for command in result.commands).replace("{before}", result.before or "")
        older = f" *Older than the code: {result.older}*" if result.older else ""
        says = f"{commands}: {result.found}" if result.found else commands
        lines.append(f"| {result.name} | {files} | {at} | {takes} | {says.replace('|', chr(92) + '|')}{older} |")
    return "\n".join(lines)


def hours(result: Result) -> str:
    minutes = 60 * result.hours
    return f"{minutes:.0f} min" if minutes < 90 else f"{result.hours:g} h"


def write_table() -> None:
    head, rest = TABLE.read_text().split(BEGIN)
    _, tail = rest.split(END)
    TABLE.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*(result.name for result in RESULTS), []])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    if asked.table:
        write_table()
        return 0
    results = [result for result in RESULTS if not asked.names or result.name in asked.names]
    if asked.list:
        for result in results:
            print(
                f"{result.name:20} {hours(result):>7}  {', '.join(result.needs):30} {why_to_make(result) or 'as new as the code'}"
            )
        to_do = sum(result.hours for result in results if why_to_make(result))
        print(f"{to_do:.1f} of {sum(result.hours for result in results):.1f} hours are to be done.")
        return 0
    if not (ROOT / ".git").exists():
        sys.exit("A result names the commit that it was made at: work in a clone of the repository.")
    if changed := git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED):
        sys.exit(
            f"A result names the commit that it was made at, but these files are changed:\n{changed}\nCommit them first."
        )
    failed = []
    for result in results:
        why = why_to_make(result)
        if why is None and not asked.again:
            print(f"{result.name}: as new as the code", flush=True)
        elif lacks := unmet(result, asked.busy):
            print(f"{result.name}: passed over, since it needs {lacks} ({why})", flush=True)
        else:
            print(f"{result.name}: {why or 'made again'}; takes about {hours(result)}", flush=True)
            if make(result):
                write_table()
            else:
                failed.append(result.name)
                print(f"{result.name}: FAILED", flush=True)
    if failed:
        print(f"Failed: {' '.join(failed)}. The same command tries them again, and goes on with their runs.")
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
