"""COCO's files are recognised, and the settings that are printed for them open them."""

import json
import re
from shutil import rmtree

import numpy as np
import pytest
from PIL import Image

from dcnrun.data.discover.folder import discover
from dcnrun.data.registry import open_box_dataset, open_dataset, open_instance_dataset
from dcnrun.data.sample import IGNORE
from dcnrun.errors import DataError, UsageError
from tests.data.discover.factories import only, opened
from tests.data.factories import (
    annotation,
    coco_tree,
    panoptic_segments,
    panoptic_tree,
    save_image,
)

BOTH = ("train", "val")


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
