"""The weights of a run's checkpoint, in the network of its config."""

import torch

from dcnrun.config.compose import compose
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.training import checkpoint
from dcnrun.training.evaluate import evaluate
from dcnrun.training.run import resume, train
from dcnrun.training.trained_run import load_trained_run


def test_overrides_change_the_config_and_the_network_has_the_weights(finished):
    trained = load_trained_run(finished.path, CheckpointChoice.last, ["data.eval_batch_size=5"])
    assert (trained.step, trained.config.data.eval_batch_size) == (6, 5)
    network = trained.model(num_classes=8).network
    wanted = checkpoint.load(finished.last_checkpoint)["network"]
    assert network.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())


def test_published_weights_are_needed_at_the_start_only(tiny, tmp_path):
    weights = tmp_path / "weights.pt"
    overrides = [*tiny, "conv=standard", "trainer.steps=2", f"model.weights={weights}"]
    config = compose(overrides)
    torch.save(ResNetBackbone(config.model.backbone, config.model.width).state_dict(), weights)
    train(config, overrides, tmp_path / "run")
    weights.unlink()
    folder = RunFolder(tmp_path / "run")
    saved, summary = folder.config_file.read_text(), folder.read_summary()
    assert evaluate(folder.path, CheckpointChoice.last)["metrics"] == summary["metrics"]
    folder.write_summary(summary | {"status": "stopped"})
    assert resume(folder.path)["metrics"] == summary["metrics"]
    assert folder.config_file.read_text() == saved
