"""What a data set gives where its class says nothing of its own."""

from dcnrun.data.sample import BoxDataset


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
