"""What is known of a task without its networks."""

import subprocess
import sys

import pytest

from dcnrun.config.compose import compose
from dcnrun.tasks.detection.scores import DETECTION
from dcnrun.tasks.instances.scores import INSTANCES
from dcnrun.tasks.segmentation.scores import SEGMENTATION

TASKS = [SEGMENTATION, DETECTION, INSTANCES]


@pytest.mark.parametrize("traits", TASKS, ids=lambda traits: traits.finds)
def test_the_first_metric_counts_unless_another_is_asked_for(traits):
    assert traits.metric(compose([])) == traits.metric_names[0] == traits.metrics[0].name
    for name in traits.metric_names:
        assert traits.metric(compose([f"trainer.metric={name}"])) == name


@pytest.mark.parametrize("traits", TASKS, ids=lambda traits: traits.finds)
def test_the_task_that_is_loaded_is_the_one_described(traits):
    assert traits.load().traits is traits


def test_tasks_find_different_things_in_different_files():
    assert len({traits.finds for traits in TASKS}) == len({traits.per_image.kind for traits in TASKS}) == len(TASKS)


def test_traits_are_known_without_torch():
    program = "import sys; import dcnrun.tasks.instances.scores, dcnrun.tasks.segmentation.scores; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
