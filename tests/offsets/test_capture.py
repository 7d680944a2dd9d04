"""What is recorded of one image, and that the network stays as it was."""

import importlib

import pytest
import torch
import torch.nn.functional as F
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
    RetinaNetConfig,
    RoiPool,
    ShapesConfig,
)
from dcnrun.errors import UsageError
from dcnrun.models.backbones import ResNetBackbone, set_output_stride
from dcnrun.models.conv import DeformConv2d, ModulatedDeformConv2d
from dcnrun.models.convert import convert
from dcnrun.models.roi_pool import DeformRoIPool, ModulatedDeformRoIPool, PlainRoIPool
from dcnrun.offsets import capture
from dcnrun.tasks.build import build_model


def disturb(network, by=0.3):
    """Offsets and masks as after some training."""
    torch.manual_seed(1)
    for name, parameter in network.named_parameters():
        if "offset_branch" in name:
            nn.init.normal_(parameter, std=by)
    return network


def backbone(kind, layers, which=Backbone.resnet18, output_stride=8):
    torch.manual_seed(0)
    network = ResNetBackbone(which, 16)
    set_output_stride(network, output_stride)
    convert(network, ConvConfig(kind=kind, layers=layers, offset_groups=1 if kind is ConvKind.standard else 2))
    return disturb(network)


def names(captured):
    return [layer.name for layer in captured.layers]


class Small(nn.Module):
    """Two deformable layers with a plain one between them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.first = DeformConv2d(4, 4, 3, padding=1)
        self.plain = nn.Conv2d(4, 6, 3, padding=1)
        self.pointwise = nn.Conv2d(6, 8, 1)
        self.last = ModulatedDeformConv2d(8, 6, (3, 5), (1, 2), (2, 4), (2, 2), groups=2, offset_groups=4)
        disturb(self)

    def forward(self, image):
        return self.last(self.pointwise(F.relu(self.plain(self.first(self.stem(image))))))


def test_the_function_is_where_the_readme_says_and_its_module_too():
    assert dcnrun.offsets.capture is capture
    assert importlib.import_module("dcnrun.offsets.capture").capture is capture


def test_a_layer_as_it_is():
    network, image = Small().eval(), torch.rand(3, 20, 28)
    captured = capture(network, image)
    assert captured.image_size == (20, 28)
    assert names(captured) == ["first", "plain", "last"]
    inputs = []
    with network.last.register_forward_pre_hook(lambda _, args: inputs.append(args[0])), torch.no_grad():
        output = network(image[None])
        offset, mask = network.last.offsets(inputs[0])
    layer = captured.layer("last")
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 5), (1, 2), (2, 4), (2, 2))
    assert (layer.groups, layer.offset_groups, layer.num_points, layer.deformable) == (2, 4, 15, True)
    assert layer.input_size == tuple(inputs[0].shape[2:])
    assert layer.output_size == tuple(output.shape[2:])
    height, width = layer.output_size
    for group in range(4):
        for point in range(15):
            channel = group * 15 + point
            assert torch.equal(layer.offset[group, point, 0], offset[0, 2 * channel])
            assert torch.equal(layer.offset[group, point, 1], offset[0, 2 * channel + 1])
            assert torch.equal(layer.mask[group, point], mask[0, channel])
    assert layer.offset.shape == (4, 15, 2, height, width)
    assert captured.layer("first").mask is None
    assert not layer.offset.requires_grad


def test_a_plain_layer_has_offsets_of_zero():
    plain = capture(Small(), torch.rand(3, 20, 28)).layer("plain")
    assert plain.offset.shape == (1, 9, 2, 10, 14)
    assert not plain.offset.any()
    assert plain.mask is None
    assert not plain.deformable


def test_point_weights():
    """By setting all other weights to zero."""
    network = Small()
    layer = capture(network, torch.rand(3, 20, 28)).layer("last")
    weight = network.last.weight.detach()  # (6, 4, 3, 5): rows 0 to 2 read channels 0 to 3, and 3 to 5 channels 4 to 7
    for group in range(4):
        rows, columns = slice(group // 2 * 3, group // 2 * 3 + 3), slice(group % 2 * 2, group % 2 * 2 + 2)
        wanted = weight[rows, columns].flatten(2).permute(2, 0, 1).flatten(1).norm(dim=1)
        torch.testing.assert_close(layer.point_weight[group], wanted)


def test_layers_of_basic_blocks_follow_each_other_by_the_main_path():
    captured = capture(backbone(ConvKind.modulated, "3"), torch.rand(3, 64, 64))
    assert names(captured) == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]
    assert [layer.source for layer in captured.layers] == [None, "layer4.0.conv2", "layer4.1.conv1"]


def test_pointwise_layers_of_bottlenecks_are_passed():
    captured = capture(backbone(ConvKind.deformable, "c5", Backbone.resnet50, 32), torch.rand(3, 64, 96))
    assert names(captured) == [f"layer4.{block}.conv2" for block in range(3)]
    assert [layer.source for layer in captured.layers] == [None, *names(captured)[:-1]]
    assert captured.layers[0].stride == (2, 2)
    assert captured.layers[0].input_grid.step == (16, 16)
    assert captured.layers[0].output_grid == captured.layers[1].input_grid


def test_plain_layers_are_recorded_between_deformable_ones_alone():
    network = backbone(ConvKind.standard, "1")
    network.layer3[1].conv1 = DeformConv2d(64, 64, 3, padding=2, dilation=2)
    network.layer4[0].conv1 = DeformConv2d(64, 128, 3, padding=2, dilation=2)
    captured = capture(network, torch.rand(3, 64, 64))
    assert names(captured) == ["layer3.1.conv1", "layer3.1.conv2", "layer4.0.conv1"]
    assert [layer.source for layer in captured.layers] == [None, "layer3.1.conv1", "layer3.1.conv2"]


def test_layers_of_a_standard_run():
    asked = ["layer4.0.conv2", "layer4.1.conv2"]
    captured = capture(backbone(ConvKind.standard, "3"), torch.rand(3, 64, 64), asked)
    assert names(captured) == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]
    assert not any(layer.deformable for layer in captured.layers)


def test_a_chain_ends_at_a_pooling():
    network = nn.Sequential(DeformConv2d(3, 4, 3), nn.MaxPool2d(2), DeformConv2d(4, 4, 3))
    assert [layer.source for layer in capture(network, torch.rand(3, 16, 16)).layers] == [None, None]


def test_a_module_that_runs_twice():
    layer = DeformConv2d(3, 3, 3, padding=1)
    captured = capture(disturb(nn.Sequential(layer, nn.ReLU(), layer)), torch.rand(3, 8, 8))
    assert names(captured) == ["0", "0:2"]
    assert captured.layers[1].source == "0"
    assert not torch.equal(captured.layers[0].offset, captured.layers[1].offset)


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


class Pools(nn.Module):
    """Regions of two maps that are 4 and 8 pixels apart."""

    def __init__(self, kind, aligned, levels, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.boxes = 48 + torch.tensor([[16.0, 12.0, 38.0, 44.0], [4.0, 2.0, 60.0, 50.0], [20.0, 20.0, 33.0, 29.0]])
        self.pool = disturb(kind(levels, (2, 3), 2, aligned=aligned, **settings), 0.1)
        self.pool.scales = [{"p2": 1 / 4, "p3": 1 / 8}[name] for name in levels]
        self.pool.map_levels = lambda boxes: torch.tensor([0, 1, 0])

    def forward(self, image):
        p2 = F.avg_pool2d(image, 3, 4, 1)
        maps = {"p2": p2, "p3": F.avg_pool2d(p2, 3, 2, 1)}
        return self.pool({"other": image, **maps}, [self.boxes.to(image)], [(160, 160)])


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("levels", [["p2", "p3"], ["p3"]])
@pytest.mark.parametrize("kind", [DeformRoIPool, ModulatedDeformRoIPool])
def test_bins_lie_where_the_gradient_is(kind, levels, aligned):
    """Its centre of mass for each bin, far from the borders, with offsets held still."""
    network = Pools(kind, aligned, levels, channels=3, gamma=0.2, hidden=(8,)).double().eval()
    image = torch.rand(3, 160, 160, dtype=torch.float64)
    (rois,) = capture(network, image).rois
    assert rois.name == "pool"
    assert (rois.bins - rois.plain_bins).norm(dim=-1).max() > 1

    network.pool.offset_branch.register_forward_hook(lambda *call: call[-1].detach())
    batch = image[None].requires_grad_()
    pooled = network(batch)
    for region, row, column in ((0, 0, 0), (0, 1, 2), (1, 0, 1), (2, 1, 1)):
        (slopes,) = torch.autograd.grad(pooled[region, :, row, column].sum(), batch, retain_graph=True)
        weights, lines = slopes.sum((0, 1)), torch.arange(160, dtype=torch.float64)
        wanted = torch.stack([weights.sum(1) @ lines, weights.sum(0) @ lines]) / weights.sum()
        torch.testing.assert_close(rois.bins[region, row, column].double(), wanted, atol=1e-3, rtol=0)

    mean = rois.plain_bins.mean((1, 2))
    torch.testing.assert_close((rois.boxes[:, :2] + rois.boxes[:, 2:]).flip(1) / 2, mean)
    torch.testing.assert_close(
        rois.bin_size * torch.tensor([2.0, 3.0]), (rois.boxes[:, 2:] - rois.boxes[:, :2]).flip(1)
    )
    assert (rois.mask is None) == (kind is DeformRoIPool)


def test_masks_of_bins():
    network = Pools(ModulatedDeformRoIPool, True, ["p2"], channels=3, hidden=(8,)).eval()
    image = torch.rand(3, 160, 160)
    (rois,) = capture(network, image).rois
    p2 = F.avg_pool2d(image[None], 3, 4, 1)
    _, mask = network.pool.offsets({"p2": p2}, [network.boxes], [(160, 160)])
    torch.testing.assert_close(rois.mask, mask[:, 0])


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


@pytest.mark.parametrize("model", [FasterRcnnConfig, RetinaNetConfig])
def test_our_detectors(model):
    settings = {"backbone": Backbone.resnet18, "width": 16, "fpn_channels": 16}
    if model is FasterRcnnConfig:
        settings |= {"roi_pool": RoiPool.modulated, "roi_channels": 16, "proposals": 10}
    conv = ConvConfig(kind=ConvKind.modulated, layers="2")
    config = Config(model=model(**settings), conv=conv, data=ShapesConfig())
    network = disturb(build_model(config, 3).network, 0.05)
    pyramid = [name for name, module in network.neck.layer_blocks.named_modules() if isinstance(module, nn.Conv2d)]
    captured = capture(network, torch.rand(3, 64, 96), [f"neck.layer_blocks.{name}" for name in pyramid])
    assert names(captured)[:2] == ["backbone.layer4.1.conv1", "backbone.layer4.1.conv2"]
    levels = {layer.input_grid.step: layer.input_grid.start for layer in captured.layers[2:]}
    strides = (4, 8, 16, 32) if model is FasterRcnnConfig else (8, 16, 32)
    assert levels == {(stride, stride): (0, 0) for stride in strides}
    if model is FasterRcnnConfig:
        (rois,) = captured.rois
        assert rois.bins.shape == (10, 7, 7, 2)
        assert rois.mask.shape == (10, 7, 7)
