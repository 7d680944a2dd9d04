"""VOC 2012 on a tree of the same layout."""

import os
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets.voc
from PIL import Image

from dcnrun.config.schema import Source, Voc2012Config
from dcnrun.data import build_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import voc_tree


class TestVoc2012(DatasetSuite):
    source = Source.voc2012

    @pytest.fixture
    def config(self, tmp_path):
        return Voc2012Config(root=str(voc_tree(tmp_path)))

    def test_reads_the_image_sets(self, config):
        assert len(build_dataset(config, "train")) == 2
        val = build_dataset(config, "val")
        assert len(val) == 3
        assert val.name(1) == "2007_000042"
        assert len(val.classes) == 21

    def test_labels_are_the_palette_indices(self, config, tmp_path):
        values = np.array(Image.open(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/2007_000032.png"))
        assert np.array_equal(build_dataset(config, "train")[0]["mask"].numpy(), values)

    def test_a_missing_image_is_named(self, config, tmp_path):
        (tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_000039.jpg").unlink()
        with pytest.raises(DataError, match=r"1 of 2 image files are missing; expected .*2007_000039.jpg"):
            build_dataset(config, "train")

    def test_nothing_is_fetched_over_what_is_there(self, config, monkeypatch):
        monkeypatch.setattr(torchvision.datasets.voc, "download_and_extract_archive", fail_to_fetch)
        config.download = True
        build_dataset(config, "train")


def fail_to_fetch(*_, **__):
    raise URLError("no network")


def test_missing_and_download_not_asked(tmp_path):
    with pytest.raises(UsageError, match=r"looked for .*Segmentation/train.txt, .*data.download=true fetches it"):
        build_dataset(Voc2012Config(root=str(tmp_path)), "train")


def test_is_fetched_when_asked(tmp_path, monkeypatch):
    def fetch(url, root, **_):
        assert url.endswith("VOCtrainval_11-May-2012.tar")
        voc_tree(tmp_path)

    monkeypatch.setattr(torchvision.datasets.voc, "download_and_extract_archive", fetch)
    assert len(build_dataset(Voc2012Config(root=str(tmp_path), download=True), "val")) == 3


def test_a_fetch_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.voc, "download_and_extract_archive", fail_to_fetch)
    with pytest.raises(DataError, match=r"VOC2012: VOC 2012 could not be fetched or read .*no network"):
        build_dataset(Voc2012Config(root=str(tmp_path), download=True), "train")


def test_no_root():
    with pytest.raises(UsageError, match=r"data.root is not set; expected the folder that holds VOCdevkit/VOC2012"):
        build_dataset(Voc2012Config(), "train")


@pytest.mark.timeout(20)
def test_an_image_set_that_is_a_pipe(tmp_path):
    image_set = voc_tree(tmp_path) / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
    image_set.unlink()
    os.mkfifo(image_set)
    with pytest.raises(UsageError, match=r"looked for .*Segmentation/train.txt"):
        build_dataset(Voc2012Config(root=str(tmp_path)), "train")
