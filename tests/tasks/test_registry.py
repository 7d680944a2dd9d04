"""Every architecture has its row, which is looked up by the enum and never by the class of settings."""

import subprocess
import sys
from dataclasses import dataclass, replace

import pytest

from dcnrun.config.compose import compose
from dcnrun.config.schema import MODEL_SCHEMAS, Architecture, FasterRcnnConfig
from dcnrun.tasks.registry import ARCHITECTURES, labels_for, metric_text, metric_title, task_of, task_traits


@dataclass
class ForgottenConfig(FasterRcnnConfig):
    """Settings of an architecture that was forgotten in the registry."""


def test_every_architecture_has_a_row_with_the_settings_that_configs_are_composed_of():
    assert list(ARCHITECTURES) == list(Architecture)
    assert {name: entry.config for name, entry in ARCHITECTURES.items()} == MODEL_SCHEMAS


@pytest.mark.parametrize("architecture", Architecture)
def test_a_row_is_of_one_task(architecture):
    entry = ARCHITECTURES[architecture]
    model = compose([f"model={architecture}"]).model
    assert type(model) is entry.config
    assert task_traits(model) is entry.task
    assert task_of(model).traits is entry.task
    assert set(entry.task.per_image.metrics) <= set(entry.task.metric_names)


def test_settings_derived_from_anothers_do_not_build_that_others_network():
    model = ForgottenConfig(width=8)
    for head in Architecture:
        with pytest.raises(TypeError, match=r"not ForgottenConfig"):
            ARCHITECTURES[head].build(replace(model, head=head), num_classes=3, bands=3)


def test_a_metric_has_one_title_for_all_tasks():
    titles = {}
    for entry in ARCHITECTURES.values():
        for metric in entry.task.metrics:
            assert titles.setdefault(metric.name, metric.title) == metric.title == metric_title(metric.name)
    assert metric_title("val/miou") == "mIoU"
    assert metric_title("train/loss") == "train/loss"


def test_scores_are_in_percent_and_other_metrics_as_they_are():
    assert metric_text("val/miou", 0.31849) == "31.8 %"
    assert metric_text("val/map_50", 1.0) == "100.0 %"
    assert metric_text("train/loss", 0.31849) == "0.3185"


def test_labels_are_the_tasks_where_the_data_has_them():
    assert labels_for(compose(["model=retinanet", "data=shapes"])) == "boxes"
    assert labels_for(compose(["model=mask_rcnn", "data=shapes"])) == "instances"
    assert labels_for(compose(["model=fcn", "data=shapes"])) == "masks"
    assert labels_for(compose(["model=fcn", "data=coco"])) == "masks"
    assert labels_for(compose(["model=fcn", "data=voc"])) == "boxes"


def test_looking_up_a_task_imports_no_torch():
    lookup = "from dcnrun.tasks.registry import ARCHITECTURES; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", lookup], check=False).returncode == 0
