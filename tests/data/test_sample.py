"""What a data set gives where its class says nothing of its own."""

import numpy as np
import pytest

from dcnrun.data import BoxDataset
from dcnrun.data.sample import even_indices


class Silent(BoxDataset):
    classes = ("a", "b")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise IndexError

    def name(self, index):
        return str(index)


def test_ids_count_from_1_as_in_the_files_of_most_data_sets():
    assert [Silent().image_id(index) for index in range(2)] == [1, 2]
    assert [Silent().category_id(label) for label in range(2)] == [1, 2]


def test_generated_data_can_always_be_used():
    Silent().verify()


@pytest.mark.parametrize(("length", "wanted"), [(0, 5), (1, 5), (5, 5), (7, 3), (1000, 12)])
def test_evenly_chosen_items_begin_and_end_the_list_and_keep_their_distance(length, wanted):
    chosen = even_indices(length, wanted)
    assert len(chosen) == min(length, wanted)
    if len(chosen) > 1:
        assert (chosen[0], chosen[-1]) == (0, length - 1)
        gaps = np.diff(chosen)
        assert gaps.min() > 0
        assert gaps.max() - gaps.min() <= 1
