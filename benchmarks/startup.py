"""Seconds that `dcnrun --help` takes, as a user waits for it.

python benchmarks/startup.py benchmarks/results/startup.json
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from dcnrun.bench.machine import describe

RUNS = 11


def seconds() -> float:
    started = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name("dcnrun"), "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    times = [seconds() for _ in range(RUNS + 1)][1:]  # the first reads the disk
    low, median, high = statistics.quantiles(times, n=4)
    result = {"machine": describe(), "runs": RUNS, "median_s": median, "q1_s": low, "q3_s": high}
    Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n")
    print(result)


if __name__ == "__main__":
    main()
