"""Which images and labels a run has seen, as its folder keeps it: both can change while the files keep their names."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from dcnrun.data.sample import LabelledDataset

_WORDS = {
    "train_images": "training images",
    "train_labels": "labels of the training images",
    "val_images": "validation images",
    "val_labels": "labels of the validation images",
}


def contents_of(train_set: LabelledDataset[Any, Any], val_set: LabelledDataset[Any, Any]) -> dict[str, str]:
    """Return short hashes of the names of the images and of the labels; generated labels have none. No image is read."""
    return split_contents("train", train_set) | split_contents("val", val_set)


def split_contents(split: str, dataset: LabelledDataset[Any, Any]) -> dict[str, str]:
    """Return those of one split, `train` or `val`."""
    names = "\n".join(dataset.name(index) for index in range(len(dataset)))
    hashed = sha256(names.encode(errors="surrogateescape")).hexdigest()[:8]
    contents = {f"{split}_images": f"{len(dataset)} images, names {hashed}"}
    if labels := _labels_of(dataset):
        contents[f"{split}_labels"] = labels
    return contents


def changed_contents(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Return in words what has other contents than before; what one of them does not say is no change."""
    return [words for key, words in _WORDS.items() if key in before and key in now and before[key] != now[key]]


def _labels_of(dataset: LabelledDataset[Any, Any]) -> str:
    labels, is_empty = sha256(), True
    for index in range(len(dataset)):
        content = dataset.label_content(index)
        labels.update(len(content).to_bytes(8) + content)
        is_empty = is_empty and not content
    return "" if is_empty else labels.hexdigest()[:8]
