"""Every architecture in one row: the class of its settings, its task, and what builds its network.

Importing this file imports no torch: comparisons of finished runs and the processes that watch over sweeps look tasks up
here and need none. So what builds a network is imported when one is built.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dcnrun.config.groups import Labels
from dcnrun.config.schema import (
    Architecture,
    Config,
    DeepLabV3PlusConfig,
    FasterRcnnConfig,
    MaskRcnnConfig,
    ModelConfig,
    ResNetModelConfig,
    RetinaNetConfig,
    SegmentationModelConfig,
    SmpConfig,
)
from dcnrun.scores import as_percent
from dcnrun.tasks.detection.scores import DETECTION
from dcnrun.tasks.instances.scores import INSTANCES
from dcnrun.tasks.segmentation.scores import SEGMENTATION
from dcnrun.tasks.traits import TaskTraits

if TYPE_CHECKING:
    from torch import nn

    from dcnrun.models.backbones import StagedBackbone
    from dcnrun.models.weights import Weights
    from dcnrun.tasks.task import AnyTask

ModelConfigT = TypeVar("ModelConfigT", bound=ModelConfig)


@dataclass(frozen=True)
class Entry(ABC, Generic[ModelConfigT]):
    """One architecture."""

    config: type[ModelConfigT]
    """The class of its settings, as in `MODEL_SCHEMAS`."""
    task: TaskTraits

    def build(self, model: ModelConfig, num_classes: int, bands: int, weights: "Weights | None" = None) -> "nn.Module":
        """Build the network; in its attribute `backbone` are the layers under comparison. PyTorch's current seed initialises it.

        Args:
            model: the settings, TypeError for those of another architecture.
            num_classes: classes, without background.
            bands: of its images.
            weights: those that the settings name, which the backbone starts from; None: random ones.
        """
        if type(model) is not self.config:
            raise TypeError(f"model.head={model.head} has settings {self.config.__name__}, not {type(model).__name__}")
        return self._built(model, num_classes, bands, weights)

    @abstractmethod
    def _built(self, model: ModelConfigT, num_classes: int, bands: int, weights: "Weights | None") -> "nn.Module": ...


ResNetConfigT = TypeVar("ResNetConfigT", bound=ResNetModelConfig)


@dataclass(frozen=True)
class ArchitectureEntry(Entry[ResNetConfigT]):
    """An architecture on our backbones."""

    builder: Callable[[ResNetConfigT, "StagedBackbone", int], "nn.Module"]
    """Builds its network on a backbone, for a number of classes (without background)."""

    def _built(self, model: ResNetConfigT, num_classes: int, bands: int, weights: "Weights | None") -> "nn.Module":
        from dcnrun.models.backbones import build_backbone

        return self.builder(model, build_backbone(model, weights, bands), num_classes)


class SmpEntry(Entry[SmpConfig]):
    """The networks of segmentation_models.pytorch, which bring encoders of their own."""

    def _built(self, model: SmpConfig, num_classes: int, bands: int, weights: "Weights | None") -> "nn.Module":
        from dcnrun.tasks.segmentation.heads import SmpNetwork

        return SmpNetwork(model, num_classes, bands, weights)


def _deeplab(model: SegmentationModelConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.segmentation.heads import SegmentationNetwork, deeplab

    return SegmentationNetwork(backbone, deeplab(model, backbone.out_channels, num_classes))


def _deeplabv3(model: SegmentationModelConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.segmentation.heads import SegmentationNetwork, deeplabv3

    return SegmentationNetwork(backbone, deeplabv3(model, backbone.out_channels, num_classes))


def _deeplabv3plus(model: DeepLabV3PlusConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.segmentation.heads import DeepLabV3Plus

    return DeepLabV3Plus(model, backbone, num_classes)


def _fcn(model: SegmentationModelConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.segmentation.heads import SegmentationNetwork, fcn

    return SegmentationNetwork(backbone, fcn(model, backbone.out_channels, num_classes))


def _faster_rcnn(model: FasterRcnnConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.detection.faster_rcnn import FasterRcnn

    return FasterRcnn(model, backbone, num_classes)


def _retinanet(model: RetinaNetConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.detection.retinanet import RetinaNet

    return RetinaNet(model, backbone, num_classes)


def _mask_rcnn(model: MaskRcnnConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.instances.mask_rcnn import MaskRcnn

    return MaskRcnn(model, backbone, num_classes)


ARCHITECTURES: dict[Architecture, Entry[Any]] = {
    Architecture.deeplab: ArchitectureEntry(SegmentationModelConfig, SEGMENTATION, _deeplab),
    Architecture.deeplabv3: ArchitectureEntry(SegmentationModelConfig, SEGMENTATION, _deeplabv3),
    Architecture.deeplabv3plus: ArchitectureEntry(DeepLabV3PlusConfig, SEGMENTATION, _deeplabv3plus),
    Architecture.fcn: ArchitectureEntry(SegmentationModelConfig, SEGMENTATION, _fcn),
    Architecture.smp: SmpEntry(SmpConfig, SEGMENTATION),
    Architecture.faster_rcnn: ArchitectureEntry(FasterRcnnConfig, DETECTION, _faster_rcnn),
    Architecture.retinanet: ArchitectureEntry(RetinaNetConfig, DETECTION, _retinanet),
    Architecture.mask_rcnn: ArchitectureEntry(MaskRcnnConfig, INSTANCES, _mask_rcnn),
}


def task_traits(model: ModelConfig) -> TaskTraits:
    """Return the traits of the task that a model is for."""
    return ARCHITECTURES[model.head].task


def task_of(model: ModelConfig) -> "AnyTask":
    """Return the task that a model is for; imports torch."""
    return task_traits(model).load()


def labels_for(config: Config) -> Labels:
    """Return the labels that the model learns from; where the data set has none such, those that it has."""
    from dcnrun.data import labels_of

    there = labels_of(config.data)
    wanted = task_traits(config.model).labels
    return wanted if wanted in there else next(iter(there))


def metric_title(name: str) -> str:
    """Return a metric as people call it: `mIoU` for `val/miou`."""
    titles = {metric.name: metric.title for entry in ARCHITECTURES.values() for metric in entry.task.metrics}
    return titles.get(name, name)


def is_score(name: str) -> bool:
    """Return whether a metric is a score from 0 to 1, which people read in percent; a loss is none."""
    return any(name in entry.task.metric_names for entry in ARCHITECTURES.values())


def metric_text(name: str, value: float | None) -> str:
    """Format a value of a metric for people, `-` where there is none."""
    return as_percent(value) if value is None or is_score(name) else f"{value:.4g}"
