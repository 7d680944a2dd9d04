"""What --dry-run shows of a config."""

import random

import numpy as np
import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError, DataError, UsageError
from dcnrun.training.prepare import dry_run, prepare
from dcnrun.training.run import train
from tests.data.factories import folder_tree


def test_dry_run_says_what_would_be_done_and_writes_nothing(tiny, tmp_path, capsys):
    result = dry_run(
        compose([*tiny, "conv=deformable", "conv.layers=2", "optim.warmup_steps=2", "optim.offset_lr_mult=0.1"])
    )
    rates = "Learning rates: lr 0.05  lr_offset 0.005  lr_offset_bias 0.005, times the schedule (2 steps of warm-up, then poly)"
    assert rates in capsys.readouterr().out
    assert [layer["name"] for layer in result["replaced"]] == ["layer4.1.conv1", "layer4.1.conv2"]
    assert result["steps"] == 6
    assert result["epochs"] == pytest.approx(1.5)
    assert result["image_size"] == [48, 48]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("dilation", "is_standard"), [(2, True), (4, False)])
def test_dilation_that_the_layers_have_anyway_is_said_to_be_none(tiny, capsys, dilation, is_standard):
    dry_run(compose([*tiny, "conv=dilated", f"conv.dilation={dilation}"]))
    assert ("This is the standard network: the layers of conv.layers=3" in capsys.readouterr().out) is is_standard


def test_classes_are_numbered_as_a_run_that_is_resumed_has_them(tmp_path, capsys):
    root = folder_tree(tmp_path)
    own = ["data=folder", f"data.root={root}", "data.classes=[sky,road]", "data.workers=0"]
    config = compose([*own, "conv=standard", "model.width=16", "model.head_channels=16", "trainer.threads=1"])
    as_in_files, _ = prepare(config)
    capsys.readouterr()
    training, _ = prepare(config, classes=("road", "sky"))
    assert "matched by name" in capsys.readouterr().out
    for before, after in ((as_in_files.train_set, training.train_set), (as_in_files.val_set, training.val_set)):
        assert after.classes == ("road", "sky")
        assert torch.equal(before[0]["mask"] == 0, after[0]["mask"] == 1)
    with pytest.raises(UsageError, match=r"does not fit the run: the classes there are sea, sky"):
        prepare(config, classes=("sea", "sky"))


def test_a_class_that_no_mask_has_stops_a_run_that_starts_and_none_that_is_resumed(tmp_path):
    """A run that an earlier version began on masks of 0 and 255 has 255 as its ignored value."""
    root = folder_tree(tmp_path, values=(0, 255))
    own = ["data=folder", f"data.root={root}", "data.classes=[sky,road]", "data.workers=0", "data.ignore_label=255"]
    config = compose([*own, "conv=standard", "model.width=16", "model.head_channels=16", "trainer.threads=1"])
    with pytest.raises(DataError, match=r"no pixel of 'road' in the training masks, which hold the values 0, 255"):
        dry_run(config)
    training, _ = prepare(config)  # as a resumed run is
    assert set(training.val_set[0]["mask"].unique().tolist()) == {0, 255}
    config.data.ignore_label = None
    settled = prepare(config)[0].config.data
    assert (settled.ignore_label, settled.mask_values) == (None, [0, 255])


def test_flops_are_those_of_images_as_the_network_sees_them(tiny):
    small, large = (dry_run(compose([*tiny, "conv=standard", f"data.eval_short_side={side}"])) for side in (0, 96))
    assert (small["image_size"], large["image_size"]) == ([48, 48], [96, 96])
    assert large["flops"] == pytest.approx(4 * small["flops"], rel=0.01)


def test_every_random_generator_starts_from_the_seed(tiny):
    """So that a run that is killed before its first checkpoint ends as one that is not, whatever draws from them."""
    states = []
    for _ in range(2):
        random.seed()
        np.random.seed()
        prepare(compose([*tiny, "conv=standard", "seed=4294967295"]))
        states.append((random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()))
    assert states[0] == states[1]


def test_epochs_in_place_of_steps(tiny, capsys):
    """16 images, 4 at a time and two batches to a step: 2.4 epochs are 38.4 images, 4.8 steps."""
    result = dry_run(compose(epochs(tiny, "2.4")))
    assert (result["steps"], result["epochs"]) == (5, 2.5)
    assert "5 steps of 8 images" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"optim\.warmup_steps=5 must be less than the 5 steps of trainer\.epochs=2\.4"
    ):
        dry_run(compose([*epochs(tiny, "2.4"), "optim.warmup_steps=5"]))


def epochs(tiny, number):
    return [*(s for s in tiny if not s.startswith("trainer.steps")), f"trainer.epochs={number}", "trainer.accumulate=2"]


def test_dry_run_of_a_detector(tiny_detector):
    result = dry_run(compose([*tiny_detector, "conv=deformable"]))
    assert result["flops"] > 10**6
    assert [layer["name"] for layer in result["replaced"]] == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]


def test_images_that_are_trained_on_are_not_validated_on(tiny):
    overrides = ["data=nuclei", "data.val=train", "conv=standard", *(each for each in tiny if "data" not in each)]
    for refused in (train, dry_run):
        with pytest.raises(DataError, match=r"data.val=train is data.train: 12 of 12 validation images"):
            refused(compose(overrides))
    assert dry_run(compose([*overrides, "data.allow_overlap=true"]))["val_images"] == 12
