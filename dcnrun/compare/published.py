"""Figures that papers and their re-implementations report for networks that a comparison may have trained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dcnrun.compare.results import Comparison
from dcnrun.config.inactive import DILATION, LAYERS, Settings


@dataclass(frozen=True)
class Published:
    """A published figure in percent, its metric, and the settings that a variant must have to match it."""

    percent: float
    metric: str
    settings: Mapping[str, Any]
    source: str


def published(settings: Settings, metric: str) -> Published | None:
    """Return the published figure of a variant, or None.

    The network, the images to validate on, their size and the metric are the figure's; learning rates, schedules and such may
    differ from it.
    """
    own = _canonical(settings)
    return next((row for row in _ROWS if row.metric == metric and row.settings.items() <= own.items()), None)


def published_figures(comparison: Comparison) -> dict[str, Published]:
    """Return the published figure of each variant that has one, by the variant's name."""
    figures = {variant.name: published(variant.settings, comparison.metric) for variant in comparison.variants}
    return {name: figure for name, figure in figures.items() if figure is not None}


_STANDARD = {"conv.kind": "standard", DILATION: None, "conv.groups": 1}
_OF_LAYERS = {
    layers: {"conv.kind": "deformable", LAYERS: layers, DILATION: None, "conv.groups": 1}
    for layers in ("1", "2", "3", "6")
}
_DILATED = {
    dilation: {"conv.kind": "dilated", LAYERS: "3", DILATION: dilation, "conv.groups": 1} for dilation in (4, 6, 8)
}
_ALIGN, _DEFORMABLE, _MODULATED = ({"model.roi_pool": kind} for kind in ("align", "deformable", "modulated"))

_DCNV1 = "Dai et al. 2017 (DCNv1), Tables 1 and 3"
_RESNET101 = {"model.backbone": "resnet101", "model.width": 64, "model.output_stride": 16, "model.atrous": True}
_DEEPLAB = {"model.head": "deeplab", "model.head_kernel": 1, "model.head_channels": 1024, **_RESNET101}
_REGIONS = {
    "model.head": "faster_rcnn",
    "model.roi_size": 7,
    "model.roi_channels": 1024,
    "model.detections_per_image": 100,
}
_FASTER_RCNN = {"model.fpn": False, "model.proposals": 300, **_REGIONS, **_RESNET101}
_VOC12 = {"data.source": "voc2012", "data.val": "val", "data.eval_short_side": 360}
_CITYSCAPES = {"data.source": "cityscapes", "data.val": "val", "data.eval_short_side": 1024}
_VOC07 = {"data.source": "voc", "data.val": ("VOC2007/test",), "data.eval_short_side": 600}


def _of_dcnv1() -> Iterator[Published]:
    for conv, voc12, cityscapes in (
        (_STANDARD, 69.7, 70.4),
        (_OF_LAYERS["1"], 73.9, 73.5),
        (_OF_LAYERS["2"], 74.8, 74.4),
        (_OF_LAYERS["3"], 75.2, 75.2),
        (_OF_LAYERS["6"], 74.8, 75.1),
        (_DILATED[4], 73.1, 71.9),
        (_DILATED[6], 73.6, 72.7),
        (_DILATED[8], 73.2, 72.4),
    ):
        yield Published(voc12, "val/miou", _DEEPLAB | _VOC12 | conv, _DCNV1)
        yield Published(cityscapes, "val/miou", _DEEPLAB | _CITYSCAPES | conv, _DCNV1)
    for conv, pooling, at_50, at_70 in (
        (_STANDARD, _ALIGN, 78.1, 62.1),
        (_OF_LAYERS["1"], _ALIGN, 78.6, 63.8),
        (_OF_LAYERS["2"], _ALIGN, 78.5, 63.3),
        (_OF_LAYERS["3"], _ALIGN, 78.6, 63.3),
        (_OF_LAYERS["6"], _ALIGN, 78.7, 64.0),
        (_DILATED[4], _ALIGN, 78.6, 63.1),
        (_DILATED[6], _ALIGN, 78.5, 62.3),
        (_DILATED[8], _ALIGN, 77.8, 61.8),
        (_STANDARD, _DEFORMABLE, 78.3, 66.6),
        (_OF_LAYERS["3"], _DEFORMABLE, 79.3, 66.9),
    ):
        yield Published(at_50, "val/voc07_50", _FASTER_RCNN | _VOC07 | conv | pooling, _DCNV1)
        yield Published(at_70, "val/voc07_70", _FASTER_RCNN | _VOC07 | conv | pooling, _DCNV1)


_COCO = {"data.source": "coco", "data.val": "val2017"}
_RESNET50 = {"model.backbone": "resnet50", "model.width": 64, "model.atrous": True, **_REGIONS}
_THROUGHOUT = {LAYERS: "c3-c5", DILATION: None, "conv.groups": 1}


def _of_dcnv2() -> Iterator[Published]:
    network = _RESNET50 | {"model.fpn": False, "model.output_stride": 16, "data.eval_short_side": 1000}
    for conv, pooling, percent in (
        (_STANDARD, _ALIGN, 34.7),
        (_OF_LAYERS["3"], _DEFORMABLE, 38.0),
        ({"conv.kind": "modulated", **_THROUGHOUT}, _MODULATED, 41.7),
    ):
        yield Published(percent, "val/map", network | _COCO | conv | pooling, "Zhu et al. 2018 (DCNv2), Table 1")


def _of_mmdetection() -> Iterator[Published]:
    network = _RESNET50 | {
        "model.fpn": True,
        "model.fpn_channels": 256,
        "model.proposals": 1000,
        "model.output_stride": 32,
        "data.eval_short_side": 800,
    }
    for conv, pooling, percent in (
        ({"conv.kind": "deformable", "conv.offset_groups": 1, **_THROUGHOUT}, _ALIGN, 41.3),
        ({"conv.kind": "modulated", "conv.offset_groups": 1, **_THROUGHOUT}, _ALIGN, 41.4),
        ({"conv.kind": "modulated", "conv.offset_groups": 4, **_THROUGHOUT}, _ALIGN, 41.5),
        (_STANDARD, _DEFORMABLE, 38.9),
        (_STANDARD, _MODULATED, 38.7),
    ):
        yield Published(
            percent, "val/map", network | _COCO | conv | pooling, "mmdetection, its DCN configs with R-50-FPN, 1x"
        )


_ROWS = (*_of_dcnv1(), *_of_dcnv2(), *_of_mmdetection())

_SAME_LAYERS = {"c5": "3", "c3,c4,c5": "c3-c5"}
"""In the ResNets here, whose c5 has three 3x3 convolutions."""


def _canonical(settings: Settings) -> dict[str, Any]:
    """Return the settings with one spelling of what has several, and with tuples for lists."""
    own = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    layers = str(own[LAYERS]).replace(" ", "")
    own[LAYERS] = _SAME_LAYERS.get(layers, layers)
    if own[LAYERS] == "0":
        own |= _STANDARD
    if own["data.source"] == "cityscapes" and own["data.eval_short_side"] == 0:  # as they are
        own["data.eval_short_side"] = 1024
    return own
