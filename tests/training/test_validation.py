"""Each validation image counts once, in one process or in several."""

import numpy as np
import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.data import eval_batches
from dcnrun.runs import CheckpointChoice, RunFolder, json_ready
from dcnrun.training.evaluate import evaluate
from dcnrun.training.prepare import prepare
from dcnrun.training.validation import validate
from tests.training.fakes import on_two_ranks


def test_validation_counts_by_hand(tiny):
    training, _ = prepare(compose([*tiny, "conv=standard"]))
    result = validate(training)
    training.raw_model.eval()
    by_hand = np.zeros((len(result.images.classes),) * 2, dtype=np.int64)
    with torch.inference_mode():
        for batch in eval_batches(training.val_set, training.config.data):
            image = batch["image"].contiguous(memory_format=torch.channels_last)
            np.add.at(by_hand, (batch["mask"].numpy().ravel(), training.raw_model(image).argmax(1).numpy().ravel()), 1)
    assert np.array_equal(result.images.confusion.sum(0), by_hand)


def test_validation_images_are_named_once_for_all_sheets(tiny, monkeypatch):
    """Results per image are in the order of the names, the data set is in another."""
    training, _ = prepare(compose([*tiny, "conv=standard"]))
    names, asked = ["c", "a", "d", "b", "e"], []
    monkeypatch.setattr(training.val_set, "name", lambda index: asked.append(index) or names[index])
    for _ in range(2):
        assert [names[index] for index in training.val_order] == sorted(names)
    assert asked == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_two_processes_score_each_image_once(tiny_detector, forked, tmp_path):
    folder = tmp_path / "run"
    overrides = [*tiny_detector, "conv=deformable", "trainer.devices=2", "trainer.accelerator=cpu"]
    on_two_ranks(forked, "train", *overrides, "--run-dir", folder)
    summary = RunFolder(folder).read_summary()
    assert summary["status"] == "completed"
    assert json_ready(evaluate(folder, CheckpointChoice.last)["metrics"]) == pytest.approx(
        summary["metrics"], abs=1e-6, nan_ok=True
    )


@pytest.mark.slow
def test_layers_of_an_encoder_that_lead_to_no_used_map_are_no_error_in_two_processes(tiny_detector, forked, tmp_path):
    """RetinaNet has no use for c2, which HRNet computes by layers of its own."""
    settings = [each for each in tiny_detector if not each.startswith("model") or "fpn" in each]
    encoder = ["model=retinanet", "model.encoder=tu-hrnet_w18_small", "conv=modulated"]
    on_two_ranks(
        forked,
        "train",
        *settings,
        *encoder,
        "trainer.devices=2",
        "trainer.accelerator=cpu",
        "--run-dir",
        tmp_path / "run",
    )
    assert RunFolder(tmp_path / "run").read_summary()["status"] == "completed"
