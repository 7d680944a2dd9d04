"""Boxes and polygons in YOLO's layout, against supervision and pycocotools; and whatever can be wrong with a label file."""

import warnings

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from pycocotools import mask as coco_mask

from dcnrun.config.schema import BadBoxes, Source, YoloConfig
from dcnrun.data import IGNORE, build_box_dataset, build_dataset
from dcnrun.errors import DataError, UsageError
from tests.data.conformance import DatasetSuite
from tests.data.factories import save_image, save_yolo, yolo_tree

HEIGHT, WIDTH = 30, 40


class TestYolo(DatasetSuite):
    source = Source.yolo

    @pytest.fixture
    def config(self, tmp_path):
        return YoloConfig(root=str(yolo_tree(tmp_path)))

    def test_images_with_an_empty_file_or_none_have_no_objects(self, config):
        val = build_box_dataset(config, "val")
        assert [len(val[index]["boxes"]) for index in range(len(val))] == [2, 1, 0, 0]
        assert val.notes == [
            "1 of 4 images have no label file, such as images/val/d.png: taken as images without objects (an empty .txt says so)"
        ]
        assert len(build_box_dataset(config, "train")) == 2

    def test_labels_without_an_image_are_said(self, config, tmp_path):
        """Also if the image of a label is in the other split it has one; text is no label."""
        (tmp_path / "labels/val/lost.txt").write_text("0 0.5 0.5 0.1 0.1\n")
        (tmp_path / "labels/val/notes.txt").write_text("labelled by hand\n")
        save_yolo(tmp_path, "images/train/e.png", seed=9)
        (tmp_path / "labels/val/e.txt").write_text("0 0.5 0.5 0.1 0.1\n")
        notes = build_box_dataset(config, "val").notes
        assert notes[-1] == "1 label file has no image, such as labels/val/lost.txt: not read"

    def test_classes_keep_the_numbers_of_the_files(self, config):
        dataset = build_box_dataset(config, "val")
        assert [dataset.category_id(label) for label in (0, 1)] == [0, 1]

    def test_class_masks(self, config):
        dataset = build_dataset(config, "val")
        assert dataset.classes == ("background", "cat", "dog")
        expected = np.zeros((HEIGHT, WIDTH))
        expected[3:15, 4:20], expected[6:18, 30:40] = 1, 2
        assert np.array_equal(dataset[0]["mask"], expected)


def one_image(root, *lines, names="[cat, dog]", size=(WIDTH, HEIGHT)):
    """A data set of a single image."""
    save_yolo(root, "images/val/a.png", *lines, size=size)
    (root / "data.yaml").write_text(f"train: images/val\nval: images/val\nnames: {names}\n")


def val(root, masks=False, **settings):
    return build_box_dataset(YoloConfig(root=str(root), **settings), "val", masks=masks)


def words(numbers):
    return " ".join(f"{number:.6f}" for number in numbers)


def star(random, least=0.1):
    """A polygon around a point, in shares of the image."""
    angles = np.sort(random.uniform(0, 2 * np.pi, 9))
    radii = random.uniform(least, 0.3, 9)
    centre = random.uniform(0.3, 0.7, 2)
    return np.clip(centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), 0, 1)


def from_supervision(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that OpenCV is not installed
        import supervision

    dataset = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(root / "images/val"),
        annotations_directory_path=str(root / "labels/val"),
        data_yaml_path=str(root / "data.yaml"),
        force_masks=True,
    )
    ((_, _, found),) = dataset
    return found


class TestAgainstSupervision:
    def test_boxes(self, tmp_path):
        random = np.random.default_rng(0)
        corners = np.sort(random.uniform(0, 1, (20, 2, 2)), axis=1)
        centres, extents = corners.mean(1), corners[:, 1] - corners[:, 0]
        lines = [f"{n % 2} {words([*c, *e])}" for n, (c, e) in enumerate(zip(centres, extents, strict=True))]
        one_image(tmp_path, *lines, size=(640, 427))
        found, sample = from_supervision(tmp_path), val(tmp_path)[0]
        assert np.abs(sample["boxes"].numpy() - found.xyxy).max() < 0.01
        assert sample["labels"].tolist() == found.class_id.tolist() == [0, 1] * 10

    def test_polygons(self, tmp_path):
        """Its points are rounded to pixels, of which it fills the outline too: masks agree but for two pixels around."""
        random = np.random.default_rng(1)
        stars = [star(random, least=0.25) for _ in range(4)]  # thin points have pixels of the outline alone
        one_image(tmp_path, *[f"0 {words(points.flatten())}" for points in stars], size=(80, 60))
        found, sample = from_supervision(tmp_path), val(tmp_path, masks=True)[0]
        assert np.abs(sample["boxes"].numpy() - found.xyxy).max() <= 0.51
        for mask, other in zip(sample["masks"].numpy(), found.mask, strict=True):
            around = sliding_window_view(np.pad(mask, 2, mode="edge"), (5, 5))
            inside, outside = around.min((2, 3)) == 1, around.max((2, 3)) == 0
            assert inside.any()
            assert other[inside].all()
            assert not other[outside].any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
def test_polygons_are_those_of_pycocotools(tmp_path):
    random = np.random.default_rng(2)
    stars = [star(random) for _ in range(8)]
    one_image(tmp_path, *[f"1 {words(points.flatten())}" for points in stars])
    sample = val(tmp_path, masks=True)[0]
    for points, mask, box, area in zip(stars, sample["masks"], sample["boxes"], sample["area"], strict=True):
        scaled = np.round(points, 6) * (WIDTH, HEIGHT)
        expected = coco_mask.decode(coco_mask.frPyObjects([scaled.flatten().tolist()], HEIGHT, WIDTH))[..., 0]
        assert np.array_equal(mask, expected)
        assert area == expected.sum()
        assert np.abs(box.numpy() - [*scaled.min(0), *scaled.max(0)]).max() < 1e-3


class TestLines:
    def test_boxes_and_polygons_mixed(self, tmp_path):
        one_image(tmp_path, "0 0.5 0.5 0.25 0.2", "1 0 0 0.5 0 0.5 0.2 0 0.2")
        sample = val(tmp_path, masks=True)[0]
        assert sample["boxes"].tolist() == [[15, 12, 25, 18], [0, 0, 20, 6]]
        assert sample["masks"].flatten(1).sum(1).tolist() == [0, 120]
        mask = build_dataset(YoloConfig(root=str(tmp_path)), "val")[0]["mask"]
        assert (mask == IGNORE).sum() == 60, "what only a box is known of"
        assert (mask[12:18, 15:25] == IGNORE).all()

    def test_boxes_alone_have_no_masks(self, tmp_path):
        one_image(tmp_path, "0 0.5 0.5 0.25 0.2")
        assert val(tmp_path, masks=True)[0]["masks"] is None
        with pytest.raises(UsageError, match=r"data=yolo: none of its 1 objects has a mask"):
            build_dataset(YoloConfig(root=str(tmp_path)), "val")

    def test_key_points_are_left_out(self, tmp_path):
        one_image(tmp_path, "0 0.5 0.5 0.25 0.2 0.1 0.1 2 0.3 0.3 1")
        with (tmp_path / "data.yaml").open("a") as file:
            file.write("kpt_shape: [2, 3]\n")
        sample = val(tmp_path, masks=True)[0]
        assert (sample["boxes"].tolist(), sample["masks"]) == ([[15, 12, 25, 18]], None)

    @pytest.mark.parametrize(
        ("points", "other", "is_said"), [(5, "", True), (5, "0 0.5 0.5 0.1 0.1", False), (4, "", False), (2, "", False)]
    )
    def test_polygons_that_may_be_key_points(self, tmp_path, points, other, is_said):
        """All of as many points, which is common of four corners alone."""
        corners = " ".join(f"{0.1 + 0.1 * n} {0.2 + 0.1 * n**2 / points}" for n in range(points))
        one_image(
            tmp_path, *(f"{label} {corners}" for label in (0, 1)), *[f"0 {corners[:-1]}"] * 3, *filter(None, [other])
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of objects that are there twice
            notes = val(tmp_path).notes
        assert any("objects are taken for polygons of 5 points" in note for note in notes) == is_said

    def test_other_spellings(self, tmp_path):
        one_image(tmp_path)
        (tmp_path / "labels/val").mkdir(parents=True)
        (tmp_path / "labels/val/a.txt").write_bytes(b"\xef\xbb\xbf0 .5 5e-1\t0.25 0.2\r\n\r\n1.0 0.5 0.5 1 1  \r\n")
        sample = val(tmp_path)[0]
        assert sample["boxes"].tolist() == [[15, 12, 25, 18], [0, 0, 40, 30]]
        assert sample["labels"].tolist() == [0, 1]

    def test_shares_are_those_of_the_upright_image(self, tmp_path):
        one_image(tmp_path, "0 0.5 0.5 0.5 0.2")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (30, 40)).save(tmp_path / "images/val/a.png", exif=exif)
        assert val(tmp_path)[0]["boxes"].tolist() == [[10, 12, 30, 18]]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                "0 0.5 0.5 0.2 0.2 0.9",
                "it has 6 numbers, a box and its confidence, angle or the number of a track; expected",
            ),
            ("0 0.5 0.5 0.2", "it has 4 numbers; expected the class, then"),
            ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "it has 8 numbers; expected the class"),
            ("0", "it has 1 numbers; expected the class"),
            ("cat 0.5 0.5 0.2 0.2", "could not convert string to float: 'cat'; expected numbers"),
            ("0 20 15 10 6", "its coordinate 20 looks like pixels; expected shares of the image's sides"),
            ("0 4 3 20 3 20 15", "its coordinate 20 looks like pixels"),
        ],
    )
    def test_what_is_no_line_of_yolo(self, tmp_path, line, message):
        one_image(tmp_path, "1 0.5 0.5 0.2 0.2", line)
        for bad_boxes in BadBoxes:
            with pytest.raises(DataError, match=r"1 problem .*a.txt: line 2: ") as raised:
                val(tmp_path, bad_boxes=bad_boxes)
            assert message in str(raised.value)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("2 0.5 0.5 0.2 0.2", "its class is 2; expected one of 0 cat, 1 dog"),
            ("-1 0.5 0.5 0.2 0.2", "its class is -1"),
            ("0.5 0.5 0.5 0.2 0.2", "its class is 0.5"),
            ("nan 0.5 0.5 0.2 0.2", "its class is nan"),
            ("0 nan 0.5 0.2 0.2", "it has a coordinate that is no finite number"),
            ("0 0.1 0.1 inf 0.1 0.3 0.3", "it has a coordinate that is no finite number"),
            ("0 0.5 0.5 -0.2 0.2", "is inverted"),
            ("0 0.5 0.5 0 0.2", "is empty"),
            ("0 1.2 0.5 0.1 0.2", "is outside the image of 40x30"),
            ("0 0.1 0.1 1.3 0.1 0.3 0.3", "is partly outside the image of 40x30"),
            ("0 0.1 0.1 -30 0.1 0.3 0.3", "its mask can't be used: a polygon reaches far beyond the image"),
        ],
    )
    def test_bad_boxes_are_named_and_may_be_dropped(self, tmp_path, line, message):
        one_image(tmp_path, "1 0.5 0.5 0.2 0.2", line)
        with pytest.raises(DataError, match=r"1 problem .*a.txt: line 2: ") as raised:
            val(tmp_path)
        assert message in str(raised.value)
        with pytest.warns(UserWarning, match="dropped or clipped boxes: 1 problem"):
            sample = val(tmp_path, bad_boxes=BadBoxes.warn)[0]
        assert sample["boxes"][0].tolist() == [16, 12, 24, 18]

    @pytest.mark.parametrize("line", ["0 0.01 0.5 0.04 0.2", "0 -0.01 0.4 0.03 0.4 0.03 0.6 -0.01 0.6"])
    def test_a_little_outside_the_image(self, tmp_path, line):
        one_image(tmp_path, line)
        dataset = val(tmp_path)
        assert dataset[0]["boxes"].numpy() == pytest.approx(np.array([[0, 12, 1.2, 18]]), abs=1e-5)
        assert len(dataset.notes) == 1
        with pytest.raises(DataError, match=r"is partly outside the image of 40x30"):
            val(tmp_path, tolerance=0.3)

    def test_a_label_file_that_is_no_text(self, tmp_path):
        one_image(tmp_path, "0 0.5 0.5 0.2 0.2")
        (tmp_path / "labels/val/a.txt").write_bytes(b"\xff\xfe0\x00")
        with pytest.raises(DataError, match=r"a.txt: can't be read .* expected a text file, an object a line"):
            val(tmp_path)

    def test_an_image_that_can_not_be_read(self, tmp_path):
        one_image(tmp_path, "0 0.5 0.5 0.2 0.2")
        (tmp_path / "images/val/a.png").write_bytes(b"")
        with pytest.raises(DataError, match=r"a.png: can't be read, so that the size of its objects is not known"):
            val(tmp_path)


def test_no_label_file_at_all(tmp_path):
    save_image(tmp_path / "images/val/a.png")
    with pytest.raises(
        UsageError, match=r"none of the 1 images of data.val has a label file; expected labels/val/a.txt or"
    ):
        val(tmp_path, classes=["cat"])
    (tmp_path / "labels_mine").mkdir()
    (tmp_path / "labels_mine/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(
        UsageError, match=r"; labels_mine/a.txt has the name of one: expected its folder to be called labels"
    ):
        val(tmp_path, classes=["cat"])
