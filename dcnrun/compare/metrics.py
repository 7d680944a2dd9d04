"""What metrics are called in tables and notes."""

_NAMES = {
    "val/miou": "mIoU",
    "val/pixel_acc": "pixel accuracy",
    "val/map": "AP",
    "val/map_50": "AP50",
    "val/map_75": "AP75",
    "val/map_small": "AP of small objects",
    "val/map_medium": "AP of medium objects",
    "val/map_large": "AP of large objects",
    "val/voc07_50": "VOC07 AP at IoU 0.5",
    "val/voc07_70": "VOC07 AP at IoU 0.7",
    "val/voc12_50": "VOC12 AP at IoU 0.5",
    "val/voc12_70": "VOC12 AP at IoU 0.7",
}


def name_of(metric: str) -> str:
    """A metric as people call it: `mIoU` for `val/miou`."""
    return _NAMES.get(metric, metric)
