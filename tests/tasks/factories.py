"""Configs of small networks for segmentation."""

from dcnrun.config.schema import (
    Architecture,
    Config,
    ConvConfig,
    ConvKind,
    LoggerConfig,
    OptimConfig,
    SegmentationModelConfig,
    ShapesConfig,
    TrainerConfig,
)


def config(conv=None, seed=0, **model):
    return Config(
        conv=conv or ConvConfig(kind=ConvKind.standard),
        model=SegmentationModelConfig(**({"head": Architecture.deeplab, "width": 8, "head_channels": 16} | model)),
        data=ShapesConfig(),
        optim=OptimConfig(),
        trainer=TrainerConfig(),
        logger=LoggerConfig(),
        seed=seed,
    )
