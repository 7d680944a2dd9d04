"""What was found, whatever the task."""

import numpy as np

from dcnrun.tasks.found import Found, FoundObjects
from dcnrun.tasks.registry import ARCHITECTURES


def test_classes_are_renumbered():
    numbers = np.array([2, 0, 1])
    classes = Found((1, 3), classes=np.array([[0, 1, 2]], np.uint8)).renumbered(numbers)
    assert classes.classes.tolist() == [[2, 0, 1]]
    assert classes.classes.dtype == np.uint8
    objects = FoundObjects(np.zeros((2, 4)), np.ones(2), np.array([1, 2]), None)
    assert Found((1, 3), objects=objects).renumbered(numbers).objects.labels.tolist() == [0, 1]
    assert len(objects) == 2


def test_every_task_of_ours_can_be_predicted_with():
    assert all(entry.task.formats for entry in ARCHITECTURES.values())
