"""What a capture holds."""

import pytest

from dcnrun.errors import UsageError
from dcnrun.offsets.layers import Capture
from tests.offsets.factories import hand_made


def test_a_layer_has_as_many_points_as_its_kernel_has_positions():
    layer = hand_made(kernel_size=(3, 5), padding=(1, 2), offset_groups=2)
    assert layer.num_points == layer.offset.shape[1] == layer.point_weight.shape[1] == 15


def test_layers_are_found_by_name():
    first, second = hand_made(name="first"), hand_made(name="second")
    capture = Capture((6, 7), (first, second), ())
    assert capture.layer("second") is second
    with pytest.raises(UsageError, match=r"No layer 'third' was captured, only first, second\."):
        capture.layer("third")
