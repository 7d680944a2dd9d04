"""A backbone and a head: image in, class scores for every pixel out."""

import torch.nn.functional as F
from torch import Tensor, nn

from dcnrun.models.backbones import ResNetBackbone


class SegmentationNetwork(nn.Module):
    """Scores of the head, brought back to the image's size by bilinear interpolation."""

    def __init__(self, backbone: ResNetBackbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised image to (N, classes, H, W) logits."""
        scores = self.head(self.backbone(image))
        return F.interpolate(scores.float(), image.shape[-2:], mode="bilinear", align_corners=False)
