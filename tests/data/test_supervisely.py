"""Objects in Supervisely's format against what was drawn; and whatever can be wrong with its files."""

import base64
import json
import zlib

import numpy as np
import pytest

from dcnrun.config.schema import BadBoxes, Source, SuperviselyConfig
from dcnrun.data import build_box_dataset, build_dataset, build_instance_dataset, supervisely
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import BITMAP, bitmap, figure, save_image, save_supervisely, supervisely_tree

POLYGON, SPECK = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
POLYGON[5:13, 4:15], POLYGON[7:11, 7:12] = True, False
SPECK[26:28, 35:38] = BITMAP


class TestSupervisely(DatasetSuite):
    source = Source.supervisely

    @pytest.fixture
    def config(self, tmp_path):
        return SuperviselyConfig(root=str(supervisely_tree(tmp_path)), train_empty=True)

    def test_corners_are_pixels_of_figures(self, config):
        dataset = build_box_dataset(config, "val", masks=True)
        assert dataset.classes == ("dog", "cat")
        first, second, third = (dataset[index] for index in range(3))
        assert first["boxes"].tolist() == [[4, 5, 15, 13], [20, 3, 31, 13]]
        assert first["labels"].tolist() == [1, 0]
        assert np.array_equal(first["masks"][0], POLYGON)
        assert not first["masks"][1].any()
        assert first["area"].tolist() == [POLYGON.sum(), 110]
        assert second["boxes"].tolist() == [[35, 26, 38, 28]]
        assert np.array_equal(second["masks"][0], SPECK)
        assert third["boxes"].shape == (0, 4)
        assert dataset.notes == [
            "1 figures are no objects and are left out: 1 point",
            "1 of 4 images have no .json file in ann, such as bare.jpg: left out",
        ]

    def test_rectangles_have_no_masks(self, config):
        dataset = build_instance_dataset(config, "val")
        assert dataset[0]["difficult"].tolist() == [False, True]
        assert (build_dataset(config, "val")[0]["mask"].numpy()[3:13, 20:31] == 255).all()

    def test_folders_below_lists_and_shares(self, config, tmp_path):
        (tmp_path / "val").rename(tmp_path / "train/more")
        config.train = "."
        names = [build_box_dataset(config, "train").name(index) for index in range(6)]
        assert names == [f"{place}/img/{name}.jpg" for place in ("train", "train/more") for name in "abc"]
        (tmp_path / "train.txt").write_text("more/img/b.jpg\ntrain/img/a.jpg\n")
        config.train = "train.txt"
        (tmp_path / "train.txt").write_text("train/more/img/b.jpg\ntrain/img/a\n")
        listed = build_box_dataset(config, "train")
        assert [listed.name(index) for index in range(len(listed))] == ["train/img/a.jpg", "train/more/img/b.jpg"]
        config.train, config.val_share = ".", 0.4
        assert sum(len(build_box_dataset(config, split)) for split in ("train", "val")) == 6

    def test_old_files_that_say_no_types(self, config, tmp_path):
        expected = build_box_dataset(config, "val")[0]["boxes"]
        for name in "ab":
            file = tmp_path / f"val/ann/{name}.jpg.json"
            document = json.loads(file.read_text())
            for drawn in document["objects"]:
                drawn.pop("geometryType")
            document["objects"] = document["objects"][:2]
            file.unlink()
            (tmp_path / f"val/ann/{name}.json").write_text(json.dumps(document | {"size": {}}))
        assert build_box_dataset(config, "val")[0]["boxes"].tolist() == expected.tolist()
        assert np.array_equal(build_box_dataset(config, "val", masks=True)[1]["masks"][0], SPECK)


class TestWrongFiles:
    @pytest.fixture
    def config(self, tmp_path):
        return SuperviselyConfig(root=str(supervisely_tree(tmp_path)))

    @pytest.mark.parametrize(
        ("drawn", "said"),
        [
            (figure("bird", "rectangle", [[1, 1], [2, 2]]), r"object 1 \('bird'\): it is none of the classes dog, cat"),
            (figure("cat", "polygon", [[1, 1], [2, 2]]), "it is a polygon of 2 points"),
            (figure("cat", "polygon", [[1, 1], [2, float("inf")], [3, 3]]), "not a list of pairs of finite numbers"),
            (figure("cat", "rectangle", [[50, 1], [60, 9]]), "is outside the image of 40x30"),
            ({"classTitle": "cat", "geometryType": "polygon"}, "it has no points"),
            ({"classTitle": "cat", "points": [[1, 1], [2, 2], [3, 1]]}, "it has no points"),
            (
                figure("cat", "polygon", [[1, 1], [2, 2], [3, 1]])
                | {"points": {"exterior": [[1, 1], [2, 2], [3, 1]], "interior": 1}},
                "its interior is no list of holes",
            ),
            ({"classTitle": "cat", "geometryType": "bitmap"}, "it has no bitmap"),
            (bitmap("cat", np.zeros((2, 2), bool), (0, 0)), "its bitmap has no pixel"),
            (
                bitmap("cat", BITMAP, (0, 0)) | {"bitmap": {"data": "no base64", "origin": [0, 0]}},
                "its bitmap can't be read",
            ),
            ("cat", r"object 1 \(None\): it is none of the classes"),
        ],
    )
    def test_an_object(self, config, tmp_path, drawn, said):
        save_supervisely(tmp_path / "val/ann/a.jpg.json", [drawn, figure("dog", "rectangle", [[1, 1], [2, 2]])])
        with pytest.raises(DataError, match=rf"a.jpg.json: .*{said}"):
            build_box_dataset(config, "val", masks=True)
        config.bad_boxes = BadBoxes.warn
        with pytest.warns(UserWarning, match="dropped"):
            assert len(build_box_dataset(config, "val")[0]["boxes"]) == 1

    @pytest.mark.parametrize("content", ["{", "[]", '{"objects": 1}', '{"objects": [], "size": 7}'])
    def test_a_file(self, config, tmp_path, content):
        (tmp_path / "val/ann/a.jpg.json").write_text(content)
        with pytest.raises(DataError, match=r"a.jpg.json: it .*; expected an annotation of Supervisely"):
            build_box_dataset(config, "val")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "no such file"),
            ("{", "can't be read"),
            ("{}", "has no list of classes"),
            ('{"classes": [{"title": "a"}, {"title": "a"}]}', "its classes are 'a', 'a'"),
            ('{"classes": []}', "its classes are none"),
        ],
    )
    def test_the_file_of_classes(self, config, tmp_path, content, said):
        (tmp_path / "meta.json").unlink() if content is None else (tmp_path / "meta.json").write_text(content)
        with pytest.raises(DataError, match=rf"meta.json: .*{said}"):
            build_box_dataset(config, "val")
        config.classes = ["cat", "dog"]
        assert len(build_box_dataset(config, "val")) == 3

    def test_a_bitmap_that_claims_much(self, config, tmp_path, monkeypatch):
        monkeypatch.setattr(supervisely, "_MOST_BYTES", 1000)
        packed = bitmap("cat", BITMAP, (0, 0))
        packed["bitmap"]["data"] = base64.b64encode(zlib.compress(bytes(10_000))).decode()
        save_supervisely(tmp_path / "val/ann/a.jpg.json", [packed])
        with pytest.raises(DataError, match=r"its bitmap can't be read \(it is too large\)"):
            build_box_dataset(config, "val")

    def test_no_such_folder_and_no_annotations(self, config, tmp_path):
        config.val = "test"
        with pytest.raises(
            UsageError, match=r"data.val=test: .*/test is not there; expected a folder with img and ann"
        ):
            build_box_dataset(config, "val")
        save_image(tmp_path / "test/img/a.jpg")
        with pytest.raises(UsageError, match=r"there are no .json files in .*/test/ann for images in .*/test/img"):
            build_box_dataset(config, "val")
