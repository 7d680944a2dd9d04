"""Networks as .pt2 files: what they compute, and that PyTorch alone is enough for it."""

import json
import subprocess
import sys
import zipfile

import pytest
import torch
from torch import nn

from dcnrun.errors import DataError, DcnrunError
from dcnrun.export.description import OF_OBJECTS
from dcnrun.export.detectors import suppress
from dcnrun.export.pt2 import PackageFormat, ProgramFormat
from dcnrun.export.targets import Settings
from dcnrun.models.conv import DCNv3, ModulatedDeformConv2d
from dcnrun.ops import deform_roi_pool
from tests.export.factories import assert_equal, randomised

METADATA = {"classes": '["sky", "Straße"]', "config": "a: 'b'\n# \"c\"\n"}


def network():
    """A layer with weights of a kernel, and one without."""
    torch.manual_seed(0)
    first = ModulatedDeformConv2d(4, 4, (3, 1), padding=(1, 0), stride=2, groups=2, offset_groups=2)
    second = DCNv3(4, 3, 3, padding=1, groups=2, offset_scale=1.5, remove_center=True)
    return nn.Sequential(randomised(first), randomised(second)).eval()


@pytest.fixture(scope="module")
def networks():
    """Two with the same layers; the second has other weights."""
    first, second = network(), network()
    nn.init.ones_(second[0].weight)
    return first, second


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory):
    """Their programs."""
    folder = tmp_path_factory.mktemp("programs")
    files = {folder / f"{number}.pt2": each for number, each in enumerate(networks)}
    ProgramFormat().write(files, torch.full((1, 4, 9, 12), 7.5), Settings(), METADATA)
    return list(files)


def test_programs_compute_what_their_networks_compute(networks, files):
    """Each with weights of its own, for any batch and size."""
    for ours, file in zip(networks, files, strict=True):
        program = ProgramFormat().open(file)
        assert program.metadata == METADATA
        for shape in [(1, 4, 9, 12), (3, 4, 16, 7)]:
            image = torch.randn(shape)
            assert_equal(program.run(image), ours(image).detach())
    with pytest.raises(DcnrunError, match=r"fails on an input of shape \(1, 3, 9, 12\)"):
        program.run(torch.randn(1, 3, 9, 12))


def test_a_file_holds_nothing_of_where_it_was_made(files):
    """Operators of PyTorch alone; neither the machine's folders, nor the image that was the example."""
    with zipfile.ZipFile(files[0]) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    (graph,) = (content for name, content in contents.items() if name.endswith("models/model.json"))
    targets = {node["target"] for node in json.loads(graph)["graph_module"]["graph"]["nodes"]}
    assert {target.split(".")[2] for target in targets if target.startswith("torch.ops.")} == {"aten"}
    assert "torch.ops.aten.grid_sampler.default" in targets
    for content in contents.values():
        assert b"site-packages" not in content
        assert torch.tensor(7.5).numpy().tobytes() * 4 not in content


class Finder(nn.Module):
    """The steps of a detector that depend on what is in an image: boxes at its brightest pixels, suppressed and pooled."""

    exported_outputs = OF_OBJECTS

    def forward(self, image):
        brightness, places = image[0].mean(0).flatten().topk(30)
        corners = torch.stack([places % image.shape[3], places // image.shape[3]], -1).float()
        boxes = torch.cat([corners, corners + 3], -1)
        found = suppress(boxes[None], brightness[None], 0.3, torch.zeros(1))[0].nonzero()[:, 0]
        offset = torch.ones(found.shape[0], 2, 2, 2)
        pooled = deform_roi_pool(image, nn.functional.pad(boxes[found], (1, 0)), offset, (2, 2), 1.0, 2, 0.1)
        return boxes[found], pooled.mean((1, 2, 3)), places[found]


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    file = tmp_path_factory.mktemp("finder") / "finder.pt2"
    ProgramFormat().write({file: Finder()}, torch.zeros(1, 3, 12, 16), Settings(), METADATA)
    return file


def test_outputs_as_long_as_an_image_has_objects(finder):
    program = ProgramFormat().open(finder)
    for shape in [(1, 3, 12, 16), (1, 3, 17, 9)]:
        image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        wanted = Finder()(image)
        assert 1 < len(wanted[0]) < 30
        for got, each in zip(program.outputs(image), wanted, strict=True):
            torch.testing.assert_close(got, each)
    with pytest.raises(DataError, match="has 3 outputs; one, scores of pixels, is expected"):
        program.run(image)
    assert len(program.outputs(-torch.ones(1, 3, 12, 16))[0]) == 0


ALONE = """
import sys
sys.modules["dcnrun"] = sys.modules["torchvision"] = None  # importing them fails
import torch
image = torch.load(sys.argv[1])
torch.save([torch.export.load(file).module()(image[:, :channels]) for file, channels in zip(sys.argv[3:], (4, 3))], sys.argv[2])
"""


def test_programs_run_where_there_is_no_dcnrun(networks, files, finder, tmp_path):
    image = torch.randn(1, 4, 9, 12)
    torch.save(image, tmp_path / "image")
    arguments = tmp_path / "image", tmp_path / "outputs", files[0], finder
    subprocess.run([sys.executable, "-I", "-c", ALONE, *arguments], check=True)
    scores, found = torch.load(tmp_path / "outputs")
    assert_equal(scores, networks[0](image).detach())
    for got, wanted in zip(found, Finder()(image[:, :3]), strict=True):
        torch.testing.assert_close(got, wanted)


class Branching(nn.Module):
    def forward(self, image):
        return image if image.sum() > 0 else -image


def test_a_network_that_pytorch_cannot_export(tmp_path):
    with pytest.raises(DcnrunError, match="can't export the network; a fixed size may help"):
        ProgramFormat().write({tmp_path / "a.pt2": Branching()}, torch.randn(1, 3, 6, 6), Settings(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [ProgramFormat, PackageFormat])
def test_files_that_are_no_archives(kind, tmp_path):
    (tmp_path / "a.pt2").write_text("no archive")
    with pytest.raises(DataError, match=r"is no \.pt2 file of PyTorch"):
        kind().open(tmp_path / "a.pt2")
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("a/readme.txt", "another archive")
    with pytest.raises(DcnrunError, match="can't load"):
        kind().open(tmp_path / "a.pt2")
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("a/data/aotinductor/model/readme.txt", "a package without its library")
    with pytest.raises(DcnrunError, match="can't load"):
        kind().open(tmp_path / "a.pt2")


def test_a_missing_compiler(tmp_path):
    no_compiler = torch._inductor.config.patch(
        {"cpp.cxx": (str(tmp_path / "nothing"),)}
    )  # monkeypatch would leave none
    with no_compiler, pytest.raises(DcnrunError, match=r"needs a C\+\+ compiler"):
        PackageFormat().write({tmp_path / "a.pt2": network()}, torch.randn(1, 4, 9, 9), Settings(), {})
    assert list(tmp_path.iterdir()) == []
