"""The recipe "Add a kind of convolution", followed to the letter: one whose offsets stay within a number of pixels."""

import json

from tests.recipes.factories import TINY_HEAD, TINY_SHAPES


def add_conv_kind(package):
    package.insert_before(
        "dcnrun/config/schema.py",
        "\n\nclass Dilation(Enum):\n",
        '    bounded = "bounded"\n',
    )
    package.insert_before(
        "dcnrun/config/schema.py",
        "}\n\n\nclass Architecture(StrEnum):\n",
        """\
    ConvKind.bounded: ConvTraits(
        Dilation.optional,
        colour="#CC79A7",
        marker="*",
        learns_offsets=True,
        settings=(*_OFFSET_SETTINGS, "conv.offset_bound"),
    ),
""",
    )
    package.insert_before(
        "dcnrun/config/schema.py",
        "\n\n@dataclass\nclass ModelConfig:\n",
        '    offset_bound: float = setting(2.0, "bounded: the largest offset, in pixels of the feature map", gt=0)\n',
    )
    package.insert_before(
        "dcnrun/models/conv.py",
        "CONV_LAYERS: dict[ConvKind, type[PlainConv2d] | type[DeformSampling2d]] = {\n",
        '''\
class BoundedDeformConv2d(DeformConv2d):
    """Deformable convolution whose offsets stay within `offset_bound` pixels, which tanh takes care of.

    Args:
        *args: as for `DeformConv2d`.
        offset_bound: the largest offset in pixels, of y and of x.
        **kwargs: as for `DeformConv2d`, `offset_groups` included.
    """

    def __init__(self, *args: Any, offset_bound: float = 2.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offset_bound = offset_bound

    def split_branch(self, output: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return bounded offsets, and no mask."""
        return self.offset_bound * torch.tanh(output / self.offset_bound), None


''',
    )
    package.insert_after(
        "dcnrun/models/conv.py",
        "    ConvKind.modulated: ModulatedDeformConv2d,\n",
        "    ConvKind.bounded: BoundedDeformConv2d,\n",
    )
    package.write(
        "conf/conv/bounded.yaml",
        """\
# Deformable convolution whose offsets can't run away.
kind: bounded
offset_bound: 2.0
""",
    )


def test_a_kind_is_trained_compared_drawn_and_exported(package, recipes):
    add_conv_kind(package)
    assert package.touched("bounded") == recipes["Add a kind of convolution"].files
    assert len(package.touched("bounded")) == 3
    tiny = [*TINY_SHAPES, *TINY_HEAD, "conv.layers=1"]
    bounded = [*tiny, "conv=bounded", "conv.offset_bound=0.5", "optim.offset_lr_mult=100"]
    outputs = package.run(
        ("config", "--list"),
        ("train", *bounded, "--dry-run"),
        ("train", *bounded, "--run-dir", "bounded"),
        ("train", *tiny, "conv=dilated", "conv.dilation=2", "--run-dir", "dilated"),
        ("compare", "dilated", "bounded", "--out", "compared"),
        ("evaluate", "bounded"),
        ("visualize-offsets", "bounded", "val-000000", "--out", "offsets", "--limit", "1"),
        ("export", "bounded", "--out", "bounded.onnx", "--size", "64x64"),
        (
            "pytest",
            "tests/models/test_conv.py",
            "tests/config/test_compose.py",
            "tests/config/test_schema.py",
            "-k",
            "bounded",
        ),
    )
    listed, plan, trained, *_ = outputs
    assert "bounded, dcnv3, dcnv4, deformable, dilated" in listed
    assert "conv.offset_bound=2" in listed
    assert "Layers that become bounded" in plan
    assert "lr_offset 0.1 " in trained  # base 0.001, a hundred times

    folder = package.folder
    comparison = json.loads((folder / "compared" / "compare.json").read_text())
    assert [variant["name"] for variant in comparison["variants"]] == ["dilated 2", "bounded"]
    assert (folder / "compared" / "compare.png").stat().st_size > 10_000
    assert (folder / "offsets" / "offsets.html").is_file()
    (line, *_) = [json.loads(line) for line in (folder / "bounded" / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= line["train/offset_outside"] <= 1


def test_the_setting_of_a_kind_does_nothing_with_another_kind(package):
    add_conv_kind(package)
    message = package.fail("train", "conv=modulated", "conv.offset_bound=3", "--dry-run")
    assert "conv.offset_bound=3.0 does nothing with conv=modulated" in message
