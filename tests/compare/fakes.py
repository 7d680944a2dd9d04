"""A stand-in for `dcnrun`: `fakes.py TEMPLATES train ...` does what TEMPLATES says for the run.

TEMPLATES/<run> is the finished run folder; TEMPLATES/<run>.does says fail, crash or wait instead. Standard library only,
so that it starts at once.
"""

import json
import shutil
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    templates, *arguments = sys.argv[1:]
    with (Path(templates) / "calls.jsonl").open("a") as file:
        file.write(json.dumps(arguments) + "\n")
    option = "--resume" if "--resume" in arguments else "--run-dir"
    run = Path(arguments[arguments.index(option) + 1])
    template = Path(templates) / run.name
    does = template.with_name(f"{run.name}.does")
    action = does.read_text() if does.exists() else "finish"
    print(f"acting: {action}", flush=True)
    if action == "crash":
        print("ValueError: no such luck", flush=True)
        return 3
    shutil.copytree(template, run, dirs_exist_ok=True)
    if action == "fail":
        set_status(run, "failed", "the loss is nan at step 3")
        return 1
    if action == "wait":
        return wait_for_sigterm(run)
    return 0


def wait_for_sigterm(run: Path) -> int:
    set_status(run, "running", None)

    def stop(*_: object) -> None:
        set_status(run, "stopped", "asked to stop")
        sys.exit(130)

    signal.signal(signal.SIGTERM, stop)
    (run / "waiting").touch()
    time.sleep(60)
    return 1


def set_status(run: Path, status: str, reason: str | None) -> None:
    file = run / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": status, "reason": reason}))


if __name__ == "__main__":
    sys.exit(main())
