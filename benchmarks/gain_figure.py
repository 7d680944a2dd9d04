"""Draws docs/gain.png: what the gain of deformable convolution depends on, a column for each setting whose result is there.

    python benchmarks/gain_figure.py docs/gain.png benchmarks/results/gain_*/vary.json

The parts of `make evidence` that begin with `gain_` vary one setting each, so that each of them is an hour of work; the figure shows them
side by side, as `dcnrun compare --vary ... --vary ...` would.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from dcnrun.compare.vary import Varied, plot
from dcnrun.plotting import save_png


def varied_of(file: Path) -> Iterator[Varied]:
    """What a vary.json says of each setting, in the form in which comparisons give it."""
    written = json.loads(file.read_text())
    same = {"metric": written["metric"], "level": written["level"]}
    for each in written["varied"]:
        yield Varied(
            each["vary"],
            {
                value: same
                | {
                    "variants": [
                        {"name": variant["name"], "settings": variant["settings"], **variant["values"][value]}
                        for variant in each["variants"]
                        if value in variant["values"]
                    ]
                }
                for value in each["comparisons"]
            },
        )


if __name__ == "__main__":
    target, *sources = map(Path, sys.argv[1:])
    save_png(plot([varied for source in sources if source.exists() for varied in varied_of(source)]), target)
