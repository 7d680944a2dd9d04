"""Average precision of masks beside that of boxes, of any resample of the images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from dcnrun.tasks.detection.scores import BOX_RULES, COCO_RULES, DETECTION, MatchesPerImage, Rule, mask_metric
from dcnrun.tasks.found import PredictionFormat
from dcnrun.tasks.traits import Metric, TaskTraits

if TYPE_CHECKING:
    from dcnrun.tasks.instances.task import Instances

_OF_BOXES = MatchesPerImage.columns
MASK_RULES = {
    mask_metric(name): Rule([_OF_BOXES + column for column in rule.columns], rule.worth)
    for name, rule in COCO_RULES.items()
}


class InstanceMatchesPerImage(MatchesPerImage):
    """Which detections matched objects by their boxes, as in detection, then by their masks, by COCO's rule at COCO_IOUS."""

    kind = "instance matches"
    rules: ClassVar[Mapping[str, Rule]] = {**MASK_RULES, **BOX_RULES}
    columns = _OF_BOXES + len(COCO_RULES["val/map"].columns)
    metrics = tuple(rules)


def _load() -> "Instances":
    from dcnrun.tasks.instances.task import Instances

    return Instances()


INSTANCES = TaskTraits(
    labels="instances",
    finds="masks of objects",
    metrics=(
        *(
            Metric(mask_metric(metric.name), f"mask {metric.title}")
            for metric in DETECTION.metrics
            if metric.name.startswith("val/map")
        ),
        *DETECTION.metrics,
    ),
    per_image=InstanceMatchesPerImage,
    saves_predictions=True,
    load=_load,
    formats=(*DETECTION.formats, PredictionFormat.png),
)
