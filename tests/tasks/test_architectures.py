"""What every architecture must keep: a new one inherits this suite by its name in the enum."""

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.config.schema import Architecture
from dcnrun.data import eval_batches, train_batches
from dcnrun.tasks.build import build_model, forward_flops
from dcnrun.tasks.registry import task_of

SMALL = ["model.width=16", "conv=modulated", "conv.layers=1", "trainer.accelerator=cpu"]
DATA = ["data.image_size=64", "data.train_images=2", "data.val_images=3", "data.batch_size=2", "data.eval_batch_size=2"]


@pytest.fixture(params=Architecture, scope="module")
def config(request):
    return compose(["data=shapes", f"model={request.param}", "data.workers=0", *DATA, *SMALL])


@pytest.fixture(scope="module")
def task(config):
    return task_of(config.model)


@pytest.fixture(scope="module")
def val_set(config, task):
    return task.dataset(config.data, "val")


@pytest.fixture(scope="module")
def model(config, val_set):
    return build_model(config, len(val_set.classes))


def test_the_settings_have_no_problems(config, task):
    assert list(task.problems(config)) == []


def test_the_network_has_the_backbone_with_the_layers_under_comparison(model):
    names = dict(model.network.backbone.named_modules())
    assert model.replaced
    assert {layer.name for layer in model.replaced} <= names.keys()


def test_losses_are_finite_and_reach_every_parameter_that_learns(config, task, model):
    (batch,) = train_batches(task.dataset(config.data, "train"), config.data, seed=0, first_step=0, steps=1)
    torch.manual_seed(0)
    losses = task.losses(model.network.train(), batch, world_size=1)
    assert losses
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    torch.stack([*losses.values()]).sum().backward()
    without = [name for name, weight in model.network.named_parameters() if weight.grad is None]
    model.network.zero_grad()
    assert without == []


def test_predictions_are_scored_by_every_metric(config, task, model, val_set):
    evaluator = task.evaluator(val_set)
    model.network.eval()
    with torch.inference_mode():
        for batch in eval_batches(val_set, config.data):
            predictions = task.predict(model.network, batch)
            assert len(predictions) == len(batch["index"])
            evaluator.update(predictions, batch)
    result, traits = evaluator.result(), task.traits
    assert tuple(result.metrics) == traits.metric_names
    assert type(result.images) is traits.per_image
    assert result.images.names == tuple(sorted(val_set.name(index) for index in range(len(val_set))))
    for scores in result.per_class.values():
        assert tuple(scores) == val_set.classes
    for metric in traits.per_image.metrics:
        assert result.images.score(metric) == pytest.approx(result.metrics[metric], nan_ok=True)


def test_results_are_read_as_they_were_saved(config, task, model, val_set, tmp_path):
    evaluator = task.evaluator(val_set)
    with torch.inference_mode():
        for batch in eval_batches(val_set, config.data):
            evaluator.update(task.predict(model.network.eval(), batch), batch)
    result = evaluator.result()
    result.images.save(tmp_path / "images.npz")
    assert task.traits.per_image.load(tmp_path / "images.npz").has_same_truth(result.images)
    if task.traits.saves_predictions:
        result.write_predictions(tmp_path / "predictions")
        assert (tmp_path / "predictions").exists()
    else:
        with pytest.raises(NotImplementedError):
            result.write_predictions(tmp_path / "predictions")


def test_its_cost_grows_with_the_image(model):
    assert 0 < forward_flops(model, 64, 64) < forward_flops(model, 64, 128)


def test_weights_make_the_same_network_again(config, model, val_set):
    again = build_model(config, len(val_set.classes))
    states = model.network.state_dict(), again.network.state_dict()
    assert states[0].keys() == states[1].keys()
    again.network.load_state_dict(states[0])
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = model.network.eval()(image), again.network.eval()(image)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
