"""The sheet after each validation: which images it shows, and that to draw it changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dcnrun.config.compose import compose, load, to_yaml
from dcnrun.config.schema import TrainerConfig
from dcnrun.data import build_dataset
from dcnrun.runs import write_text
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.segmentation.scores import ConfusionPerImage
from dcnrun.training.pictures import MOST_SHEETS, _chosen, has_sheet
from tests.training.factories import TINY, TINY_DETECTOR, metrics, run


@pytest.mark.parametrize("settings", [TINY, TINY_DETECTOR], ids=["segmentation", "detection"])
def test_each_validation_has_a_sheet_and_the_run_stays_the_same(settings, tmp_path):
    few = [*settings, "conv=deformable", "trainer.steps=2", "trainer.eval_every=1", "trainer.log_every=1"]
    plain = run(few, tmp_path / "plain")
    drawn = run([*few, "trainer.pictures=1"], tmp_path / "drawn")
    assert metrics(drawn) == metrics(plain)
    assert not (plain / "pictures").exists()
    sheets = sorted((drawn / "pictures").iterdir())
    assert [sheet.name for sheet in sheets] == ["step-000001.jpg", "step-000002.jpg"]
    with Image.open(sheets[0]) as sheet:
        assert sheet.width > 4 * 480  # image, truth, network and difference
        assert sheet.height > 3 * 480  # any, the best and the worst


@pytest.mark.parametrize(("steps", "every"), [(7, 3), (200, 10), (1000, 7), (999, 1), (5, 100)])
def test_of_many_validations_some_have_a_sheet_evenly_and_the_last_has(steps, every):
    trainer = TrainerConfig(steps=steps, eval_every=every, pictures=1)
    validated = [*range(every, steps, every), steps]
    drawn = [place for place, step in enumerate(validated) if has_sheet(step, trainer)]
    assert len(drawn) == min(len(validated), MOST_SHEETS)
    assert drawn[-1] == len(validated) - 1
    assert np.ptp(np.diff([-1, *drawn])) <= 1  # gaps that differ by rounding alone
    assert not any(has_sheet(step, replace(trainer, pictures=0)) for step in validated)


def test_runs_draw_a_small_sheet_unless_they_began_without(tmp_path):
    config = compose([])
    assert (config.trainer.pictures, compose(["trainer=quick"]).trainer.pictures) == (1, 1)
    older = to_yaml(config).replace("  pictures: 1\n", "")
    write_text(tmp_path / "config.yaml", older)
    assert "pictures" not in older
    assert load(tmp_path / "config.yaml").trainer.pictures == 0


def test_any_images_are_the_same_at_each_validation_and_the_others_are_by_score():
    """Of ten images i has i of 9 pixels right; of one nothing is labelled."""
    names = [f"image-{i}" for i in range(10)]
    confusion = np.array([[[i, 9 - i], [0, 0]] for i in range(9)] + [[[0, 0], [0, 0]]])
    images, turned = (ConfusionPerImage(names, matrices, ("a", "b")) for matrices in (confusion, confusion[::-1]))
    shown, later = ([title.split(",")[0] for _, title in _chosen(each, 2, seed=3)] for each in (images, turned))
    assert shown[2:] == ["best: image-8", "best: image-7", "worst: image-0", "worst: image-1"]
    assert later[2:] == ["best: image-1", "best: image-2", "worst: image-9", "worst: image-8"]
    assert shown[:2] == later[:2]
    assert all(title.startswith("any: ") for title in shown[:2])
    assert shown[:2] != [title.split(",")[0] for _, title in _chosen(images, 2, seed=4)][:2]
    assert [names[index] for index, _ in _chosen(images, 2, seed=3)] == [title.split(": ")[1] for title in shown]


def test_the_truth_is_what_the_data_set_has():
    config = compose([*TINY, "data.val_images=2"])
    task = task_of(config.model)
    dataset = task.dataset(config.data, "val")
    (truth,) = task.truth(task.samples.evaluation(config.data).batch_of_one(dataset[1], 1))
    assert np.array_equal(truth.classes, build_dataset(config.data, "val")[1]["mask"].numpy())


def test_objects_of_the_truth_are_those_to_be_found():
    config = compose([*TINY_DETECTOR, "data.val_images=2"])
    task = task_of(config.model)
    dataset = task.dataset(config.data, "val")
    batch = task.samples.evaluation(config.data).batch_of_one(dataset[1], 1)
    (all_of_them,) = task.truth(batch)
    assert np.array_equal(all_of_them.objects.boxes, dataset[1]["boxes"].numpy())
    assert np.array_equal(all_of_them.objects.labels, dataset[1]["labels"].numpy())
    batch["truth"][0]["crowd"][0] = True
    batch["truth"][0]["difficult"][1] = True
    (others,) = task.truth(batch)
    assert torch.equal(torch.tensor(others.objects.boxes), dataset[1]["boxes"][2:].double())
