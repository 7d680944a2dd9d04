"""Cityscapes, semantic segmentation with the fine annotations."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torchvision.datasets import Cityscapes

from dcnrun.config.schema import CityscapesConfig
from dcnrun.data.files import FileDataset, LabelTable, Pair, root_folder
from dcnrun.data.sample import IGNORE, Rule, Split
from dcnrun.errors import UsageError

_TRAINED = sorted(
    (entry for entry in Cityscapes.classes if 0 <= entry.train_id < IGNORE), key=lambda entry: entry.train_id
)
CLASSES = tuple(entry.name for entry in _TRAINED)


def rules(config: CityscapesConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder that holds leftImg8bit and gtFine"


class CityscapesDataset(FileDataset):
    """The 19 classes of the benchmark; the other label ids are ignored.

    Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
    """

    def __init__(self, config: CityscapesConfig, split: Split) -> None:
        """UsageError if the data set is not below `config.root`."""
        reader = _reader(config, config.train if split == "train" else config.val)
        pairs = sorted(
            Pair(Path(image).stem.removesuffix("_leftImg8bit"), Path(image), Path(mask))
            for image, (mask,) in zip(reader.images, reader.targets, strict=True)
        )
        meaning = np.full(256, IGNORE, np.int16)
        meaning[[entry.id for entry in _TRAINED]] = [entry.train_id for entry in _TRAINED]
        super().__init__(pairs, CLASSES, LabelTable(meaning, "the label ids of Cityscapes"))


def _reader(config: CityscapesConfig, split: str) -> Cityscapes:
    root = root_folder(config, "leftImg8bit and gtFine")
    try:
        reader = Cityscapes(root, split=split, mode="fine", target_type="semantic")
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"data.root={root}: no Cityscapes there ({error}); looked for {root / 'leftImg8bit' / split} and"
            f" {root / 'gtFine' / split}, or leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip to unpack;"
            " fetching it needs a login at cityscapes-dataset.com, so data.download can't"
        ) from error
    if not reader.images:
        raise UsageError(f"data.root={root}: no images in {root / 'leftImg8bit' / split}/CITY/")
    return reader
