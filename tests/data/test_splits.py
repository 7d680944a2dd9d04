"""Images shared between training and validation: complete, seeded, and each class in both as far as it can be."""

import random
from collections import Counter

import pytest

from dcnrun.config.schema import FolderConfig
from dcnrun.data.splits import indices_of
from dcnrun.errors import UsageError


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
