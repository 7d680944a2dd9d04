"""RetinaNet (Lin et al. 2017, "Focal loss for dense object detection") of torchvision, on our backbones."""

import torch
import torchvision.models.detection
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead

from dcnrun.config.schema import RetinaNetConfig
from dcnrun.models.backbones import StagedBackbone
from dcnrun.tasks.detection.detector import DetectionNetwork, Detections, Target
from dcnrun.tasks.detection.neck import Anchors, group_norm, retinanet_pyramid

_OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""Anchors of a level, as multiples of its size."""


class RetinaNet(DetectionNetwork, torchvision.models.detection.RetinaNet):  # type: ignore[misc]
    """One stage: classes and boxes at every anchor of every level, the focal loss."""

    anchor_generator: Anchors
    head: RetinaNetHead

    def __init__(self, model: RetinaNetConfig, backbone: StagedBackbone, num_classes: int) -> None:
        neck = retinanet_pyramid(backbone, model.fpn_channels, model.fpn_norm)
        sizes = [[size * scale for scale in _OCTAVE] for size in model.anchor_sizes]
        anchors = Anchors(sizes, model.anchor_ratios, list(neck.strides.values()))
        per_pixel = anchors.num_anchors_per_location()[0]
        norm_layer = group_norm if model.fpn_norm else None
        super().__init__(
            backbone,
            num_classes,
            anchor_generator=anchors,
            head=RetinaNetHead(model.fpn_channels, per_pixel, num_classes, norm_layer),
            score_thresh=model.score_threshold,
            nms_thresh=model.nms_threshold,
            detections_per_img=model.detections_per_image,
        )
        self.neck = neck
        del self.transform  # the data has resized and normalised

    def losses(self, images: ImageList, maps: dict[str, Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Focal loss of the classes and L1 loss of the boxes, per object."""
        anchors = self.anchor_generator(images, list(maps.values()))
        losses = self.compute_loss(targets, self._outputs(maps), anchors)  # type: ignore[operator]  # of torchvision
        return {"loss_classifier": losses["classification"], "loss_box_reg": losses["bbox_regression"]}

    def detect(self, images: ImageList, maps: dict[str, Tensor]) -> list[Detections]:
        """The surest of each level, then of all, without overlaps."""
        per_pixel = self.anchor_generator.num_anchors_per_location()[0]
        counts = [each.shape[-2] * each.shape[-1] * per_pixel for each in maps.values()]
        outputs = {name: torch.split(output, counts, dim=1) for name, output in self._outputs(maps).items()}
        anchors = [torch.split(each, counts) for each in self.anchor_generator(images, list(maps.values()))]
        found: list[Detections] = self.postprocess_detections(outputs, anchors, images.image_sizes)  # type: ignore[operator]
        return found

    def dense_forward(self, image: Tensor) -> None:
        """All but the choice among anchors."""
        self._outputs(self.maps(image))

    def _outputs(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: output.float() for name, output in self.head(list(maps.values())).items()}
