"""Networks of segmentation_models.pytorch for segmentation."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dcnrun.config.schema import SmpConfig
from dcnrun.models.encoders import build_network
from dcnrun.models.weights import Weights


class SmpNetwork(nn.Module):
    """An architecture of the library on one of its encoders, for images of any size.

    `backbone` is the library's network as a whole, with `encoder`, `decoder` and `segmentation_head`: what is in it can be
    replaced.
    """

    def __init__(self, model: SmpConfig, num_classes: int, bands: int, weights: Weights | None) -> None:
        super().__init__()
        network: Any = build_network(model, bands, num_classes)
        if weights:
            weights.load_into_backbone(network.encoder, model.encoder, "model.encoder")
        self.backbone = network
        self.stride: int = network.encoder.output_stride

    def forward(self, image: Tensor) -> Tensor:
        """(N, bands, H, W) normalised image to (N, classes, H, W) logits.

        Zeros at the right and below bring it to the sides that the library takes, multiples of its last feature map's stride.
        """
        height, width = image.shape[-2:]
        scores: Tensor = self.backbone(F.pad(image, (0, -width % self.stride, 0, -height % self.stride)))
        return scores[..., :height, :width].float()
