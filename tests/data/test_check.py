"""`dcnrun data check`: all that is wrong is found in one go, all that is there is counted, samples are drawn."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.config.schema import BadBoxes, CocoConfig, Crowds, FolderConfig, ShapesConfig, VocConfig
from dcnrun.console import console
from dcnrun.data import build_box_dataset
from dcnrun.data.check import check_data
from dcnrun.data.shapes import ShapesDataset
from dcnrun.errors import ConfigError, RunError, UsageError
from tests.data.factories import (
    annotation,
    coco_tree,
    folder_tree,
    labels,
    load_json,
    save_image,
    save_image_set,
    save_json,
    save_mask,
    save_voc_image,
    voc_boxes_tree,
    voc_object,
)


def of_val(config, **options):
    return check_data(config, ["val"], **options)["splits"]["val"]


class TestWhatThereIs:
    def test_boxes(self, tmp_path):
        folder = tmp_path / "VOC2007"
        difficult = voc_object("dog", (1, 1, 10, 10), "<difficult>1</difficult>")
        save_voc_image(
            folder, "a", voc_object("cat", (1, 1, 31, 33)), voc_object("cat", (1, 1, 32, 32)), difficult, size=(200, 99)
        )
        save_voc_image(folder, "b", voc_object("cat", (1, 1, 96, 96)), size=(300, 100))
        save_voc_image(folder, "c", size=(100, 98))
        save_image_set(folder, "all", "a", "b", "c")
        sets = {"train": ["VOC2007/all"], "val": ["VOC2007/all"]}
        report = check_data(VocConfig(root=str(tmp_path), classes=["cat", "dog"], allow_overlap=True, **sets))
        assert (report["labels"], report["problems"]) == ("boxes", 0)
        for split in ("train", "val"):
            found = report["splits"][split]
            counts = {key: found[key] for key in ("images", "objects", "crowd_or_difficult", "images_without_objects")}
            assert counts == {"images": 3, "objects": 4, "crowd_or_difficult": 1, "images_without_objects": 1}
            assert (found["crowd"], found["difficult"]) == (0, 1)
            assert (found["small"], found["medium"], found["large"]) == (2, 1, 1)
            assert found["objects_of_class"] == {"cat": 3, "dog": 1}
            assert found["most_objects_in_an_image"] == 3
            assert found["image_widths"] == {"least": 100, "median": 200, "most": 300}
            assert found["image_heights"] == {"least": 98, "median": 99, "most": 100}

    def test_masks(self, tmp_path):
        save = folder_tree(tmp_path, splits=("train", "val"), names=("a",)) / "masks" / "val" / "a.png"
        values = np.zeros((30, 40), np.uint8)
        values[:3] = 1
        values[3:9] = 255
        save_mask(save, values)
        report = of_val(FolderConfig(root=str(tmp_path), classes=["no", "yes", "never"]))
        assert (report["problems"], report["notes"][-1]) == (0, "classes without a pixel: 'never': not in the score")
        assert report["ignored_pixels"] == pytest.approx(0.2)
        assert report["pixels_of_class"] == pytest.approx({"no": 0.7, "yes": 0.1, "never": 0})
        assert report["images_with_class"] == {"no": 1, "yes": 1, "never": 0}

    def test_either_label_of_shapes(self):
        config = ShapesConfig(train_images=4, val_images=3, workers=0)
        assert check_data(config)["labels"] == "masks"
        report = check_data(config, ["val"], labels="boxes")["splits"]["val"]
        dataset = build_box_dataset(config, "val")
        assert report["objects"] == sum(len(dataset[index]["labels"]) for index in range(3))
        with pytest.raises(UsageError, match=r"data.source=voc has no masks"):
            check_data(VocConfig(root="x"), labels="masks")

    def test_masks_of_objects(self, tmp_path):
        """A crowd, and an object of which only the box is known, are set aside."""
        root = coco_tree(tmp_path, splits=("val",))
        document = load_json(root, "val")
        document["annotations"].append(annotation(4, 7, 20, [20, 5, 10, 10]))
        save_json(root, "val", document)
        config = CocoConfig(root=str(root), crowds=Crowds.keep)
        report = of_val(config, labels="instances", out=tmp_path / "out")
        assert (report["objects"], report["crowd"], report["difficult"], report["problems"]) == (4, 1, 1, 0)
        assert any("1 of 4 objects have a box and no mask" in note for note in report["notes"])
        assert report["picture"].stat().st_size > 1000
        boxes = of_val(config, labels="boxes")
        assert (boxes["objects_with_mask"], boxes["objects_without_mask"]) == (3, 1)
        with pytest.raises(UsageError, match=r"data.source=voc has no masks of objects; choose data=shapes"):
            check_data(VocConfig(root="x"), labels="instances")

    @pytest.mark.parametrize("data", ["treecrowns", "nuclei", "nuclei_boxes"])
    def test_the_samples_that_ship_are_sound(self, data):
        assert check_data(compose([f"data={data}", "data.workers=0"]).data)["problems"] == 0

    def test_is_an_object_of_json(self, tmp_path):
        report = check_data(VocConfig(root=str(voc_boxes_tree(tmp_path))), out=tmp_path / "out", samples=1)
        json.dumps(report, default=str)


def test_boxes_beside_masks(tmp_path):
    """Those written as corners; an object of a pixel or two is rounded to what may be half of it."""
    for split in ("train", "val"):
        save_image(tmp_path / f"{split}/a.png", seed=len(split))
        boxes = [[4, 4, 10, 8], [4, 4, 14, 12], [4, 4, 10, 5], [4, 4, 1.4, 1.4]]
        outline = [[4, 4, 14, 4, 14, 12, 4, 12]]
        masks = [outline, outline, outline, [[4, 4, 5.4, 4, 5.4, 5.4, 4, 5.4]]]
        objects = [annotation(n, 1, 1, box, segmentation=masks[n]) for n, box in enumerate(boxes)]
        image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
        save_json(
            tmp_path, split, {"images": [image], "annotations": objects, "categories": [{"id": 1, "name": "cat"}]}
        )
    report = of_val(CocoConfig(root=str(tmp_path)))
    assert report["notes"] == [
        "1 of 4 objects with a mask have a box that shares less than half with the one around the mask: look at the pictures"
        " (COCO's bbox is [x, y, width, height])"
    ]
    assert report["problems"] == 0


def test_problems_of_a_file_that_both_splits_share_are_told_once(tmp_path):
    objects = [annotation(n, n, 1 + n % 2, [1, 1, 9, 0 if n == 2 else 9]) for n in range(4)]
    images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(4)]
    categories = [{"id": 1, "name": "Hot dog"}, {"id": 2, "name": "hot-dog"}]
    save_json(tmp_path, "train", {"images": images, "annotations": objects, "categories": categories})
    for n in range(4):
        save_image(tmp_path / f"train/{n}.png", seed=n)
    report = check_data(CocoConfig(root=str(tmp_path), val_share=0.5))
    assert report["problems"] == 1
    assert [report["splits"][split]["problems"] for split in ("train", "val")] == [1, 0]
    (note,) = (note for note in report["splits"]["train"]["notes"] if "spelt" in note)
    assert note == "classes of nearly the same name, which may be one spelt differently: 'Hot dog' and 'hot-dog'"


def test_classes_of_regions_to_be_ignored(tmp_path):
    """As converters write KITTI's and VisDrone's."""
    names = ["DontCare", "ignored regions", "car", "ignore", "careful", "ignoramus"]
    objects = [annotation(n, 1, n, [n, 1, 9, 9]) for n in range(6)]
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    categories = [{"id": n, "name": name} for n, name in enumerate(names)]
    save_json(tmp_path, "val", {"images": [image], "annotations": objects, "categories": categories})
    save_image(tmp_path / "val/a.png")
    (note,) = of_val(CocoConfig(root=str(tmp_path)))["notes"]
    assert "to be ignored: 'DontCare', 'ignored regions', 'ignore' (COCO" in note


class TestWithoutImages:
    """The report is that of a check with images, which finds more."""

    def test_the_report_is_the_same(self, tmp_path):
        config = CocoConfig(root=str(coco_tree(tmp_path)), bad_boxes=BadBoxes.warn)
        document = load_json(tmp_path, "train")
        document["annotations"] += [
            annotation(4, 5, 90, [1, 1, 3, 3], segmentation=[]),
            annotation(5, 5, 90, [50, 1, 3, 3], segmentation=[]),
        ]
        save_json(tmp_path, "train", document)
        whole, alone = (check_data(config, images=images) for images in (True, False))
        assert whole == alone
        assert whole["splits"]["train"]["objects_without_mask"] == 1
        document["annotations"].append(annotation(6, 5, 90, [2, 2, 3, 3], segmentation=[[2, 2, 3]]))
        save_json(tmp_path, "train", document)
        whole, alone = (check_data(config, images=images) for images in (True, False))
        assert whole == alone
        assert "1 mask can't be used" in whole["splits"]["train"]["notes"][-1]
        assert whole["problems"] == 1

    def test_no_image_is_opened(self, tmp_path, monkeypatch):
        monkeypatch.setattr("dcnrun.data.box_files.read_image", lambda *_: pytest.fail("an image was read"))
        config = VocConfig(root=str(voc_boxes_tree(tmp_path)))
        report = check_data(config, out=tmp_path / "out", images=False)
        assert report["splits"]["train"]["objects"] > 0
        assert not (tmp_path / "out").exists()

    def test_files_that_are_not_there_or_hold_the_same_are_named(self, tmp_path):
        root = coco_tree(tmp_path)
        (root / "val" / "val_7.png").write_bytes((root / "train" / "train_7.png").read_bytes())
        (root / "val" / "val_3.png").unlink()
        report = check_data(CocoConfig(root=str(root)), images=False)
        assert (report["problems"], report["images_in_both"]) == (2, 1)
        assert report["splits"]["val"]["first_problems"][-1] == f"{root}/val/val_3.png: no such file"

    @pytest.mark.parametrize("images", [True, False])
    def test_each_validation_image_counts_that_shows_what_a_training_image_shows(self, tmp_path, capsys, images):
        root = coco_tree(tmp_path)
        document = load_json(root, "val")
        document["images"][2]["width"] = document["images"][0]["width"]
        save_json(root, "val", document)
        for name in ("val_5.png", "val_7.png"):
            (root / "val" / name).write_bytes((root / "train" / "train_7.png").read_bytes())
        assert check_data(CocoConfig(root=str(root), workers=0), images=images)["images_in_both"] == 2
        said = capsys.readouterr().out
        assert all(f"'{name}' (there 'train_7.png')" in said for name in ("val_5.png", "val_7.png"))

    def test_labels_that_are_images_are_refused(self, tmp_path):
        with pytest.raises(UsageError, match=r"data.source=folder has no masks that can be checked without images"):
            check_data(FolderConfig(root=str(folder_tree(tmp_path)), classes=["no", "yes"]), images=False)


class TestWhatIsWrong:
    def test_everything_with_boxes_is_found_at_once(self, tmp_path):
        folder = voc_boxes_tree(tmp_path) / "VOCdevkit" / "VOC2007"
        empty, unknown = voc_object("cat", (5, 5, 2, 2)), voc_object("gnu", (1, 1, 4, 4))
        save_voc_image(folder, "empty", empty, unknown, voc_object("cat", (1, 1, 4, 4)))
        save_voc_image(folder, "turned", declared=(30, 40))
        save_voc_image(folder, "missing")
        (folder / "JPEGImages/missing.jpg").unlink()
        save_voc_image(folder, "damaged")
        (folder / "JPEGImages/damaged.jpg").write_bytes(b"no image")
        save_voc_image(folder, "no-xml")
        (folder / "Annotations/no-xml.xml").write_text("<annotation>")
        save_image_set(folder, "test", "empty", "turned", "missing", "damaged", "no-xml", "turned", "2007_test_0")
        for bad_boxes in BadBoxes:
            report = of_val(VocConfig(root=str(tmp_path), bad_boxes=bad_boxes, classes=["cat", "dog"]))
            problems = "\n".join(report["first_problems"])
            assert report["problems"] == len(report["first_problems"]) == 8
            for part in (
                "empty.xml: object 1 ('cat'): its box (4, 4, 2, 2) is inverted",
                "empty.xml: object 2 ('gnu'): it is none of the classes",
                "turned.jpg: the image is 40x30 when upright",
                "missing.jpg: no such file",
                "damaged.jpg: can't be read",
                "no-xml.xml: can't be read",
                "'turned' is the name of 2 images",
            ):
                assert part in problems, part
            assert (report["images"], report["objects"]) == (6, 3)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_everything_with_masks_is_found_at_once(self, tmp_path, workers):
        root = folder_tree(tmp_path, splits=("val",), names=("a", "b", "c", "d", "e"))
        (root / "masks/val/a.png").unlink()
        save_mask(root / "masks/val/b.png", labels(values=(7,)))
        save_mask(root / "masks/val/c.png", labels(size=(5, 5)))
        save_mask(root / "masks/val/d.png", labels(values=(255,)))
        report = of_val(FolderConfig(root=str(root), classes=["no", "yes"], workers=workers))
        assert (report["images"], report["problems"]) == (5, 4)
        for problem, part in zip(
            report["first_problems"],
            ("a.png: no such file", "b.png: label 7 ", "c.png: the mask is 5x5", "'d': every pixel"),
            strict=True,
        ):
            assert part in problem

    def test_masks_of_objects(self, tmp_path):
        root = coco_tree(tmp_path, splits=("val",))
        nothing = {"size": [30, 47], "counts": [30 * 47]}
        broken = [
            annotation(1, 7, 90, [1, 1, 3, 3], segmentation=nothing),
            annotation(2, 7, 90, [1, 2, 3, 3], segmentation="square"),
            annotation(3, 7, 20, [1, 1, 3, 3], segmentation=[]),
            annotation(4, 7, 20, [1, 1, 3, 4], segmentation=[[1, 1, 4, 1, 4, 5, 1, 5]]),
        ]
        save_json(root, "val", load_json(root, "val") | {"annotations": broken})
        report = of_val(CocoConfig(root=str(root)), labels="masks")
        assert "annotation 2 of 'val_7.png': its mask can't be used" in str(report["first_problems"])
        report = of_val(CocoConfig(root=str(root)))
        assert (report["problems"], report["objects"]) == (0, 4)  # training on boxes reads no masks
        assert "1 mask can't be used, which matters to training on masks alone: " in report["notes"][-1]
        assert "annotation 2 of 'val_7.png'" in report["notes"][-1]
        save_json(root, "val", load_json(root, "val") | {"annotations": [broken[0], *broken[2:]]})
        report = of_val(CocoConfig(root=str(root)))
        assert (report["objects"], report["objects_without_mask"]) == (3, 2)

    def test_objects_that_are_all_set_aside(self, tmp_path):
        root = coco_tree(tmp_path, splits=("val",))
        crowds = [
            annotation(1, 7, 90, [1, 1, 20, 3], iscrowd=1),
            annotation(2, 3, 20, [9, 9, 3, 3], iscrowd=1),
        ]
        save_json(root, "val", load_json(root, "val") | {"annotations": crowds})
        report = of_val(CocoConfig(root=str(root), crowds=Crowds.keep))
        assert (report["objects"], report["crowd"], report["difficult"]) == (2, 2, 0)
        assert report["problems"] == 1
        assert report["first_problems"][0].startswith("no object to learn from: all are crowds or difficult")

    def test_classes_that_no_object_has(self, tmp_path):
        report = check_data(VocConfig(root=str(voc_boxes_tree(tmp_path))))
        said = "classes without an object: 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle' and 13 more"
        assert report["problems"] == 1
        assert report["splits"]["train"]["first_problems"] == [said]
        assert f"{said}: not in the score" in report["splits"]["val"]["notes"]

    def test_masks_of_0_and_255(self, tmp_path):
        root = folder_tree(tmp_path, splits=("val",), names=("a",))
        save_mask(root / "masks/val/a.png", 255 * (np.arange(1200).reshape(30, 40) < 300))
        config = FolderConfig(root=str(root), classes=["background", "road"])
        report = of_val(config)
        assert (report["problems"], report["pixels_of_class"]) == (0, {"background": 0.75, "road": 0.25})
        assert report["notes"] == [
            "255 in 1 of the masks looked at, and no value but 0 beside it: it is 'road'"
            " (data.mask_values=[0,255] or data.ignore_label=255 forces either)"
        ]
        (problem,) = of_val(replace(config, ignore_label=255))["first_problems"]
        assert problem == (
            "classes without a pixel: 'road'; 25% of all pixels are ignored (data.ignore_label, data.mask_values)"
        )

    def test_the_first_are_listed_and_all_counted(self, tmp_path):
        save_voc_image(tmp_path / "VOC2007", "a", *[voc_object("cat", (5, 5, 1, 1))] * 99)
        save_image_set(tmp_path / "VOC2007", "test", "a")
        report = of_val(VocConfig(root=str(tmp_path)))
        assert (report["problems"], len(report["first_problems"])) == (100, 20)

    def test_a_file_without_which_there_is_nothing(self, tmp_path):
        root = coco_tree(tmp_path)
        (root / "annotations/instances_train.json").write_text("{")
        report = check_data(CocoConfig(root=str(root)))
        assert report["problems"] == 1
        assert "instances_train.json: can't be read" in report["splits"]["train"]["first_problems"][0]
        assert report["splits"]["val"]["images"] == 3

    def test_splits_with_different_classes(self, tmp_path):
        root = coco_tree(tmp_path)
        save_json(
            root, "val", load_json(root, "val") | {"categories": [{"id": 20, "name": "zebra"}, {"id": 90, "name": "a"}]}
        )
        assert check_data(CocoConfig(root=str(root)))["problems"] == 1

    def test_settings_and_layout(self, tmp_path):
        with pytest.raises(ConfigError, match=r"data.root=null"):
            check_data(VocConfig())
        with pytest.raises(UsageError, match=r"is not there"):
            check_data(VocConfig(root=str(tmp_path)))

    @pytest.mark.parametrize("name", ["[red]a[/red]", "[/b] $x$", "\x1b[31ma\x07", "дърво\u202e"])
    def test_names_are_printed_as_they_are_and_nothing_obeyed(self, tmp_path, name):
        root = coco_tree(tmp_path)
        for split in ("train", "val"):
            document = load_json(root, split)
            document["categories"][0]["name"] = name
            document["annotations"] += [annotation(9, 7, 90, [0, 0, 0, 0]), annotation(10, 7, 5, [0, 0, 1, 1])]
            document["images"][2]["file_name"] = f"{name}.png"
            save_json(root, split, document)
        with console.capture() as capture:
            report = check_data(CocoConfig(root=str(root)), out=tmp_path / "out")
        assert report["problems"] == 6
        shown = capture.get()
        assert "\x1b[31ma" not in shown
        assert "\x07" not in shown
        assert "\u202e" not in shown
        if name.isprintable():
            assert shown.count(f"{name} 2") == 2


class TestPictures:
    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_where_they_go_is_known_before_any_sample_is_read(self, tmp_path, monkeypatch, place):
        (tmp_path / "file").touch()
        monkeypatch.setattr(ShapesDataset, "__getitem__", lambda *_: pytest.fail("a sample was read"))
        with pytest.raises(UsageError, match=rf"--out {tmp_path}/{place} can't be made: "):
            check_data(ShapesConfig(workers=0), out=tmp_path / place)

    def test_that_can_not_be_written_are_one_clear_error(self, tmp_path):
        (tmp_path / "val.png").mkdir()
        with pytest.raises(RunError, match=r"Can't write .*val.png"):
            of_val(ShapesConfig(val_images=1, workers=0), out=tmp_path)

    def test_are_written_for_each_split(self, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            report = check_data(VocConfig(root=str(voc_boxes_tree(tmp_path))), out=tmp_path / "out", samples=2)
        for split in ("train", "val"):
            assert report["splits"][split]["picture"] == tmp_path / "out" / f"{split}.png"
            with Image.open(tmp_path / "out" / f"{split}.png") as picture:
                assert min(picture.size) > 300

    def test_none_where_none_are_wanted(self, tmp_path):
        report = of_val(ShapesConfig(val_images=2, workers=0), out=tmp_path / "out", samples=0)
        assert "picture" not in report
        assert not (tmp_path / "out").exists()
