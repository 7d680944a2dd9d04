"""The recipe "Add a backbone", followed to the letter: a ResNet of ten layers, which torchvision does not have."""

import json

from tests.recipes.factories import TINY_HEAD, TINY_SHAPES


def add_backbone(package):
    package.insert_after(
        "dcnrun/config/schema.py",
        '    resnet101 = "resnet101"\n',
        '    resnet10 = "resnet10"\n',
    )
    package.insert_after(
        "dcnrun/models/backbones.py",
        "    Backbone.resnet101: (Bottleneck, [3, 4, 23, 3]),\n",
        "    Backbone.resnet10: (BasicBlock, [1, 1, 1, 1]),\n",
    )


def test_a_backbone_is_trained_compared_and_drawn(package, recipes):
    add_backbone(package)
    assert package.touched("resnet10") == recipes["Add a backbone"].files
    tiny = [*TINY_SHAPES, *TINY_HEAD, "conv.layers=1", "model.backbone=resnet10"]
    listed, plan, *_ = package.run(
        ("config", "--list"),
        ("train", *tiny, "--dry-run"),
        ("train", *tiny, "conv=deformable", "--run-dir", "deformable"),
        ("train", *tiny, "conv=standard", "--run-dir", "standard"),
        ("compare", "standard", "deformable", "--out", "compared"),
        ("evaluate", "deformable"),
        ("visualize-offsets", "deformable", "val-000000", "--out", "offsets", "--limit", "1"),
        ("pytest", "tests/models/test_backbones.py", "-k", "resnet10 and 32"),
    )
    assert "resnet101, resnet10" in listed
    assert "layer4.0.conv2" in plan  # the last 3x3 convolution
    folder = package.folder
    comparison = json.loads((folder / "compared" / "compare.json").read_text())
    assert {variant["settings"]["model.backbone"] for variant in comparison["variants"]} == {"resnet10"}
    assert (folder / "compared" / "compare.png").stat().st_size > 10_000
    assert (folder / "offsets" / "offsets.html").is_file()
    message = package.fail("train", *tiny, "model.width=64", "model.weights=DEFAULT", "--dry-run")
    assert "model.weights=DEFAULT: torchvision has no weights of resnet10" in message
