"""Boxes in VOC's layout: the convention by answers known beforehand, and whatever can be wrong with the files."""

import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets.voc
from PIL import Image
from torchvision.datasets import VOCDetection

from dcnrun.config.compose import compose
from dcnrun.config.schema import BadBoxes, Source, VocConfig
from dcnrun.config.yaml_files import read_yaml
from dcnrun.data import build_box_dataset
from dcnrun.errors import DataError, UsageError
from dcnrun.resources import resource_dir
from tests.data.conformance import DatasetSuite
from tests.data.factories import save_image_set, save_voc_image, voc_boxes_tree, voc_object

TREECROWNS = Path(__file__).parents[1] / "fixtures" / "treecrowns"


class TestVoc0712(DatasetSuite):
    source = Source.voc

    @pytest.fixture
    def config(self, tmp_path):
        return VocConfig(root=str(voc_boxes_tree(tmp_path)), train=["VOC2007/trainval", "VOC2012/trainval"])

    def test_image_sets_come_one_after_the_other(self, config):
        train = build_box_dataset(config, "train")
        names = [train.name(index) for index in range(len(train))]
        assert names == [f"{year}_trainval_{number}" for year in (2007, 2012) for number in (0, 1)]
        assert len(train.classes) == 20
        assert (train.classes[0], train.classes[19]) == ("aeroplane", "tvmonitor")
        assert len(build_box_dataset(config, "val")) == 3

    def test_agrees_with_torchvision(self, config, tmp_path):
        dataset = build_box_dataset(config, "val")
        for index, (image, target) in enumerate(VOCDetection(tmp_path, year="2007", image_set="test")):
            sample = dataset[index]
            assert image.size == tuple(sample["image"].shape[:0:-1])
            objects = target["annotation"]["object"]
            assert [dataset.classes[label] for label in sample["labels"]] == [item["name"] for item in objects]
            for box, item in zip(sample["boxes"].tolist(), objects, strict=True):
                x1, y1, x2, y2 = (int(item["bndbox"][tag]) for tag in ("xmin", "ymin", "xmax", "ymax"))
                assert box == [x1 - 1, y1 - 1, x2, y2]


class TestTreecrowns(DatasetSuite):
    source = Source.voc

    @pytest.fixture
    def config(self):
        return compose(["data=treecrowns"]).data

    def test_holds_what_its_readme_says(self, config):
        assert config.root == str(TREECROWNS)
        for split, images, boxes in (("train", 34, 604), ("val", 9, 285)):
            dataset = build_box_dataset(config, split)
            assert dataset.classes == ("tree",)
            assert len(dataset) == images
            assert sum(len(dataset[index]["boxes"]) for index in range(images)) == boxes


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "VOC2007"


def read(folder, *objects, bad_boxes=BadBoxes.error, size=(40, 30), declared="same", **settings):
    """The sample of an image with these objects."""
    save_voc_image(folder, "a", *objects, size=size, declared=declared)
    save_image_set(folder, "test", "a")
    config = VocConfig(root=str(folder.parent), bad_boxes=bad_boxes, **settings)
    return build_box_dataset(config, "val")[0]


class TestConvention:
    def test_corners_count_from_1_and_are_inclusive(self, folder):
        whole, one_pixel = voc_object("cat", (1, 1, 40, 30)), voc_object("dog", (7, 9, 7, 9))
        sample = read(folder, whole, one_pixel)
        assert sample["boxes"].tolist() == [[0, 0, 40, 30], [6, 8, 7, 9]]
        assert sample["area"].tolist() == [1200, 1]
        assert sample["labels"].tolist() == [7, 11]

    def test_fractions(self, folder):
        sample = read(folder, voc_object("cat", (4.5, 2, "12.25", 20)))
        assert sample["boxes"].tolist() == [[3.5, 1, 12.25, 20]]

    def test_shares_of_the_image(self, folder):
        shares = voc_object("cat", (0.1, 0.2, 0.5, 1)), voc_object("cat", (0, 0, 1, 1))
        with pytest.raises(
            DataError, match=r"a.xml: this box and all others, 2 in all, lie between 0 and 1: they look norm"
        ):
            read(folder, *shares)
        assert len(read(folder, *shares, voc_object("cat", (3, 4, 9, 9)))["boxes"]) == 3
        assert read(folder, voc_object("cat", (1, 1, 1, 1)))["boxes"].tolist() == [[0, 0, 1, 1]]

    def test_difficult_objects_are_flagged(self, folder):
        marks = ["<difficult>1</difficult>", "<difficult>0</difficult>", ""]
        sample = read(folder, *(voc_object("cat", (1, 1, 5, 5), mark) for mark in marks))
        assert sample["difficult"].tolist() == [True, False, False]
        assert not sample["crowd"].any()

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [("is_crowd", "True", True), ("is_crowd", "False", False), ("wet", "True", False)],
    )
    def test_what_was_a_crowd_in_coco_counts_as_difficult(self, folder, name, value, expected):
        """As datumaro 1.13 writes it."""
        attribute = f"<attribute><name>{name}</name><value>{value}</value></attribute>"
        more = f"<difficult>0</difficult><attributes>{attribute}</attributes>"
        assert read(folder, voc_object("cat", (1, 1, 5, 5), more))["difficult"].tolist() == [expected]

    @pytest.mark.parametrize("mark", ["True", "true", "TRUE", "yes", " 1\n", "1"])
    def test_a_mark_that_is_set(self, folder, mark):
        sample = read(folder, voc_object("cat", (1, 1, 5, 5), f"<difficult>{mark}</difficult>"))
        assert sample["difficult"].tolist() == [True]

    @pytest.mark.parametrize("mark", ["False", "false", "no", " 0 ", "", "Unspecified"])
    def test_a_mark_that_is_not(self, folder, mark):
        sample = read(folder, voc_object("cat", (1, 1, 5, 5), f"<difficult>{mark}</difficult>"))
        assert sample["difficult"].tolist() == [False]

    def test_a_mark_that_says_neither(self, folder):
        with pytest.raises(DataError, match=r"object 1 \('cat'\): its difficult is 'maybe'; expected 1 or 0"):
            read(folder, voc_object("cat", (1, 1, 5, 5), "<difficult>maybe</difficult>"))

    def test_polygons_and_rotated_boxes_beside_the_box(self, folder):
        more = "<polygon><x1>3</x1><y1>4</y1></polygon><robndbox><cx>3</cx></robndbox><truncated>True</truncated>"
        assert read(folder, voc_object("cat", (1, 1, 9, 9), more))["boxes"].tolist() == [[0, 0, 9, 9]]

    def test_parts_of_an_object_are_none_themselves(self, folder):
        head = "<part><name>head</name><bndbox><xmin>2</xmin></bndbox></part>"
        assert read(folder, voc_object("person", (1, 1, 9, 9), head))["boxes"].tolist() == [[0, 0, 9, 9]]

    def test_an_image_without_objects(self, folder):
        sample = read(folder)
        assert sample["boxes"].shape == (0, 4)
        assert sample["labels"].shape == sample["crowd"].shape == sample["area"].shape == (0,)

    def test_a_listed_image_without_an_annotation_has_no_objects(self, folder):
        """As datumaro and CVAT write none for an image without objects; that all are missing is an error."""
        save_voc_image(folder, "a", voc_object("cat", (1, 1, 9, 9)))
        save_voc_image(folder, "b", voc_object("cat", (1, 1, 9, 9)))
        save_image_set(folder, "test", "b", "a")
        (folder / "Annotations/b.xml").unlink()
        config = VocConfig(root=str(folder.parent))
        dataset = build_box_dataset(config, "val")
        assert [(dataset.name(index), len(dataset[index]["boxes"])) for index in range(2)] == [("b", 0), ("a", 1)]
        assert "1 of 2 images have no .xml file, such as b.xml: taken as images without objects" in dataset.notes[0]
        (folder / "Annotations/a.xml").unlink()
        with pytest.raises(DataError, match=r"2 problems .*b.xml: can't be read"):
            build_box_dataset(config, "val")

    def test_own_classes(self, folder):
        sample = read(folder, voc_object("tree", (1, 1, 5, 5)), classes=["bush", "tree"])
        assert sample["labels"].tolist() == [1]

    @pytest.mark.parametrize("suffix", ["png", "jpeg"])
    def test_other_endings(self, folder, suffix):
        read(folder)
        Image.open(folder / "JPEGImages/a.jpg").save(folder / f"JPEGImages/a.{suffix}")
        (folder / "JPEGImages/a.jpg").unlink()
        assert build_box_dataset(VocConfig(root=str(folder.parent)), "val")[0]["image"].shape == (3, 30, 40)

    @pytest.mark.parametrize("mode", ["L", "RGBA"])
    def test_grey_and_transparent_images(self, folder, mode):
        read(folder)
        (folder / "JPEGImages/a.jpg").unlink()
        Image.new(mode, (40, 30)).save(folder / "JPEGImages/a.png")
        assert build_box_dataset(VocConfig(root=str(folder.parent)), "val")[0]["image"].shape == (3, 30, 40)


class TestFirstCorner:
    """Whether corners count from 0 or from 1 is found by looking at all boxes, where no setting says it."""

    AT_0 = voc_object("cat", (0, 4, 9, 12))
    AT_1 = voc_object("cat", (1, 4, 9, 12))
    INSIDE = voc_object("dog", (10.25, 8, 40, "28.5"))

    @pytest.fixture
    def opened(self, folder):
        def opened(train, val, split="val", **settings):
            for name, objects in (("train", train), ("val", val)):
                save_voc_image(folder, name, *objects)
                save_image_set(folder, name, name)
            config = VocConfig(root=str(folder), train=["VOC2007/train"], val=["VOC2007/val"], **settings)
            dataset = build_box_dataset(config, split)
            return dataset[0]["boxes"].tolist(), [note for note in dataset.notes if "corners" in note]

        return opened

    @pytest.mark.parametrize("first", ["0", "1"])
    def test_what_is_drawn_is_in_the_box(self, folder, first):
        """Independent of both conventions: the box is that of the white pixels."""
        pixels = np.zeros((30, 40, 3), np.uint8)
        pixels[8:28, 10:33] = 255
        shift = int(first)
        save_voc_image(folder, "a", voc_object("cat", (10 + shift, 8 + shift, 33, 28)))
        Image.fromarray(pixels).save(folder / "JPEGImages/a.jpg", quality=100, subsampling=0)
        save_image_set(folder, "test", "a")
        sample = build_box_dataset(VocConfig(root=str(folder.parent), first_corner=first), "val")[0]
        rows, columns = np.nonzero(sample["image"][0].numpy() > 127)
        assert sample["boxes"].tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_a_box_at_0_in_either_split_decides_for_both(self, opened, split):
        for sets in (([self.AT_0], [self.INSIDE]), ([self.INSIDE], [self.AT_0])):
            boxes, notes = opened(*sets, split)
            assert boxes in ([[0, 4, 9, 12]], [[10.25, 8, 40, 28.5]])
            assert notes == [
                "1 of 2 boxes begin at 0 and 0 at 1: corners are taken to count from 0 (data.first_corner=0 or 1 forces it)"
            ]

    @pytest.mark.parametrize("corner", ["0", "0.0", "0.4", "-0.3"])
    def test_fractions_below_1(self, opened, corner):
        boxes, _ = opened([self.INSIDE], [voc_object("cat", (7, corner, 9, 12))], bad_boxes=BadBoxes.warn)
        assert boxes == [pytest.approx([7, max(float(corner), 0), 9, 12])]

    def test_without_any_sign_they_count_from_1(self, opened):
        boxes, notes = opened([self.AT_1], [self.INSIDE])
        assert boxes == [[9.25, 7, 40, 28.5]]
        assert notes == [
            "no box begins at 0: corners are taken to count from 1, as Pascal VOC's do (data.first_corner=0 or 1 forces it)"
        ]

    def test_empty_and_outside_boxes_say_nothing(self, opened):
        bad = [voc_object("cat", (0, 0, 0, 0)), voc_object("cat", (-20, -9, 9, 9)), voc_object("cat", (0, 9, "x", 9))]
        with pytest.warns(UserWarning, match=r"3 problems .* is outside"):
            boxes, _ = opened([self.AT_1], [*bad, self.INSIDE], bad_boxes=BadBoxes.warn)
        assert boxes[-1] == [9.25, 7, 40, 28.5]

    def test_a_slip_among_many_that_begin_at_1(self, opened):
        many = [voc_object("cat", (1, 4, 9, 12 + number / 2)) for number in range(11)]
        with pytest.raises(DataError, match=r"object 1 \('cat'\): its box \(-1, 3, 9, 12\) is partly outside"):
            opened(many, [self.AT_0], tolerance=0)
        boxes, (note,) = opened(many, [self.INSIDE, self.AT_0])
        assert boxes[0] == [9.25, 7, 40, 28.5]
        assert note.startswith("1 of 13 boxes begin at 0 and 11 at 1: corners are taken to count from 1")

    @pytest.mark.parametrize("first", [0, 1])
    def test_is_forced_by_the_setting(self, opened, first):
        boxes, notes = opened([self.AT_0], [self.INSIDE], first_corner=str(first))
        assert (boxes, notes) == ([[10.25 - first, 8 - first, 40, 28.5]], [])

    def test_with_a_share_all_images_are_looked_at(self, folder):
        for name, item in (("a", self.AT_0), ("b", self.INSIDE), ("c", self.INSIDE)):
            save_voc_image(folder, name, item)
        save_image_set(folder, "all", "a", "b", "c")
        config = VocConfig(root=str(folder), train=["VOC2007/all"], val_share=0.4)
        boxes = {
            (dataset := build_box_dataset(config, split)).name(index): dataset[index]["boxes"].tolist()
            for split in ("train", "val")
            for index in range(len(build_box_dataset(config, split)))
        }
        assert boxes == {"a": [[0, 4, 9, 12]], "b": [[10.25, 8, 40, 28.5]], "c": [[10.25, 8, 40, 28.5]]}

    @pytest.mark.parametrize("name", ["voc2007", "treecrowns"])
    def test_published_sets_need_no_looking(self, name):
        assert read_yaml(resource_dir("conf") / "data" / f"{name}.yaml")["first_corner"] == "1"


BAD = {
    "empty": ((5, 5, 4, 9), r"its box \(4, 4, 4, 9\) is empty"),
    "inverted": ((9, 5, 4, 9), r"its box \(8, 4, 4, 9\) is inverted"),
    "outside": ((42, 5, 50, 9), r"its box \(41, 4, 50, 9\) is outside the image of 40x30"),
    "above": ((5, -9, 9, 0), r"its box .* is outside the image of 40x30"),
    "nan": (("nan", 5, 9, 9), r"its box \(nan, 4, 9, 9\) has a coordinate that is no finite number"),
    "infinite": ((1, 5, "1e999", 9), r"its box .* no finite number"),
    "not a number": ((1, 5, "9px", 9), r"its xmax is '9px'; expected a number"),
    "missing": ((1, 5, "", 9), r"its xmax is ''; expected a number"),
}
PARTLY_OUTSIDE = {
    "one pixel beyond": ((1, 1, 41, 30), [0, 0, 40, 30]),
    "from zero": ((0, 5, 9, 9), [0, 4, 9, 9]),
    "on all sides": ((-5, -5, 99, 99), [0, 0, 40, 30]),
}


class TestBadBoxes:
    @pytest.mark.parametrize("name", BAD)
    def test_are_errors_that_name_file_and_object(self, folder, name):
        corners, message = BAD[name]
        with pytest.raises(DataError, match=rf"1 problem .*Annotations/a.xml: object 2 \('dog'\): {message}"):
            read(folder, voc_object("cat", (1, 1, 5, 5)), voc_object("dog", corners))

    @pytest.mark.parametrize("name", BAD)
    def test_or_are_dropped_and_counted(self, folder, name):
        corners, message = BAD[name]
        with pytest.warns(UserWarning, match=rf"1 problem .*object 2 \('dog'\): {message}"):
            sample = read(folder, voc_object("cat", (1, 1, 5, 5)), voc_object("dog", corners), bad_boxes=BadBoxes.warn)
        assert sample["labels"].tolist() == [7]

    @pytest.mark.parametrize("name", PARTLY_OUTSIDE)
    def test_partly_outside(self, folder, name):
        corners, clipped = PARTLY_OUTSIDE[name]
        with pytest.raises(
            DataError, match=r"object 1 \('cat'\): .* is partly outside the image of 40x30.*=warn drops"
        ):
            read(folder, voc_object("cat", corners), first_corner="1", tolerance=0)
        with pytest.warns(UserWarning, match=r"partly outside"):
            sample = read(folder, voc_object("cat", corners), bad_boxes=BadBoxes.warn, first_corner="1", tolerance=0)
        assert sample["boxes"].tolist() == [clipped]
        assert sample["area"].tolist() == [(clipped[2] - clipped[0]) * (clipped[3] - clipped[1])]

    def test_what_rounding_adds_is_clipped_in_silence(self, folder):
        assert read(folder, voc_object("cat", (1, 1, 40.04, 30)))["boxes"].tolist() == [[0, 0, 40, 30]]

    def test_many_are_counted_and_the_first_named(self, folder):
        with pytest.raises(DataError, match=r"^12 problems .*object 1 .*object 5 .* and 7 more"):
            read(folder, *[voc_object("cat", (5, 5, 1, 1))] * 12)

    def test_an_unknown_class(self, folder):
        with pytest.raises(
            DataError, match=r"object 1 \('tree'\): it is none of the classes aeroplane, .*data.classes"
        ):
            read(folder, voc_object("tree", (1, 1, 5, 5)))

    def test_sound_boxes_warn_of_nothing(self, folder, recwarn):
        read(folder, voc_object("cat", (1, 1, 5, 5)), bad_boxes=BadBoxes.warn)
        assert not recwarn


class TestFiles:
    def test_a_size_that_is_not_the_images(self, folder):
        with pytest.raises(DataError, match=r"a.jpg: the image is 40x30 when upright, .* annotated at 30x40"):
            read(folder, declared=(30, 40))

    @pytest.mark.parametrize("declared", [None, ("", ""), ("x", 30), (0, 0), (40, 0)])
    def test_without_a_size_the_images_own_counts(self, folder, declared):
        with pytest.raises(DataError, match=r"outside the image of 40x30"):
            read(folder, voc_object("cat", (1, 1, 42, 30)), declared=declared)

    def test_a_photograph_is_turned_upright(self, folder):
        read(folder, voc_object("cat", (1, 1, 30, 40)), size=(30, 40))
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (40, 30)).save(folder / "JPEGImages/a.jpg", exif=exif)
        config = VocConfig(root=str(folder.parent))
        assert build_box_dataset(config, "val")[0]["image"].shape == (3, 40, 30)
        xml = folder / "Annotations/a.xml"
        xml.write_text(xml.read_text().replace("<width>30</width>", ""))
        assert build_box_dataset(config, "val")[0]["boxes"].tolist() == [[0, 0, 30, 40]]

    def test_a_missing_image(self, folder):
        read(folder)
        (folder / "JPEGImages/a.jpg").unlink()
        with pytest.raises(DataError, match=r"1 of 1 image files are missing; expected .*JPEGImages/a.jpg"):
            build_box_dataset(VocConfig(root=str(folder.parent)), "val")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "No such file"),
            ("", "no element"),
            ("<annotation><object>", "no element|unclosed|mismatched"),
            ("<html/>", "its outermost element is 'html'"),
            ("<!DOCTYPE annotation><annotation/>", "document type"),
            (
                '<!DOCTYPE a [<!ENTITY b "cat">]><annotation><object><name>&b;</name></object></annotation>',
                "document type",
            ),
            ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>', "document type"),
        ],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    @pytest.mark.parametrize("bad_boxes", BadBoxes)
    def test_a_damaged_annotation_is_always_an_error(self, folder, content, message, encoding, bad_boxes):
        read(folder)
        file = folder / "Annotations/a.xml"
        file.unlink()
        if content is not None:
            file.write_text(content, encoding=encoding)
        with pytest.raises(DataError, match=rf"Annotations/a.xml: can't be read \(.*({message})") as raised:
            build_box_dataset(VocConfig(root=str(folder.parent), bad_boxes=bad_boxes), "val")
        assert "drops or clips" not in str(raised.value)

    @pytest.mark.timeout(20)
    def test_an_annotation_that_is_a_pipe(self, folder):
        read(folder)
        (folder / "Annotations/a.xml").unlink()
        os.mkfifo(folder / "Annotations/a.xml")
        with pytest.raises(DataError, match=r"Annotations/a.xml: can't be read \(it is no file"):
            build_box_dataset(VocConfig(root=str(folder.parent)), "val")

    @pytest.mark.timeout(20)
    def test_an_image_that_is_a_pipe(self, folder):
        """Its size is looked for in its header where the annotation has none."""
        save_voc_image(folder, "a", declared=None)
        save_image_set(folder, "test", "a")
        (folder / "JPEGImages/a.jpg").unlink()
        os.mkfifo(folder / "JPEGImages/a.jpg")
        with pytest.raises(DataError, match=r"1 of 1 image files are missing; expected .*a.jpg"):
            build_box_dataset(VocConfig(root=str(folder.parent)), "val")

    def test_a_name_that_leads_out_of_the_root(self, folder):
        read(folder)
        save_image_set(folder, "test", "a", "../../../secret")
        with pytest.raises(
            DataError, match=rf"test.txt: the image '../../../secret' is outside data.root={folder.parent}"
        ):
            build_box_dataset(VocConfig(root=str(folder.parent)), "val")

    @pytest.mark.timeout(20)
    def test_entities_are_not_expanded(self, folder):
        read(folder)
        lines = [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "cat" * 10}">' for n in range(12)]
        bomb = f"<!DOCTYPE a [{''.join(lines)}]><annotation><object><name>&a11;</name></object></annotation>"
        (folder / "Annotations/a.xml").write_text(bomb)
        with pytest.raises(DataError, match=r"document type"):
            build_box_dataset(VocConfig(root=str(folder.parent)), "val")

    @pytest.mark.parametrize("name", ["[red]cat[/red]", "cat $x_1$", "котка", "a" * 300, "ca\x85t\u2028s"])
    def test_hostile_names_stay_names(self, folder, name):
        sample = read(folder, voc_object(name, (1, 1, 5, 5)), classes=["other", name.strip()])
        assert sample["labels"].tolist() == [1]
        with pytest.raises(DataError) as raised:
            read(folder, voc_object(name, (1, 1, 5, 5)))
        assert repr(name.strip()) in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1


class TestLayout:
    @pytest.mark.parametrize("place", ["VOCdevkit/VOC2007", "VOC2007", "."])
    def test_where_the_folder_may_be(self, tmp_path, place):
        root = tmp_path / "VOC2007"
        save_voc_image(root / place, "a")
        save_image_set(root / place, "test", "a")
        assert len(build_box_dataset(VocConfig(root=str(root)), "val")) == 1

    def test_missing(self, tmp_path):
        with pytest.raises(UsageError, match=r"VOC2007/test is not there, looked for .*devkit.* or .*download=true"):
            build_box_dataset(VocConfig(root=str(tmp_path)), "val")
        with pytest.raises(UsageError, match=r"VOC2007/mine is not there, .*mine.txt$"):
            build_box_dataset(VocConfig(root=str(tmp_path), val=["VOC2007/mine"]), "val")
        with pytest.raises(UsageError, match=r"data.root is not set"):
            build_box_dataset(VocConfig(), "val")

    def test_an_empty_image_set(self, folder):
        read(folder)
        save_image_set(folder, "test")
        with pytest.raises(UsageError, match=r"test.txt is empty"):
            build_box_dataset(VocConfig(root=str(folder.parent)), "val")

    def test_an_image_in_two_sets(self, folder):
        read(folder)
        save_image_set(folder, "more", "a")
        with pytest.raises(DataError, match=r"more than once: a"):
            build_box_dataset(VocConfig(root=str(folder.parent), val=["VOC2007/test", "VOC2007/more"]), "val")

    def test_is_fetched_when_asked(self, tmp_path, monkeypatch):
        def fetch(url, root, **_):
            assert url.endswith("VOCtest_06-Nov-2007.tar")
            voc_boxes_tree(tmp_path)

        monkeypatch.setattr(torchvision.datasets.voc, "download_and_extract_archive", fetch)
        config = VocConfig(root=str(tmp_path), download=True)
        assert len(build_box_dataset(config, "val")) == 3

        def fail(*_, **__):
            raise URLError("no network")

        monkeypatch.setattr(torchvision.datasets.voc, "download_and_extract_archive", fail)
        assert len(build_box_dataset(config, "train")) == 2, "nothing is fetched over what is there"
        with pytest.raises(DataError, match=r"VOC 2007 could not be fetched .*no network"):
            build_box_dataset(VocConfig(root=str(tmp_path / "new"), download=True), "val")


class TestClasses:
    @pytest.mark.parametrize("bad_boxes", BadBoxes)
    def test_one_that_no_training_object_has_is_an_error_with_what_there_is(self, tmp_path, bad_boxes):
        config = VocConfig(root=str(voc_boxes_tree(tmp_path)), bad_boxes=bad_boxes, classes=["cat", "dogs", "x"])
        with pytest.raises(
            UsageError,
            match=r"data.classes=\['cat', 'dogs', 'x'\]: no object in VOC2007/trainval is called 'dogs' \(did you mean 'dog'\?\)"
            r" or 'x'; the names that there are: 'cat', 'dog'$",
        ):
            build_box_dataset(config, "train")

    def test_some_of_those_that_there_are_may_be_chosen(self, tmp_path):
        config = VocConfig(root=str(voc_boxes_tree(tmp_path)), bad_boxes=BadBoxes.warn, classes=["dog"])
        with pytest.warns(UserWarning, match=r"object 1 \('cat'\): it is none of the classes dog"):
            train = build_box_dataset(config, "train")
        assert [train[index]["boxes"].tolist() for index in range(2)] == [[[0, 0, 40, 30]]] * 2

    def test_where_no_object_can_be_used_there_is_nothing_to_train_on(self, folder):
        save_voc_image(folder, "a", voc_object("cat", (5, 5, 2, 2)))
        save_image_set(folder, "trainval", "a")
        with pytest.raises(
            DataError, match=r"no image of the training split has an object .*: 1 problem .*is inverted"
        ):
            build_box_dataset(VocConfig(root=str(folder.parent), bad_boxes=BadBoxes.warn), "train")

    def test_an_annotation_that_can_not_be_read_comes_first(self, folder):
        save_voc_image(folder, "a")
        (folder / "Annotations/a.xml").write_text("<annotation>")
        save_image_set(folder, "trainval", "a")
        with pytest.raises(DataError, match=r"a.xml: can't be read"):
            build_box_dataset(VocConfig(root=str(folder.parent), classes=["cat"]), "train")


class TestImagesWithoutObjects:
    @pytest.fixture
    def config(self, folder):
        difficult = voc_object("cat", (1, 1, 5, 5), "<difficult>1</difficult>")
        save_voc_image(folder, "empty")
        save_voc_image(folder, "difficult", difficult)
        save_voc_image(folder, "full", difficult, voc_object("cat", (1, 1, 5, 5)))
        save_image_set(folder, "all", "empty", "difficult", "full")
        return VocConfig(root=str(folder.parent), train=["VOC2007/all"], val=["VOC2007/all"])

    def test_are_left_out_of_training_only(self, config):
        train, val = (build_box_dataset(config, split) for split in ("train", "val"))
        assert [train.name(index) for index in range(len(train))] == ["full"]
        assert {
            "2 of 3 images have no object to learn from and are left out (data.train_empty=true keeps them)",
            "2 of 3 objects are not trained on (difficult: 2)",
        } < set(train.notes)
        assert not any("left out" in note or "trained on" in note for note in val.notes)
        assert len(val) == 3
        assert val[1]["difficult"].tolist() == [True]

    def test_unless_they_are_wanted(self, config):
        config.train_empty = True
        assert len(build_box_dataset(config, "train")) == 3

    def test_nothing_but_them(self, config, folder):
        save_image_set(folder, "all", "empty")
        with pytest.raises(UsageError, match=r"no image of the training split has an object$"):
            build_box_dataset(config, "train")
        save_image_set(folder, "all", "empty", "difficult")
        message = r"has an object to learn from: 1 of 1 objects are not trained on \(difficult: 1\)$"
        with pytest.raises(UsageError, match=message):
            build_box_dataset(config, "train")


def test_samples_are_copies(folder):
    read(folder, voc_object("cat", (1, 1, 5, 5)))
    dataset = build_box_dataset(VocConfig(root=str(folder.parent)), "val")
    dataset[0]["boxes"].zero_()
    assert torch.equal(dataset[0]["boxes"].as_subclass(torch.Tensor), torch.tensor([[0.0, 0, 5, 5]]))
