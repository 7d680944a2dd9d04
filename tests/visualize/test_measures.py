"""Runs from training to their measures, and what is written and printed of them."""

import re
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from dcnrun.config.compose import compose
from dcnrun.data import eval_batches
from dcnrun.errors import UsageError
from dcnrun.offsets import capture
from dcnrun.offsets.objects import SizeClass
from dcnrun.offsets.statistics.effective_dilation import effective_dilation
from dcnrun.runs import RunFolder, RunStatus
from dcnrun.training.loggers import JsonLinesLogger
from dcnrun.visualize.load import load_run
from dcnrun.visualize.measures import History, measure, measure_run, read_histories
from tests.training.factories import TINY_DETECTOR
from tests.visualize.factories import FINE, LAYERS, THRESHOLDS, trained

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dilation", ["null", "3"])
def test_a_plain_run_has_its_plain_dilation_exactly(dilation, tmp_path):
    kind = "standard" if dilation == "null" else "dilated"
    run = trained(tmp_path / "run", *FINE, f"conv={kind}", f"conv.dilation={dilation}")
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


def test_measures_are_those_of_each_image_as_evaluation_sees_it(fine, measures):
    """All filters once, from the capture of every validation batch of one; the boxes are counted apart."""
    run = load_run(fine)
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


def test_some_of_the_images(fine):
    run = load_run(fine)
    names = run.dataset.names
    assert measure(run, limit=2).images == (names[0], names[-1])
    assert measure(run, limit=99).images == tuple(names)
    with pytest.raises(UsageError, match="at least 1"):
        measure(run, limit=0)


def test_overrides_measure_other_data(fine):
    measures = measure_run(fine, overrides=["data.val_images=2", "data.eval_short_side=128"])
    assert len(measures.images) == 2
    assert sum(spread.count for spread in measures.layers[0].spreads.values()) == 2 * 16 * 16


def test_a_detector(tmp_path):
    """Fresh offsets stay at 0 after a step, which is said."""
    run = trained(tmp_path / "run", *FINE, "conv=deformable", "model.output_stride=16", base=TINY_DETECTOR, drawn=False)
    measures = measure_run(run)
    assert [layer.name for layer in measures.layers] == LAYERS
    for layer in measures.layers:
        assert "never left 0" in layer.warnings[0]
        assert "(now 1)" in layer.warnings[0]
        assert layer.spreads[SizeClass.background].mean == pytest.approx(layer.plain, abs=0.1)


def test_runs_that_can_t_be_measured(fine, tmp_path):
    with pytest.raises(UsageError, match="compares no layer"):
        measure(replace(load_run(fine), layers=()))
    with pytest.raises(UsageError, match="not a run folder"):
        measure_run(tmp_path)
    with pytest.raises(UsageError, match="does not fit the config"):
        measure_run(fine, overrides=["model.width=32"])


def test_the_documented_python_runs(fine):
    section = (ROOT / "docs" / "offsets.md").read_text().split("## In Python")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    assert "runs/deformable" in code
    exec(code.replace("runs/deformable", str(fine)), {})


def test_histories_are_what_was_logged(tmp_path):
    folder = RunFolder(tmp_path)
    logger = JsonLinesLogger(folder, compose([]))
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
