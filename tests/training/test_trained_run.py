"""The weights of a run's checkpoint, in the network of its config."""

import torch

from dcnrun.config.compose import compose
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.training import checkpoint
from dcnrun.training.evaluate import evaluate
from dcnrun.training.run import resume, train
from dcnrun.training.trained_run import learnt_classes, load_trained_run


def test_overrides_change_the_config_and_the_network_has_the_weights(finished):
    trained = load_trained_run(finished.path, CheckpointChoice.last, ["data.eval_batch_size=5"])
    assert (trained.step, trained.config.data.eval_batch_size) == (6, 5)
    network = trained.model(num_classes=8).network
    wanted = checkpoint.load(finished.last_checkpoint)["network"]
    assert network.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())


def test_the_classes_are_those_of_the_checkpoint_or_for_older_runs_of_the_summary(finished):
    trained = load_trained_run(finished.path, CheckpointChoice.best)
    assert trained.classes == trained.val_set().classes
    older = {key: value for key, value in trained.state.items() if key != "classes"}
    assert learnt_classes(older, finished) == trained.classes
    assert learnt_classes({**older, "classes": ["b", "a"]}, finished) == ("b", "a")
    assert learnt_classes(older, RunFolder(finished.path / "none")) is None


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
