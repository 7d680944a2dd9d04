"""What is kept of images and labels tells changes of them apart, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.schema import CocoConfig, FolderConfig, ShapesConfig
from dcnrun.data import build_box_dataset, build_dataset
from dcnrun.data.contents import changed_contents, contents_of
from tests.data.factories import coco_tree, folder_tree, load_json, save_image, save_json


def opened(config, build=build_dataset):
    return contents_of(build(config, "train"), build(config, "val"))


def masks(root):
    return opened(FolderConfig(root=str(root), classes=["no", "yes"], workers=0))


def test_a_pixel_of_a_mask(tmp_path):
    before = masks(folder_tree(tmp_path))
    save_image(tmp_path / "images/train/a.png", seed=77)  # another image of the same name is left to the eye
    assert masks(tmp_path) == before
    file = tmp_path / "masks/train/b.png"
    with Image.open(file) as image:
        pixels = np.array(image)
        image.putpixel((3, 5), 1 - int(pixels[5, 3] == 1))
        image.save(file)
    now = masks(tmp_path)
    assert {key for key in now if now[key] != before[key]} == {"train_labels"}
    assert changed_contents(before, now) == ["labels of the training images"]


def test_an_image_more(tmp_path):
    before = masks(folder_tree(tmp_path))
    folder_tree(tmp_path, splits=("val",), names=("d",))
    assert changed_contents(before, masks(tmp_path)) == ["validation images", "labels of the validation images"]
    assert changed_contents({"torch": "2.9.1"}, masks(tmp_path)) == []  # a run of an earlier version


@pytest.mark.parametrize(("build", "has_masks"), [(build_box_dataset, False), (build_dataset, True)])
def test_a_box_a_class_and_a_polygon_of_coco(tmp_path, build, has_masks):
    """Polygons count where they are trained on."""
    config = CocoConfig(root=str(coco_tree(tmp_path)), workers=0)
    document = load_json(tmp_path, "val")
    entry = document["annotations"][0]
    seen = [opened(config, build)]
    for key, value in (("bbox", [5, 4, 19, 10]), ("category_id", 20), ("segmentation", [[8, 4, 25, 4, 25, 14, 5, 14]])):
        entry[key] = value
        save_json(tmp_path, "val", document)
        seen.append(opened(config, build))
    assert len({contents["val_labels"] for contents in seen}) == 3 + has_masks
    assert len({contents["train_labels"] for contents in seen}) == 1


def test_generated_labels_have_nothing_to_change():
    config = ShapesConfig(train_images=2, val_images=1)
    assert opened(config).keys() == {"train_images", "val_images"}
