"""Instance segmentation: which data, networks, losses and scores it has."""

from dataclasses import replace

from dcnrun.config.schema import DataConfig
from dcnrun.data import BoxBatch, BoxDataset, BoxSample, LabelledDataset, build_instance_dataset
from dcnrun.data.sample import Size, Split
from dcnrun.tasks.detection.detector import Detections, Target
from dcnrun.tasks.detection.scores import DETECTION, mask_metric
from dcnrun.tasks.detection.task import Detection, surest
from dcnrun.tasks.found import Found
from dcnrun.tasks.instances.evaluator import InstanceEvaluator
from dcnrun.tasks.instances.masks import pasted
from dcnrun.tasks.instances.scores import INSTANCES

_OF_BOXES = {mask_metric(name): name for name in DETECTION.metric_names}


class Instances(Detection):
    """Boxes and masks of objects, with their classes: detection that learns from masks too, and finds them."""

    traits = INSTANCES

    def dataset(self, data: DataConfig, split: Split) -> BoxDataset:
        """Images with boxes and masks of objects."""
        return build_instance_dataset(data, split)

    def targets(self, batch: BoxBatch) -> list[Target]:
        """What a network learns from each image, masks among it."""
        assert batch["masks"] is not None
        return [{**target, "masks": m} for target, m in zip(super().targets(batch), batch["masks"], strict=True)]

    def found(self, prediction: Detections, size: Size, min_score: float) -> Found:
        """The boxes and masks, their scores and classes."""
        chosen = surest(prediction, min_score)
        found = super().found(chosen, size, min_score)
        assert found.objects is not None
        masks = pasted(chosen["masks"], chosen["boxes"], size)
        return replace(found, objects=replace(found.objects, masks=masks))

    def evaluator(self, dataset: LabelledDataset[BoxSample, BoxBatch]) -> InstanceEvaluator:
        """Matches of detections and objects in every image, by boxes and by masks."""
        return InstanceEvaluator(dataset)

    def lacking(self, metric: str, dataset: LabelledDataset[BoxSample, BoxBatch]) -> str | None:
        """An object of the size that the metric is of, whether of boxes or of masks."""
        return super().lacking(_OF_BOXES.get(metric, metric), dataset)
