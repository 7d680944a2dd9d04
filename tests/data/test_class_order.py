"""Labels are renumbered by the names of their classes, whatever the source."""

import torch

from dcnrun.config.schema import CocoConfig, FolderConfig
from dcnrun.data import IGNORE, build_box_dataset, build_dataset, build_instance_dataset, eval_batches
from dcnrun.data.class_order import in_order_of
from tests.data.factories import coco_tree, folder_tree


def test_masks_have_the_numbers_of_their_names(tmp_path):
    config = FolderConfig(root=str(folder_tree(tmp_path)), classes=["sky", "road"])
    dataset = build_dataset(config, "val")
    renumbered = in_order_of(dataset, ("road", "sky"))
    before, after = dataset[0]["mask"], renumbered[0]["mask"]
    assert renumbered.classes == ("road", "sky")
    for old, new in ((0, 1), (1, 0), (IGNORE, IGNORE)):
        assert torch.equal(before == old, after == new)
        assert (before == old).any()
    assert torch.equal(renumbered.mask(0), after)
    assert (len(renumbered), renumbered.name(1)) == (len(dataset), dataset.name(1))


def test_objects_have_the_numbers_of_their_names_and_results_the_ids_of_the_file(tmp_path):
    dataset = build_box_dataset(CocoConfig(root=str(coco_tree(tmp_path))), "val")
    renumbered = in_order_of(dataset, ("zebra", "apple"))
    assert dataset[1]["labels"].tolist() == [0, 1]
    assert renumbered[1]["labels"].tolist() == [1, 0]
    for label, name in enumerate(renumbered.classes):
        assert renumbered.category_id(label) == {"apple": 20, "zebra": 90}[name]
    assert [renumbered.image_id(index) for index in range(3)] == [7, 3, 5]
    assert torch.equal(renumbered.areas(1), dataset.areas(1))


def test_masks_of_objects_stay_with_their_objects(tmp_path):
    config = CocoConfig(root=str(coco_tree(tmp_path)))
    dataset = build_instance_dataset(config, "val")
    renumbered = in_order_of(dataset, ("zebra", "apple"))
    before, after = dataset[1], renumbered[1]
    assert after["labels"].tolist() == [1, 0]
    assert after["masks"].any((1, 2)).all()
    for name in ("masks", "boxes"):
        assert torch.equal(after[name], before[name])
    (batch,) = (batch for batch in eval_batches(renumbered, config) if 1 in batch["index"])
    assert batch["truth"][batch["index"].index(1)]["labels"].tolist() == [1, 0]


def test_other_names_do_not_fit(tmp_path):
    dataset = build_box_dataset(CocoConfig(root=str(coco_tree(tmp_path))), "val")
    assert in_order_of(dataset, ("apple", "zebra")) is dataset
    assert in_order_of(dataset, ("apple", "lion")) is None
    assert in_order_of(dataset, ("apple",)) is None


def test_a_class_that_the_images_lack_has_an_id_of_its_own(tmp_path):
    dataset = build_box_dataset(CocoConfig(root=str(coco_tree(tmp_path))), "val")
    renumbered = in_order_of(dataset, ("lion", "zebra", "bear", "apple"))
    assert renumbered[1]["labels"].tolist() == [3, 1]
    ids = [renumbered.category_id(label) for label in range(4)]
    assert (ids[1], ids[3]) == (90, 20)
    assert len(set(ids)) == 4
