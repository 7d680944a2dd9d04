"""Records of images with boxes: what is kept of an annotation, what is said of the rest, and what becomes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dcnrun.config.schema import BadBoxes, BoxFilesConfig, Source
from dcnrun.data.box_files import (
    AnnotatedImage,
    AnnotatedObject,
    BoxFileDataset,
    Flaw,
    ListedImage,
    ObjectTable,
    make_records,
    records_of,
)
from dcnrun.errors import DataError, UsageError
from tests.data.factories import save_image

HEIGHT, WIDTH = 30, 40
FILE = Path("notes.xml")


def record_of(*boxes, size=(HEIGHT, WIDTH), image=Path("a.png"), **more):
    objects = [AnnotatedObject(f"object {number}", 0, box, **more) for number, box in enumerate(boxes, start=1)]
    return one_record(objects, image=image, size=size)


def one_record(objects, tolerance=0.0, image=Path("a.png"), size=(HEIGHT, WIDTH)):
    (record,), flaws = records_of([AnnotatedImage(ListedImage("a", image, size, 1, FILE), objects, [])], tolerance)
    return record, flaws


@pytest.mark.parametrize("seed", range(3))
def test_boxes_are_what_the_image_has_of_them(seed):
    """Against a count of pixels, for whole-number boxes in and around the image."""
    random = np.random.default_rng(seed)
    for _ in range(200):
        (x1, x2), (y1, y2) = random.integers(-20, 60, 2), random.integers(-20, 60, 2)
        record, flaws = record_of((x1, y1, x2, y2))
        inside = [
            (x, y) for x in range(max(0, x1), min(WIDTH, x2)) for y in range(max(0, y1), min(HEIGHT, y2))
        ]  # the left upper corners of its pixels
        if not inside:
            assert len(record.boxes) == 0
            assert len(flaws) == 1
            continue
        (box,) = record.boxes.tolist()
        columns, rows = zip(*inside, strict=True)
        assert box == [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
        assert record.area.tolist() == [len(inside)]
        assert bool(flaws) == (len(inside) < (x2 - x1) * (y2 - y1))


def test_without_a_size_boxes_stay_as_they_are():
    record, flaws = record_of((-5.0, 3.0, 900.0, 7.0), size=None)
    assert record.boxes.tolist() == [[-5, 3, 900, 7]]
    assert not flaws


@pytest.mark.parametrize(
    ("beyond", "tolerance", "clipped", "wrong"),
    [(0.05, 0, 0, 0), (0.5, 0, 0, 1), (0.4, 1, 1, 0), (1, 1, 1, 0), (1.01, 1, 0, 1), (2.5, 3, 1, 0)],
)
@pytest.mark.parametrize("side", range(4))
def test_what_is_accepted_beyond_the_image_is_clipped_and_counted(beyond, tolerance, clipped, wrong, side):
    box = [3.0, 4.0, 9.0, 9.0]
    box[side] = [-beyond, -beyond, WIDTH + beyond, HEIGHT + beyond][side]
    objects = [AnnotatedObject("one", 0, tuple(box)), AnnotatedObject("two", 0, (1.0, 1.0, 2.0, 2.0))]
    record, flaws = one_record(objects, tolerance)
    assert (record.clipped, len(flaws)) == (clipped, wrong)
    expected = [max(box[0], 0), max(box[1], 0), min(box[2], WIDTH), min(box[3], HEIGHT)]
    assert record.boxes.tolist() == [expected, [1, 1, 2, 2]]


def test_records_are_those_of_each_image_alone():
    """Of objects in any order of images, against one image at a time."""
    random = np.random.default_rng(0)
    images = [ListedImage(str(n), Path(str(n)), None if n == 3 else (20, 30), n, FILE) for n in range(6)]
    count = 400
    corners = random.integers(-8, 40, (count, 4)).astype(float)
    corners[random.integers(0, count, 9), random.integers(0, 4, 9)] = np.nan
    image = random.integers(0, 5, count)  # none in the last
    table = ObjectTable(
        image=image,
        label=random.integers(0, 2, count),
        box=corners,
        crowd=random.uniform(size=count) < 0.2,
        difficult=random.uniform(size=count) < 0.2,
        area=np.where(random.uniform(size=count) < 0.5, np.nan, 7.0),
        masks=None,
        title=str,
    )
    records, flaws = make_records(images, table, 1.0)
    wrong = []
    for number, listed in enumerate(images):
        objects = [
            AnnotatedObject(
                str(row),
                int(table.label[row]),
                tuple(corners[row].tolist()),
                bool(table.crowd[row]),
                bool(table.difficult[row]),
                None if np.isnan(table.area[row]) else float(table.area[row]),
            )
            for row in np.flatnonzero(image == number)
        ]
        (record,), found = records_of([AnnotatedImage(listed, objects, [])], 1.0)
        wrong += found
        for column in ("boxes", "labels", "crowd", "difficult", "area"):
            assert np.array_equal(getattr(record, column), getattr(records[number], column))
        assert (record.name, record.clipped) == (records[number].name, records[number].clipped)
    assert len(wrong) > 100
    assert sorted(flaws) == sorted(wrong)


def test_flaws_are_listed_image_by_image():
    """Those that the reader found come first, then those of the boxes."""
    inverted = AnnotatedObject("inverted", 0, (5.0, 5.0, 2.0, 2.0))
    files = [Path(f"{name}.xml") for name in "ab"]
    images = [
        AnnotatedImage(
            ListedImage("", Path(), (HEIGHT, WIDTH), 1, file), [inverted], [Flaw(file, "read", is_bad_box=True)]
        )
        for file in files
    ]
    records, flaws = records_of(images, 0.0)
    assert [len(record.boxes) for record in records] == [0, 0]
    assert [(flaw.file, flaw.what.split(":")[0]) for flaw in flaws] == [
        (file, what) for file in files for what in ("read", "inverted")
    ]


def test_objects_that_are_there_twice_are_named():
    box, other = (1.0, 2.0, 3.0, 5.0), (1.0, 2.0, 3.0, 6.0)
    _, flaws = record_of(box, other, box, other, (9.0, 9.0, 11.0, 11.0), box)
    assert [flaw.what.split(",")[0] for flaw in flaws] == [
        "object 3: it is object 1 once more",
        "object 4: it is object 2 once more",
        "object 6: it is object 1 once more",
    ]
    assert all(flaw.is_repeated for flaw in flaws)


def test_a_flaw_names_file_and_object():
    _, (flaw,) = record_of((1.0, 1.0, 2.0, 2.0), (float("nan"), 1.0, 2.0, 2.0))
    assert str(flaw) == "notes.xml: object 2: its box (nan, 1, 2, 2) has a coordinate that is no finite number"
    assert flaw.is_bad_box


def test_crowds_and_difficult_objects_are_nothing_to_learn_from():
    box = (1.0, 1.0, 2.0, 2.0)
    assert record_of(box)[0].has_objects
    assert not record_of()[0].has_objects
    assert not record_of(box, crowd=True)[0].has_objects
    assert not record_of(box, difficult=True)[0].has_objects


class TestDataset:
    def dataset(self, tmp_path, *flaws, split="val", boxes=((1.0, 2.0, 3.0, 5.0),), **settings):
        save_image(tmp_path / "a.png", (WIDTH, HEIGHT))
        record, _ = record_of(*boxes, image=tmp_path / "a.png")
        config = BoxFilesConfig(source=Source.coco, root=str(tmp_path), **settings)
        return BoxFileDataset(config, split, ["cat", "dog"], [record], flaws, category_ids=[18, 17])

    def test_a_sample_is_what_its_record_says(self, tmp_path):
        dataset = self.dataset(tmp_path)
        assert dataset[0]["boxes"].tolist() == [[1, 2, 3, 5]]
        assert torch.equal(dataset[0]["area"], torch.tensor([6.0]))
        assert (dataset.name(0), dataset.image_id(0)) == ("a", 1)
        assert [dataset.category_id(label) for label in (0, 1)] == [18, 17]

    def test_flaws_of_boxes_are_errors_unless_the_settings_drop_them(self, tmp_path):
        flaw = Flaw(FILE, "object 1 is upside down", is_bad_box=True)
        with pytest.raises(DataError, match=r"1 problem .*notes.xml: object 1 is upside down. .*=warn drops or clips"):
            self.dataset(tmp_path, flaw).verify()
        with pytest.warns(UserWarning, match=r"dropped or clipped boxes: 1 problem .* upside down"):
            self.dataset(tmp_path, flaw, bad_boxes=BadBoxes.warn).verify()

    def test_other_flaws_are_errors_whatever_the_settings(self, tmp_path):
        flaw = Flaw(FILE, "can't be read", is_bad_box=False)
        with pytest.raises(DataError, match=r"notes.xml: can't be read\.$"):
            self.dataset(tmp_path, flaw, bad_boxes=BadBoxes.warn).verify()

    def test_without_objects_there_is_nothing_to_train_on(self, tmp_path):
        with pytest.raises(UsageError, match=r"no image of the training split has an object"):
            self.dataset(tmp_path, split="train", boxes=())
        assert len(self.dataset(tmp_path, split="train", boxes=(), train_empty=True)) == 1
        assert len(self.dataset(tmp_path, split="val", boxes=())) == 1

    def test_a_missing_image_is_named(self, tmp_path):
        dataset = self.dataset(tmp_path)
        (tmp_path / "a.png").unlink()
        with pytest.raises(DataError, match=r"1 of 1 image files are missing; expected .*a.png"):
            dataset.verify()
