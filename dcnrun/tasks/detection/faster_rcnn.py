"""Faster R-CNN (Ren et al. 2015) of torchvision's parts, with a feature pyramid or on a dilated c5 as in DCNv1."""

from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops.poolers import LevelMapper

from dcnrun.config.schema import FasterRcnnConfig
from dcnrun.models.backbones import StagedBackbone
from dcnrun.models.roi_pool import PlainRoIPool, build_roi_pool
from dcnrun.tasks.detection.detector import DetectionNetwork, Detections, Target
from dcnrun.tasks.detection.neck import Anchors, DilatedC5, Pyramid, faster_rcnn_pyramid


class FasterRcnn(DetectionNetwork):
    """Regions are proposed at anchors, pooled, then classified and moved by a head of two hidden layers.

    With a pyramid all its levels propose, and regions are pooled from p2 to p5 as their size asks for. Without, c4
    proposes and regions are pooled from c5, dilated to c4's stride.
    """

    neck: Pyramid | DilatedC5

    def __init__(self, model: FasterRcnnConfig, backbone: StagedBackbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        if model.fpn:
            self.neck = faster_rcnn_pyramid(backbone, model.fpn_channels, model.fpn_norm)
            self.proposing, self.pooled = list(self.neck.strides), ["p2", "p3", "p4", "p5"]
        else:
            self.neck = DilatedC5(backbone, model.fpn_channels)
            self.proposing, self.pooled = ["c4"], ["c5"]
        self.rpn = _proposals(model, self.neck, self.proposing)
        self.roi_heads = _head(model, self.neck, self.pooled, num_classes)
        self.regions = model.proposals

    def losses(self, images: ImageList, maps: dict[str, Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Those of the head (class and box of a region) and of the proposals (object or not, and box)."""
        # torchvision's class 0 is the background
        theirs: list[Target] = [{**target, "labels": target["labels"] + 1} for target in targets]
        regions, of_proposals = self._propose(images, maps, theirs)
        _, of_head = self.roi_heads(maps, regions, images.image_sizes, theirs)
        return {**of_head, **of_proposals}

    def detect(self, images: ImageList, maps: dict[str, Tensor]) -> list[Detections]:
        """The regions in which the head sees a class, moved by it, without overlaps."""
        regions, _ = self._propose(images, maps)
        found: list[Detections]
        found, _ = self.roi_heads(maps, regions, images.image_sizes)
        return [{**detections, "labels": detections["labels"] - 1} for detections in found]

    def dense_forward(self, image: Tensor) -> None:
        """All but the choice among proposals, with the head on `model.proposals` regions.

        They are pooled from one map: which level a region comes from does not change the cost.
        """
        maps = self.maps(image)
        self.rpn.head([maps[name] for name in self.proposing])
        self.dense_head(image, maps)

    def dense_head(self, image: Tensor, maps: dict[str, Tensor]) -> None:
        """Compute the head on `model.proposals` regions of each image, whatever is in them."""
        pooled = self.pooled_from_one(self.roi_heads.box_roi_pool, image, maps, self.regions)
        self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))

    def pooled_from_one(self, pool: PlainRoIPool, image: Tensor, maps: dict[str, Tensor], count: int) -> Tensor:
        """Pool regions from the finest of the maps, as many of each image as `count`."""
        regions = [image.new_zeros(count, 4) for _ in image]
        one_map = {self.pooled[0]: maps[self.pooled[0]]}
        pooled: Tensor = pool(one_map, regions, [(image.shape[-2], image.shape[-1])] * len(image))
        return pooled

    def _propose(
        self, images: ImageList, maps: dict[str, Tensor], targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Regions (m, 4) of each image, and the proposals' losses if there are targets."""
        regions, losses = self.rpn(images, {name: maps[name] for name in self.proposing}, targets)
        for nth, (height, width) in enumerate(images.image_sizes):
            if not len(regions[nth]):  # the mean over no region is no number: take the whole image for one
                regions[nth] = regions[nth].new_tensor([[0, 0, width, height]])
        return regions, losses


class _ProposalHead(RPNHead):  # type: ignore[misc]
    """torchvision's, answering in fp32 under autocast too."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        objectness, deltas = super().forward(x)
        return [each.float() for each in objectness], [each.float() for each in deltas]


class _Predictor(FastRCNNPredictor):  # type: ignore[misc]
    """torchvision's, answering in fp32 under autocast too."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = super().forward(x)
        return scores.float(), deltas.float()


def _proposals(model: FasterRcnnConfig, neck: Pyramid | DilatedC5, maps: list[str]) -> RegionProposalNetwork:
    """Proposals with the thresholds of the papers (Ren et al. 2015, Lin et al. 2017).

    What goes into suppression, per level: twice what is kept of all levels while training and as many in evaluation, as
    is usual with a pyramid; six times as many where there is but one map, as in Ren et al.
    """
    sizes = [[size] for size in model.anchor_sizes] if model.fpn else [model.anchor_sizes]
    anchors = Anchors(sizes, model.anchor_ratios, [neck.strides[name] for name in maps])
    before = (2 * model.proposals, model.proposals) if model.fpn else (6 * model.proposals, 6 * model.proposals)
    return RegionProposalNetwork(
        anchors,
        _ProposalHead(neck.channels[maps[0]], anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=model.rpn_batch,
        positive_fraction=0.5,
        pre_nms_top_n={"training": before[0], "testing": before[1]},
        post_nms_top_n={"training": model.proposals, "testing": model.proposals},
        nms_thresh=0.7,
    )


def _head(model: FasterRcnnConfig, neck: Pyramid | DilatedC5, maps: list[str], num_classes: int) -> RoIHeads:
    """The head with the thresholds of the papers; its learnt pooling is made last, so that all kinds start alike."""
    hidden = TwoMLPHead(model.fpn_channels * model.roi_size**2, model.roi_channels)
    predictor = _Predictor(model.roi_channels, num_classes + 1)
    return RoIHeads(
        roi_pool(model, neck, maps),
        hidden,
        predictor,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=model.roi_batch,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=model.score_threshold,
        nms_thresh=model.nms_threshold,
        detections_per_img=model.detections_per_image,
    )


def roi_pool(model: FasterRcnnConfig, neck: Pyramid | DilatedC5, maps: list[str]) -> PlainRoIPool:
    """Pooling from the maps at their true scales.

    With several, a region goes to the level of equation 1 of Lin et al. 2017: p4 from 224 pixels on where p4's anchors are
    128, and with other anchors in proportion. Left alone, torchvision guesses the scales from the first batch, wrongly
    where images are small or last stages are dilated.
    """
    pool = build_roi_pool(model, maps)
    pool.scales = [1 / neck.strides[name] for name in maps]
    at_p4 = model.anchor_sizes[2] if model.fpn else 1
    pool.map_levels = LevelMapper(k_min=2, k_max=5, canonical_scale=at_p4 * 224 // 128, canonical_level=4)
    return pool
