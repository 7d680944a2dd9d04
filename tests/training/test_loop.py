"""What the loop says while it trains."""

from dcnrun.config.compose import compose
from dcnrun.training.run import train


def test_classes_without_validation_truth_are_named_once(tiny, tmp_path, capsys):
    overrides = [*tiny, "conv=standard", "data.objects_min=0", "data.objects_max=0"]
    train(compose(overrides), overrides, tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("val/miou") == 2
    assert said.count("Classes on no validation image, about which the scores say nothing: 'disc', 'square'") == 1
