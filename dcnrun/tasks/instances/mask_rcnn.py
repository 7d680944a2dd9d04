"""Mask R-CNN (He et al. 2017) of torchvision's parts: Faster R-CNN with a second head, for the mask of each region."""

from dataclasses import replace

from torch import Tensor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from dcnrun.config.schema import MaskRcnnConfig
from dcnrun.models.backbones import StagedBackbone
from dcnrun.tasks.detection.faster_rcnn import FasterRcnn, roi_pool
from dcnrun.tasks.detection.neck import group_norm

_MASK_LAYERS = 4


class MaskRcnn(FasterRcnn):
    """While training the mask head sees the regions that are of an object, else the boxes that were found.

    It has four 3x3 convolutions, one that doubles the resolution, and a mask for each class.
    """

    def __init__(self, model: MaskRcnnConfig, backbone: StagedBackbone, num_classes: int) -> None:
        # made before any learnt pooling, so that all kinds start alike
        norm_layer = group_norm if model.fpn_norm else None
        head = MaskRCNNHeads(model.fpn_channels, [model.mask_channels] * _MASK_LAYERS, 1, norm_layer)
        predictor = _Predictor(model.mask_channels, model.mask_channels, num_classes + 1)
        super().__init__(model, backbone, num_classes)
        of_masks = replace(model, roi_pool=model.mask_roi_pool, roi_size=model.mask_roi_size)
        self.roi_heads.mask_roi_pool = roi_pool(of_masks, self.neck, self.pooled)
        self.roi_heads.mask_head = head
        self.roi_heads.mask_predictor = predictor
        self.detections = model.detections_per_image

    def dense_head(self, image: Tensor, maps: dict[str, Tensor]) -> None:
        """Compute both heads, that for masks on `model.detections_per_image` regions of each image."""
        super().dense_head(image, maps)
        pooled = self.pooled_from_one(self.roi_heads.mask_roi_pool, image, maps, self.detections)
        self.roi_heads.mask_predictor(self.roi_heads.mask_head(pooled))


class _Predictor(MaskRCNNPredictor):  # type: ignore[misc]
    """torchvision's, answering in fp32 under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x)
        return logits.float()
