import re
from pathlib import Path

import pytest

from dcnrun.errors import ConfigError
from dcnrun.resources import resource_dir
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.engines.local import LocalEngine
from dcnrun.sweep.spec.checks import check_against_settings
from dcnrun.sweep.spec.reading import parse_sweep, read_sweep
from tests.data.factories import coco_tree

QUICK = "[dcnrun, train, experiment=quick, conv=deformable, '${args_no_hyphens}']"
BOXES = "[dcnrun, train, experiment=shapes_boxes, '${args_no_hyphens}']"


def sweep(*parameters, metric="{name: val/miou, goal: maximize}", command=QUICK):
    """Parameters begin at line 5."""
    command = f"command: {command}" if command else "description: none"
    lines = ["method: random", f"metric: {metric}", command, "parameters:"]
    return parse_sweep("\n".join([*lines, *(f"  {parameter}" for parameter in parameters)]), Path("lr.yaml"))


def problems(*parameters, overrides=(), **sections):
    try:
        check_against_settings(sweep(*parameters, **sections), overrides)
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("path", sorted(resource_dir("sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_fit_the_settings(path):
    check_against_settings(read_sweep(path))


def test_groups_and_settings_of_every_type():
    assert not problems(
        "conv: {values: [deformable, modulated]}",
        "optim: {value: sgd}",
        "conv.layers: {values: [3, c5]}",
        "conv.dilation: {values: [null, 2]}",
        "optim.clip_norm: {distribution: q_uniform, min: 1, max: 3}",
        "seed: {min: 0, max: 3}",
        "data.cache: {values: [true]}",
        "optim.schedule: {value: step}",
        "optim.step_at: {values: [[0.5, 0.75]]}",
    )


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("optim.ofset_lr_mult: {value: 1}", "optim.ofset_lr_mult: there is no setting optim.ofset_lr_mult; did you mean optim.offs"),
        ("model.fpn: {value: true}", "model.fpn=true: model.fpn is a setting of model=faster_rcnn or mask_rcnn only"),
        ("conv: {values: [deformable, deformabel]}", "conv=deformabel: conv is one of dcnv3, dcnv4, deformable, dilated, modulated, standard; did"),
        ("conv: {min: 1, max: 2}", "conv: takes `values`, some of dcnv3, dcnv4, deformable, dilated"),
        ("logger.csv: {values: [true, false]}", "logger.csv: has no effect on what a run finds"),
        ("runs_dir: {values: [a, b]}", "runs_dir: has no effect on what a run finds"),
        ("optim.lr: {values: [0.1, fast]}", "optim.lr=fast: optim.lr is a number"),
        ("optim.lr: {min: -0.1, max: 0.1}", "optim.lr=-0.1 must be at least 0"),
        ("optim.lr: {distribution: normal, mu: -1}", "optim.lr=-1.0 must be at least 0"),
        ("conv.groups: {distribution: q_uniform, min: 2, max: 8, q: 3}", "conv.groups=3 does not divide the"),
        ("conv.offset_groups: {values: [1, 2, 3]}", "conv.offset_groups=3 does not divide the"),
        ("conv.layers: {values: [3, 99]}", "conv.layers=99 is more than the encoder's 16 convolutions"),
        ("conv.kind: {values: [{a: 1}]}", "can't be read as key=value"),
        ("conv.groups: {min: 1, max: 8}", "conv.groups=3 does not divide the"),
        ("conv.groups: {distribution: q_log_uniform_values, min: 1, max: 8, q: 1}", "conv.groups=3 does not divide the"),
        ("trainer.devices: {values: [1, 2]}", "trainer.devices: every trial has as many: set it once, in `command`"),
    ],
)  # fmt: skip
def test_values_that_a_run_would_refuse(parameter, expected):
    found = problems(parameter)
    assert found
    assert all(problem.startswith("lr.yaml:5: ") for problem in found)
    assert expected in found[0]


@pytest.mark.parametrize(
    ("parameter", "share"),
    [
        ("optim.lr: {distribution: normal, mu: 0.01, sigma: 0.02}", 31),
        ("optim.lr: {distribution: normal, mu: 0.05, sigma: 0.01}", None),
        ("data.flip: {distribution: normal, mu: 0.9, sigma: 0.1}", 16),
        ("data.flip: {distribution: log_normal, mu: 0.0, sigma: 1.0}", 50),
        ("optim.lr: {distribution: log_normal, mu: -4, sigma: 1.0}", None),
        # 2, 4 and 8 divide the channels; 3, 5 and 6 don't
        ("conv.groups: {distribution: q_normal, mu: 4, sigma: 1, q: 1}", 55),
        ("conv.offset_groups: {distribution: q_normal, mu: 2, sigma: 0.1, q: 1}", None),
    ],
)
def test_of_a_distribution_without_ends_the_share_that_runs_refuse(parameter, share):
    """The shares are those of the normal distribution outside of what the setting may be."""
    if share is None:
        assert not problems(parameter)
        return
    (found,) = problems(parameter)
    assert found.startswith(f"lr.yaml:5: {parameter.partition(':')[0]}")
    told = float(re.search(r"a run refuses (\d+)% of the draws: ", found)[1])
    assert abs(told - share) <= 7 if "groups" in parameter else abs(told - share) <= 1


def test_a_list_with_null_is_refused():
    assert problems("optim.step_at: {values: [[0.5, null], [0.5]]}") == [
        "lr.yaml:5: optim.step_at: a list can't hold null, which an agent of W&B would pass as the text None."
    ]


def test_lines_of_several_parameters():
    found = problems(
        "optim.lr: {min: -1.0, max: 1.0}",
        "conv.groups: {values: [1, 3]}",
        "optim.weight_decay: {values: [0.9, -0.9]}",
    )
    assert [problem.split(" ")[:2] for problem in found] == [
        ["lr.yaml:5:", "optim.lr=-1.0"],
        ["lr.yaml:6:", "conv.groups=3"],
        ["lr.yaml:6:", "conv.groups=3"],
        ["lr.yaml:7:", "optim.weight_decay=-0.9"],
    ]


def test_pairs_that_do_not_fit():
    """64 channels and groups of 32 go with the last layers alone: the first stage has 16."""
    assert not problems("conv.groups: {values: [1, 32]}", "conv.layers: {values: [3]}")
    assert not problems("conv.groups: {values: [1, 16]}", "conv.layers: {values: [3, c2]}")
    found = problems("conv.groups: {values: [1, 32]}", "conv.layers: {values: [3, c2]}")
    assert len(found) == 2
    assert all(problem.startswith("lr.yaml:5: conv.groups=32 does not divide") for problem in found)
    assert all(problem.endswith(" (with conv.layers=c2)") for problem in found)


@pytest.mark.parametrize(
    ("kinds", "parameter", "expected"),
    [
        ("deformable, standard", "optim.offset_lr_mult: {min: 0.1, max: 1.0}", "lr.yaml:5: optim.offset_lr_mult=0.1 does nothing with conv=standard"),
        ("standard", "optim.offset_lr_mult: {min: 0.1, max: 1.0}", "lr.yaml:6: optim.offset_lr_mult=0.1 does nothing with conv=standard"),
        ("deformable, dilated", "conv.mask_start: {values: [1.0, 0.5]}", "lr.yaml:6: conv.mask_start has no effect with conv=deformable"),
        (
            "deformable, standard",
            "conv.offset_groups: {values: [1, 2]}",
            "lr.yaml:5: conv.offset_groups has no effect with conv=standard, which the sweep may draw: tune each kind in a sweep "
            "file of its own.",
        ),
        ("standard", "conv.layers: {values: [3, 6]}", "lr.yaml:6: conv.layers has no effect with conv=standard"),
    ],
)  # fmt: skip
def test_conditional_parameters_are_refused(kinds, parameter, expected):
    assert problems(f"conv: {{values: [{kinds}]}}", parameter)[0].startswith(expected)


@pytest.mark.parametrize(
    ("metric", "command", "expected"),
    [
        (
            "{name: val/mIou, goal: maximize}",
            QUICK,
            "a run reports val/miou, val/pixel_acc, train/loss, and no val/mIou; did you",
        ),
        ("{name: val/map_50, goal: maximize}", QUICK, "and no val/map_50"),
        ("{name: val/miou, goal: maximize}", BOXES, "and no val/miou"),
        ("{name: val/miou}", QUICK, "of val/miou, more is better: say goal: maximize"),
        ("{name: train/loss, goal: maximize}", QUICK, "of train/loss, less is better: say goal: minimize"),
        ("{name: val/miou, goal: maximize, target: 80}", QUICK, "val/miou is from 0 to 1: write 0.8 for 80 %."),
        ("{name: val/miou, goal: maximize, target: 800}", QUICK, "target is 800, but val/miou is from 0 to 1."),
        ("{name: train/loss, target: 2}", QUICK, None),
        ("{name: val/map_50, goal: maximize}", BOXES, None),
    ],
)
def test_the_metric(metric, command, expected):
    found = problems("optim.lr: {value: 0.1}", metric=metric, command=command)
    assert len(found) == (expected is not None)
    if expected:
        assert found[0].startswith("lr.yaml:2: metric: ")
        assert expected in found[0]


def test_overrides_of_the_command_line():
    assert problems("optim.lr: {value: 0.1}", overrides=["optim.lr=1"]) == [
        "optim.lr=1: lr.yaml:5: optim.lr is varied by the sweep: take it out of the file, or leave out the override."
    ]
    assert not problems("conv.groups: {values: [1, 3]}", overrides=["model.width=48"])
    assert problems("conv.groups: {values: [1, 3]}")


def test_a_mistake_in_the_command_itself():
    (found,) = problems(
        "optim.lr: {values: [0.1, 0.2]}", command="[dcnrun, train, model.width=zero, '${args_no_hyphens}']"
    )
    assert found.startswith("lr.yaml:3: model.width=zero: model.width is an integer, at least 1")


def test_a_mistake_beside_the_file_names_no_line_of_it():
    (found,) = problems("optim.lr: {values: [0.1, 0.2]}", overrides=["model.width=zero"])
    assert found.startswith("model.width=zero: model.width is an integer, at least 1")
    (found,) = problems("optim.lr: {values: [0.1, 0.2]}", overrides=["trainer.save_every=0"])
    assert found == "trainer.save_every=0 must be at least 1"


def test_what_dcnrun_sweep_says_of_the_command(tmp_path):
    file = tmp_path / "lr.yaml"
    file.write_text(
        sweep("optim.lr: {values: [0.1, 0.2]}", command=QUICK.replace("quick", "quick, trainer.steps=nine")).text
    )
    with pytest.raises(ConfigError, match=rf"^{file}:3: trainer\.steps=nine: trainer\.steps is an integer, at least 1"):
        LocalEngine().plan(file, [], Options())


def test_paths_are_quoted_where_they_must_be_as_for_a_trial(tmp_path):
    file = tmp_path / "lr.yaml"
    command = "[dcnrun, train, data=folder, 'data.classes=[a,b]', '${args_no_hyphens}']"
    file.write_text(sweep("data.root: {values: ['/data/a(1)', '/x=y,z']}", command=command).text)
    assert LocalEngine().plan(file, [], Options()).sweep.parameters[0].distribution.values == ("/data/a(1)", "/x=y,z")


def test_a_metric_that_the_validation_images_cannot_have(tmp_path):
    data = ["model=faster_rcnn", "data=coco", f"data.root={coco_tree(tmp_path)}"]
    large = problems(
        "optim.lr: {value: 0.1}", metric="{name: val/map_large, goal: maximize}", command=None, overrides=data
    )
    assert len(large) == 1
    assert large[0].startswith("lr.yaml:2: metric: val/map_large: none of the 3 validation images has an object")
    assert not problems(
        "optim.lr: {value: 0.1}", metric="{name: val/map, goal: maximize}", command=None, overrides=data
    )
