"""What every architecture must keep: a new one inherits this suite by its name in the enum. So do detectors on encoders of timm."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torchvision import tv_tensors

from dcnrun.config.compose import compose
from dcnrun.config.schema import Architecture
from dcnrun.config.settings import kinds_with
from dcnrun.data import eval_batches, train_batches
from dcnrun.tasks.build import build_model, forward_flops
from dcnrun.tasks.registry import task_of

SMALL = ["conv=modulated", "conv.layers=1", "trainer.accelerator=cpu"]
DATA = ["data.image_size=64", "data.train_images=2", "data.val_images=3", "data.batch_size=2", "data.eval_batch_size=2"]

OF_SOME = {
    "model.roi_channels": 64,
    "model.mask_channels": 16,
    **{"model.score_threshold": 0, "model.proposals": 50},  # also what a network that has learnt nothing finds
}
ON_ENCODERS = [
    (Architecture.smp, "tu-test_resnet"),
    (Architecture.faster_rcnn, "tu-test_efficientnet"),
    (Architecture.retinanet, "tu-test_resnet"),
    (Architecture.mask_rcnn, "tu-test_convnext"),
]
ON_RESNETS = [(each, None) for each in Architecture if each is not Architecture.smp]


@pytest.fixture(params=[*ON_RESNETS, *ON_ENCODERS], ids=lambda param: "-".join(filter(None, param)), scope="module")
def config(request):
    head, encoder = request.param
    some = [f"{key}={value}" for key, value in OF_SOME.items() if head in kinds_with(key)]
    some += [f"model.encoder={encoder}", "conv.depthwise=true"] if encoder else ["model.width=16"]
    return compose(["data=shapes", f"model={head}", "data.workers=0", *DATA, *SMALL, *some])


@pytest.fixture(scope="module")
def task(config):
    return task_of(config.model)


@pytest.fixture(scope="module")
def val_set(config, task):
    return task.dataset(config.data, "val")


def built(config, val_set):
    model = build_model(config, len(val_set.classes))
    if config.model.head is Architecture.mask_rcnn:
        model.network.roi_heads.detections_per_img = 8  # the masks of a hundred take seconds
    return model


@pytest.fixture(scope="module")
def model(config, val_set):
    return built(config, val_set)


def test_the_settings_have_no_problems(config, task):
    assert list(task.problems(config)) == []


def test_the_network_has_the_backbone_with_the_layers_under_comparison(model):
    names = dict(model.network.backbone.named_modules())
    assert model.replaced
    assert {layer.name for layer in model.replaced} <= names.keys()


def test_losses_are_finite_and_reach_every_parameter_that_learns(config, task, model):
    (batch,) = train_batches(task.dataset(config.data, "train"), config.data, seed=0, first_step=0, steps=1)
    torch.manual_seed(0)
    losses = task.losses(model.network.train(), batch, config, world_size=1)
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


def test_an_image_is_answered_alike_in_every_company(config, task, model):
    """Images of different sizes: neighbours' padding is seen by no layer, however far it samples."""
    # A RetinaNet that has learnt nothing scores all anchors nearly alike: in single precision their order is of chance.
    dtype = torch.float64 if config.model.head is Architecture.retinanet else torch.float32
    network = deepcopy(model.network).to(dtype).eval()
    sizes = [(64, 64), (40, 64), (64, 64), (33, 50), (40, 64)]

    class Cropped(type(task.dataset(config.data, "val"))):
        def __getitem__(self, index):
            height, width = sizes[index]
            image = super().__getitem__(index)["image"][:, :height, :width]
            return self.unlabelled(tv_tensors.Image(image), self.name(index))

    def answers(together):
        data = replace(config.data, val_images=len(sizes), eval_batch_size=together)
        found = {}
        with torch.inference_mode():
            for batch in eval_batches(Cropped(data, "val"), data):
                batch["image"] = batch["image"].to(dtype)
                found |= dict(zip(batch["index"], task.predict(network, batch), strict=True))
        return [found[index] for index in range(len(sizes))]

    alone = answers(1)
    assert all(len(answer["boxes"]) for answer in alone if isinstance(answer, dict))
    for together in (2, 5):
        torch.testing.assert_close(answers(together), alone, rtol=1e-5, atol=1e-4)


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
    again = built(config, val_set)
    states = model.network.state_dict(), again.network.state_dict()
    assert states[0].keys() == states[1].keys()
    again.network.load_state_dict(states[0])
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = model.network.eval()(image), again.network.eval()(image)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
