"""Detectors as a graph of tensors, which can be exported.

What torchvision's detectors choose among, and how many of it, depends on the image in every step, in Python. Here the candidates are
always as many, what does not count scores less than anything that does, and only what is found is as long as it is.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.rpn import permute_and_flatten
from torchvision.ops import clip_boxes_to_image, nms

from dcnrun.data.box_batches import MULTIPLE
from dcnrun.export.description import OF_MASKS, OF_OBJECTS
from dcnrun.tasks.detection.detector import DetectionNetwork
from dcnrun.tasks.detection.faster_rcnn import FasterRcnn
from dcnrun.tasks.detection.neck import Anchors
from dcnrun.tasks.detection.retinanet import RetinaNet
from dcnrun.tasks.instances.mask_rcnn import MaskRcnn

_OUT = -1.0
"""The score of what does not count; all others are 0 or more."""
_LEAST_SIDE_OF_REGIONS, _LEAST_SIDE = 1e-3, 1e-2
"""In pixels, torchvision's; what is smaller does not count."""

Size = tuple[int, int]


@torch.library.custom_op("dcnrun::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, most_overlap: float, above: Tensor) -> Tensor:
    """Return which boxes non-maximum suppression keeps, bool (G, n), in each of G groups by itself.

    A box does not count where it scores `above` (1,) or less; one that overlaps a better one by more than `most_overlap` is not kept.

    Args:
        boxes: (G, n, 4), xyxy.
        scores: (G, n).
        most_overlap: intersection over union.
        above: (1,), what a box must score more than.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for of_group, group_boxes, group_scores in zip(kept, boxes, scores, strict=True):
        candidates = (group_scores > above).nonzero()[:, 0]
        of_group[candidates[nms(group_boxes[candidates], group_scores[candidates], most_overlap)]] = True
    return kept


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, most_overlap: float, above: Tensor) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


class ExportableDetector(nn.Module):
    """What a detector finds in one image, of any size: boxes, scores and labels, with masks where it finds them.

    The image is padded to a multiple of 32, as evaluation does; everything else is what the network's own `detect` computes.
    """

    least_score: Tensor

    def __init__(self, network: DetectionNetwork) -> None:
        super().__init__()
        self.network = network
        self.exported_outputs = OF_MASKS if isinstance(network, MaskRcnn) else OF_OBJECTS
        heads: Any = network.roi_heads if isinstance(network, FasterRcnn) else network
        self.register_buffer("least_score", torch.tensor([float(heads.score_thresh)]))
        self.most_overlap, self.most = float(heads.nms_thresh), int(heads.detections_per_img)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return boxes (m, 4), scores (m,), the best first, and labels (m,) for an image (1, C, H, W); of some, masks (m, 1, s, s)."""
        height, width = image.shape[-2:]
        network, size = self.network, (height, width)
        maps = network.maps(F.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE)))
        if isinstance(network, RetinaNet):
            return self._of_anchors(network, maps, size)
        assert isinstance(network, FasterRcnn)
        return self._of_regions(network, maps, size)

    def _of_regions(self, network: FasterRcnn, maps: dict[str, Tensor], size: Size) -> tuple[Tensor, ...]:
        regions = _regions(network, maps, size)
        heads = network.roi_heads
        logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(maps, [regions], [size])))
        count, classes = logits.shape
        moved = heads.box_coder.decode_single(deltas, regions).reshape(count, classes, 4)
        # torchvision's class 0 is the background
        boxes = clip_boxes_to_image(moved, size)[:, 1:].transpose(0, 1)
        scores = _counting(logits.softmax(1)[:, 1:].T, boxes, _LEAST_SIDE)
        labels = torch.arange(classes - 1)[:, None].expand_as(scores)
        boxes, scores, labels = self._best(boxes, scores, labels)
        if not isinstance(network, MaskRcnn):
            return boxes, scores, labels
        masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(maps, [boxes], [size])))
        index = (labels + 1)[:, None, None, None].expand(-1, 1, *masks.shape[2:])
        return boxes, scores, labels, masks.gather(1, index).sigmoid()

    def _of_anchors(self, network: RetinaNet, maps: dict[str, Tensor], size: Size) -> tuple[Tensor, ...]:
        boxes, scores, labels = [], [], []
        most: int = network.topk_candidates  # type: ignore[assignment]  # of torchvision
        coder: Any = network.box_coder
        for feature, anchors in zip(maps.values(), _anchors(network.anchor_generator, maps), strict=True):
            outputs = network.head([feature])
            logits, deltas = outputs["cls_logits"][0].float(), outputs["bbox_regression"][0].float()
            classes = logits.shape[1]
            best, index = _padded(logits.sigmoid().flatten(), most).topk(most)
            place = index // classes
            moved = coder.decode_single(_padded(deltas, most)[place], _padded(anchors, most)[place])
            boxes.append(clip_boxes_to_image(moved, size))
            scores.append(best)
            labels.append(index % classes)
        score, label = torch.cat(scores), torch.cat(labels)
        by_class = torch.where(label == torch.arange(classes)[:, None], score, _OUT)
        return self._best(torch.cat(boxes).expand(classes, -1, -1), by_class, label.expand_as(by_class))

    def _best(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best of boxes (C, n, 4), scores (C, n) and labels (C, n) of C classes, without overlaps in a class."""
        kept = suppress(boxes, scores, self.most_overlap, self.least_score)
        scores = torch.where(kept, scores, _OUT).flatten()
        best, index = _padded(scores, self.most, _OUT).topk(self.most)
        found = (best >= 0).nonzero()[:, 0]
        place = index[found]
        return boxes.reshape(-1, 4)[place], best[found], labels.reshape(-1)[place]


def _regions(network: FasterRcnn, maps: dict[str, Tensor], size: Size) -> Tensor:
    """Return the regions (R, 4) that are proposed, the best first; the whole image where there would be none."""
    rpn = network.rpn
    proposing = {name: maps[name] for name in network.proposing}
    boxes, scores = [], []
    above = torch.full((1,), _OUT / 2)
    most = rpn.pre_nms_top_n()
    outputs = zip(*rpn.head(list(proposing.values())), _anchors(rpn.anchor_generator, proposing), strict=True)
    for objectness, deltas, anchors in outputs:
        batch, per_pixel, height, width = objectness.shape
        logits, moves = (
            permute_and_flatten(each, batch, per_pixel, length, height, width)[0]
            for each, length in ((objectness, 1), (deltas, 4))
        )
        best, index = _padded(logits[:, 0], most, -torch.inf).topk(most)
        moved = rpn.box_coder.decode_single(_padded(moves, most)[index], _padded(anchors, most)[index])
        boxes.append(clip_boxes_to_image(moved, size))
        scores.append(_counting(best.sigmoid(), boxes[-1], _LEAST_SIDE_OF_REGIONS))
    of_levels = torch.stack(scores)
    kept = suppress(torch.stack(boxes), of_levels, rpn.nms_thresh, above)
    every = torch.where(kept, of_levels, _OUT).flatten()
    score, index = every.topk(min(rpn.post_nms_top_n(), most * len(scores)))
    none = (score < 0).all(dim=0, keepdim=True)
    whole = clip_boxes_to_image(boxes[0].new_tensor([[0, 0, torch.inf, torch.inf]]), size)
    regions = torch.cat([torch.cat(boxes)[index], whole])
    counts = torch.cat([score >= 0, none])
    return regions[counts.nonzero()[:, 0]]


def _anchors(generator: Anchors, maps: dict[str, Tensor]) -> list[Tensor]:
    """Return the anchors (n, 4) of each map."""
    generator.set_cell_anchors(torch.float32, torch.device("cpu"))
    anchors: list[Tensor] = generator.grid_anchors([list(each.shape[-2:]) for each in maps.values()], generator.strides)
    return anchors


def _padded(values: Tensor, count: int, value: float = 0.0) -> Tensor:
    """Return values (n, ...) with `count` more behind them, so that as many can be chosen however few there are."""
    return F.pad(values, (0, 0) * (values.dim() - 1) + (0, count), value=value)


def _counting(scores: Tensor, boxes: Tensor, least_side: float) -> Tensor:
    """Return the scores of boxes, but of those that are too small that of what does not count."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.where((sides >= least_side).all(-1), scores, _OUT)
