"""What --dry-run shows of a config."""

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.errors import UsageError
from dcnrun.training.prepare import dry_run, prepare
from tests.data.factories import folder_tree


def test_dry_run_says_what_would_be_done_and_writes_nothing(tiny, tmp_path):
    result = dry_run(compose([*tiny, "conv=deformable", "conv.layers=2"]))
    assert [layer["name"] for layer in result["replaced"]] == ["layer4.1.conv1", "layer4.1.conv2"]
    assert result["steps"] == 6
    assert result["epochs"] == pytest.approx(1.5)
    assert result["image_size"] == [48, 48]
    assert not (tmp_path / "runs").exists()


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


def test_flops_are_those_of_images_as_the_network_sees_them(tiny):
    small, large = (dry_run(compose([*tiny, "conv=standard", f"data.eval_short_side={side}"])) for side in (0, 96))
    assert (small["image_size"], large["image_size"]) == ([48, 48], [96, 96])
    assert large["flops"] == pytest.approx(4 * small["flops"], rel=0.01)


def test_dry_run_of_a_detector(tiny_detector):
    result = dry_run(compose([*tiny_detector, "conv=deformable"]))
    assert result["flops"] > 10**6
    assert [layer["name"] for layer in result["replaced"]] == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]
