"""Folders of masks are recognised, and the settings that are printed for them open them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dcnrun.data.discover.folder import discover
from dcnrun.data.registry import open_dataset, open_instance_dataset
from dcnrun.data.sample import IGNORE
from dcnrun.errors import DataError, UsageError
from tests.data.discover.factories import cells, only, opened
from tests.data.factories import (
    cityscapes_tree,
    folder_tree,
    labels,
    save_image,
    save_mask,
    voc_tree,
)


class TestMasks:
    def test_images_and_masks(self, tmp_path):
        reading = only(folder_tree(tmp_path, values=(0, 1, 2, 255)))
        assert reading.classes == ["background", "class1", "class2"]
        assert len(opened(reading, open_dataset, "val")) == 3
        assert reading.because.endswith("data.ignore_label=0 if it stands for nothing")

    def test_names_of_classes(self, tmp_path):
        folder_tree(tmp_path)
        (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:1,2,3::\n")
        assert only(tmp_path).classes == ["sky", "road"]

    @pytest.mark.parametrize("form", ["segmentation mask", "CamVid", "default"])
    def test_exports_of_cvat(self, tmp_path, form):
        """Masks in colours, with lists or folders, and the colours of the classes in a file of their own."""
        colours = np.array([[0, 0, 0], [250, 50, 83], [51, 221, 255]], np.uint8)
        for nth, name in enumerate("abcd"):
            split = {"default": "default"}.get(form, "val" if name == "d" else "train")
            image, mask = (
                (split, f"{split}annot") if form != "segmentation mask" else ("JPEGImages", "SegmentationClass")
            )
            save_image(tmp_path / image / f"{name}.jpg", seed=nth)
            (tmp_path / mask).mkdir(exist_ok=True)
            Image.fromarray(colours[labels(values=(0, 1, 2), seed=nth)]).save(tmp_path / mask / f"{name}.png")
        if form == "segmentation mask":
            (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
            (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb\nc\n")
            (tmp_path / "ImageSets/Segmentation/val.txt").write_text("d\n")
            (tmp_path / "labelmap.txt").write_text(
                "# label:color_rgb:parts:actions\nground:0,0,0::\ncat:250,50,83::\ndog:51,221,255::\n"
            )
        else:
            (tmp_path / "label_colors.txt").write_text("0 0 0 ground\n250 50 83 cat\n51 221 255 dog\n")
        reading = only(tmp_path)
        assert reading.classes == ["ground", "cat", "dog"]
        val = opened(reading, open_dataset, "val")
        seed = "abcd".index(val.name(0))
        assert (len(val), len(opened(reading, open_dataset, "train"))) == (1, 3)
        assert np.array_equal(val[0]["mask"], labels(values=(0, 1, 2), seed=seed))

    def test_names_in_a_table_of_roboflow(self, tmp_path):
        for split in ("train", "valid"):
            save_image(tmp_path / split / "a.jpg")
            save_mask(tmp_path / split / "a_mask.png", labels(values=(0, 1)))
            (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, ground\n1, cat\n")
        assert only(tmp_path).classes == ["ground", "cat"]

    @pytest.mark.parametrize("folders", [("data", "labels"), ("images_png", "masks_png"), ("img", "masks_machine")])
    def test_folders_of_fiftyone_loveda_and_supervisely(self, tmp_path, folders):
        for split in ("train", "val"):
            save_image(tmp_path / split / folders[0] / "a.png")
            save_mask(tmp_path / split / folders[1] / "a.png", labels())
        assert len(opened(only(tmp_path), open_dataset, "val")) == 1

    def test_other_names_of_folders(self, tmp_path):
        for split in ("training", "validation"):
            save_image(tmp_path / "img_dir" / split / "a.png")
            save_mask(tmp_path / "ann_dir" / split / "a.png", np.zeros((30, 40)))
        reading = only(tmp_path)
        assert {"data.images=img_dir", "data.masks=ann_dir", "data.train=training"} < set(reading.overrides)
        assert len(opened(reading, open_dataset, "val")) == 1

    def test_lists_of_names(self, tmp_path):
        for name in "ab":
            save_image(tmp_path / f"images/{name}.png")
            save_mask(tmp_path / f"masks/{name}.png", np.ones((30, 40)))
        (tmp_path / "train.txt").write_text("a\n")
        (tmp_path / "val.txt").write_text("b\n")
        assert len(opened(only(tmp_path), open_dataset, "val")) == 1

    def test_lists_of_pairs(self, tmp_path):
        for number in (1, 2):
            save_image(tmp_path / f"x/{number}.png", seed=number)
            save_mask(tmp_path / f"y/m{number}.png", labels())
        (tmp_path / "train.txt").write_text("x/1.png y/m1.png\n")
        (tmp_path / "val.txt").write_text("x/2.png y/m2.png\n")
        assert opened(only(tmp_path), open_dataset, "val").name(0) == "x/2"

    def test_side_by_side_and_not_shared_yet(self, tmp_path):
        for name in "ab":
            save_image(tmp_path / f"{name}.png")
            save_mask(tmp_path / f"{name}_mask.png", labels(values=(0, 255)))
        reading = only(tmp_path)
        assert "data.val_share=0.2" in reading.overrides
        assert opened(reading, open_dataset).settled == {"mask_values": [0, 255]}

    def test_the_split_first(self, tmp_path):
        for split in ("train", "val"):
            save_image(tmp_path / split / "images/a.png")
            save_mask(tmp_path / split / "masks/a.png", np.ones((30, 40)))
        reading = only(tmp_path)
        assert (reading.format, reading.classes) == ("folders of images and masks", ["background", "class1"])
        assert {"data.images=SPLIT/images", "data.masks=SPLIT/masks"} < set(reading.overrides)
        assert len(opened(reading, open_dataset, "val")) == 1

    def test_colours_are_counted(self, tmp_path):
        for name in "ab":
            save_image(tmp_path / f"images/train/{name}.png")
            save_image(tmp_path / f"masks/train/{name}.png", size=(2, 2))
        reading = only(tmp_path)
        assert len(reading.classes) == 4
        opened(reading, open_dataset).require_every_class()

    @pytest.mark.parametrize(
        ("values", "classes", "override"),
        [
            ((0, 255), ["background", "class1"], None),
            ((0, 128, 255), ["background", "class1", "class2"], "data.mask_values=[0,128,255]"),
            ((1, 2, 3), ["class1", "class2", "class3"], "data.ignore_label=0"),
        ],
    )
    def test_values_of_other_kinds(self, tmp_path, values, classes, override):
        reading = only(folder_tree(tmp_path, values=values))
        assert reading.classes == classes
        assert override is None or override in reading.overrides
        opened(reading, open_dataset).require_every_class()

    def test_known_sets(self, tmp_path):
        for tree, count in ((voc_tree, 21), (cityscapes_tree, 19)):
            reading = only(tree(tmp_path / tree.__name__))
            assert len(reading.classes) == count
            assert len(opened(reading, open_dataset, "train")) > 0


BOTH = ("train", "val")


PUBLIC_SETS = [
    # A set's name; its images and masks, {s} is a split, {f} a folder, {n} a number; splits; folders; the settings to be found.
    (
        "a2d2",
        "{f}_1450/camera/front/{f}_camera_front_{n}.png",
        "{f}_1450/label/front/{f}_label_front_{n}.png",
        "-",
        ("20180807", "20180810"),
        "images=*/camera/front masks=*/label/front train=. val_share=0.2",
    ),
    (
        "acdc",
        "rgb_anon/{f}/{s}/{f}{s}0/{n}_rgb_anon.png",
        "gt/{f}/{s}/{f}{s}0/{n}_gt_labelIds.png",
        BOTH,
        ("fog", "rain"),
        "images=rgb_anon/*/SPLIT/* masks=gt/*/SPLIT/*",
    ),
    (
        "ade20k",
        "images/{s}/ADE_{n}.jpg",
        "annotations/{s}/ADE_{n}.png",
        ("training", "validation"),
        "-",
        "masks=annotations train=training val=validation",
    ),
    (
        "bdd100k",
        "images/10k/{s}/{n}ab.jpg",
        "labels/sem_seg/masks/{s}/{n}ab.png",
        BOTH,
        "-",
        "images=images/10k/SPLIT masks=labels/sem_seg/masks/SPLIT",
    ),
    ("bdd100k of old", "seg/images/{s}/{n}ab.jpg", "seg/labels/{s}/{n}ab_train_id.png", BOTH, "-", "masks=labels"),
    (
        "busi",
        "D/{f}/{f} ({n}).png",
        "D/{f}/{f} ({n})_mask.png",
        "-",
        ("benign", "normal"),
        "images=D/* masks=D/* train=. val_share=0.2",
    ),
    (
        "cholecseg8k",
        "video{f}/video{f}_00080/frame_{n}_endo.png",
        "video{f}/video{f}_00080/frame_{n}_endo_mask.png",
        "-",
        ("01", "09"),
        "images=*/*_00080 masks=*/*_00080 train=. val_share=0.2",
    ),
    (
        "deepcrack",
        "{s}_img/{n}.jpg",
        "{s}_lab/{n}.png",
        ("train", "test"),
        "-",
        "images=SPLIT_img masks=SPLIT_lab val=test",
    ),
    (
        "drive",
        "{s}/images/2{n}_{s}.tif",
        "{s}/1st_manual/2{n}_manual1.gif",
        ("training", "test"),
        "-",
        "images=SPLIT/images masks=SPLIT/1st_manual train=training val=test",
    ),
    (
        "floodnet",
        "{s}/{s}-org-img/{n}.jpg",
        "{s}/{s}-label-img/{n}_lab.png",
        BOTH,
        "-",
        "images=SPLIT/SPLIT-org-img masks=SPLIT/SPLIT-label-img",
    ),
    ("glas", "{f}_{n}.bmp", "{f}_{n}_anno.bmp", "-", ("train", "testA"), "images=. masks=. train=. val_share=0.2"),
    (
        "idd",
        "leftImg8bit/{s}/{f}/{n}_leftImg8bit.png",
        "gtFine/{s}/{f}/{n}_gtFine_labelids.png",
        BOTH,
        "012",
        "images=leftImg8bit/SPLIT/* masks=gtFine/SPLIT/*",
    ),
    (
        "isaid",
        "{s}/images/images/P{n}.png",
        "{s}/Semantic_masks/images/P{n}_instance_color_RGB.png",
        BOTH,
        "-",
        "images=SPLIT/images/images masks=SPLIT/Semantic_masks/images",
    ),
    ("ksdd", "kos0{f}/Part{n}.jpg", "kos0{f}/Part{n}_label.bmp", "-", "123", "images=* masks=* train=. val_share=0.2"),
    ("ksdd2", "{s}/1000{n}.png", "{s}/1000{n}_GT.png", ("train", "test"), "-", "images=SPLIT masks=SPLIT val=test"),
    (
        "lip",
        "TrainVal_images/{s}_images/7_{n}.jpg",
        "TrainVal_parsing/{s}_segmentations/7_{n}.png",
        BOTH,
        "-",
        "images=TrainVal_images/SPLIT_images masks=TrainVal_parsing/SPLIT_segmentations",
    ),
    (
        "loveda",
        "{s}/{f}/images_png/{n}.png",
        "{s}/{f}/masks_png/{n}.png",
        ("Train", "Val"),
        ("Rural", "Urban"),
        "images=SPLIT/*/images_png masks=SPLIT/*/masks_png train=Train val=Val",
    ),
    (
        "mvtec",
        "bottle/test/{f}/{n}.png",
        "bottle/ground_truth/{f}/{n}_mask.png",
        "-",
        ("cut", "bent"),
        "images=bottle/test/* masks=bottle/ground_truth/* train=. val_share=0.2",
    ),
    (
        "rugd",
        "RUGD_frames/{f}/{f}_{n}.png",
        "RUGD_annotations/{f}/{f}_{n}.png",
        "-",
        ("creek", "park"),
        "images=RUGD_frames/* masks=RUGD_annotations/* train=. val_share=0.2",
    ),
    (
        "suim",
        "{s}/images/d_{n}_.jpg",
        "{s}/masks/d_{n}_.bmp",
        ("train_val", "TEST"),
        "-",
        "images=SPLIT/images masks=SPLIT/masks train=train_val val=TEST",
    ),
    (
        "tnbc",
        "Slide_0{f}/0{f}_{n}.png",
        "GT_0{f}/0{f}_{n}.png",
        "-",
        "1234",
        "images=Slide_* masks=GT_* train=. val_share=0.2",
    ),
    (
        "uavid",
        "uavid_{s}/{f}/Images/{n}.png",
        "uavid_{s}/{f}/Labels/{n}.png",
        BOTH,
        ("seq1", "seq2"),
        "images=uavid_SPLIT/*/Images masks=uavid_SPLIT/*/Labels",
    ),
    (
        "vistas",
        "{s}/images/{n}ab.jpg",
        "{s}/v2.0/labels/{n}ab.png",
        ("training", "validation"),
        "-",
        "images=SPLIT/images masks=SPLIT/v2.0/labels train=training val=validation",
    ),
]


class TestPublicSets:
    @pytest.mark.parametrize(
        ("images", "masks", "splits", "folders", "settings"),
        [row[1:] for row in PUBLIC_SETS],
        ids=[row[0] for row in PUBLIC_SETS],
    )
    def test_as_they_are_unpacked(self, tmp_path, images, masks, splits, folders, settings):
        expected = {split: [] for split in splits}
        for seed, (split, folder, number) in enumerate(itertools.product(splits, folders, range(4))):
            image, mask = (tmp_path / path.format(s=split, f=folder, n=number) for path in (images, masks))
            save_image(image, (16, 12), seed)
            save_mask(mask, np.repeat(labels((16, 3), (0, 1, 2), seed), 4, 0), "L")
            expected[split].append((image, mask))
        reading = only(tmp_path)
        found = [override.removeprefix("data.") for override in reading.overrides if "classes" not in override]
        assert " ".join(found[3:]) == settings
        datasets = [opened(reading, open_dataset, split) for split in ("train", "val")]
        pairs = [[(pair.image, pair.mask) for pair in dataset._pairs] for dataset in datasets]
        wanted = list(expected.values())
        if len(wanted) == 1:
            pairs = [pairs[0] + pairs[1]]
        assert [sorted(each) for each in pairs] == [sorted(each) for each in wanted]

    def test_the_field_of_view_is_no_class(self, tmp_path):
        """In DRIVE as Kaggle has it, the test images have no other masks."""
        row, column = np.mgrid[:12, :16]
        for split in ("training", "test"):
            for number in range(3):
                save_image(tmp_path / f"{split}/images/2{number}_{split}.tif", (16, 12), number)
                view = 255 * ((row - 6) ** 2 + (column - 8) ** 2 < 30)
                save_mask(tmp_path / f"{split}/mask/2{number}_{split}_mask.gif", view, "L")
        assert "nearly the same in all" in only(tmp_path).because
        for number in range(3):
            save_mask(tmp_path / f"training/1st_manual/2{number}_manual1.gif", 255 * labels((16, 12), seed=number), "L")
        reading = only(tmp_path)
        assert reading.overrides[4:] == [
            "data.images=SPLIT/images",
            "data.masks=SPLIT/1st_manual",
            "data.train=training",
            "data.val_share=0.2",
        ]

    @pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
    def test_images_without_masks_are_named(self, tmp_path, layout):
        for split in ("train", "val", "Test"):
            for number in range(3):
                save_image(tmp_path / layout.format(split) / f"{number}.png", (16, 12), number)
        for number in range(3):
            save_mask(
                tmp_path / layout.replace("images", "masks").format("train") / f"{number}.png",
                labels((16, 12), (0, 1), number),
                "L",
            )
        reading = only(tmp_path)
        assert (
            f"; images in {layout.format('Test')}, {layout.format('val')} have no masks, and are not read"
            in reading.because
        )
        assert "data.val_share=0.2" in reading.overrides

    def test_other_folders_are_named(self, tmp_path):
        for folder, count in (("test/cut", 3), ("train/good", 3), ("test/bent", 3)):
            for number in range(count):
                save_image(tmp_path / f"bottle/{folder}/{number}.png", (16, 12), number)
                if "good" not in folder:
                    save_mask(
                        tmp_path / f"bottle/ground_truth/{folder[5:]}/{number}_mask.png",
                        labels((16, 12), seed=number),
                        "L",
                    )
        assert only(tmp_path).because.endswith("; not read: bottle/train/good")

    def test_a_table_of_names_and_colours(self, tmp_path):
        """As CamVid, DeepGlobe and others have it on Kaggle; masks are of its colours, or of the numbers of its rows."""
        colours = {"Sky": (128, 128, 128), "Road, wet": None, "Road": (128, 64, 128), "Void": (0, 0, 0)}
        rows = [f"{name}, {', '.join(map(str, colour))}\n" for name, colour in colours.items() if colour]
        for split in BOTH:
            for number in range(3):
                save_image(tmp_path / f"c/{split}/{number}.png", (16, 12), number)
                values = labels((16, 12), (0, 1, 2), number)
                (tmp_path / f"c/{split}_labels").mkdir(exist_ok=True)
                Image.fromarray(np.array([(128, 128, 128), (128, 64, 128), (0, 0, 0)], np.uint8)[values]).save(
                    tmp_path / f"c/{split}_labels/{number}_L.png"
                )
                save_image(tmp_path / f"n/images/{split}/{number}.png", (16, 12), number)
                save_mask(tmp_path / f"n/masks/{split}/{number}.png", values, "L")
        for file in (tmp_path / "c/class_dict.csv", tmp_path / "n/more/class_dict_seg.csv"):
            file.parent.mkdir(exist_ok=True)
            file.write_text("name, r, g, b\n" + "".join(rows))
        coloured, numbered = only(tmp_path / "c"), only(tmp_path / "n")
        assert (coloured.classes, numbered.classes) == (["Sky", "Road"], ["Sky", "Road", "Void"])
        assert "data.labelmap=class_dict.csv" in coloured.overrides
        ignored = opened(coloured, open_dataset)[0]["mask"]
        assert np.array_equal(ignored == IGNORE, labels((16, 12), (0, 1, 2), 0) == 2)
        opened(numbered, open_dataset).require_every_class()

    def test_pictures_of_panoptic_segments_are_no_masks_of_classes(self, tmp_path):
        for number in range(3):
            save_image(tmp_path / f"val2017/{number}.jpg", (16, 12), number)
            save_mask(tmp_path / f"annotations/panoptic_val2017/{number}.png", labels((16, 12), (0, 1, 2), number))
        segments = {"images": [], "annotations": [{"segments_info": []}], "categories": []}
        (tmp_path / "annotations/panoptic_val2017.json").write_text(json.dumps(segments))
        with pytest.raises(UsageError, match="COCO's panoptic JSON, which is not read"):
            discover(tmp_path)


class TestLists:
    """The split that a data set is published with, wherever its lists are."""

    @pytest.mark.parametrize(
        ("image", "mask", "lists", "settings"),
        [
            (
                "images/C{}.jpg",
                "annotations/C{}.png",
                "imagesLists/{}.txt",
                "masks=annotations train=imagesLists/train.txt val=imagesLists/val.txt",
            ),
            (
                "imgs/{}_img.jpg",
                "gts/{}_gt.png",
                "splits/{}.txt",
                "images=imgs masks=gts train=splits/train.txt val=splits/val.txt",
            ),
            (
                "output/M-{}_0.jpg",
                "output/M-{}_0_m.png",
                "{}.txt",
                "images=output masks=output train=train.txt val=val.txt",
            ),
            (
                "JPEGImages/2008_{}.jpg",
                "SegmentationClassContext/2008_{}.png",
                "ImageSets/SegmentationContext/{}.txt",
                "images=JPEGImages masks=SegmentationClassContext train=ImageSets/SegmentationContext/train.txt val=ImageSets/SegmentationContext/val.txt",
            ),
        ],
        ids=["coco-stuff 10k", "mmsegmentation", "landcover.ai", "pascal context"],
    )
    def test_as_they_are_published(self, tmp_path, image, mask, lists, settings):
        names = {"train": "1234", "val": "56", "test": "78"}
        for seed, number in enumerate("12345678"):
            save_image(tmp_path / image.format(number), (16, 12), seed)
            save_mask(tmp_path / mask.format(number), labels((16, 12), (0, 1, 2), seed), "L")
        for split, numbers in names.items():
            file = tmp_path / lists.format(split)
            file.parent.mkdir(parents=True, exist_ok=True)
            stem = "{}" if "imgs" in image else Path(image).stem
            file.write_text("".join(f"{stem.format(number)}\n" for number in numbers))
        reading = only(tmp_path)
        found = [override.removeprefix("data.") for override in reading.overrides if "classes" not in override]
        assert " ".join(found[3:]) == settings
        for split in BOTH:
            dataset = opened(reading, open_dataset, split)
            assert [dataset.file(index) for index in range(len(dataset))] == [
                tmp_path / image.format(number) for number in names[split]
            ]

    def test_of_folders_that_a_star_stands_for(self, tmp_path):
        """As in OpenEarthMap, whose regions have folders of their own."""
        for seed, (region, number) in enumerate(itertools.product(("aachen", "bonn"), range(3))):
            save_image(tmp_path / f"x/{region}/images/{region}_{number}.tif", (16, 12), seed)
            save_mask(tmp_path / f"x/{region}/labels/{region}_{number}.tif", labels((16, 12), (0, 1, 2), seed), "L")
        (tmp_path / "x/train.txt").write_text("aachen_0.tif\nbonn_0.tif\nbonn_2.tif\n")
        (tmp_path / "x/val.txt").write_text("aachen_1.tif\n")
        reading = only(tmp_path)
        assert reading.overrides[4:] == [
            "data.images=x/*/images",
            "data.masks=x/*/labels",
            "data.train=x/train.txt",
            "data.val=x/val.txt",
        ]
        train = opened(reading, open_dataset)
        assert [train.name(index) for index in range(3)] == ["aachen/aachen_0", "bonn/bonn_0", "bonn/bonn_2"]
        assert np.array_equal(train[2]["mask"], labels((16, 12), (0, 1, 2), 5))
        assert opened(reading, open_dataset, "val").name(0) == "aachen/aachen_1"

    def test_of_other_names_are_named(self, tmp_path):
        for number in range(4):
            save_image(tmp_path / f"images/{number}.png", (16, 12), number)
            save_mask(tmp_path / f"masks/{number}.png", labels((16, 12), (0, 1, 2), number), "L")
        (tmp_path / "train.txt").write_text("somebody\nelse\n")
        reading = only(tmp_path)
        assert "; train.txt lists no names of these images, and is not used" in reading.because
        assert reading.overrides[-2:] == ["data.train=.", "data.val_share=0.2"]
        (tmp_path / "train.txt").write_text("0\n1\n2\nlost\n")
        with pytest.raises(DataError, match=r"1 of 4 names in .*train.txt have no image: lost"):
            opened(only(tmp_path), open_dataset)


class TestFoldersOfAnyNames:
    def test_splits_in_the_midst_of_names(self, tmp_path):
        """As in ISIC 2018."""
        for nth, split in enumerate(("Training", "Validation")):
            for number in range(3):
                name = f"ISIC_{nth}{number}"
                save_image(tmp_path / f"ISIC2018_Task1-2_{split}_Input/{name}.jpg", seed=10 * nth + number)
                inside = 255 * labels(seed=number)
                save_mask(tmp_path / f"ISIC2018_Task1_{split}_GroundTruth/{name}_segmentation.png", inside, "L")
        reading = only(tmp_path)
        assert [option for option in reading.overrides if "data.classes" not in option] == [
            "data=folder",
            f"data.root={tmp_path}",
            "model=deeplab",
            "data.images=ISIC2018_Task1-2_SPLIT_Input",
            "data.masks=ISIC2018_Task1_SPLIT_GroundTruth",
            "data.train=Training",
            "data.val=Validation",
        ]
        assert all(len(opened(reading, open_dataset, split)) == 3 for split in ("train", "val"))

    def test_kitti_as_cvat_writes_it(self, tmp_path):
        for number in range(5):
            save_image(tmp_path / f"default/image_2/{number}.png", seed=number)
            save_mask(tmp_path / f"default/instance/{number}.png", labels(values=range(9), seed=number), "L")
            save_mask(tmp_path / f"default/semantic/{number}.png", labels(seed=number), "L")
            save_mask(tmp_path / f"default/semantic_rgb/{number}.png", labels(seed=number))
        reading = discover(tmp_path)[0]
        assert reading.overrides[4:6] == ["data.images=default/image_2", "data.masks=default/semantic"]
        assert len(opened(reading, open_dataset)) == 4

    def test_cityscapes_as_cvat_writes_it(self, tmp_path):
        for number in range(5):
            save_image(tmp_path / f"imgsFine/leftImg8bit/default/{number}_leftImg8bit.png", seed=number)
            for kind, seed in (("color", 1), ("instanceIds", 2), ("labelIds", number)):
                save_mask(tmp_path / f"gtFine/default/{number}_gtFine_{kind}.png", labels(seed=seed), "L")
        reading = only(tmp_path)
        assert reading.overrides[4:6] == ["data.images=imgsFine/leftImg8bit/default", "data.masks=gtFine/default"]
        dataset = opened(reading, open_dataset)
        assert np.array_equal(dataset[0]["mask"], labels(seed=int(dataset.name(0)[0])))

    def test_without_a_split(self, tmp_path):
        for number in range(5):
            save_image(tmp_path / f"set/CameraRGB/{number}.png", seed=number)
            save_mask(tmp_path / f"set/CameraSeg/{number}.png", labels(seed=number))
        reading = only(tmp_path)
        assert reading.overrides[4:] == [
            "data.images=set/CameraRGB",
            "data.masks=set/CameraSeg",
            "data.train=.",
            "data.val_share=0.2",
        ]
        assert len(opened(reading, open_dataset)) == 4


class TestObjects:
    @pytest.mark.parametrize("folders", [("images", "masks"), ("rawimages", "groundtruth")])
    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    def test_label_images(self, tmp_path, folders, kind):
        images, masks = folders
        (tmp_path / masks).mkdir()
        for number in range(4):
            save_image(tmp_path / images / f"{number}.tif", (60, 60), seed=number)
            tifffile.imwrite(tmp_path / masks / f"{number}.tif", cells(12 + number).astype(kind))
        reading, *others = discover(tmp_path)
        assert reading.format == "label images, a number for each object"
        assert [other.format for other in others] == ["folders of images and masks"]
        assert reading.overrides[:3] == ["data=instance_masks", f"data.root={tmp_path}", "model=mask_rcnn"]
        train, val = (opened(reading, open_instance_dataset, split) for split in ("train", "val"))
        assert sorted(len(part[index]["boxes"]) for part in (train, val) for index in range(len(part))) == [
            12,
            13,
            14,
            15,
        ]

    def test_masks_beside_images_as_cellpose_writes_them(self, tmp_path):
        for number in range(3):
            save_image(tmp_path / f"{number}.png", (60, 60), seed=number)
            Image.fromarray(cells(20 + number)).save(tmp_path / f"{number}_cp_masks.png")
        assert len(opened(discover(tmp_path)[0], open_instance_dataset)) == 2

    def test_few_objects_may_be_classes(self, tmp_path):
        """As in Penn-Fudan."""
        for number in range(3):
            save_image(tmp_path / f"PNGImages/a{number}.png", (60, 60), seed=number)
            save_mask(tmp_path / f"PedMasks/a{number}_mask.png", cells(1 + number))
        assert [reading.overrides[0] for reading in discover(tmp_path)] == ["data=folder", "data=instance_masks"]
        assert len(opened(discover(tmp_path)[1], open_instance_dataset)) == 2
