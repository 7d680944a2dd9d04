"""What was found is read back from the files, by others where there are any."""

import json
from io import BytesIO

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image
from pycocotools import mask as judge
from pycocotools.coco import COCO
from scipy import ndimage

from dcnrun.data.coco_masks import encode
from dcnrun.drawing.found import PALETTE
from dcnrun.predict.formats import class_list, coco_objects, mask_png, polygon, write_coco, yolo_labels
from dcnrun.tasks.found import Found, FoundObjects

SIZE = (30, 40)


def found_objects(masks):
    """Objects with masks (H, W), the first the surest, and the boxes around them."""
    boxes = [[np.flatnonzero(m.any(0))[[0, -1]], np.flatnonzero(m.any(1))[[0, -1]]] for m in masks]
    corners = np.array([[x[0], y[0], x[1] + 1, y[1] + 1] for x, y in boxes], float).reshape(-1, 4)
    scores, labels = np.linspace(0.9, 0.6, len(masks)), np.arange(len(masks)) % 3
    return FoundObjects(corners, scores, labels, [encode(mask) for mask in masks])


def blob(seed, pieces=1):
    """A mask without holes, of one piece or more."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SIZE), 2.5)
    labelled, count = ndimage.label(ndimage.binary_fill_holes(noise > 0.05))
    sizes = ndimage.sum_labels(np.ones(SIZE), labelled, range(1, count + 1))
    return np.isin(labelled, 1 + np.argsort(-sizes)[:pieces])


def test_the_png_of_classes_has_them_and_their_colours():
    classes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.open(BytesIO(mask_png(Found((16, 16), classes=classes))))
    assert image.mode == "P"
    assert (np.asarray(image) == classes).all()
    assert (np.asarray(image.convert("RGB")) == PALETTE[classes]).all()
    assert len(np.unique(PALETTE, axis=0)) == 256


@pytest.mark.parametrize(("count", "mode"), [(3, "P"), (255, "P"), (256, "I;16")])
def test_the_png_of_objects_numbers_them_the_surest_on_top(count, mode):
    masks = [np.zeros(SIZE, bool) for _ in range(count)]
    for number, mask in enumerate(masks):
        mask.flat[number : number + 2] = True  # overlaps the next
    image = Image.open(BytesIO(mask_png(Found(SIZE, objects=found_objects(masks)))))
    assert image.mode == mode
    expected = np.zeros(SIZE, int)
    expected.flat[: count + 1] = [1, *range(1, count + 1)]
    assert (np.asarray(image) == expected).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_polygon_holds_the_centres_of_the_pixels_of_its_mask_alone(seed):
    mask = blob(seed)
    centres = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), -1).reshape(-1, 2) + 0.5
    points = polygon(mask)
    assert (Outline([*points, points[0]]).contains_points(centres).reshape(SIZE) == mask).all()
    (label, *shares), *_ = [
        line.split() for line in yolo_labels(Found(SIZE, objects=found_objects([mask]))).splitlines()
    ]
    assert label == "0"
    assert np.allclose(np.array(shares, float).reshape(-1, 2) * [SIZE[1], SIZE[0]], points, atol=1e-4)


def test_a_polygon_is_of_the_largest_piece_and_an_empty_mask_has_none():
    largest = blob(3)
    both = blob(3, pieces=2)
    assert both.sum() > largest.sum()
    assert (polygon(both) == polygon(largest)).all()
    assert polygon(np.zeros(SIZE, bool)).shape == (0, 2)
    single = np.zeros(SIZE, bool)
    single[4, 7] = True
    assert polygon(single).mean(0).tolist() == [7.5, 4.5]


def test_boxes_in_yolos_labels_are_centre_and_size():
    objects = FoundObjects(np.array([[4.0, 6.0, 20.0, 12.0]]), np.array([0.7]), np.array([2]), None)
    assert yolo_labels(Found(SIZE, objects=objects)) == "2 0.300000 0.300000 0.400000 0.200000\n"
    assert yolo_labels(Found(SIZE, objects=FoundObjects(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), None))) == ""


def test_pycocotools_reads_the_file_of_coco(tmp_path):
    masks = [blob(1), blob(2)]
    objects = coco_objects(found_objects(masks), lambda label: 10 * label)
    listed = [
        {"id": 5, "file_name": "a/x.png", "size": SIZE, "objects": objects},
        {"id": 9, "file_name": "b.png", "size": (3, 4), "objects": []},
    ]
    write_coco(tmp_path / "coco.json", {0: 'one"', 10: "two"}, lambda: iter(listed))
    coco = COCO(tmp_path / "coco.json")
    assert coco.getImgIds() == [5, 9]
    assert coco.loadImgs(5)[0] == {"id": 5, "file_name": "a/x.png", "height": 30, "width": 40}
    assert [each["name"] for each in coco.loadCats([0, 10])] == ['one"', "two"]
    for annotation, mask, score in zip(coco.loadAnns(coco.getAnnIds(5)), masks, (0.9, 0.6), strict=True):
        assert (coco.annToMask(annotation) == mask).all()
        assert annotation["area"] == mask.sum()
        assert annotation["score"] == score
        assert annotation["bbox"] == judge.toBbox(coco.annToRLE(annotation)).tolist()


def test_a_file_of_nothing_is_a_file_of_coco(tmp_path):
    write_coco(tmp_path / "coco.json", {}, lambda: iter(()))
    assert json.loads((tmp_path / "coco.json").read_text()) == {"categories": [], "images": [], "annotations": []}


def test_a_class_has_a_line():
    assert class_list(["a b", "c\nd"]) == "a b\nc d\n"
