"""Which of several names are those of what is trained on and of what is validated on."""

import pytest

from dcnrun.data.discover.split_names import split_word, train_and_val, with_split


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["test", "train", "val"], ("train", "val")),
        (["Training", "Validation"], ("Training", "Validation")),
        (["test", "trainval"], ("trainval", "test")),
        (["test", "trainval", "val"], ("trainval", "test")),  # val is a part of trainval
        (["trainval", "val"], ("trainval", None)),
        (["train"], ("train", None)),
        (["test"], (None, "test")),
        (
            ["instances_train2017.json", "instances_val2017.json"],
            ("instances_train2017.json", "instances_val2017.json"),
        ),
        (["trains", "retrain", "evaluation"], (None, None)),
        ([], (None, None)),
    ],
)
def test_names_that_belong_together_are_chosen(names, chosen):
    assert train_and_val(names) == chosen


def test_a_word_ends_where_letters_do():
    assert split_word("a/Train2017", ["train"]) == "Train"
    assert split_word("a/strain", ["train"]) is None


@pytest.mark.parametrize(
    ("places", "form"),
    [
        (("t/train.json", "train", "t/val.json", "val"), ("t/SPLIT.json", "SPLIT", "train", "val")),
        (("train.json", "all", "test.json", "all"), ("SPLIT.json", "all", "train", "test")),
        (("a_train.json", "all", "b_test.json", "all"), None),
        (("a.json", "all", "val.json", "all"), None),
    ],
)
def test_places_with_split_in_them(places, form):
    assert with_split(*places) == form
