"""The weights of a run's checkpoint, in the network of its config."""

import re
import shutil

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.errors import ConfigError, RunError
from dcnrun.models.backbones import ResNetBackbone
from dcnrun.runs import CheckpointChoice, RunFolder
from dcnrun.training import checkpoint
from dcnrun.training.evaluate import evaluate
from dcnrun.training.prepare import prepare
from dcnrun.training.run import resume, train
from dcnrun.training.trained_run import learnt_classes, load_trained_run
from tests.data.factories import folder_tree


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


def test_a_run_goes_on_from_another_run(finished, tiny):
    """Fine-tuning: the network of a run's folder, on data with the same classes."""
    overrides = [*tiny, "conv=deformable", "trainer.steps=1", f"model.weights={finished.path}"]
    training, _ = prepare(compose(overrides))
    best = checkpoint.load(finished.best_checkpoint)["network"]
    assert all(torch.equal(value, best[name]) for name, value in training.raw_model.state_dict().items())


def test_a_run_whose_config_was_changed_is_said(stopped, capsys):
    stopped.config_file.write_text(stopped.config_file.read_text().replace("lr: 0.05", "lr: 0.5"))
    load_trained_run(stopped.path, CheckpointChoice.last)
    assert f"Warning: {stopped.config_file} is not as the run wrote it" in capsys.readouterr().out


@pytest.mark.parametrize("which", list(CheckpointChoice))
def test_a_checkpoint_of_another_step_than_its_name_says_is_told_of(which, stopped, capsys):
    """The numbers of the weights are others, and nothing else would tell."""
    load_trained_run(stopped.path, which)
    assert "Warning" not in capsys.readouterr().out
    shutil.copy(stopped.previous_checkpoint, stopped.checkpoint(which))
    load_trained_run(stopped.path, which)
    assert (
        f"Warning: {stopped.checkpoint(which)} holds the weights of step 4, but the {which} are"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("read", [resume, lambda run: load_trained_run(run, CheckpointChoice.last)])
def test_a_config_out_of_range_is_refused_with_its_file(read, stopped):
    stopped.config_file.write_text(stopped.config_file.read_text().replace("lr: 0.05", "lr: -1"))
    with pytest.raises(ConfigError, match=r"optim\.lr.*\n.*settings come from") as refused:
        read(stopped.path)
    assert str(stopped.config_file) in str(refused.value)


def test_a_state_of_something_else_is_refused_in_a_line(stopped):
    shutil.copy(stopped.best_checkpoint, stopped.last_checkpoint)
    stopped.previous_checkpoint.unlink()
    with pytest.raises(RunError, match=r"not the state of a run in training: it has no optimizer"):
        resume(stopped.path)


def test_a_completed_run_whose_summary_was_changed_is_said(finished, tmp_path, capsys):
    folder = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    folder.summary_file.write_text(folder.summary_file.read_text().replace('"step": 6', '"step": 5'))
    resume(folder.path)
    assert f"Warning: {folder.summary_file} is not as the run wrote it" in capsys.readouterr().out


def test_images_that_were_added_since_draw_another_share(tmp_path, capsys):
    """The run was trained on some of the images that the share would have now."""
    root = folder_tree(tmp_path / "data", splits=["train"], names=[f"b{number}" for number in range(6)], values=(0, 1))
    own = [
        "data=folder",
        f"data.root={root}",
        "data.classes=[a,b]",
        "data.val_share=0.5",
        "data.workers=0",
        "data.batch_size=1",
    ]
    overrides = [*own, "conv=standard", "model.width=16", "trainer.steps=1", "trainer.accelerator=cpu"]
    train(compose(overrides), overrides, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    evaluate(folder.path)
    assert "Warning" not in capsys.readouterr().out
    for number in range(6):
        for kind in ("images", "masks"):
            shutil.copy(root / kind / "train" / f"b{number}.png", root / kind / "train" / f"a{number}.png")
    evaluate(folder.path, overrides=["data.allow_overlap=true"])
    said = capsys.readouterr().out
    assert re.search(
        r"Warning: \d of the 6 validation images, such as '[ab]\d', are not among the 3 that the run was validated on",
        said,
    )
