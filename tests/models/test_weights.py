"""Files of weights: what is loaded, what is left out and said, and what is refused in a sentence of ours."""

import io
import zipfile

import pytest
import torch
import torchvision

from dcnrun.config.compose import compose
from dcnrun.config.schema import Architecture, Backbone, ResNetStem, ResNetStyle, SegmentationModelConfig
from dcnrun.errors import UsageError
from dcnrun.models.backbones import ResNetBackbone, build_backbone
from dcnrun.models.weights import misfit, read_weights
from dcnrun.tasks.build import build_model

TINY = ["data=shapes", "model.width=8", "model.head_channels=8"]


def build(weights, *overrides, classes=4):
    return build_model(compose([*TINY, f"model.weights='{weights}'", *overrides]), classes)


def saved(path, content):
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def plain():
    return ResNetBackbone(Backbone.resnet18, 8).state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "model.backbone.", "module.encoder.0."])
@pytest.mark.parametrize("container", [None, "state_dict", "model", "weights"])
def test_the_names_of_a_backbone_are_found_behind_any_prefix(tmp_path, plain, prefix, container):
    state = {prefix + name: value for name, value in plain.items()}
    path = saved(tmp_path / "x.pt", state if container is None else {container: state, "epoch": 3})
    backbone = ResNetBackbone(Backbone.resnet18, 8)
    read_weights(SegmentationModelConfig(weights=str(path))).load_into_backbone(backbone, Backbone.resnet18)
    assert all(torch.equal(backbone.state_dict()[name], value) for name, value in plain.items())


@pytest.mark.parametrize("which", ["encoder_k", "module.encoder_q."])
def test_of_several_networks_the_one_that_is_meant(tmp_path, plain, which):
    """As in MoCo's checkpoints."""
    others = {name: value + 1 if value.is_floating_point() else value for name, value in plain.items()}
    networks = {"encoder_q": plain, "encoder_k": others}
    state = {f"module.{name}.{key}": value for name, own in networks.items() for key, value in own.items()}
    path = saved(tmp_path / "x.pt", {"state_dict": state, "epoch": 3, "arch": "resnet18"})
    same = build(path, f"model.weights_of={which}")
    wanted = networks[which.removeprefix("module.").rstrip(".")]
    assert all(torch.equal(same.network.backbone.state_dict()[name], value) for name, value in wanted.items())
    with pytest.raises(
        UsageError,
        match=r"model.weights_of=teacher: in .*x.pt no names begin with it, but with .*encoder_k. and .*encoder_q",
    ):
        build(path, "model.weights_of=teacher")


def test_a_network_of_ours_is_loaded_whole(tmp_path):
    source = build_model(compose([*TINY, "conv=deformable", "seed=7"]), 4)
    for tensor in source.network.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.add_(0.5)
    wanted = {name: value.clone() for name, value in source.network.state_dict().items()}
    path = saved(tmp_path / "best.pt", {"step": 3, "network": wanted, "classes": ["a", "b"], "optimizer": {"x": 1}})
    same = build(path, "conv=deformable")
    assert all(torch.equal(value, wanted[name]) for name, value in same.network.state_dict().items())
    assert same.loaded == (
        f"model.weights={path}: {len(wanted)} of its {len(wanted)} tensors are loaded; it learnt the classes a, b."
    )
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").touch()
    path.rename(tmp_path / "run" / "checkpoints" / "best.pt")
    others = build(tmp_path / "run", "conv=deformable", classes=6)
    got = others.network.state_dict()
    assert [name for name, value in got.items() if value.shape != wanted[name].shape] == [
        "head.3.weight",
        "head.3.bias",
    ]
    assert all(torch.equal(value, wanted[name]) for name, value in got.items() if not name.startswith("head.3."))
    assert "of another shape in this network, and left out: head.*.bias, head.*.weight" in others.loaded.replace(
        "3", "*"
    )
    to_standard = build(tmp_path / "run", "conv=standard")
    assert "not used: backbone.layer*.*.conv*.offset_branch.bias (3)" in to_standard.loaded
    from_standard = build(
        saved(tmp_path / "s.pt", {"step": 1, "network": to_standard.network.state_dict()}), "conv=modulated"
    )
    assert "not in it, and as before training: backbone.layer*.*.conv*.offset_branch.bias (3)" in from_standard.loaded


@pytest.mark.parametrize("layers", [3, 16])
def test_so_is_one_whose_layers_have_no_kernel(tmp_path, layers):
    own = ["conv=dcnv4", "conv.groups=2", f"conv.layers={layers}"]
    wanted = build_model(compose([*TINY, *own, "seed=7"]), 4).network.state_dict()
    path = saved(tmp_path / "best.pt", {"step": 3, "network": wanted})
    same = build(path, *own)
    assert all(torch.equal(value, wanted[name]) for name, value in same.network.state_dict().items())
    assert same.loaded == f"model.weights={path}: {len(wanted)} of its {len(wanted)} tensors are loaded."
    others = build(path, "model=fcn", *own)
    got = others.network.backbone.state_dict()
    assert all(torch.equal(value, wanted[f"backbone.{name}"]) for name, value in got.items())
    to_standard = build(path, "conv=standard")
    assert f"not used: backbone.layer*.*.conv*.offset_branch.bias ({layers})" in to_standard.loaded
    assert f"not in it, and as before training: backbone.layer*.*.conv*.weight ({layers})" in to_standard.loaded
    del wanted["backbone.layer4.1.conv2.value_proj.weight"]
    with pytest.raises(UsageError, match=r"lacks 1 of .* resnet18, layer4\.1\.conv2\.weight"):
        build(saved(path, {"step": 3, "network": wanted}), *own)


def test_what_other_blocks_compute_is_named(tmp_path, plain):
    """As of an SE-ResNet, whose convolutions are those of a ResNet: without its gates they give other features."""
    state = plain | {f"layer{i}.0.se.fc1.weight": torch.zeros(2, 2, 1, 1) for i in (1, 2, 3, 4)}
    bare = build(saved(tmp_path / "bare.pth", state)).loaded
    assert "its blocks compute layer*.*.se.fc*.weight (4) too, which those of this backbone have not" in bare
    assert "model.encoder=tu-NAME" in bare
    named = saved(tmp_path / "named.pth", {"arch": "seresnet18", "state_dict": state})
    assert "differ: model.encoder=tu-seresnet18 takes all of it" in build(named).loaded
    assert "its blocks compute" not in build(saved(tmp_path / "plain.pth", plain | {"fc.bias": torch.zeros(2)})).loaded


def test_of_an_encoder_no_setting_says_which_convolutions_stride(tmp_path):
    unet = ["data=shapes", "model=smp", "model.encoder=tu-resnet18"]
    state = build_model(compose(unet), 4).network.backbone.encoder.model.state_dict()
    path = saved(tmp_path / "mmpretrain.pth", {"meta": {"mmcv_version": "1.7.2"}, "state_dict": state})
    loaded = build_model(compose([*unet, f"model.weights='{path}'"]), 4).loaded
    assert "tensors are loaded" in loaded
    assert "model.style" not in loaded
    assert "networks from Caffe need model.style=caffe" in build(path, "model.width=64").loaded


def test_what_is_in_a_file_and_not_used_is_listed(tmp_path, plain):
    state = {f"backbone.{name}": value for name, value in plain.items()}
    state |= {f"backbone.layer{i}.0.conv2.gate.weight": torch.zeros(1) for i in (2, 3)}
    state |= {"neck.convs.0.conv.weight\x1b[2J": torch.zeros(1)}
    said = build(saved(tmp_path / "x.pth", {"meta": {}, "state_dict": state}), "model.head_channels=8").loaded
    assert f"{len(plain)} of its {len(plain) + 3} tensors are loaded; not used: " in said
    assert "not used: state_dict.backbone.layer*.*.conv*.gate.weight (2), state_dict.neck.convs.0" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_offset_branches_of_others_are_taken_beside_the_backbone(tmp_path, plain, prefix):
    """As of a ResNet alone with layers of mmcv, which a head is put on; the table says what became of what."""
    branch = {"weight": torch.randn(18, 64, 3, 3), "bias": torch.randn(18)}
    state = (
        plain
        | {f"layer4.1.conv2.conv_offset.{leaf}": value for leaf, value in branch.items()}
        | {"fc.bias": branch["bias"]}
    )
    path = saved(tmp_path / "x.pth", {prefix + name: value for name, value in state.items()})
    model = build(path, "conv=deformable", "conv.layers=1")
    layer = model.network.backbone.layer4[1].conv2.offset_branch
    assert torch.equal(layer.weight, branch["weight"])
    assert torch.equal(layer.bias, branch["bias"])
    first, *table = model.loaded.splitlines()
    assert f"{len(plain) + 2} of its {len(plain) + 3} tensors are loaded" in first
    rows = [row.split() for row in table]
    assert [f"{prefix}layer*.*.conv*.conv_offset", "(2)", f"{prefix}layer*.*.conv*.offset_branch", "renamed"] in rows
    assert [f"{prefix}fc", "not", "used"] in rows
    assert [f"{prefix}bn*", "(5)", f"{prefix}bn*", "as", "it", "is"] in rows
    missed = build(path, "conv=standard").loaded
    assert "which conv=deformable conv.layers=layer4.1.conv2 takes over" in missed


def test_the_first_convolution_from_caffe_sees_what_ours_sees(tmp_path, plain):
    """BGR from 0 to 255 without the mean, and RGB from 0 to 1 over ImageNet's deviation, are the same to it."""
    path = saved(tmp_path / "x.pth", plain)
    settings = SegmentationModelConfig(width=8, weights=str(path), style=ResNetStyle.caffe)
    turned = build_backbone(settings, read_weights(settings)).conv1
    rgb, mean = torch.rand(1, 3, 20, 20), torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    ours = turned((rgb - mean) / torch.tensor([0.229, 0.224, 0.225])[:, None, None])
    theirs = torch.nn.functional.conv2d(255 * (rgb - mean).flip(1), plain["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)
    own = saved(tmp_path / "run.pt", {"step": 1, "network": {f"backbone.{key}": value for key, value in plain.items()}})
    settings.weights = str(own)
    assert torch.equal(build_backbone(settings, read_weights(settings)).conv1.weight, plain["conv1.weight"])


def test_what_a_resnet_begins_with_must_be_the_same(tmp_path, plain):
    path = saved(tmp_path / "x.pth", plain)
    with pytest.raises(UsageError, match=r"that begins with a 7x7 convolution: set model\.stem=plain"):
        build(path, "model.stem=deep")
    deep = ResNetBackbone(Backbone.resnet18, 8, stem=ResNetStem.deep).state_dict()
    saved(path, {f"model.{name}": value for name, value in deep.items()})
    with pytest.raises(UsageError, match=r"that begins with three 3x3 convolutions: set model\.stem=deep"):
        build(path)
    same = build(path, "model.stem=deep").network.backbone.state_dict()
    assert all(torch.equal(same[name], value) for name, value in deep.items())


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('evaluated')",))


def _zipped(**parts):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _write_foreign(path, plain, kind):
    conv = plain["conv1.weight"]
    changed = {
        "pickled": torchvision.models.resnet18().conv1,
        "evil": {"conv1.weight": Evil()},
        "other": {"features.0.weight": torch.zeros(3), "classifier.\x1b[31m": torch.zeros(3)},
        "number": 3,
        "nothing": {"epoch": 3},
        "sparse": plain | {"conv1.weight": conv.to_sparse()},
        "meta": plain | {"conv1.weight": conv.to("meta")},
        "integers": plain | {"conv1.weight": conv.to(torch.int8)},
        "complex": plain | {"conv1.weight": conv.to(torch.complex64)},
        "nan": plain | {"conv1.weight": conv * torch.nan},
        "huge": plain | {"conv1.weight": conv.double() * 1e300},
        "shape": plain | {"conv1.weight": conv[:, :1]},
        "two": {f"{which}.{name}": value for which in ("student", "teacher") for name, value in plain.items()},
    }
    if kind in changed:
        torch.save(changed[kind], path)
    else:
        path.write_bytes({"text": b"text", "empty": b"", "zip": _zipped(a="b"), "bomb": _zipped(a="0" * 10**6)}[kind])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pickled", "a pickle of objects such as torch.nn.modules.conv.Conv2d"),
        ("evil", "a pickle of objects such as exec,"),
        ("other", r"lacks 100 of the 120 tensors of resnet18.* It holds classifier\.\\x1b\[31m, features"),
        ("number", "holds no state dict"),
        ("nothing", "holds no state dict"),
        ("sparse", "conv1.weight is not a plain tensor"),
        ("meta", "conv1.weight is not a plain tensor"),
        ("integers", "conv1.weight holds int8, not float32"),
        ("complex", "conv1.weight holds complex64, not float32"),
        ("nan", "conv1.weight has numbers that are not finite"),
        ("huge", "conv1.weight has numbers that are not finite"),
        (
            "shape",
            r"conv1.weight has shape \(8, 1, 7, 7\), for images of other bands than these, which need \(8, 3, 7, 7\)",
        ),
        ("two", "several networks, whose names begin with student. and teacher.: say by model.weights_of which"),
        ("text", "is damaged, or not what torch.save writes"),
        ("empty", "is damaged, or not what torch.save writes"),
        ("zip", "compressed archive"),
        ("bomb", "compressed archive"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(tmp_path, plain, kind, said):
    _write_foreign(tmp_path / "x.pt", plain, kind)
    with pytest.raises(UsageError, match=said) as refused:
        build(tmp_path / "x.pt")
    line = str(refused.value)
    assert line.startswith(f"model.weights={tmp_path / 'x.pt'}")
    assert line.isprintable()
    assert not any(word in line for word in ("Traceback", "weights_only", "Unpickler", "RuntimeError"))


def test_a_file_that_is_not_there_is_said(tmp_path):
    for name in ("none.pt", "a" * 5000 + ".pt", "a\0.pt"):
        with pytest.raises(UsageError, match="no such file"):
            build(tmp_path / name)


def test_the_first_thing_that_does_not_fit_is_said():
    network = torch.nn.Linear(2, 3)
    state = network.state_dict()
    assert misfit(network, state) is None
    assert misfit(network, {"weight": state["weight"]}) == "it lacks bias"
    assert "has, as this network has not, more" in misfit(network, state | {"more": state["bias"]})
    assert misfit(network, state | {"bias": state["bias"][:1]}) == "bias has shape (1,), and (3,) in this network"


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 13])
def test_published_weights_are_adapted_to_other_bands(tmp_path, bands):
    """As timm's `adapt_input_conv`: repeated in turn and scaled, or summed for one."""
    plain = ResNetBackbone(Backbone.resnet18, 8).double()
    torch.save(plain.state_dict(), tmp_path / "x.pt")
    settings = SegmentationModelConfig(head=Architecture.fcn, width=8, weights=str(tmp_path / "x.pt"), output_stride=32)
    weights = read_weights(settings)
    adapted = build_backbone(settings, weights, bands)
    own, its = plain.conv1.weight.detach(), adapted.conv1.weight.detach().double()
    for band in range(bands if bands > 1 else 0):
        torch.testing.assert_close(its[:, band], own[:, band % 3] * 3 / bands, rtol=1e-6, atol=1e-6)
    if bands == 1:
        torch.testing.assert_close(its[:, 0], own.sum(1), rtol=1e-6, atol=1e-6)
    said = weights.load_into_network(adapted)
    assert f"the first convolution, of RGB, is adapted to {bands} band" in said
