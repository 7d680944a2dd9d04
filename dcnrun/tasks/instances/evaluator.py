"""Validation scores of instance segmentation, exact over any number of processes."""

from dataclasses import dataclass, replace
from functools import cached_property, partial

from dcnrun.data import BoxTruth
from dcnrun.scores import Confusion
from dcnrun.tasks.detection.coco import CocoScores, ImageResult, coco_confusion, coco_match, coco_scores
from dcnrun.tasks.detection.detector import Detections
from dcnrun.tasks.detection.evaluator import CONFUSION_IOU, CONFUSION_SCORE, DetectionEvaluation, DetectionEvaluator
from dcnrun.tasks.detection.matches import match_by, voc_match
from dcnrun.tasks.gather import gathered
from dcnrun.tasks.instances.masks import pasted
from dcnrun.tasks.instances.scores import InstanceMatchesPerImage


@dataclass(frozen=True)
class InstanceEvaluation(DetectionEvaluation):
    """Boxes and masks that were found in each image of a data set, and the scores that follow from both."""

    @cached_property
    def metrics(self) -> dict[str, float]:
        """COCO's AP of masks (`val/mask_map`, `val/mask_map_50`, ...), then all scores of boxes; NaN where there is no object."""
        return {**self._of_masks.metrics, **super().metrics}

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """`val/mask_map`, `val/mask_map_50`, `val/map` and `val/map_50` of each class; NaN where a class has no object."""
        return {**self._of_masks.per_class, **super().per_class}

    @cached_property
    def images(self) -> InstanceMatchesPerImage:
        """The matches in each image, of boxes and of masks, and what was taken for what by masks."""
        of_masks = partial(coco_match, shape="segm")
        matchings = coco_match, voc_match, of_masks
        return match_by(matchings, InstanceMatchesPerImage, self.results, self.dataset.classes, self.confusion())

    def confusion(self) -> Confusion:
        """Which objects were found as which class, by masks."""
        return coco_confusion(self.results, self.dataset.classes, CONFUSION_SCORE, CONFUSION_IOU, "segm")

    @cached_property
    def _of_masks(self) -> CocoScores:
        return coco_scores(self.results, self.dataset.classes, self.dataset.category_id, "segm")


class InstanceEvaluator(DetectionEvaluator):
    """Gathers boxes and masks over batches and processes; an image that comes twice counts once."""

    def result(self) -> InstanceEvaluation:
        """The scores of all images that any process added; collective over processes, the same on each."""
        return InstanceEvaluation(gathered(self._results), self._dataset)

    def _result(self, found: Detections, there: BoxTruth, place: int) -> ImageResult:
        masks = pasted(found["masks"], found["boxes"], there["size"])
        return replace(super()._result(found, there, place), masks=masks, object_masks=there["masks"] or [])
