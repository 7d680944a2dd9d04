"""Files of annotations of single images are recognised, and the settings that are printed for them open them."""

from pathlib import Path

import pytest

from dcnrun.data.discover.folder import discover
from dcnrun.data.registry import open_box_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.discover.factories import only, opened
from tests.data.factories import (
    drawn,
    labelme_tree,
    save_image,
    save_labelme,
    save_yolo,
    supervisely_tree,
    yolo_tree,
)

BOTH = ("train", "val")
LINE = "0 0.5 0.5 0.2 0.2"


class TestSupervisely:
    def test_a_project(self, tmp_path):
        reading = only(supervisely_tree(tmp_path / "x", ("train", "val", "test")).parent)
        assert reading.overrides == ["data=supervisely", f"data.root={tmp_path / 'x'}", "model=faster_rcnn"]
        assert reading.classes == ["dog", "cat"]
        assert reading.because.endswith("; not read: test")
        assert len(opened(reading, open_box_dataset, "val")) == 3

    @pytest.mark.parametrize(
        ("sets", "settings"),
        [
            (("ds",), ["data.train=ds", "data.val_share=0.2"]),
            (("training", "testing"), ["data.train=training", "data.val=testing"]),
            (("one", "two"), ["data.train=.", "data.val_share=0.2"]),
        ],
    )
    def test_other_names_of_data_sets(self, tmp_path, sets, settings):
        reading = only(supervisely_tree(tmp_path, sets))
        assert reading.overrides[3:] == settings
        assert all(len(opened(reading, open_box_dataset, split)) for split in BOTH)


class TestYolo:
    def test_the_tree_of_other_tests(self, tmp_path):
        for path in (yolo_tree(tmp_path), tmp_path / "data.yaml"):
            reading = only(path)
            assert (reading.format, reading.classes) == ("YOLO", ["cat", "dog"])
            assert reading.overrides == ["data=yolo", f"data.root={tmp_path}", "model=faster_rcnn"]
            assert len(opened(reading, open_box_dataset, "val")) == 4

    @pytest.mark.parametrize(
        ("val", "key", "more"),
        [
            ("valid", "val: ../valid/images", []),
            ("test", "test: ../test/images", ["data.val=test"]),
            ("train", "val: ../train/images", ["data.val_share=0.2"]),
            ("train", "", ["data.val_share=0.2"]),
        ],
    )
    def test_exports_of_roboflow(self, tmp_path, val, key, more):
        root = tmp_path / "it's [mine], ~all, ü\\"
        for seed, name in enumerate("abc"):
            save_yolo(root, f"train/images/{name}.png", LINE, seed=seed)
            save_yolo(root, f"{val}/images/{name}.png", LINE, seed=seed)
        (root / "data.yaml").write_text(f"train: ../train/images\n{key}\nnc: 1\nnames: ['a cat']\n")
        assert only(root).overrides[3:] == more
        assert opened(only(root), open_box_dataset, "val").classes == ("a cat",)
        assert len(opened(only(root), open_box_dataset, "val")) == (3 if val != "train" else 1)

    def test_images_to_test_on_without_labels_and_other_yamls(self, tmp_path):
        for root in (tmp_path / "one", tmp_path / "two"):
            for seed, name in enumerate("abc"):
                save_yolo(root, f"train/images/{name}.png", LINE, seed=seed)
            save_yolo(root, "test/images/d.png", seed=4)
            (root / "data.yaml").write_text("train: train/images\ntest: test/images\nnames: [cat]\n")
        reading = only(tmp_path)
        assert reading.overrides[-1] == "data.val_share=0.2"
        assert reading.because == "one/data.yaml with names; not read: two/data.yaml"

    def test_as_darknet_has_voc(self, tmp_path):
        for name in ("train", "val"):
            save_yolo(tmp_path, f"VOCdevkit/VOC2007/JPEGImages/{name}.png", seed=len(name))
            (tmp_path / f"2007_{name}.txt").write_text(f"/home/me/VOCdevkit/VOC2007/JPEGImages/{name}.png\n")
            (tmp_path / "VOCdevkit/VOC2007/labels").mkdir(exist_ok=True)
            (tmp_path / f"VOCdevkit/VOC2007/labels/{name}.txt").write_text(LINE)
        (tmp_path / "voc.data").write_text(
            "train = /home/me/2007_train.txt\nvalid = /home/me/2007_val.txt\nnames = voc.names\n"
        )
        (tmp_path / "voc.names").write_text("cat\n")
        assert only(tmp_path).classes == ["cat"]
        assert [opened(only(tmp_path), open_box_dataset, split)[0]["labels"].tolist() for split in BOTH] == [[0], [0]]

    def test_a_damaged_file_of_classes_is_left_to_the_check(self, tmp_path):
        save_yolo(tmp_path, "images/a.png", LINE)
        (tmp_path / "classes.txt").write_bytes("狗".encode("gbk"))
        assert only(tmp_path).classes == []
        with pytest.raises(DataError, match=r"classes.txt: can't be read .*; expected a text file in UTF-8"):
            opened(only(tmp_path), open_box_dataset)

    @pytest.mark.parametrize("form", ["NAME.png", "images/NAME.png", "obj_train_data/NAME.png"])
    def test_without_a_yaml(self, tmp_path, form):
        for number, name in enumerate("abc"):
            save_yolo(tmp_path, form.replace("NAME", name), f"{number} 0.5 0.5 0.2 0.2", seed=number)
        reading = only(tmp_path)
        assert reading.overrides[3:] == ["data.classes=[class_0,class_1,class_2]", "data.val_share=0.2"]
        assert len(opened(reading, open_box_dataset, "train")) == 2
        (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
        assert only(tmp_path).overrides[3:] == ["data.val_share=0.2"]
        assert only(tmp_path).classes == ["ant", "bee", "cat"]

    @pytest.mark.parametrize("form", ["VisDrone2019-DET-{}/images/{}.png", "images/{}2017/{}.png"])
    def test_without_a_yaml_in_folders_of_splits(self, tmp_path, form):
        for split in ("train", "val", "test-dev"):
            for number in range(2):
                save_yolo(tmp_path, form.format(split, f"{split}{number}"), LINE, seed=number)
        reading = only(tmp_path)
        folders = [str(Path(form.format(split, "x")).parent) for split in ("train", "val")]
        assert reading.overrides[4:] == [f"data.train={folders[0]}", f"data.val={folders[1]}"]
        for split in ("train", "val"):
            dataset = opened(reading, open_box_dataset, split)
            assert [Path(dataset.name(index)).stem for index in range(2)] == [f"{split}0", f"{split}1"]

    def test_a_yaml_of_another_name_in_a_folder(self, tmp_path):
        yolo_tree(tmp_path / "deep")
        (tmp_path / "deep/data.yaml").rename(tmp_path / "deep/coco8.yaml")
        reading = only(tmp_path)
        assert reading.overrides[1:] == [f"data.root={tmp_path}/deep", "model=faster_rcnn", "data.yaml=coco8.yaml"]
        assert len(opened(reading, open_box_dataset)) == 2

    def test_names_in_capitals(self, tmp_path):
        save_yolo(tmp_path, "images/Train/a.png", LINE)
        save_yolo(tmp_path, "images/Validation/b.png", LINE, seed=1)
        (tmp_path / "data.yaml").write_text("Train: Train.txt\nValidation: Validation.txt\nnames: [cat]\n")
        for split, name in (("Train", "a"), ("Validation", "b")):
            (tmp_path / f"{split}.txt").write_text(f"data/images/{split}/{name}.png\n")
        reading = only(tmp_path)
        assert [opened(reading, open_box_dataset, split).name(0)[-5] for split in ("train", "val")] == ["a", "b"]

    def test_text_that_is_no_label(self, tmp_path):
        save_image(tmp_path / "a.png")
        (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.2\nthis is a cat\n")
        with pytest.raises(UsageError, match=r"no data set was recognised"):
            discover(tmp_path)


class TestLabelme:
    def test_the_tree_of_other_tests(self, tmp_path):
        reading = only(labelme_tree(tmp_path))
        assert (reading.format, reading.classes) == ("labelme", ["cat", "dog"])
        assert reading.overrides == ["data=labelme", f"data.root={tmp_path}", "model=faster_rcnn"]
        assert len(opened(reading, open_box_dataset, "val")) == 3

    @pytest.mark.parametrize(
        ("folders", "more"),
        [
            ([""], ["data.train=.", "data.val_share=0.2"]),
            (["labels"], ["data.train=labels", "data.val_share=0.2"]),
            (["one", "two"], ["data.train=.", "data.val_share=0.2"]),
            (["training", "test"], ["data.train=training", "data.val=test"]),
        ],
    )
    def test_folders(self, tmp_path, folders, more):
        for folder in folders:
            for seed, name in enumerate("ab"):
                save_labelme(tmp_path / folder, f"{name}.json", drawn("cat", [[1, 1], [9, 9]], "rectangle"), seed=seed)
        reading = only(tmp_path)
        assert reading.overrides[3:] == more
        assert len(opened(reading, open_box_dataset, "val")) > 0
