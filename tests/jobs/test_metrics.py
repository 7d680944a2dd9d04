import json
import math
import random

import pytest

from dcnrun.jobs.metrics import MetricReader, last_step

METRIC = "val/miou"


def line(step, **values):
    return json.dumps({"step": step, "epoch": 0.5, "split": "val", **values}) + "\n"


def reports_in(path):
    """The reports of a file by reading all of it."""
    found = []
    for text in path.read_text().split("\n")[:-1]:
        record = json.loads(text)
        value = record.get(METRIC)
        if value is not None and math.isfinite(value):
            found.append((record["step"], value))
    return tuple(found)


def test_the_last_step_is_read_from_the_end_of_the_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert last_step(path) == 0
    path.write_text("".join(line(step, filling="x" * 90) for step in range(500)) + '{"step": 50')
    assert last_step(path) == 499
    path.write_text("null\n[1]\n")
    assert last_step(path) == 0


def test_finite_values_of_the_metric_alone_are_reports(tmp_path):
    path = tmp_path / "metrics.jsonl"
    reader = MetricReader(path, METRIC)
    assert reader.read() == ()
    values = [0.5, None, 1, math.nan, -math.inf, True, "0.3"]
    path.write_text(
        "".join(line(step, **{METRIC: value}) for step, value in enumerate(values)) + line(9) + "not JSON\n"
    )
    assert reader.read() == ((0, 0.5), (2, 1.0))


@pytest.mark.parametrize("seed", range(5))
def test_reading_while_it_grows_and_is_replaced_is_reading_the_whole(tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / "metrics.jsonl"
    reader = MetricReader(path, METRIC)
    step, torn = 0, ""
    for _ in range(200):
        action = rng.random()
        if action < 0.1 and path.exists():  # a resumed run forgets what is past its checkpoint
            kept = [text for text in path.read_text().split("\n")[:-1] if rng.random() < 0.9]
            (tmp_path / "beside").write_text("".join(f"{text}\n" for text in kept))
            (tmp_path / "beside").replace(path)
            torn = ""
        else:
            values = {METRIC: rng.choice([rng.random(), math.nan])} if rng.random() < 0.5 else {"train/loss": 0.1}
            step += 1
            text = torn + line(step, **values)
            cut = rng.randrange(len(text) + 1) if rng.random() < 0.4 else len(text)
            with path.open("a") as file:
                file.write(text[:cut])
            torn = text[cut:]
        if rng.random() < 0.5 and path.exists():
            assert reader.read() == reports_in(path)
    reader.close()
