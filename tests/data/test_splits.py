"""Images shared between training and validation: complete, seeded, and each class in both as far as it can be."""

import random
import shlex
from collections import Counter

import pytest

from dcnrun.config.compose import compose
from dcnrun.config.schema import CocoConfig, FolderConfig, VocConfig
from dcnrun.data import build_box_dataset, build_dataset, problems
from dcnrun.data.splits import indices_of
from dcnrun.errors import DataError, UsageError
from tests.data.factories import (
    annotation,
    labels,
    save_image,
    save_image_set,
    save_json,
    save_mask,
    save_voc_image,
    voc_object,
)


def splits(contents, share=0.2, seed=0, names=None, by=None):
    config = FolderConfig(val_share=share, split_seed=seed, split_by=by)
    names = names or [str(number) for number in range(len(contents))]
    return tuple(indices_of(split, config, contents, names) for split in ("train", "val"))


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


PATIENTS = [f"{site}/patient{number}_slice{nth}" for site in "ab" for number in range(10) for nth in range(number + 1)]


@pytest.mark.parametrize(
    ("by", "key", "groups"),
    [
        ("folder", lambda name: name[0], 2),
        (r"patient\d+", lambda name: name[2:].split("_")[0], 10),
        (r"^(.+)_slice", lambda name: name.split("_")[0], 20),
        (r"(nothing)", lambda name: name, len(PATIENTS)),
        (None, lambda name: name, len(PATIENTS)),
    ],
)
def test_what_belongs_together_is_on_one_side(by, key, groups):
    contents = [[0, int(name[9])] for name in PATIENTS]
    train, val = splits(contents, 0.2, 3, PATIENTS, by)
    assert sorted(train + val) == list(range(len(PATIENTS)))
    sides = [{key(PATIENTS[index]) for index in side} for side in (train, val)]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [groups - max(round(groups / 5), 1), max(round(groups / 5), 1)]


def test_groups_are_shared_by_the_classes_in_them():
    """A class that two of thirty patients have is in both splits."""
    names = [f"{patient}/{nth}" for patient in range(30) for nth in range(4)]
    contents = [[0, 1] if number in (7, 60) else [0] for number in range(len(names))]
    for seed in range(20):
        train, val = splits(contents, 0.2, seed, names, "folder")
        assert {7 in train, 60 in train} == {True, False}
        assert len(val) == 4 * 6


def test_groups_of_which_there_is_one_cannot_be_shared():
    said = r"data.val_share=0.2: the images are all of one folder by data.split_by=folder; expected at least one for training"
    with pytest.raises(UsageError, match=said):
        splits([[]] * 3, names=["a/1", "a/2", "a/3"], by="folder")
    assert problems(FolderConfig(root="x", classes=["a", "b"], val_share=0.2, split_by="(")) == [
        "data.split_by=( must be folder, or a regular expression (missing ), unterminated subpattern at position 0)"
    ]


def test_folders_whose_images_may_be_alike_are_told_of(tmp_path):
    for number in range(12):
        save_image(tmp_path / f"images/{number % 3}/{number}.png", seed=number)
        save_mask(tmp_path / f"masks/{number % 3}/{number}.png", labels(seed=number))
    config = FolderConfig(
        root=str(tmp_path), classes=["a", "b"], images="images/*", masks="masks/*", train=".", val_share=0.3
    )
    (note,) = (note for note in build_dataset(config, "train").notes if "folder" in note)
    assert note.startswith("images of 3 folders are shared one by one: where those of a folder are alike")
    config.split_by = "folder"
    train, val = (build_dataset(config, split) for split in ("train", "val"))
    assert train.notes == [
        "8 of the 12 images that data.train names, by data.val_share=0.3 and data.split_seed=0 (data.val is not read), those of one folder together by data.split_by=folder"
    ]
    assert len({val.name(index)[0] for index in range(4)}) == 1


def test_copies_of_roboflow_are_told_of(tmp_path):
    """Each augmented, so that no two are the same."""
    names = [f"cat{number}_jpg.rf.{10 * number + copy:032x}" for number in range(5) for copy in range(3)]
    for seed, name in enumerate(names):
        save_image(tmp_path / f"images/{name}.jpg", seed=seed)
        save_mask(tmp_path / f"masks/{name}.png", labels(seed=seed))
    config = FolderConfig(root=str(tmp_path), classes=["a", "b"], train=".", val_share=0.2)
    (note,) = (note for note in build_dataset(config, "train").notes if "Roboflow" in note)
    assert note.startswith("15 images have the names of copies that Roboflow made of 5, and are shared one by one: ")
    (override,) = shlex.split(note.rpartition(": ")[2].removesuffix(" leaves copies together"))
    config = compose(
        ["data=folder", f"data.root={tmp_path}", "data.classes=[a,b]", "data.train=.", "data.val_share=0.2", override]
    )
    val = build_dataset(config.data, "val")
    assert len({val.name(index).split("_")[0] for index in range(3)}) == 1


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
