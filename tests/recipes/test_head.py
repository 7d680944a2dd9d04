"""The recipe "Add a head for segmentation", followed to the letter: a head that also sees the mean of the whole image."""

import json

from tests.recipes.factories import TINY_HEAD, TINY_SHAPES


def add_head(package):
    package.insert_after(
        "dcnrun/config/schema.py",
        '    fcn = "fcn"\n',
        '    context = "context"\n',
    )
    package.insert_after(
        "dcnrun/config/schema.py",
        "    Architecture.fcn: SegmentationModelConfig,\n",
        "    Architecture.context: SegmentationModelConfig,\n",
    )
    package.insert_before(
        "dcnrun/tasks/segmentation/heads.py",
        "def fcn(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:\n",
        '''\
class _BesideMean(nn.Module):
    """Every pixel's features beside their mean over the image."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2 * C, H, W)."""
        return torch.cat([features, features.mean((2, 3), keepdim=True).expand_as(features)], dim=1)


def context(model: SegmentationModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Return a head that sees the whole image's mean at every pixel: 1x1 hidden layer, ReLU, 1x1 scores."""
    return nn.Sequential(
        _BesideMean(),
        nn.Conv2d(2 * in_channels, model.head_channels, 1),
        nn.ReLU(),
        nn.Conv2d(model.head_channels, num_classes, 1),
    )


''',
    )
    package.insert_before(
        "dcnrun/tasks/registry.py",
        'def _fcn(model: SegmentationModelConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":\n',
        """\
def _context(model: SegmentationModelConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.segmentation.heads import SegmentationNetwork, context

    return SegmentationNetwork(backbone, context(model, backbone.out_channels, num_classes))


""",
    )
    package.insert_after(
        "dcnrun/tasks/registry.py",
        "    Architecture.fcn: ArchitectureEntry(SegmentationModelConfig, SEGMENTATION, _fcn),\n",
        "    Architecture.context: ArchitectureEntry(SegmentationModelConfig, SEGMENTATION, _context),\n",
    )
    package.write(
        "conf/model/context.yaml",
        """\
defaults:
  - /schema/model@_here_: context
  - _self_
head: context
""",
    )


def test_a_head_is_trained_compared_drawn_and_exported(package, recipes):
    add_head(package)
    assert package.touched("context") == recipes["Add a head for segmentation"].files
    tiny = [*TINY_SHAPES, *TINY_HEAD, "conv=standard", "conv.layers=1"]
    listed, plan, *_, exported, _ = package.run(
        ("config", "--list"),
        ("train", *tiny, "model=context", "--dry-run"),
        ("train", *tiny, "model=context", "--run-dir", "context"),
        ("train", *tiny, "model=fcn", "--run-dir", "fcn"),
        ("compare", "fcn", "context", "--out", "compared"),
        ("evaluate", "context"),
        ("visualize-offsets", "context", "val-000000", "--out", "offsets", "--limit", "1"),
        ("export", "context", "--out", "context.onnx", "--size", "64x64"),
        ("pytest", "tests/tasks/test_architectures.py", "-k", "context"),
    )
    assert "context, deeplab" in listed
    assert "head: context" in plan
    comparison = json.loads((package.folder / "compared" / "compare.json").read_text())
    assert [variant["settings"]["model.head"] for variant in comparison["variants"]] == ["fcn", "context"]
    assert (package.folder / "compared" / "compare.png").stat().st_size > 10_000
    assert (package.folder / "offsets" / "offsets.html").is_file()
    assert "onnxruntime against PyTorch" in exported
