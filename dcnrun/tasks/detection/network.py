"""Rules across the settings of a detector."""

from collections.abc import Iterator

from dcnrun.config.schema import DetectionModelConfig, FasterRcnnConfig

_PYRAMID_LEVELS = 5  # p2 to p6 of Faster R-CNN, p3 to p7 of RetinaNet


def problems(model: DetectionModelConfig) -> Iterator[str]:
    """What keeps a detector from being built, each problem a line naming the key and the value."""
    if isinstance(model, FasterRcnnConfig):
        yield from _faster_rcnn_problems(model)
    if not isinstance(model, FasterRcnnConfig) or model.fpn:
        yield from _pyramid_problems(model)


def _pyramid_problems(model: DetectionModelConfig) -> Iterator[str]:
    if len(model.anchor_sizes) != _PYRAMID_LEVELS:
        yield (
            f"model.anchor_sizes={model.anchor_sizes} must be {_PYRAMID_LEVELS} sizes, one for each level of the feature "
            "pyramid, the finest first, e.g. [32, 64, 128, 256, 512]"
        )


def _faster_rcnn_problems(model: FasterRcnnConfig) -> Iterator[str]:
    if model.fpn:
        return
    if model.output_stride != 16:
        yield (
            f"model.output_stride={model.output_stride} does not fit model.fpn=false, which pools from a c5 dilated to c4's "
            "stride: set model.output_stride=16"
        )
    if model.fpn_norm:
        yield "model.fpn_norm=true does nothing with model.fpn=false"
