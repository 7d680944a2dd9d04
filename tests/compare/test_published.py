import pytest

from dcnrun.compare.published import published
from dcnrun.config.compose import compose
from dcnrun.config.inactive import settings_of

DEEPLAB = ["model=deeplab", "model.backbone=resnet101", "model.head_channels=1024", "model.output_stride=16"]
VOC12 = ["data=voc2012", "data.eval_short_side=360"]
VOC_DETECTION = [
    "model=faster_rcnn", "model.fpn=false", "model.backbone=resnet101", "model.output_stride=16", "model.proposals=300",
    "data=voc0712",
]  # fmt: skip
COCO = ["model=faster_rcnn", "model.backbone=resnet50", "data=coco2017"]


def figure(metric, *overrides):
    found = published(settings_of(compose(overrides)), metric)
    return found and found.percent


@pytest.mark.parametrize(
    ("overrides", "voc", "cityscapes"),
    [
        (["conv=standard"], 69.7, 70.4),
        (["conv=deformable", "conv.layers=0"], 69.7, 70.4),
        (["conv=deformable", "conv.layers=1"], 73.9, 73.5),
        (["conv=deformable"], 75.2, 75.2),
        (["conv=deformable", "conv.layers=c5"], 75.2, 75.2),
        (["conv=dilated", "conv.dilation=6"], 73.6, 72.7),
        (["conv=dilated", "conv.dilation=3"], None, None),
        (["conv=modulated"], None, None),
        (["conv=deformable", "conv.layers=4"], None, None),
    ],
)
def test_deeplab(overrides, voc, cityscapes):
    assert figure("val/miou", *DEEPLAB, *VOC12, *overrides) == voc
    assert figure("val/miou", *DEEPLAB, "data=cityscapes", *overrides) == cityscapes
    assert figure("val/pixel_acc", *DEEPLAB, *VOC12, *overrides) is None
    assert figure("val/miou", *DEEPLAB, *overrides) is None
    assert figure("val/miou", *DEEPLAB, *VOC12, "model.backbone=resnet50", *overrides) is None


@pytest.mark.parametrize(
    "other", ["data.eval_short_side=64", "model.head_kernel=3", "model.head_channels=8", "model.atrous=false"]
)
def test_another_network_or_size_has_no_figure(other):
    assert figure("val/miou", *DEEPLAB, *VOC12, "conv=deformable") == 75.2
    assert figure("val/miou", *DEEPLAB, *VOC12, "conv=deformable", other) is None


@pytest.mark.parametrize(
    "other", ["data.eval_short_side=400", "model.proposals=10", "model.fpn_channels=32", "model.roi_size=3"]
)
def test_another_detector_or_size_has_no_figure(other):
    assert figure("val/map", *COCO, "conv=deformable", "conv.layers=c3-c5") == 41.3
    assert figure("val/map", *COCO, "conv=deformable", "conv.layers=c3-c5", other) is None


@pytest.mark.parametrize(
    ("overrides", "at_50", "at_70"),
    [
        (["conv=standard"], 78.1, 62.1),
        (["conv=standard", "model.roi_pool=deformable"], 78.3, 66.6),
        (["conv=deformable", "model.roi_pool=deformable"], 79.3, 66.9),
        (["conv=deformable", "conv.layers=6"], 78.7, 64.0),
        (["conv=dilated", "conv.dilation=8"], 77.8, 61.8),
        (["conv=dilated", "conv.dilation=8", "model.roi_pool=deformable"], None, None),
    ],
)
def test_faster_rcnn(overrides, at_50, at_70):
    assert figure("val/voc07_50", *VOC_DETECTION, *overrides) == at_50
    assert figure("val/voc07_70", *VOC_DETECTION, *overrides) == at_70
    assert figure("val/map_50", *VOC_DETECTION, *overrides) is None
    assert figure("val/voc07_50", *VOC_DETECTION, "model.fpn=true", *overrides) is None
    assert figure("val/voc07_50", *VOC_DETECTION, "data.val=[VOC2007/val]", *overrides) is None


def test_coco():
    throughout = "conv.layers=c3-c5"
    assert figure("val/map", *COCO, "conv=deformable", throughout) == 41.3
    assert figure("val/map", *COCO, "conv=modulated", "conv.layers=c3,c4,c5", "conv.offset_groups=4") == 41.5
    assert figure("val/map", *COCO, "conv=standard", "model.roi_pool=modulated") == 38.7
    assert figure("val/map", *COCO, "conv=deformable") is None
    dcnv2 = ["model.fpn=false", "model.output_stride=16", "data.eval_short_side=1000"]
    assert figure("val/map", *COCO, *dcnv2, "conv=modulated", throughout, "model.roi_pool=modulated") == 41.7
    assert figure("val/map", *COCO, "conv=modulated", throughout, "model.roi_pool=modulated") is None
