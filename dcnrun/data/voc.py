"""Pascal VOC 2012, semantic segmentation."""

from collections.abc import Iterator
from pathlib import Path

from torchvision.datasets import VOCSegmentation
from torchvision.models.segmentation import FCN_ResNet50_Weights

from dcnrun.config.schema import Voc2012Config
from dcnrun.data.files import FileDataset, LabelTable, Pair, root_folder
from dcnrun.data.sample import IGNORE, Rule, Split
from dcnrun.errors import DataError, UsageError

CLASSES = ("background", *FCN_ResNet50_Weights.DEFAULT.meta["categories"][1:])


def rules(config: Voc2012Config) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    yield "root", config.root is not None, "the folder that holds VOCdevkit/VOC2012"


class Voc2012Dataset(FileDataset):
    """The 21 classes of VOC 2012; the object borders that its masks leave void (255) are ignored.

    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015.
    """

    def __init__(self, config: Voc2012Config, split: Split) -> None:
        """UsageError if the data set is not below `config.root`; fetched first if `config.download` says so."""
        image_set = config.train if split == "train" else config.val
        reader = _reader(config, image_set)
        files = zip(map(Path, reader.images), map(Path, reader.masks), strict=True)
        pairs = [Pair(image.stem, image, mask) for image, mask in files]
        super().__init__(pairs, CLASSES, LabelTable.identity(len(CLASSES), ignore=IGNORE))


def _reader(config: Voc2012Config, image_set: str) -> VOCSegmentation:
    root = root_folder(config, "VOCdevkit/VOC2012")
    devkit = root / "VOCdevkit" / "VOC2012"
    parts = (f"ImageSets/Segmentation/{image_set}.txt", "JPEGImages", "SegmentationClass")
    paths = [devkit / part for part in parts]
    absent = [str(path) for path in paths if not (path.is_file() if path.suffix else path.is_dir())]
    if absent and not config.download:
        raise UsageError(
            f"data.root={root}: VOC 2012 is not there, looked for {', '.join(absent)};"
            " data.download=true fetches it (2 GB)"
        )
    try:
        # torchvision unpacks the archive again whenever it is asked to download: so ask only if something is missing.
        return VOCSegmentation(root, year="2012", image_set=image_set, download=bool(absent))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{devkit}: VOC 2012 could not be fetched or read ({error})") from error
