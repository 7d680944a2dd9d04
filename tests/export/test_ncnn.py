"""Networks for ncnn: what it can't compute is refused, and where it is installed it computes what PyTorch computes."""

import pytest
import torch
from torch import nn

from dcnrun.errors import DataError, UsageError
from dcnrun.export.exporting import exporting
from dcnrun.export.ncnn import NcnnFormat
from dcnrun.export.targets import Precision, Settings, Target
from dcnrun.models.conv import DCNv4, DeformConv2d, ModulatedDeformConv2d
from tests.export.factories import assert_equal, randomised

LAYERS = {
    "deformable": lambda: DeformConv2d(3, 4, 3, padding=1, stride=2),
    "modulated, y is not x": lambda: ModulatedDeformConv2d(3, 6, (3, 1), padding=(2, 0), dilation=(2, 1), bias=False),
    "mask from 0.5": lambda: ModulatedDeformConv2d(3, 4, 3, padding=1, mask_start=0.5),
}


def network(name):
    torch.manual_seed(0)
    return nn.Sequential(randomised(LAYERS[name]()), nn.ReLU()).eval()


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name, tmp_path):
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    ours, file = network(name), tmp_path / "layer.param"
    with exporting(ours, torch.randn(1, 3, 32, 40), file, Target.ncnn, metadata={"classes": "Straße"}):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer.bin", "layer.json", "layer.param"]
    loaded = NcnnFormat().open(file)
    assert loaded.metadata == {"classes": "Straße"}
    for shape in [(1, 3, 32, 40), (2, 3, 25, 31)]:
        image = torch.randn(shape)
        assert_equal(loaded.run(image), ours(image).detach())


def test_half_precision_and_one_size(tmp_path):
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    settings = Settings(size=(32, 40), precision=Precision.fp16)
    with exporting(
        network("deformable"), torch.randn(1, 3, 32, 40), tmp_path / "a.param", Target.ncnn, settings
    ) as half:
        pass
    assert 0 < max(comparison.share for comparison in half.comparisons) < 0.03


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: DeformConv2d(4, 4, 3, offset_groups=2), "layer 0 has offset_groups=2"),
        (lambda: ModulatedDeformConv2d(4, 4, 3, groups=2), "layer 0 has groups=2"),
        (lambda: DeformConv2d(4, 4, 3, padding="same"), "layer 0 has padding='same'"),
        (lambda: DCNv4(4, 4, 3, groups=2), r"no layer like 0 \(DCNv4\)"),
    ],
)
def test_what_ncnn_lacks_is_refused(layer, said, tmp_path):
    with pytest.raises(UsageError, match=f"--to ncnn: .*{said}"):
        NcnnFormat().write({tmp_path / "a.param": nn.Sequential(layer())}, torch.randn(1, 4, 8, 8), Settings(), {})
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_whole(tmp_path):
    file = tmp_path / "network.param"
    file.write_text("7767517\n")
    with pytest.raises(UsageError, match=r"its weights, network\.bin, are not beside it"):
        NcnnFormat().open(file)
    file.with_suffix(".bin").touch()
    for content, said in (("{", "can't be read as JSON"), ("[1]", "an object of JSON is expected")):
        file.with_suffix(".json").write_text(content)
        with pytest.raises(DataError, match=rf"network\.json .*{said}"):
            NcnnFormat().open(file)
