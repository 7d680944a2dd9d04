"""Cityscapes on a tree of the same layout."""

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.schema import CityscapesConfig, Source
from dcnrun.data import build_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import cityscapes_tree

# id: training id, as the benchmark's label table gives them
TRAINING_IDS = {
    **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10},
    **{24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18},
}


class TestCityscapes(DatasetSuite):
    source = Source.cityscapes

    @pytest.fixture
    def config(self, tmp_path):
        return CityscapesConfig(root=str(cityscapes_tree(tmp_path)))

    def test_reads_all_cities_of_a_split_in_order(self, config):
        train = build_dataset(config, "train")
        assert [train.name(index) for index in range(len(train))] == [
            f"{city}_000000_0000{frame}" for city in ("aachen", "bochum") for frame in (19, 20)
        ]
        assert train.classes[0] == "road"
        assert train.classes[18] == "bicycle"
        assert len(build_dataset(config, "val")) == 2

    def test_label_ids_become_training_ids(self, config, tmp_path):
        ids = np.array(Image.open(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"))
        expected = np.vectorize(lambda value: TRAINING_IDS.get(value, 255))(ids)
        assert np.array_equal(build_dataset(config, "train")[0]["mask"].numpy(), expected)
        assert set(np.unique(expected)) == {*range(19), 255}

    def test_a_missing_mask_is_named(self, config, tmp_path):
        (tmp_path / "gtFine/val/munster/munster_000000_000020_gtFine_labelIds.png").unlink()
        with pytest.raises(DataError, match=r"1 of 2 mask files are missing; expected .*000020_gtFine_labelIds.png"):
            build_dataset(config, "val")

    def test_a_stray_file_among_the_cities(self, config, tmp_path):
        (tmp_path / "leftImg8bit" / "val" / "notes.txt").write_text("")
        with pytest.raises(UsageError, match=r"no Cityscapes there .*notes.txt"):
            build_dataset(config, "val")


def test_missing(tmp_path):
    with pytest.raises(UsageError, match=r"looked for .*leftImg8bit/train and .*gtFine/train, .* needs a login"):
        build_dataset(CityscapesConfig(root=str(tmp_path)), "train")


def test_no_images(tmp_path):
    (tmp_path / "leftImg8bit" / "train").mkdir(parents=True)
    (tmp_path / "gtFine" / "train").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"no images in .*leftImg8bit/train/CITY/"):
        build_dataset(CityscapesConfig(root=str(tmp_path)), "train")


def test_no_root():
    with pytest.raises(
        UsageError, match=r"data.root is not set; expected the folder that holds leftImg8bit and gtFine"
    ):
        build_dataset(CityscapesConfig(), "train")
