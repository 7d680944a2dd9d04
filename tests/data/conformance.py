"""What every data set must keep: the test class of each inherits DatasetSuite and gives a `config`."""

import pickle

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from dcnrun.data import IGNORE, build_dataset, eval_batches, problems, train_batches


def assert_same(first, second):
    assert first["name"] == second["name"]
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["mask"], second["mask"])


class DatasetSuite:
    @pytest.fixture
    def config(self, tmp_path):
        """Settings of a small data set with both splits."""
        raise NotImplementedError

    @pytest.fixture(params=["train", "val"])
    def split(self, request):
        return request.param

    @pytest.fixture
    def dataset(self, config, split):
        return build_dataset(config, split)

    def test_the_settings_have_no_problems(self, config):
        assert problems(config) == []

    def test_samples_have_the_agreed_types_and_shapes(self, dataset):
        for index in range(len(dataset)):
            sample = dataset[index]
            assert set(sample) == {"image", "mask", "name"}
            assert isinstance(sample["image"], tv_tensors.Image)
            assert isinstance(sample["mask"], tv_tensors.Mask)
            assert sample["image"].dtype == sample["mask"].dtype == torch.uint8
            assert sample["image"].shape == (3, *sample["mask"].shape)
            assert sample["image"].is_contiguous()

    def test_labels_are_classes_or_ignored(self, dataset):
        assert dataset.classes
        assert isinstance(dataset.classes, tuple)
        assert len(set(dataset.classes)) == len(dataset.classes)
        for index in range(len(dataset)):
            for label in dataset[index]["mask"].unique().tolist():
                assert label == IGNORE or label < len(dataset.classes)

    def test_names_are_unique_and_known_without_reading(self, dataset):
        names = [dataset.name(index) for index in range(len(dataset))]
        assert len(set(names)) == len(names) > 0
        assert names == [dataset[index]["name"] for index in range(len(dataset))]

    def test_ends(self, dataset):
        with pytest.raises(IndexError):
            dataset[len(dataset)]

    def test_every_reading_is_the_same_in_any_order(self, config, split, dataset):
        forwards = [dataset[index] for index in range(len(dataset))]
        again = build_dataset(config, split)
        for index in reversed(range(len(dataset))):
            assert_same(again[index], forwards[index])

    def test_a_sample_belongs_to_its_reader(self, dataset):
        before = dataset[0]
        spoiled = dataset[0]
        spoiled["image"].zero_()
        spoiled["mask"].fill_(IGNORE)
        assert_same(dataset[0], before)

    def test_reading_leaves_the_random_state_alone(self, dataset):
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
        dataset[0]
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)

    def test_travels_to_another_process(self, dataset):
        assert_same(pickle.loads(pickle.dumps(dataset))[0], dataset[0])

    def test_gives_batches(self, config, dataset):
        config.batch_size, config.eval_batch_size, config.crop_size, config.workers = 2, 2, 24, 0
        (batch,) = train_batches(dataset, config, seed=0, first_step=0, steps=1)
        assert batch["image"].shape == (2, 3, 24, 24)
        assert batch["mask"].shape == (2, 24, 24)
        assert batch["image"].dtype == torch.float32
        assert batch["mask"].dtype == torch.int64
        names = [name for batch in eval_batches(dataset, config) for name in batch["name"]]
        assert names == [dataset.name(index) for index in range(len(dataset))]
