"""Folders with files of annotations are recognised, and the settings that are printed for them open them."""

import json
import re
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.data.discover.folder import discover
from dcnrun.data.registry import open_box_dataset, open_dataset, open_instance_dataset
from dcnrun.data.sample import IGNORE
from dcnrun.errors import DataError, UsageError
from tests.data.discover.factories import only, opened
from tests.data.factories import (
    annotation,
    coco_tree,
    drawn,
    labelme_tree,
    panoptic_segments,
    panoptic_tree,
    save_image,
    save_image_set,
    save_labelme,
    save_voc_image,
    save_yolo,
    supervisely_tree,
    voc_boxes_tree,
    voc_object,
    yolo_tree,
)

BOTH = ("train", "val")
LINE = "0 0.5 0.5 0.2 0.2"


def save_coco(file, names, categories=("cat", "dog")):
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": n, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(names)]
    listed = [{"id": n, "name": name} for n, name in enumerate(categories, start=1)]
    annotations = [annotation(n, n, 1 + n % len(categories), [1, 2, 10 + n, 11]) for n in range(len(names))]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": listed}))


class TestCoco:
    @pytest.mark.parametrize(
        ("train", "val", "train_images", "val_images"),
        [
            ("annotations/instances_train.json", "annotations/instances_val.json", "images/train", "images/val"),
            ("train/_annotations.coco.json", "valid/_annotations.coco.json", "train", "valid"),
            ("a/instances_train2017.json", "a/instances_val2017.json", "train2017", "val2017"),
            ("train.json", "test.json", "pictures", "pictures"),
            ("one/x_train.json", "two/y_val.json", "pictures", "pictures"),
        ],
    )
    def test_two_files(self, tmp_path, train, val, train_images, val_images):
        root = tmp_path / "it's [mine], ~all, ü\\"
        for file, folder, names in ((train, train_images, ["a.png", "b.png"]), (val, val_images, ["c.png"])):
            save_coco(root / file, names)
            for name in names:
                save_image(root / folder / name)
        reading = only(root)
        assert (reading.format, reading.classes) == ("COCO", ["cat", "dog"])
        for split, folder, names in (("train", train_images, ["a.png", "b.png"]), ("val", val_images, ["c.png"])):
            dataset = opened(reading, open_box_dataset, split)
            assert [dataset.file(index) for index in range(len(dataset))] == [root / folder / name for name in names]

    def test_images_in_several_folders(self, tmp_path):
        """As in Cityscapes, whose JSON has their names alone; LVIS's has their addresses alone."""
        for split in ("train", "val"):
            names = [f"{city}_{split}.png" for city in ("aachen", "bonn")]
            for name in names:
                save_image(tmp_path / f"c/leftImg8bit/{split}/{name.split('_')[0]}/{name}")
                save_image(tmp_path / f"l/{split}2017/{name}")
            save_coco(tmp_path / f"c/annotations/gtFine_{split}.json", names)
            listed = tmp_path / f"l/lvis_v1_{split}.json"
            save_coco(listed, names)
            text = re.sub('"file_name": "', f'"coco_url": "http://images/{split}2017/', listed.read_text())
            listed.write_text(text)
        for folder, images in (("c", "leftImg8bit/SPLIT"), ("l", ".")):
            reading = only(tmp_path / folder)
            assert f"data.images={images}" in reading.overrides
            for split in ("train", "val"):
                dataset = opened(reading, open_box_dataset, split)
                assert [dataset.file(index).stem for index in range(2)] == [f"aachen_{split}", f"bonn_{split}"]

    def test_one_file_is_shared(self, tmp_path):
        save_coco(tmp_path / "annotations/instances_default.json", ["a.png", "b.png", "c.png"])
        for name in "abc":
            save_image(tmp_path / f"images/{name}.png")
        for path in (tmp_path, tmp_path / "annotations/instances_default.json"):
            assert "data.val_share=0.2" in only(path).overrides
            assert "data.train=annotations/instances_default.json" in only(path).overrides
            assert len(opened(only(path), open_box_dataset)) > 0

    def test_of_several_folds_both_files_are_of_one(self, tmp_path):
        for name, images in (("0_train", "ab"), ("0_val", "c"), ("1_train", "a"), ("1_val", "bc")):
            save_coco(tmp_path / f"fold_{name}.json", [f"{image}.png" for image in images])
        for image in "abc":
            save_image(tmp_path / f"images/{image}.png")
        assert "data.annotations=fold_0_SPLIT.json" in only(tmp_path).overrides

    def test_images_to_test_on_without_annotations_and_other_files(self, tmp_path):
        for name in ("train", "test"):
            save_coco(tmp_path / f"{name}.json", [f"{name}_{letter}.png" for letter in "abc"])
        document = json.loads((tmp_path / "test.json").read_text())
        assert "data.val=test" in only(tmp_path).overrides
        (tmp_path / "test.json").write_text(json.dumps(document | {"annotations": []}))
        save_coco(tmp_path / "part2.json", ["d.png"])
        reading = only(tmp_path)
        assert "data.val_share=0.2" in reading.overrides
        assert reading.because == "train.json with images, annotations and categories; not read: part2.json"

    def test_a_damaged_file_of_one_split_is_not_passed_over(self, tmp_path):
        for split, image in (("train", "a.png"), ("val", "b.png")):
            save_coco(tmp_path / f"{split}.json", [image])
            save_image(tmp_path / split / image)
        whole = only(tmp_path).overrides
        for split in BOTH:
            file = tmp_path / f"{split}.json"
            content = file.read_text()
            file.write_text(content[:90])
            assert only(tmp_path).overrides == whole
            with pytest.raises(DataError, match=f"{split}.json: can't be read"):
                opened(only(tmp_path), open_box_dataset, split)
            file.write_text(content)

    def test_a_project_is_no_class_and_the_order_of_the_lists_does_not_matter(self, tmp_path):
        file = tmp_path / "train/_annotations.coco.json"
        save_coco(file, ["a.png"], ("cat", "dog"))
        document = json.loads(file.read_text())
        listed = [{"id": 0, "name": "cat", "supercategory": "none"}]
        listed += [entry | {"supercategory": "cat"} for entry in document["categories"]]
        long = [entry | {"attributes": "x" * 70_000} for entry in document["annotations"]]
        file.write_text(json.dumps({"annotations": long, "categories": listed, "images": document["images"]}))
        save_image(tmp_path / "train/a.png")
        assert only(tmp_path).classes == ["cat", "dog"]

    def test_addresses_of_a_server(self, tmp_path):
        save_coco(tmp_path / "result.json", ["/data/local-files/?d=set%2Fa%20b.png", "/data/upload/1/0a1b2c3d-c.png"])
        for name in ("a b.png", "c.png"):
            save_image(tmp_path / "pictures" / name)
        assert "data.images=pictures" in only(tmp_path).overrides
        assert len(opened(only(tmp_path), open_box_dataset)) == 1

    def test_paths_of_a_server(self, tmp_path):
        save_coco(tmp_path / "annotations/instances_train.json", ["../../srv/a.png"])
        save_image(tmp_path / "images/train/a.png")
        assert "data.images=images/train" in only(tmp_path).overrides

    def test_the_tree_of_other_tests(self, tmp_path):
        reading = only(coco_tree(tmp_path))
        assert sorted(reading.classes) == ["apple", "zebra"]
        assert len(opened(reading, open_box_dataset, "val")) == 3

    def test_files_of_other_tasks_are_passed_over(self, tmp_path):
        """As datumaro writes all tasks of one set: sizes of images without classes, panoptic masks."""
        save_coco(tmp_path / "annotations/instances_default.json", ["a.png", "b.png"])
        whole = json.loads((tmp_path / "annotations/instances_default.json").read_text())
        panoptic = [{"image_id": n, "file_name": f"{n}.png", "segments_info": []} for n in range(2)]
        for name, more in (("image_info", {"categories": []}), ("a_panoptic", {"annotations": panoptic})):
            (tmp_path / f"annotations/{name}_default.json").write_text(json.dumps(whole | more))
        for name in "ab":
            save_image(tmp_path / f"images/default/{name}.png")
        reading = only(tmp_path)
        assert {"data.train=annotations/instances_default.json", "data.val_share=0.2"} < set(reading.overrides)
        (tmp_path / "annotations/instances_default.json").unlink()
        with pytest.raises(
            UsageError, match=r"panoptic_default.json is COCO's panoptic JSON, which is not read; for that its pictures"
        ):
            discover(tmp_path)

    @pytest.mark.parametrize("images", ["images/{}", "images/{} set"])
    def test_capitals_and_images_in_other_folders(self, tmp_path, images):
        for split, name in (("Train", "a"), ("Validation", "b")):
            save_coco(tmp_path / f"annotations/instances_{split}.json", [f"{name}.png"])
            save_image(tmp_path / images.format(split if images == "images/{}" else split.lower()) / f"{name}.png")
        reading = only(tmp_path)
        assert [opened(reading, open_box_dataset, split).name(0)[-5:] for split in ("train", "val")] == [
            "a.png",
            "b.png",
        ]


class TestPanoptic:
    def test_two_files(self, tmp_path):
        reading = only(panoptic_tree(tmp_path))
        assert reading.overrides == ["data=panoptic", f"data.root={tmp_path}", "model=deeplab"]
        assert reading.classes == ["cat", "dog", "sky"]
        assert len(opened(reading, open_dataset, "val")) == 3
        assert len(opened(reading, open_instance_dataset, "val")) == 3

    def test_coco_2017_as_it_is_unpacked(self, tmp_path):
        panoptic_tree(tmp_path)
        for split in BOTH:
            for place in (split, f"annotations/panoptic_{split}", f"annotations/panoptic_{split}.json"):
                (tmp_path / place).rename(tmp_path / place.replace(split, f"{split}2017"))
            save_coco(tmp_path / f"annotations/instances_{split}2017.json", [f"{split}_7.jpg"])
        objects, reading = discover(tmp_path)
        assert objects.format == "COCO"
        assert reading.overrides[3:] == [
            "data.annotations=annotations/panoptic_SPLIT2017.json",
            "data.images=SPLIT2017",
            "data.masks=annotations/panoptic_SPLIT2017",
        ]
        assert [opened(reading, open_dataset, split).name(0) for split in BOTH] == ["train_7.jpg", "val_7.jpg"]

    @pytest.mark.parametrize(("images", "splits"), [("{}/images", BOTH), ("images", ["default"])])
    def test_pictures_with_the_names_of_their_images(self, tmp_path, images, splits):
        """As in Mapillary Vistas; or one file without a split."""
        panoptic_tree(tmp_path / "x", splits)
        for split in splits:
            folder = tmp_path / images.format(split)
            folder.mkdir(parents=True)
            for file in (tmp_path / "x" / split).iterdir():
                Image.open(file).save(folder / f"{file.stem}.png")
            (tmp_path / "x/annotations" / f"panoptic_{split}").rename(folder.parent / "panoptic")
            document = json.loads(
                (tmp_path / f"x/annotations/panoptic_{split}.json").read_text().replace(".jpg", ".png")
            )
            (folder.parent / "panoptic/panoptic_2018.json").write_text(json.dumps(document))
        rmtree(tmp_path / "x")
        reading = only(tmp_path)
        assert ("data.val_share=0.2" in reading.overrides) == (splits != BOTH)
        ids, _ = panoptic_segments(7)
        assert np.array_equal(opened(reading, open_dataset)[0]["mask"] == IGNORE, ids == 0)


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


class TestVoc:
    def test_image_sets(self, tmp_path):
        reading = only(voc_boxes_tree(tmp_path))
        assert {"data.train=[VOC2007/trainval,VOC2012/trainval]", "data.val=[VOC2007/test]"} < set(reading.overrides)
        assert [len(opened(reading, open_box_dataset, split)) for split in BOTH] == [4, 3]

    def test_image_sets_to_test_on_in_a_folder_of_their_own(self, tmp_path):
        """As two archives of VOC 2007 are unpacked: what is validated on is of the folder that is trained on."""
        for folder, names in (("a_test/VOCdevkit/VOC2007", ["test"]), ("b/VOCdevkit/VOC2007", ["train", "val"])):
            for name in names:
                save_voc_image(tmp_path / folder, name, voc_object("cat", (1, 1, 9, 9)))
                save_image_set(tmp_path / folder, name, name)
        for val in ("b/VOCdevkit/VOC2007/val", "a_test/VOCdevkit/VOC2007/test"):
            reading = only(tmp_path)
            assert reading.overrides[-1] == f"data.val=[{val}]"
            assert opened(reading, open_box_dataset).name(0) == "train"
            assert len(opened(reading, open_box_dataset, "val")) == 1
            (tmp_path / "b/VOCdevkit/VOC2007/ImageSets/Main/val.txt").unlink(missing_ok=True)

    def test_annotations_and_images_in_two_folders_each(self, tmp_path):
        """As in DIOR, whose oriented boxes have names of their own."""
        for number, (name, split) in enumerate((("a", "train"), ("b", "val"), ("c", "test"))):
            save_image(tmp_path / f"JPEGImages-{'test' if split == 'test' else 'trainval'}/{name}.jpg", seed=number)
            save_voc_image(tmp_path / "x", name, voc_object("cat", (1, 1, 9, 9)))
            for kind, box in (("Horizontal", "bndbox"), ("Oriented", "robndbox")):
                folder = tmp_path / f"Annotations/{kind} Bounding Boxes"
                folder.mkdir(parents=True, exist_ok=True)
                text = (tmp_path / f"x/Annotations/{name}.xml").read_text()
                (folder / f"{name}.xml").write_text(text.replace("bndbox", box))
            save_image_set(tmp_path, split, name)
        rmtree(tmp_path / "x")
        reading = only(tmp_path)
        assert reading.overrides[3:] == ["data.classes=[cat]", "data.train=[train]", "data.val=[val]"]
        for split, name in (("train", "a"), ("val", "b")):
            dataset = opened(reading, open_box_dataset, split)
            assert [dataset.name(0), len(dataset[0]["boxes"])] == [name, 1]

    def test_the_folder_itself_and_lists_beside_the_one(self, tmp_path):
        folder = tmp_path / "set"
        for name in "ab":
            save_voc_image(folder, name, voc_object("cat", (1, 1, 9, 9)))
        for name, image in (("train", "a"), ("train_files", "a.jpg"), ("cat_train", "a"), ("val", "b"), ("val_x", "b")):
            save_image_set(folder, name, image)
        reading = only(folder)
        assert {"data.train=[train]", "data.val=[val]", "data.classes=[cat]"} < set(reading.overrides)
        assert opened(reading, open_box_dataset, "val").name(0) == "b"

    def test_images_to_test_on_without_annotations(self, tmp_path):
        for name in ("a", "b", "c"):
            save_voc_image(tmp_path, name, voc_object("cat", (1, 1, 9, 9)))
        save_image_set(tmp_path, "trainval", "a", "b")
        save_image_set(tmp_path, "test", "c")
        assert only(tmp_path).overrides[-1] == "data.val=[test]"
        (tmp_path / "Annotations/c.xml").unlink()
        assert only(tmp_path).overrides[-2:] == ["data.train=[trainval]", "data.val_share=0.2"]

    def test_an_object_without_a_box_is_left_to_the_check(self, tmp_path):
        polygon = "<object><name>cat</name><polygon><x1>1</x1><y1>1</y1></polygon></object>"
        save_voc_image(tmp_path, "a", voc_object("cat", (1, 1, 9, 9)), polygon)
        (flaw,) = opened(only(tmp_path), open_box_dataset).flaws
        assert "object 2 ('cat'): its xmin is ''" in str(flaw)

    @pytest.mark.parametrize(
        ("annotations", "images", "entry"),
        [
            ("{}", "{}", "{}"),
            ("{}/annotations", "{}/images", "{}"),
            ("Annotations/My {}", "Images/My {}", "My {}"),
            ("my set/{}_zip/{}", "my set/{}_zip/{}", "my set/{}_zip/{}"),
        ],
    )
    def test_folders_of_a_split(self, tmp_path, annotations, images, entry):
        """Every class of the training images is found, and no other."""
        names = {"Train": [f"{number:02}" for number in range(60)], "valid": ["x"], "test": ["y"]}
        for split, stems in names.items():
            for number, stem in enumerate(stems):
                marks = voc_object("late" if number == 59 else "cat" if split == "Train" else "other", (1, 1, 9, 9))
                file = tmp_path / annotations.replace("{}", split) / f"{stem}.xml"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"<annotation>{marks}</annotation>")
                image = tmp_path / images.replace("{}", split) / f"{stem}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                image.touch()
        reading = only(tmp_path)
        assert (reading.format, reading.classes) == ("Pascal VOC without ImageSets", ["cat", "late"])
        config = compose(reading.overrides).data
        assert (config.train, config.val) == ([entry.replace("{}", "Train")], [entry.replace("{}", "valid")])
        assert len(open_box_dataset(config, "train")) == 60

    @pytest.mark.parametrize("annotations", [".", "Annotations", "set/xml", "dogs"])
    def test_one_folder_is_shared(self, tmp_path, annotations):
        for name in "abc":
            save_voc_image(tmp_path / "made", name, voc_object("cat", (1, 1, 9, 9)))
            save_image(tmp_path / annotations / f"{name}.png")
            (tmp_path / f"made/Annotations/{name}.xml").rename(tmp_path / annotations / f"{name}.xml")
        rmtree(tmp_path / "made")
        reading = only(tmp_path)
        assert {"data.train=[.]", "data.val_share=0.2"} < set(reading.overrides)
        assert [len(opened(reading, open_box_dataset, split)) for split in ("train", "val")] == [2, 1]

    def test_lists_that_belong_together(self, tmp_path):
        """The images of trainval are those of train and of val."""
        for name in "ab":
            save_voc_image(tmp_path, name, voc_object("cat", (1, 1, 9, 9)))
        for name, images in (("train", "a"), ("val", "b"), ("trainval", "ab"), ("test", "b")):
            save_image_set(tmp_path, name, *images)
        assert {"data.train=[train]", "data.val=[val]"} < set(only(tmp_path).overrides)

    def test_lists_beside_the_folders(self, tmp_path):
        for name in "ab":
            save_voc_image(tmp_path, name, voc_object("cat", (1, 1, 9, 9)))
        (tmp_path / "train.txt").write_text("JPEGImages/a.jpg\n")
        (tmp_path / "val.txt").write_text("b\n")
        (tmp_path / "classes.txt").write_text("cat\n")
        reading = only(tmp_path)
        assert {"data.train=[train.txt]", "data.val=[val.txt]"} < set(reading.overrides)
        assert opened(reading, open_box_dataset, "val").name(0) == "b"


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
