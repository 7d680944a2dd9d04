"""How offsets moved over training, from what the run logged (see `dcnrun.training.monitor`)."""

import json
from dataclasses import dataclass

from dcnrun.runs import RunFolder

_SIZE = "offset_abs/"
_OUTSIDE = "offset_outside/"


@dataclass(frozen=True)
class History:
    """One layer, at each step that was logged."""

    step: tuple[int, ...]
    offset_abs: tuple[float, ...]
    """Mean absolute value of the offsets' components, in pixels of the map, on a training batch."""
    offset_outside: tuple[float, ...]
    """Share of the taps that read only padding, the plain grid's included."""


def read_histories(folder: RunFolder) -> dict[str, History]:
    """The histories by layer's name, none where none were logged; torn lines are left out."""
    points: dict[str, dict[int, tuple[float, float]]] = {}
    for line in folder.metrics_file.read_text().splitlines() if folder.metrics_file.exists() else ():
        try:
            record = json.loads(line)
            for key in record:
                if key.startswith(_SIZE):
                    name = key.removeprefix(_SIZE)
                    point = float(record[key]), float(record[_OUTSIDE + name])
                    points.setdefault(name, {})[int(record["step"])] = point
        except (ValueError, KeyError, TypeError):
            continue
    return {name: _history(by_step) for name, by_step in points.items()}


def _history(by_step: dict[int, tuple[float, float]]) -> History:
    steps = tuple(sorted(by_step))
    sizes, outsides = zip(*(by_step[step] for step in steps), strict=True)
    return History(steps, sizes, outsides)
