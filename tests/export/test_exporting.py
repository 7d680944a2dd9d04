"""A file is compared before it is written, whatever kind it is: a wrong one never is."""

import copy
import dataclasses
import pickle
import time

import pytest
import torch
from torch import nn

from dcnrun.errors import DcnrunError, UsageError
from dcnrun.export.exporting import exporting, speeds_of_forms
from dcnrun.export.formats import ExportedNetwork, ExportFormat
from dcnrun.export.targets import TARGETS, Precision, Settings, Target
from dcnrun.models.conv import DeformConv2d
from tests.export.factories import assert_equal


class Kept(ExportedNetwork):
    """A file that is a network, and what its runtime does to it."""

    def __init__(self, path, fault):
        self.network, self.metadata = pickle.loads(path.read_bytes())
        self.fault = fault

    def outputs(self, images):
        network = copy.deepcopy(self.network)
        self.fault(network)
        return (network(images).detach(),)


class Rounding(nn.Module):
    """Makes of scores what 8 bits would."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, scores):
        return scores.round()


class Slow(nn.Module):
    def forward(self, scores):
        time.sleep(0.01)
        return scores


class KeptFormat(ExportFormat):
    """Files of a kind that takes nothing to write, two for a network."""

    def __init__(self, fault=lambda network: None):
        self.fault = fault

    def check(self, settings):
        pass

    def write(self, networks, example, settings, metadata, quantized=None):
        if settings.decompose:
            networks = {path: nn.Sequential(network, Slow()) for path, network in networks.items()}
        files = dict(networks)
        if quantized is not None:
            files[quantized.path] = nn.Sequential(next(iter(networks.values())), Rounding(list(quantized.calibration)))
        for path, network in files.items():
            path.write_bytes(pickle.dumps((network, metadata)))
            path.with_suffix(".more").write_text("more")

    def open(self, path):
        return Kept(path, self.fault)


@pytest.fixture
def kept_as(monkeypatch):
    """Makes ONNX files such files, with a fault of their runtime."""

    def replace(*fault):
        traits = TARGETS[Target.onnx]
        row = dataclasses.replace(
            traits, modules=(), suffix=".kept", other_suffixes=(".more",), load=lambda: KeptFormat(*fault)
        )
        monkeypatch.setitem(TARGETS, Target.onnx, row)

    return replace


def forget_the_dilation(layer):
    layer.dilation, layer.padding = (1, 1), (1, 1)


def double_the_offsets(layer):
    layer.offset_branch.weight.data *= 2
    layer.offset_branch.bias.data *= 2


LAYER = DeformConv2d(2, 2, 3, padding=2, dilation=2)


def test_a_file_that_agrees_is_written_with_what_belongs_to_it(kept_as, tmp_path):
    kept_as()
    image = torch.randn(1, 2, 8, 8)
    file = tmp_path / "new" / "layer.kept"
    with exporting(LAYER, image, file, inputs={"mine": image}, metadata={"made by": "a test"}) as export:
        assert not file.exists()
        assert export.exported.metadata == {"made by": "a test"}
    assert export.files == [file, file.with_suffix(".more")]
    assert sorted(file.parent.iterdir()) == export.files
    network, _ = pickle.loads(file.read_bytes())
    assert_equal(network(image).detach(), LAYER(image).detach())
    names = ["random", "another batch", "another size", "mine"]
    assert [(each.input, each.offsets) for each in export.comparisons] == [
        (name, offsets) for offsets in ("learnt", "random") for name in names
    ]


def test_a_file_in_8_bits_is_written_after_the_same_in_fp32_was_compared(kept_as, tmp_path):
    kept_as()
    image, file, images = torch.randn(1, 2, 8, 8), tmp_path / "layer.kept", [torch.zeros(1, 2, 4, 4)] * 2
    settings = Settings(precision=Precision.int8)
    with exporting(LAYER, image, file, settings=settings, calibration=images) as export:
        assert max(each.largest_score for each in export.comparisons) > 0
        assert max(each.share for each in export.comparisons) < 1e-5
        assert_equal(export.unquantized.run(image), LAYER(image).detach())
        assert_equal(export.exported.run(image), LAYER(image).detach().round())
    network, _ = pickle.loads(file.read_bytes())
    assert len(network[1].images) == 2
    kept_as(double_the_offsets)
    with (
        pytest.raises(DcnrunError, match="offsets: random"),
        exporting(LAYER, image, tmp_path / "wrong.kept", settings=settings),
    ):
        pass
    assert list(tmp_path.glob("wrong*")) == []


@pytest.mark.parametrize("precision", [None, Precision.int8])
def test_the_form_that_takes_longer_is_found(precision, kept_as):
    kept_as()
    image = torch.randn(1, 2, 8, 8)
    speeds = speeds_of_forms(LAYER, image, image, Target.onnx, Settings(precision=precision), [image])
    assert 0 < speeds[True] < 100
    assert speeds[True] < speeds[False]
    assert speeds_of_forms(nn.ReLU(), image, image, Target.onnx, Settings()) == {}


class Bytes(nn.Module):
    def forward(self, image):
        assert image.dtype == torch.uint8
        return image.float()


def test_bytes_and_a_fixed_size_are_compared_as_such(kept_as, tmp_path):
    kept_as()
    image = torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    with exporting(Bytes(), image, tmp_path / "bytes.kept", settings=Settings(size=(4, 5))) as export:
        assert {each.shape for each in export.comparisons} == {(1, 3, 4, 5), (3, 3, 4, 5)}
        assert max(each.largest_score for each in export.comparisons) > 200


@pytest.mark.parametrize(("fault", "offsets"), [(forget_the_dilation, "learnt"), (double_the_offsets, "random")])
def test_a_wrong_file_is_refused(fault, offsets, kept_as, tmp_path):
    """Even where the network's own offsets are all zero, as before training."""
    kept_as(fault)
    file = tmp_path / "layer.kept"
    file.write_text("what was there before")
    refused = pytest.raises(DcnrunError, match=rf"differs from PyTorch's by .*offsets: {offsets}\)\. No file was")
    with refused, exporting(LAYER, torch.randn(1, 2, 8, 8), file):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["layer.kept"]
    assert file.read_text() == "what was there before"


def test_a_file_that_its_user_refuses_is_not_written(kept_as, tmp_path):
    kept_as()
    with pytest.raises(DcnrunError, match="no"), exporting(LAYER, torch.randn(1, 2, 8, 8), tmp_path / "layer.kept"):
        raise DcnrunError("no")
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments(kept_as, tmp_path):
    kept_as()
    with (
        pytest.raises(UsageError, match=r"is a folder.*model\.kept"),
        exporting(LAYER, torch.randn(1, 2, 6, 6), tmp_path),
    ):
        pass
    with pytest.raises(UsageError, match=r"\(2, 6, 6\)"), exporting(LAYER, torch.randn(2, 6, 6), tmp_path / "a.kept"):
        pass
