"""What all detectors are to the rest: images and boxes in, losses out; or images in, detections out."""

from abc import ABC, abstractmethod
from typing import NotRequired, TypedDict

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from dcnrun.models.backbones import StagedBackbone


class Detections(TypedDict):
    """What a network found in one image."""

    boxes: Tensor
    """(m, 4), xyxy from 0 and half-open."""
    scores: Tensor
    """(m,), higher is surer."""
    labels: Tensor
    """(m,), places in the data set's `classes`."""

    masks: NotRequired[Tensor]
    """(m, 1, s, s), of a network that finds masks: for s x s cells of each box, how sure it is that the object is there."""


class Target(TypedDict):
    """The objects of one image that a network learns from."""

    boxes: Tensor
    """float32 (n, 4), xyxy in pixels of the padded image."""
    labels: Tensor
    """int64 (n,), places in the data set's `classes`."""
    masks: NotRequired[Tensor]
    """uint8 (n, H, W), 1 inside; for a network that learns masks."""


class DetectionNetwork(nn.Module, ABC):
    """A backbone, a neck that makes the detector's maps of its stages, and the detector, which subclasses hold.

    Classes are counted from 0, background not among them. Boxes are computed in fp32 under autocast too: bf16 counts in
    twos past 256 pixels.
    """

    backbone: StagedBackbone
    neck: nn.Module

    def forward(
        self,
        image: Tensor,
        sizes: list[tuple[int, int]] | None = None,
        targets: list[Target] | None = None,
    ) -> dict[str, Tensor] | list[Detections]:
        """While training the losses by name, which each image's `targets` are needed for; else each image's detections.

        `image` is (B, 3, H, W), normalised and padded right and below; `sizes` are the heights and widths without padding,
        which detections are clipped to (None: nothing is padding). Boxes are in pixels of the padded image.
        """
        images = ImageList(image, sizes or [(image.shape[-2], image.shape[-1])] * len(image))
        maps = self.maps(image)
        if not self.training:
            return self.detect(images, maps)
        if targets is None:
            raise ValueError("a detector in training mode needs the boxes and labels of every image")
        return self.losses(images, maps, targets)

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) to the neck's maps by name, the finest first."""
        maps: dict[str, Tensor] = self.neck(self.backbone.features(image))
        return maps

    @abstractmethod
    def losses(self, images: ImageList, maps: dict[str, Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """The parts of the loss by name; their sum is what the paper minimises."""

    @abstractmethod
    def detect(self, images: ImageList, maps: dict[str, Tensor]) -> list[Detections]:
        """What is in each image."""

    @abstractmethod
    def dense_forward(self, image: Tensor) -> None:
        """Compute all whose cost does not depend on what is in the image, to count FLOPs; works on the meta device."""
