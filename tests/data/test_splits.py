"""Images shared between training and validation: complete, seeded, and each class in both as far as it can be."""

import random
from collections import Counter

import pytest

from dcnrun.config.schema import CocoConfig, FolderConfig, VocConfig
from dcnrun.data import build_box_dataset, problems
from dcnrun.data.splits import indices_of
from dcnrun.errors import DataError, UsageError
from tests.data.factories import annotation, save_image, save_image_set, save_json, save_voc_image, voc_object


def splits(contents, share=0.2, seed=0):
    config = FolderConfig(val_share=share, split_seed=seed)
    return indices_of("train", config, contents), indices_of("val", config, contents)


@pytest.mark.parametrize(
    ("count", "share", "wanted"), [(10, 0.2, 2), (3, 0.2, 1), (2, 0.9, 1), (101, 0.25, 25), (7, 0.01, 1)]
)
def test_every_image_is_in_one_split(count, share, wanted):
    train, val = splits([[]] * count, share)
    assert sorted(train + val) == list(range(count))
    assert len(val) == wanted
    assert train == sorted(train)
    assert val == sorted(val)


def test_the_seed_decides_which():
    contents = [[0]] * 50
    assert splits(contents, seed=1) == splits(contents, seed=1)
    assert splits(contents, seed=1) != splits(contents, seed=2)


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_two_images_has_one_in_each(seed):
    contents = [[0]] * 30 + [[0, 1], [1]] + [[0, 2], [0, 2]]
    for part in splits(contents, 0.2, seed):
        assert {label for index in part for label in contents[index]} == {0, 1, 2}


def test_classes_are_shared_more_evenly_than_at_random():
    rng = random.Random(0)
    shares = [0.5, 0.2, 0.08, 0.05, 0.03]
    contents = [[label for label, share in enumerate(shares) if rng.random() < share] for _ in range(400)]
    total = Counter(label for classes in contents for label in classes)

    def worst(val):
        counts = Counter(label for index in val for label in contents[index])
        return max(abs(counts[label] / total[label] - 0.2) for label in total)

    at_random = sorted(worst(rng.sample(range(400), 80)) for _ in range(100))
    assert all(worst(splits(contents, 0.2, seed)[1]) < at_random[5] for seed in range(10))


def test_one_image_cannot_be_shared():
    with pytest.raises(UsageError, match=r"data.val_share=0.2: there is 1 image; expected at least one for training"):
        splits([[]])


def one_file(root, names=("a.jpg", "b.jpg", "c.jpg", "x/d.jpg", "e.jpg")):
    """One file for all images, the last of which has no object; ids that are no row numbers."""
    for number, name in enumerate(names):
        save_image(root / "images" / name, (96, 64), number)
    images = [{"id": 10 + n, "file_name": name, "width": 96, "height": 64} for n, name in enumerate(names)]
    objects = [annotation(n, 10 + n, 7 + n % 2, [10 * n, 8, 30, 20]) for n in range(len(names) - 1)]
    categories = [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}]
    save_json(root, "default", {"images": images, "annotations": objects, "categories": categories})
    return {"root": str(root), "images": "images", "annotations": "annotations/instances_default.json"}


def contents(dataset):
    return {dataset.name(i): (dataset.image_id(i), dataset[i]["boxes"].tolist()) for i in range(len(dataset))}


class TestOneFileForAllImages:
    def test_is_shared(self, tmp_path):
        config = CocoConfig(**one_file(tmp_path), val_share=0.4, val="is not read", train_empty=True)
        assert problems(config) == []
        train, val = (build_box_dataset(config, split) for split in ("train", "val"))
        assert (len(train), len(val)) == (3, 2)
        together = contents(train) | contents(val)
        assert together["c.jpg"] == (12, [[20, 8, 50, 28]])
        assert {name: number for name, (number, _) in together.items()} == {
            "a.jpg": 10, "b.jpg": 11, "c.jpg": 12, "x/d.jpg": 13, "e.jpg": 14
        }  # fmt: skip
        assert (val.category_id(0), val.category_id(1)) == (7, 8)
        (note,) = val.notes
        assert note.startswith("2 of the 5 images that data.train names, by data.val_share=0.4 and data.split_seed=0")

    @pytest.mark.parametrize("seed", range(5))
    def test_images_without_objects_are_left_out_after_they_are_shared(self, tmp_path, seed):
        config = CocoConfig(**one_file(tmp_path), val_share=0.4, split_seed=seed)
        train, val = (contents(build_box_dataset(config, split)) for split in ("train", "val"))
        assert len(val) == 2
        assert train.keys() | val.keys() | {"e.jpg"} == {"a.jpg", "b.jpg", "c.jpg", "x/d.jpg", "e.jpg"}
        assert "e.jpg" not in train
        assert not train.keys() & val.keys()

    def test_lists_of_names_say_which_are_which(self, tmp_path):
        config = CocoConfig(**one_file(tmp_path), train="train.txt", val="val.txt")
        assert problems(config) == []
        (tmp_path / "train.txt").write_text("c.jpg\na\n")
        (tmp_path / "val.txt").write_text("data/images/b.jpg\nd\n")
        assert list(contents(build_box_dataset(config, "train"))) == ["a.jpg", "c.jpg"]
        assert contents(build_box_dataset(config, "val"))["x/d.jpg"] == (13, [[30, 8, 60, 28]])

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ("b.jpg\nnone\n", r"val.txt: 1 names are of no image in the annotations: none"),
            ("b", r"val.txt: 1 names are of several images: b; expected folder, name and ending"),
            ("\n", r"val.txt is empty"),
        ],
    )
    def test_a_list_that_does_not_fit(self, tmp_path, names, message):
        config = CocoConfig(**one_file(tmp_path, ("a.jpg", "b.jpg", "b.png")), train="train.txt", val="val.txt")
        (tmp_path / "val.txt").write_text(names)
        with pytest.raises(DataError, match=message):
            build_box_dataset(config, "val")

    def test_for_both_splits_alike_is_refused_with_what_to_do(self, tmp_path):
        (problem,) = problems(CocoConfig(**one_file(tmp_path)))
        assert "data.val_share=0.2" in problem
        assert "data.train=train.txt data.val=val.txt" in problem


def test_image_sets_of_voc_are_shared(tmp_path):
    names = [f"image{number}" for number in range(10)]
    for number, name in enumerate(names):
        save_voc_image(tmp_path / "VOC2007", name, voc_object("cat", (1, 1, 9, 9)), seed=number)
    save_image_set(tmp_path / "VOC2007", "trainval", *names)
    config = VocConfig(root=str(tmp_path), val_share=0.2)
    train, val = (build_box_dataset(config, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    assert sorted([*contents(train), *contents(val)]) == names
