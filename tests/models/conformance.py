"""What every kind of convolution has to do; the test of a kind inherits it and gives `kind`."""

import copy
import pickle
from math import prod

import pytest
import torch
from torch import nn

from dcnrun.config.schema import CONV_TRAITS, ConvConfig, ConvKind, OptimConfig, Optimizer
from dcnrun.export import export_onnx
from dcnrun.models.conv import CONV_LAYERS, make_conv, own_settings
from dcnrun.models.convert import convert
from dcnrun.models.sampling import SamplingConv, outside, sampling_layers
from dcnrun.training.monitor import OffsetMonitor
from dcnrun.training.optim import build_optimizer


class ConvKindConformance:
    """Inherit it in a class that is parametrised over `kind`, or that has a fixture `kind`."""

    starts_as_plain_convolution = True
    """Whether an untrained layer computes what the plain convolution with its weights does."""

    def conv(self, kind: ConvKind, **settings: object) -> nn.Conv2d:
        torch.manual_seed(0)
        return make_conv(kind, 8, 6, (3, 3), **settings)

    def trained(self, layer: nn.Module) -> nn.Module:
        """The layer as after some training: every parameter moved."""
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        return layer

    def test_it_has_a_layer_and_traits(self, kind):
        assert isinstance(self.conv(kind), CONV_LAYERS[kind])
        assert CONV_TRAITS[kind].learns_offsets == issubclass(CONV_LAYERS[kind], SamplingConv)
        assert all(hasattr(ConvConfig(kind=kind), name) for name in own_settings(kind))

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("dilation", [1, 3])
    @pytest.mark.parametrize("groups", [1, 2])
    def test_an_untrained_layer_is_the_plain_convolution(self, kind, stride, dilation, groups):
        settings = {"stride": (stride, stride), "padding": (dilation, dilation), "dilation": (dilation, dilation)}
        layer = self.conv(kind, **settings, groups=groups, offset_groups=2)
        plain = nn.Conv2d(8, 6, 3, **settings, groups=groups)
        x = torch.randn(2, 8, 11, 9)
        assert layer(x).shape == plain(x).shape
        if self.starts_as_plain_convolution:
            plain.load_state_dict({name: layer.state_dict()[name] for name in plain.state_dict()})
            torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("kernel_size", [(1, 1), (2, 3), (5, 5)])
    def test_shapes(self, kind, kernel_size):
        torch.manual_seed(0)
        settings = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
        layer = self.trained(make_conv(kind, 8, 6, kernel_size, **settings, bias=False, offset_groups=4))
        wanted = nn.Conv2d(8, 6, kernel_size, **settings)(torch.zeros(3, 8, 10, 12)).shape
        assert layer(torch.randn(3, 8, 10, 12)).shape == wanted

    def test_settings_of_other_kinds_are_ignored(self, kind):
        every = {"offset_groups": 2, "mask_start": 0.5}
        own = {name: value for name, value in every.items() if name in own_settings(kind)}
        assert str(self.conv(kind, **every)) == str(self.conv(kind, **own))

    def test_it_starts_from_the_weights_of_the_layer_it_replaces(self, kind):
        backbone = nn.ModuleDict(
            {"layer4": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))}
        )
        plain, x = copy.deepcopy(backbone["layer4"]), torch.randn(1, 4, 7, 7)
        replaced = convert(backbone, ConvConfig(kind=kind, layers="2"))
        assert [layer.name for layer in replaced] == ["layer4.0", "layer4.1"]
        assert all(isinstance(layer, CONV_LAYERS[kind]) for layer in backbone["layer4"])
        if self.starts_as_plain_convolution:
            torch.testing.assert_close(backbone["layer4"](x), plain(x), rtol=1e-5, atol=1e-5)

    def test_weights_of_another_shape_are_drawn_alike_for_all_kinds(self, kind):
        def grouped(of: ConvKind) -> nn.Conv2d:
            torch.manual_seed(0)
            backbone = nn.ModuleDict({"layer4": nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))})
            convert(backbone, ConvConfig(kind=of, layers="1", groups=2), seed=3)
            return backbone["layer4"][0]

        if self.starts_as_plain_convolution:
            assert grouped(kind).weight.shape == (4, 2, 3, 3)
            assert torch.equal(grouped(kind).weight, grouped(ConvKind.standard).weight)

    def test_names_in_state_dicts(self, kind):
        """Weights of one kind load into another; a checkpoint outlives the code that wrote it."""
        names = set(self.conv(kind).state_dict())
        if self.starts_as_plain_convolution:
            assert {"weight", "bias"} <= names
        others = {name for name in names if name not in ("weight", "bias")}
        assert CONV_TRAITS[kind].learns_offsets == any(name.startswith("offset_branch.") for name in others)

    def test_all_parameters_get_gradients(self, kind):
        layer = self.conv(kind, padding=(1, 1))
        if not self.starts_as_plain_convolution:  # what lies before weights of zero learns once these have moved
            layer = self.trained(layer)
        layer(torch.randn(2, 8, 6, 6)).square().sum().backward()
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_copies_and_pickles(self, kind):
        layer = self.trained(self.conv(kind, padding=(1, 1), offset_groups=2))
        x = torch.randn(1, 8, 5, 5)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(other(x), layer(x))
            assert str(other) == str(layer)

    def test_saves_and_loads(self, kind, tmp_path):
        layer, other = (self.conv(kind, padding=(1, 1), offset_groups=2) for _ in range(2))
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.3)
        x = torch.randn(1, 8, 5, 5)
        assert not torch.equal(other(x), layer(x))
        torch.save(layer.state_dict(), tmp_path / "weights.pt")
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)
        assert torch.equal(other(x), layer(x))
        torch.save(layer, tmp_path / "layer.pt")
        assert torch.equal(torch.load(tmp_path / "layer.pt", weights_only=False)(x), layer(x))

    def test_torch_fx_traces_it(self, kind):
        network = nn.Sequential(self.trained(self.conv(kind, padding=(1, 1), offset_groups=2)), nn.ReLU())
        traced = torch.fx.symbolic_trace(network)
        x = torch.randn(2, 8, 5, 6)
        torch.testing.assert_close(traced(x), network(x))
        torch.testing.assert_close(pickle.loads(pickle.dumps(traced))(x), network(x))

    def test_channels_last_in_and_out(self, kind):
        layer = self.conv(kind, padding=(1, 1), offset_groups=2)
        x = torch.randn(2, 8, 5, 6)
        last = layer.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
        assert last.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(last, self.conv(kind, padding=(1, 1), offset_groups=2)(x), rtol=1e-5, atol=1e-5)

    def test_autocast(self, kind):
        layer = self.conv(kind, padding=(1, 1))
        x = torch.randn(1, 8, 6, 6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = layer(x)
        torch.testing.assert_close(got.float(), layer(x), rtol=0.05, atol=0.05)

    def test_the_optimizer_finds_its_offset_branch(self, kind):
        network = nn.ModuleDict({"stem": nn.Conv2d(3, 8, 3), "layer": self.conv(kind)})
        groups = build_optimizer(network, OptimConfig(optimizer=Optimizer.sgd)).param_groups
        found = {id(parameter) for group in groups if group["name"] != "base" for parameter in group["params"]}
        named = network.named_parameters()
        assert found == {id(parameter) for name, parameter in named if name.startswith("layer.offset_branch.")}
        assert bool(found) == CONV_TRAITS[kind].learns_offsets

    def test_its_sampling_points(self, kind):
        """Untrained they are the plain grid's; trained, the share outside is what the monitor logs."""
        network = nn.Sequential(self.conv(kind, stride=(2, 1), padding=(1, 1), offset_groups=2))
        x = torch.randn(2, 8, 6, 7)
        if not CONV_TRAITS[kind].learns_offsets:
            assert sampling_layers(network) == {}
            return
        (layer,) = sampling_layers(network).values()
        if self.starts_as_plain_convolution:
            still = layer.sampling(x)
            assert torch.equal(still.y, still.plain_y.expand_as(still.y))
            assert torch.equal(still.x, still.plain_x.expand_as(still.x))
        monitor = OffsetMonitor(self.trained(network))
        monitor.measure = True
        network(x)
        points = layer.sampling(x)
        assert points.size == (6, 7)
        assert points.y.shape[1:] == (prod(layer.kernel_size), 3, 7)
        share = float(outside(points.y, points.x, points.size).float().mean())
        assert monitor.values()["offset_outside/0"] == pytest.approx(share)
        assert monitor.values()["train/offset_abs"] > 0

    def test_export(self, kind, tmp_path, request):
        """The file is written only if onnxruntime gives the layer's own output. (Plain convolutions need nothing of ours.)"""
        if not CONV_TRAITS[kind].learns_offsets:
            return
        for library in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(library)
        request.getfixturevalue("torchlib_parsed_once")
        layer = self.trained(self.conv(kind, padding=(1, 1), offset_groups=2))
        exported = export_onnx(layer, torch.randn(1, 8, 6, 7), tmp_path / "layer.onnx")
        assert {comparison.offsets for comparison in exported.comparisons} == {"learnt", "random"}
