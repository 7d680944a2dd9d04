"""From the settings of a model to its task, and to the labels that it learns from."""

from dcnrun.config.schema import Config, DetectionModelConfig, ModelConfig, SegmentationModelConfig
from dcnrun.data import labels_of
from dcnrun.data.sample import Labels
from dcnrun.tasks.detection.task import Detection
from dcnrun.tasks.segmentation.task import Segmentation
from dcnrun.tasks.task import Task


def task_of(model: ModelConfig) -> Task:
    """The task that a model is for, by the class of its settings."""
    match model:
        case SegmentationModelConfig():
            return Segmentation()
        case DetectionModelConfig():
            return Detection()
        case _:
            raise TypeError(f"{type(model).__name__} belongs to no task")


def labels_for(config: Config) -> Labels:
    """The labels that the model learns from; where the data set has none such, those that it has."""
    there = labels_of(config.data)
    wanted = task_of(config.model).labels
    return wanted if wanted in there else next(iter(there))
