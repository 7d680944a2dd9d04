"""Runs from training to their measures, and what is written and printed of them."""

import csv
import io
import json
import re
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dcnrun.config.compose import compose
from dcnrun.data import eval_batches
from dcnrun.errors import UsageError
from dcnrun.offsets import capture
from dcnrun.offsets.objects import SizeClass, Thresholds
from dcnrun.offsets.statistics.effective_dilation import effective_dilation
from dcnrun.runs import RunFolder, RunStatus, json_ready
from dcnrun.training.loggers import JsonLinesLogger
from dcnrun.training.run import train
from dcnrun.visualize.load import load_run
from dcnrun.visualize.measures import History, measure, measure_run, read_histories
from dcnrun.visualize.report import as_dict, tables, write_measures
from tests.training.running import TINY, TINY_DETECTOR
from tests.visualize.factories import draw_offsets

ROOT = Path(__file__).parents[2]
LAYERS = ["backbone.layer4.0.conv2", "backbone.layer4.1.conv1", "backbone.layer4.1.conv2"]
FINE = ["model.output_stride=8", "data.val_images=4", "data.image_size=64"]
THRESHOLDS = Thresholds(medium=150, large=400)


def trained(folder, *overrides, base=TINY):
    every = [*base, *FINE, "trainer.steps=1", *overrides]
    train(compose(every), every, folder)
    return folder


@pytest.fixture(scope="module")
def modulated(tmp_path_factory):
    """One step, then offsets that go somewhere: biases and weights of the branches are drawn at random."""
    folder = trained(tmp_path_factory.mktemp("runs") / "modulated", "conv=modulated", "conv.offset_groups=2")
    draw_offsets(folder)
    return folder


@pytest.fixture(scope="module")
def measures(modulated):
    return measure_run(modulated, thresholds=THRESHOLDS)


@pytest.mark.parametrize("dilation", ["null", "3"])
def test_a_plain_run_has_its_plain_dilation_exactly(dilation, tmp_path):
    kind = "standard" if dilation == "null" else "dilated"
    run = trained(tmp_path / "run", f"conv={kind}", f"conv.dilation={dilation}")
    measures = measure_run(run, thresholds=THRESHOLDS)
    assert [layer.name for layer in measures.layers] == LAYERS
    wanted = [3, 3, 3] if dilation == "3" else [4, 4, 4]
    for layer, plain in zip(measures.layers, wanted, strict=True):
        assert layer.plain == plain
        assert all(spread.count > 0 for spread in layer.spreads.values())
        assert {(spread.mean, spread.std) for spread in layer.spreads.values()} == {(plain, 0)}
        assert (layer.health, layer.history, layer.warnings) == (None, None, [])
        assert isnan(layer.correlation.value)
    assert sum(spread.count for spread in measures.layers[0].spreads.values()) == 4 * 8 * 8


def test_measures_are_those_of_each_image_as_evaluation_sees_it(modulated, measures):
    """All filters once, from the capture of every validation batch of one; the boxes are counted apart."""
    run = load_run(modulated)
    data = replace(run.config.data, eval_batch_size=1)
    batches = list(eval_batches(run.task.dataset(data, "val"), data))
    captures = [capture(run.network, batch["image"][0]) for batch in batches]
    assert measures.images == tuple(batch["name"][0] for batch in batches)
    for layer in measures.layers:
        values = np.concatenate([effective_dilation(captured.layer(layer.name)).flatten() for captured in captures])
        counts = np.array([spread.count for spread in layer.spreads.values()])
        means = np.array([spread.mean for spread in layer.spreads.values()])
        assert counts.sum() == len(values)
        assert (counts * means).sum() / counts.sum() == pytest.approx(values.mean())
        assert values.std() > 0.1
        assert layer.health.num_points == 2 * 9
        assert layer.health.mask is not None
        assert layer.history.step == (1,)
        assert layer.correlation.objects == len(layer.per_object.area) > 5


def test_some_of_the_images(modulated):
    run = load_run(modulated)
    names = run.dataset.names
    assert measure(run, limit=2).images == (names[0], names[-1])
    assert measure(run, limit=99).images == tuple(names)
    with pytest.raises(UsageError, match="at least 1"):
        measure(run, limit=0)


def test_overrides_measure_other_data(modulated):
    measures = measure_run(modulated, overrides=["data.val_images=2", "data.eval_short_side=128"])
    assert len(measures.images) == 2
    assert sum(spread.count for spread in measures.layers[0].spreads.values()) == 2 * 16 * 16


def test_a_detector(tmp_path):
    """Fresh offsets stay at 0 after a step, which is said."""
    run = trained(tmp_path / "run", "conv=deformable", "model.output_stride=16", base=TINY_DETECTOR)
    measures = measure_run(run)
    assert [layer.name for layer in measures.layers] == LAYERS
    for layer in measures.layers:
        assert "never left 0" in layer.warnings[0]
        assert "(now 1)" in layer.warnings[0]
        assert layer.spreads[SizeClass.background].mean == pytest.approx(layer.plain, abs=0.1)


def test_runs_that_can_t_be_measured(modulated, tmp_path):
    with pytest.raises(UsageError, match="compares no layer"):
        measure(replace(load_run(modulated), layers=()))
    with pytest.raises(UsageError, match="not a run folder"):
        measure_run(tmp_path)
    with pytest.raises(UsageError, match="does not fit the config"):
        measure_run(modulated, overrides=["model.width=32"])


def test_the_documented_python_runs(modulated):
    section = (ROOT / "docs" / "offsets.md").read_text().split("## In Python")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    assert "runs/deformable" in code
    exec(code.replace("runs/deformable", str(modulated)), {})


def test_files_hold_the_numbers(measures, tmp_path):
    assert [path.name for path in write_measures(measures, tmp_path)] == ["offsets.json", "offsets.csv"]
    content = json.loads((tmp_path / "offsets.json").read_text())
    assert content == json.loads(json.dumps(json_ready(as_dict(measures))))
    assert [layer["name"] for layer in content["layers"]] == LAYERS
    assert content["area_thresholds"] == {"medium": 150, "large": 400}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "offsets.csv").read_text())))
    assert [(row["layer"], row["size"]) for row in rows[:4]] == [(LAYERS[0], size.value) for size in SizeClass]
    for row in rows:
        layer = next(layer for layer in measures.layers if layer.name == row["layer"])
        spread = layer.spreads[SizeClass(row["size"])]
        assert (float(row["mean"]), float(row["std"]), int(row["count"])) == (spread.mean, spread.std, spread.count)


def test_tables_fit_a_terminal_and_say_what_the_sizes_are(measures):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables(measures))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "small < 150 <= medium < 400 <= large" in " ".join(text.split())
    first = measures.layers[0].spreads[SizeClass.small]
    assert f"{first.mean:.2f}±{first.std:.2f}" in text
    assert text.index("layer4.1.conv2") < text.index("layer4.0.conv2")


def test_histories_are_what_was_logged(tmp_path):
    folder = RunFolder(tmp_path)
    logger = JsonLinesLogger(folder.metrics_file)
    for step in (20, 40):
        values = {
            f"offset_{what}/{name}": step * by for what, name, by in (("abs", "a.b", 0.1), ("outside", "a.b", 0.01))
        }
        logger.log(step, 0.5, "train", {"train/loss": 1.0, "train/offset_abs": 9.0, **values})
        logger.log(step, 0.5, "val", {"val/miou": 0.5})
    logger.close(RunStatus.completed)
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 60, "offset_abs/a.b": 1')
    assert read_histories(folder) == {"a.b": History((20, 40), (2.0, 4.0), (0.2, 0.4))}


def test_no_file_is_no_history(tmp_path):
    assert read_histories(RunFolder(tmp_path)) == {}
