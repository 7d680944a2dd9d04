"""What --dry-run shows of a config."""

import pytest

from dcnrun.config.compose import compose
from dcnrun.training.prepare import dry_run


def test_dry_run_says_what_would_be_done_and_writes_nothing(tiny, tmp_path):
    result = dry_run(compose([*tiny, "conv=deformable", "conv.layers=2"]))
    assert [layer["name"] for layer in result["replaced"]] == ["layer4.1.conv1", "layer4.1.conv2"]
    assert result["steps"] == 6
    assert result["epochs"] == pytest.approx(1.5)
    assert result["image_size"] == [48, 48]
    assert not (tmp_path / "runs").exists()


def test_flops_are_those_of_images_as_the_network_sees_them(tiny):
    small, large = (dry_run(compose([*tiny, "conv=standard", f"data.eval_short_side={side}"])) for side in (0, 96))
    assert (small["image_size"], large["image_size"]) == ([48, 48], [96, 96])
    assert large["flops"] == pytest.approx(4 * small["flops"], rel=0.01)


def test_dry_run_of_a_detector(tiny_detector):
    result = dry_run(compose([*tiny_detector, "conv=deformable"]))
    assert result["flops"] > 10**6
    assert [layer["name"] for layer in result["replaced"]] == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]
