"""A capture leaves the network as it was, whatever the network is."""

import importlib

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

import dcnrun.offsets
from dcnrun.config.schema import (
    Backbone,
    Config,
    ConvConfig,
    ConvKind,
    FasterRcnnConfig,
    MaskRcnnConfig,
    RetinaNetConfig,
    RoiPool,
    ShapesConfig,
)
from dcnrun.errors import UsageError
from dcnrun.models.conv import DeformConv2d
from dcnrun.models.roi_pool import DeformRoIPool, PlainRoIPool
from dcnrun.offsets import capture
from dcnrun.tasks.build import build_model
from tests.offsets.recording.factories import Small, disturb, names


def test_the_function_is_where_the_readme_says_and_its_module_too():
    assert dcnrun.offsets.capture is capture
    assert importlib.import_module("dcnrun.offsets.capture").capture is capture


def test_the_network_stays_as_it_was():
    network = nn.Sequential(Small(), nn.BatchNorm2d(6), nn.Dropout())
    network.train()
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def breaks(batch):
        network(batch)
        raise RuntimeError("broken")

    capture(network, torch.rand(3, 16, 16))
    with pytest.raises(RuntimeError, match="broken"):
        capture(network, torch.rand(3, 16, 16), forward=breaks)
    assert [module.training for module in network] == [True, False, True]
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.is_grad_enabled()


def test_parallel_and_compiled_networks():
    network, image = Small(), torch.rand(3, 16, 16)
    wanted = capture(network, image)
    compiled = Small()
    compiled.compile(backend="eager")
    for other in (nn.DataParallel(network), torch.compile(network, backend="eager"), compiled):
        got = capture(other, image)
        assert names(got) == names(wanted)
        assert torch.equal(got.layers[-1].offset, wanted.layers[-1].offset)


def test_a_network_in_half_precision():
    captured = capture(Small().to(torch.bfloat16), torch.rand(3, 16, 16))
    assert captured.layers[-1].offset.dtype == torch.float32


class TestErrors:
    def test_no_deformable_layer(self):
        with pytest.raises(UsageError, match="no deformable layer"):
            capture(nn.Conv2d(3, 3, 3), torch.rand(3, 8, 8))

    def test_no_such_layer(self):
        with pytest.raises(UsageError, match="no convolution 'missing'; it has stem, first, plain, pointwise, last"):
            capture(Small(), torch.rand(3, 8, 8), ["missing"])
        with pytest.raises(UsageError, match="No layer 'stem' was captured, only first, plain, last"):
            capture(Small(), torch.rand(3, 8, 8)).layer("stem")

    def test_layers_that_do_not_run(self):
        network = Small()
        network.unused = nn.Conv2d(3, 3, 3)
        with pytest.raises(UsageError, match="'unused' did not run"):
            capture(network, torch.rand(3, 8, 8), ["unused"])
        with pytest.raises(UsageError, match="None of the network's deformable layers ran"):
            capture(network, torch.rand(3, 8, 8), forward=network.stem)

    def test_a_batch_is_no_image(self):
        with pytest.raises(UsageError, match=r"\(channels, height, width\), but has shape \(1, 3, 8, 8\)"):
            capture(Small(), torch.rand(1, 3, 8, 8))


class Detected(nn.Module):
    """A backbone for torchvision's Faster R-CNN."""

    out_channels = 6

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 8, 1)
        self.deformable = DeformConv2d(6, 6, 3, padding=1)

    def forward(self, x):
        return {"p3": self.deformable(self.conv(x))}


@pytest.mark.parametrize("kind", [PlainRoIPool, DeformRoIPool])
def test_a_detector_of_torchvision_which_resizes_and_pads_images(kind):
    torch.manual_seed(0)
    learnt = {} if kind is PlainRoIPool else {"channels": 6, "hidden": (8,)}
    network = FasterRCNN(
        Detected(),
        min_size=64,
        max_size=128,
        rpn_anchor_generator=AnchorGenerator(((16,),), ((1.0,),)),
        box_roi_pool=kind(["p3"], 3, 2, **learnt),
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(54, 16), nn.ReLU()),
        box_predictor=FastRCNNPredictor(16, 3),
    )
    disturb(network.backbone)
    boxes = []
    network.roi_heads.box_roi_pool.register_forward_pre_hook(lambda _, args: boxes.append(args[1][0]))
    captured = capture(network, torch.rand(3, 40, 56), forward=lambda batch: network(list(batch)))

    (layer,) = captured.layers
    assert layer.input_size == (8, 12)  # of 64 x 90, padded to 64 x 96
    ratios = 40 / 64, 56 / 89
    assert layer.input_grid.exact
    assert layer.input_grid.step == pytest.approx((8 * ratios[0], 8 * ratios[1]))
    assert layer.input_grid.start == pytest.approx(((ratios[0] - 1) / 2, (ratios[1] - 1) / 2))
    (rois,) = captured.rois
    scale = torch.tensor([ratios[1], ratios[0], ratios[1], ratios[0]])
    wide = (boxes[0][:, 2:] - boxes[0][:, :2]).min(1).values >= 8  # smaller ones are enlarged to a pixel of the map
    assert wide.any()
    torch.testing.assert_close(rois.boxes[wide], ((boxes[0] + 0.5) * scale - 0.5)[wide])
    assert torch.equal(rois.bins, rois.plain_bins)


@pytest.mark.parametrize("model", [FasterRcnnConfig, RetinaNetConfig, MaskRcnnConfig])
def test_our_detectors(model):
    settings = {"backbone": Backbone.resnet18, "width": 16, "fpn_channels": 16}
    if model is not RetinaNetConfig:
        settings |= {"roi_pool": RoiPool.modulated, "roi_channels": 16, "proposals": 10}
    if model is MaskRcnnConfig:
        settings |= {"mask_roi_pool": RoiPool.deformable, "mask_channels": 8, "score_threshold": 0.0}
        settings |= {"detections_per_image": 4}
    conv = ConvConfig(kind=ConvKind.modulated, layers="2")
    config = Config(model=model(**settings), conv=conv, data=ShapesConfig())
    network = disturb(build_model(config, 3).network, 0.05)
    pyramid = [name for name, module in network.neck.layer_blocks.named_modules() if isinstance(module, nn.Conv2d)]
    captured = capture(network, torch.rand(3, 64, 96), [f"neck.layer_blocks.{name}" for name in pyramid])
    assert names(captured)[:2] == ["backbone.layer4.1.conv1", "backbone.layer4.1.conv2"]
    levels = {layer.input_grid.step: layer.input_grid.start for layer in captured.layers[2:]}
    strides = (8, 16, 32) if model is RetinaNetConfig else (4, 8, 16, 32)
    assert levels == {(stride, stride): (0, 0) for stride in strides}
    assert len(captured.rois) == {FasterRcnnConfig: 1, RetinaNetConfig: 0, MaskRcnnConfig: 2}[model]
    if captured.rois:
        rois = captured.rois[0]
        assert rois.bins.shape == (10, 7, 7, 2)
        assert rois.mask.shape == (10, 7, 7)
    if model is MaskRcnnConfig:
        of_masks = captured.rois[1]
        assert (rois.name, of_masks.name) == ("roi_heads.box_roi_pool", "roi_heads.mask_roi_pool")
        assert (of_masks.bins.shape, of_masks.mask) == ((4, 14, 14, 2), None)
        assert not torch.equal(of_masks.bins, of_masks.plain_bins)
