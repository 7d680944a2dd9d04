"""The recipe "Add a task", followed to the letter: the class of an image is the one that most of its pixels have."""

import json

from tests.recipes.factories import TINY_SHAPES


def add_task(package):
    package.write("dcnrun/tasks/classification/__init__.py", '"""Classification: a class for every image."""\n')
    package.write(
        "dcnrun/tasks/classification/scores.py",
        '''\
"""Classification scores from the true and the found class of each image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dcnrun.scores import Counts, Floats, PerImage, order_of
from dcnrun.tasks.traits import Metric, TaskTraits

if TYPE_CHECKING:
    from dcnrun.tasks.classification.task import Classification


class ClassPerImage(PerImage):
    """The true and the found class of each image."""

    kind = "classes"
    metrics = ("val/accuracy",)

    def __init__(
        self, names: Sequence[str], truth: npt.NDArray[Any], found: npt.NDArray[Any], classes: Sequence[str]
    ) -> None:
        """Take `truth` and `found` (N,) in the order of `names`, of which they are sorted."""
        super().__init__(names, classes)
        self.truth: Counts = truth[order_of(names)].astype(np.int64)
        self.found: Counts = found[order_of(names)].astype(np.int64)

    def truth_of_class(self) -> Counts:  # noqa: D102
        return np.bincount(self.truth, minlength=len(self.classes))

    def resampled(self, metric: str, image_counts: Counts) -> Floats:  # noqa: D102
        if metric not in self.metrics:
            raise KeyError(metric)
        share: Floats = image_counts @ (self.truth == self.found) / image_counts.sum(axis=1)
        return share

    def work(self, metric: str) -> float:  # noqa: D102
        return len(self.names)

    def has_same_truth(self, other: PerImage) -> bool:  # noqa: D102
        return (
            isinstance(other, ClassPerImage) and other.names == self.names and np.array_equal(other.truth, self.truth)
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:  # noqa: D102
        return {"truth": self.truth, "found": self.found}


def _load() -> "Classification":
    from dcnrun.tasks.classification.task import Classification

    return Classification()


CLASSIFICATION = TaskTraits(
    labels="classes",
    finds="a class",
    metrics=(Metric("val/accuracy", "accuracy"),),
    per_image=ClassPerImage,
    saves_predictions=False,
    load=_load,
)
''',
    )
    package.write(
        "dcnrun/tasks/classification/task.py",
        '''\
"""Classification: which data, network, loss and scores it has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcnrun.config.schema import Config, DataConfig
from dcnrun.data import IGNORE, LabelledDataset, MaskBatch, Sample, SegmentationDataset, build_dataset
from dcnrun.data.sample import Split
from dcnrun.models.backbones import StagedBackbone
from dcnrun.tasks.classification.scores import CLASSIFICATION, ClassPerImage
from dcnrun.tasks.gather import gathered
from dcnrun.tasks.task import Task


class Classifier(nn.Module):
    """A layer on the mean of a backbone's features."""

    def __init__(self, backbone: StagedBackbone, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.scores = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.out_channels, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to scores (N, classes)."""
        scores: Tensor = self.scores(self.backbone(image).mean((2, 3)))
        return scores.float()


@dataclass(frozen=True)
class ClassificationEvaluation:
    """The classes of all images, and the share that was found."""

    images: ClassPerImage

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are logged."""
        return {"val/accuracy": self.images.score("val/accuracy")}

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """The share of each class's images; NaN for a class that no image has."""
        right, there = self.images.truth == self.images.found, self.images.truth_of_class()
        hits = np.bincount(self.images.truth, weights=right, minlength=len(there))
        shares = [hit / count if count else float("nan") for hit, count in zip(hits, there, strict=True)]
        return {"val/accuracy": dict(zip(self.images.classes, shares, strict=True))}

    def write_predictions(self, path: Path) -> None:
        """Raise: no format for the classes of images is common."""
        raise NotImplementedError


class ClassificationEvaluator:
    """The true and the found class of every image, as batches come in."""

    def __init__(self, dataset: LabelledDataset[Sample, MaskBatch]) -> None:
        self._dataset = dataset
        self._classes: dict[int, tuple[int, int]] = {}

    def update(self, predictions: Sequence[int], batch: MaskBatch) -> None:
        """Add the class that was found in each image of a batch."""
        for found, mask, index in zip(predictions, batch["truth"], batch["index"], strict=True):
            self._classes.setdefault(index, (most_frequent(mask), found))

    def result(self) -> ClassificationEvaluation:
        """Score all images that any process added; collective over processes."""
        names = [self._dataset.name(index) for index in range(len(self._dataset))]
        truth, found = np.array(gathered(self._classes)).T
        return ClassificationEvaluation(ClassPerImage(names, truth, found, self._dataset.classes))


class Classification(Task[Sample, MaskBatch, int]):
    """A class for every image: that of most of its labelled pixels, the first class (background) apart."""

    traits = CLASSIFICATION

    def dataset(self, data: DataConfig, split: Split) -> SegmentationDataset:
        """Images with masks."""
        return build_dataset(data, split)

    def problems(self, config: Config) -> Iterator[str]:
        """Nothing: every combination will do."""
        yield from ()

    def losses(self, network: nn.Module, batch: MaskBatch, config: Config, world_size: int) -> dict[str, Tensor]:
        """Cross-entropy of the images, a mean over a process's own."""
        truth = torch.tensor([most_frequent(mask) for mask in batch["mask"]], device=batch["mask"].device)
        return {"loss": F.cross_entropy(network(batch["image"]), truth)}

    def predict(self, network: nn.Module, batch: MaskBatch) -> list[int]:
        """The class of each image."""
        found: list[int] = network(batch["image"]).argmax(1).tolist()
        return found

    def evaluator(self, dataset: LabelledDataset[Sample, MaskBatch]) -> ClassificationEvaluator:
        """Classes of every image."""
        return ClassificationEvaluator(dataset)


def most_frequent(mask: Tensor) -> int:
    """Return the class that most pixels have, of those that are labelled and not background; background if none are."""
    objects = mask[(mask != IGNORE) & (mask != 0)]
    return int(objects.long().bincount().argmax()) if objects.numel() else 0
''',
    )
    package.insert_after("dcnrun/config/groups.py", "Labels = Literal[", '"classes", ')
    package.insert_after(
        "dcnrun/config/groups.py", "LABELS_IN_WORDS: dict[Labels, str] = {", '"classes": "classes of images", '
    )
    package.insert_before(
        "dcnrun/data/registry.py",
        '            "instances": self.has_object_masks,\n',
        '            "classes": self.masks is not None,\n',
    )
    package.insert_after("dcnrun/data/check.py", '    "boxes": _BoxFindings,\n', '    "classes": _MaskFindings,\n')
    package.insert_after("tests/data/conformance.py", "KINDS = {", '"classes": Masks, ')
    package.insert_after(
        "dcnrun/config/schema.py",
        '    retinanet = "retinanet"\n',
        '    classification = "classification"\n',
    )
    package.insert_before(
        "dcnrun/config/schema.py",
        "\n\nMODEL_SCHEMAS: dict[Architecture, type[ModelConfig]] = {\n",
        '''

@dataclass
class ClassificationConfig(ResNetModelConfig):
    """A network for the class of an image."""

    head: Architecture = setting(Architecture.classification, "the network")
    dropout: float = setting(0.0, "share of the features that are left out in training", ge=0, lt=1)
''',
    )
    package.insert_after(
        "dcnrun/config/schema.py",
        "    Architecture.retinanet: RetinaNetConfig,\n",
        "    Architecture.classification: ClassificationConfig,\n",
    )
    package.insert_before(
        "dcnrun/tasks/registry.py", "    Config,\n    DeepLabV3PlusConfig,\n", "    ClassificationConfig,\n"
    )
    package.insert_before(
        "dcnrun/tasks/registry.py",
        "from dcnrun.tasks.detection.scores import DETECTION\n",
        "from dcnrun.tasks.classification.scores import CLASSIFICATION\n",
    )
    package.insert_before(
        "dcnrun/tasks/registry.py",
        "ARCHITECTURES: dict[Architecture, Entry[Any]] = {\n",
        """\
def _classification(model: ClassificationConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.classification.task import Classifier

    return Classifier(backbone, num_classes, model.dropout)


""",
    )
    package.insert_after(
        "dcnrun/tasks/registry.py",
        "    Architecture.retinanet: ArchitectureEntry(RetinaNetConfig, DETECTION, _retinanet),\n",
        "    Architecture.classification: ArchitectureEntry(ClassificationConfig, CLASSIFICATION, _classification),\n",
    )
    package.write(
        "conf/model/classification.yaml",
        """\
defaults:
  - /schema/model@_here_: classification
  - _self_
head: classification
""",
    )
    package.write(
        "tests/tasks/classification/test_scores.py",
        '''\
"""Accuracy of images, and of resamples of them."""

import numpy as np

from dcnrun.tasks.classification.scores import ClassPerImage


def test_accuracy_is_the_share_of_images_whose_class_was_found(tmp_path):
    images = ClassPerImage(["b", "a", "c"], np.array([1, 2, 1]), np.array([1, 1, 1]), ["none", "x", "y"])
    assert images.score("val/accuracy") == 2 / 3
    assert images.truth_of_class().tolist() == [0, 2, 1]
    counts = np.array([[1, 0, 0], [0, 3, 1], [2, 1, 1]])  # of a, b and c
    assert images.resampled("val/accuracy", counts).tolist() == [0, 1, 0.5]
    images.save(tmp_path / "images.npz")
    assert ClassPerImage.load(tmp_path / "images.npz").has_same_truth(images)
''',
    )
    package.write(
        "tests/tasks/classification/test_task.py",
        '''\
"""The class that an image has."""

import torch

from dcnrun.data import IGNORE
from dcnrun.tasks.classification.task import most_frequent


def test_an_image_has_the_class_of_most_of_its_labelled_pixels():
    mask = torch.tensor([[0, 0, 0, 0], [IGNORE, IGNORE, IGNORE, 1], [2, 2, 1, 2]])
    assert most_frequent(mask) == 2
    assert most_frequent(torch.tensor([[0, IGNORE]])) == 0
''',
    )


def test_a_task_is_trained_evaluated_compared_and_drawn(package, recipes):
    add_task(package)
    own, recipe = ("dcnrun/tasks/NAME/", "tests/tasks/NAME/"), recipes["Add a task"].files
    assert {_folder_of(file, own) for file in package.touched("classification")} == recipe
    assert package.edited == {file for file in recipe if "NAME" not in file}
    tiny = [*TINY_SHAPES, "model=classification", "conv.layers=1"]
    listed, plan, *_, evaluated, _, _, _, _, _ = package.run(
        ("config", "--list", "model=classification"),
        ("train", *tiny, "--dry-run"),
        ("train", *tiny, "conv=deformable", "--run-dir", "deformable"),
        ("train", *tiny, "conv=standard", "--run-dir", "standard"),
        ("compare", "standard", "deformable", "--out", "compared"),
        ("evaluate", "deformable"),
        ("visualize-offsets", "deformable", "val-000000", "--out", "offsets", "--limit", "1"),
        ("train", "--resume", "deformable"),
        ("data", "check", "data=shapes", "data.train_images=40", "model=classification", "--samples", "0"),
        ("pytest", "tests/tasks/classification", "tests/tasks/test_architectures.py", "-k", "classification"),
        ("pytest", "tests/data/test_shapes.py", "-k", "agreed and classes"),
    )
    assert "model.dropout=0" in listed
    assert "head: classification" in plan
    assert "val/accuracy" in evaluated
    folder = package.folder
    comparison = json.loads((folder / "compared" / "compare.json").read_text())
    assert comparison["metric"] == "val/accuracy"
    assert comparison["variants"][1]["difference"]["bootstrap"] is not None
    assert "accuracy in percent" in (folder / "compared" / "compare.md").read_text()
    assert (folder / "compared" / "compare.png").stat().st_size > 10_000
    assert (folder / "offsets" / "offsets.html").is_file()

    assert "segmentation and detection only" in package.fail("export", "standard", "--out", "run.onnx")
    assert "--save-predictions" in package.fail("evaluate", "standard", "--save-predictions", "found.json")
    assert "has none" in package.fail("train", "model=classification", "data=voc", "--dry-run")


def _folder_of(file, folders):
    return next((folder for folder in folders if file.startswith(folder)), file)
