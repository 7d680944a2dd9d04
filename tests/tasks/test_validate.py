"""What a run is refused for, whatever part of the package it concerns, all at once."""

import contextlib

import pytest

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError, UsageError
from dcnrun.models import outline
from dcnrun.tasks.validate import check, check_images_of, model_problems
from tests.data.factories import annotation, coco_tree, folder_tree, load_json, save_json


def wrong_layers(*overrides):
    return compose(["conv=deformable", "conv.groups=3", *overrides])


def test_problems_of_layers_are_reported_together():
    problems = model_problems(wrong_layers("conv.offset_groups=5"))
    assert "conv.groups=3 does not divide the 512 input channels of layer4.0.conv2 (and of 2 more layers)" in problems
    assert any(problem.startswith("conv.offset_groups=5") for problem in problems)
    assert "must be a number" in model_problems(compose(["conv=deformable", "conv.layers=all"]))[0]


def test_a_backbone_is_laid_out_once_for_all_checks(monkeypatch):
    problems = model_problems(wrong_layers())
    assert problems
    monkeypatch.setattr(outline, "ResNetBackbone", None)
    assert model_problems(wrong_layers()) == problems
    assert model_problems(compose(["conv=deformable", "conv.groups=2", "conv.layers=c2-c5"])) == []


@pytest.mark.parametrize("network", [["model=deeplab", "model.width=64"], ["model=smp"]])
def test_a_network_of_a_file_is_not_chosen_among_published_weights(network, tmp_path):
    chosen = [*network, "model.weights_of=teacher"]
    problem = "model.weights_of=teacher chooses a network of a file, but model.weights=DEFAULT names published weights"
    assert [line.split(":")[0] for line in model_problems(compose([*chosen, "model.weights=DEFAULT"]))] == [problem]
    assert model_problems(compose([*chosen, f"model.weights={tmp_path / 'byol.pt'}"])) == []


def test_every_part_of_the_package_is_asked_and_each_problem_said_once():
    config = compose(
        [
            *("conv=deformable", "conv.groups=3", "seed=-1", "data=shapes", "data.objects_min=9"),
            *("data.batch_size=0", "trainer.devices=2", "trainer.metric=val/map", "optim=adamw", "optim.momentum=0.5"),
        ]
    )
    with pytest.raises(ConfigError) as error:
        check(config)
    starts = [problem.split("=")[0] for problem in error.value.problems]
    assert sorted(starts) == sorted(
        [
            *("seed", "data.batch_size"),  # out of range
            *("optim.momentum",),  # inactive
            *("conv.groups", "conv.groups", "trainer.metric"),  # input and output channels; the task
            *("data.objects_max", "trainer.devices"),  # the source's rules; the machine
        ]
    )


@pytest.mark.parametrize(
    ("metric", "area", "lacking"),
    [
        (
            "val/map_large",
            96 * 96 - 1,
            "trainer.metric=val/map_large: none of the 3 validation images has an object to be found of at least 96x96",
        ),
        ("val/map_large", 96 * 96, None),
        ("val/map_small", 32 * 32 + 1, "of at most 32x32 pixels"),
        ("val/map_medium", 32 * 32, None),
        ("val/map", 1, None),
        ("val/map", None, "none of the 3 validation images has an object to be found, so there is"),
        ("null", None, "trainer.metric=val/map: none"),
    ],
)
def test_a_metric_needs_validation_images_that_it_is_a_score_of(tmp_path, metric, area, lacking):
    """Each image has a crowd or a difficult object at most beside the one of this area."""
    root = coco_tree(tmp_path)
    document = load_json(root, "val")
    crowd = annotation(1, 3, 20, [0, 0, 20, 20], iscrowd=1) | {"area": 5000.0}
    document["annotations"] = [crowd, *([annotation(2, 7, 90, [0, 0, 9, 9]) | {"area": float(area)}] if area else [])]
    save_json(root, "val", document)
    config = compose(["model=faster_rcnn", "data=coco", f"data.root={root}", f"trainer.metric={metric}"])
    with pytest.raises(UsageError, match=lacking) if lacking else contextlib.nullcontext():
        check_images_of(config)


@pytest.mark.parametrize(("values", "can_be_scored"), [((0, 1, 255), True), ((255,), False)])
def test_masks_need_a_labelled_pixel(tmp_path, values, can_be_scored):
    root = folder_tree(tmp_path, values=values)
    config = compose(["data=folder", f"data.root={root}", "data.classes=[sky,road]"])
    with contextlib.nullcontext() if can_be_scored else pytest.raises(UsageError, match="has a labelled pixel"):
        check_images_of(config)


def test_images_that_are_not_here_are_left_to_the_run(tmp_path):
    check_images_of(compose(["data=folder", f"data.root={tmp_path}", "data.classes=[sky,road]"]))
