"""What every source of data must keep: the tests of each inherit DatasetSuite."""

import pickle

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from dcnrun.data import (
    IGNORE,
    build_box_dataset,
    build_dataset,
    build_instance_dataset,
    eval_batches,
    problems,
    train_batches,
)
from dcnrun.data.coco_masks import decode
from dcnrun.data.registry import DATASETS


def assert_same(first, second):
    assert set(first) == set(second)
    for key, value in first.items():
        assert torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key], key


class DatasetSuite:
    """A subclass sets `source` and gives a `config`; every test runs for each kind of labels that the source has."""

    source = None

    def pytest_generate_tests(self, metafunc):
        if "labels" in metafunc.fixturenames:
            metafunc.parametrize("labels", sorted(DATASETS[self.source].labels))

    @pytest.fixture
    def config(self, tmp_path):
        """Settings of a small data set with both splits."""
        raise NotImplementedError

    @pytest.fixture(params=["train", "val"])
    def split(self, request):
        return request.param

    @pytest.fixture
    def dataset(self, config, split, labels):
        return KINDS[labels].build(config, split)

    def test_the_settings_are_its_own_and_have_no_problems(self, config):
        assert config.source is self.source
        assert problems(config) == []

    def test_names_are_unique_and_known_without_reading(self, dataset):
        names = [dataset.name(index) for index in range(len(dataset))]
        assert len(set(names)) == len(names) > 0
        assert names == [dataset[index]["name"] for index in range(len(dataset))]

    def test_classes_have_names_of_their_own(self, dataset):
        assert isinstance(dataset.classes, tuple)
        assert len(set(dataset.classes)) == len(dataset.classes) > 0

    def test_ends(self, dataset):
        with pytest.raises(IndexError):
            dataset[len(dataset)]

    def test_every_reading_is_the_same_in_any_order(self, config, split, labels, dataset):
        forwards = [dataset[index] for index in range(len(dataset))]
        again = KINDS[labels].build(config, split)
        for index in reversed(range(len(dataset))):
            assert_same(again[index], forwards[index])

    def test_a_sample_belongs_to_its_reader(self, dataset):
        before = dataset[0]
        for value in dataset[0].values():
            if isinstance(value, torch.Tensor):
                value.fill_(1)
        assert_same(dataset[0], before)

    def test_reading_leaves_the_random_state_alone(self, dataset):
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
        dataset[0]
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)

    def test_travels_to_another_process(self, dataset):
        assert_same(pickle.loads(pickle.dumps(dataset))[0], dataset[0])

    def test_samples_have_the_agreed_types_shapes_and_values(self, config, split, labels, dataset):
        for index in range(len(dataset)):
            sample = dataset[index]
            assert isinstance(sample["image"], tv_tensors.Image)
            assert (sample["image"].dtype, len(sample["image"])) == (torch.uint8, 3)
            assert sample["image"].is_contiguous()
            KINDS[labels].check_sample(sample, dataset.classes)
        KINDS[labels].check_dataset(dataset, config, split)

    def test_gives_batches(self, config, labels, dataset):
        config.batch_size, config.eval_batch_size, config.crop_size, config.workers = 2, 2, 24, 0
        (batch,) = train_batches(dataset, config, seed=0, first_step=0, steps=1)
        evaluated = list(eval_batches(dataset, config))
        names = [name for batch in evaluated for name in batch["name"]]
        assert names == [dataset.name(index) for index in range(len(dataset))]
        KINDS[labels].check_batches(dataset, batch, evaluated)


class Masks:
    """What is agreed of images with masks."""

    build = staticmethod(build_dataset)

    @staticmethod
    def check_sample(sample, classes):
        assert set(sample) == {"image", "mask", "name"}
        assert isinstance(sample["mask"], tv_tensors.Mask)
        assert sample["mask"].dtype == torch.uint8
        assert sample["image"].shape == (3, *sample["mask"].shape)
        for label in sample["mask"].unique().tolist():
            assert label == IGNORE or label < len(classes)

    @staticmethod
    def check_dataset(dataset, config, split):
        """Nothing more than each of its samples."""

    @staticmethod
    def check_batches(dataset, batch, evaluated):
        assert batch["image"].shape == (2, 3, 24, 24)
        assert batch["mask"].shape == (2, 24, 24)
        assert batch["image"].dtype == torch.float32
        assert batch["mask"].dtype == torch.int64


class Boxes:
    """What is agreed of images with boxes."""

    build = staticmethod(build_box_dataset)

    @staticmethod
    def check_sample(sample, classes):
        assert set(sample) == {"image", "boxes", "labels", "crowd", "difficult", "area", "masks", "name"}
        (height, width), count = sample["image"].shape[1:], len(sample["boxes"])
        assert isinstance(sample["boxes"], tv_tensors.BoundingBoxes)
        assert sample["boxes"].format == tv_tensors.BoundingBoxFormat.XYXY
        assert sample["boxes"].canvas_size == (height, width)
        assert sample["boxes"].shape == (count, 4)
        assert (sample["boxes"].dtype, sample["area"].dtype) == (torch.float32, torch.float32)
        assert sample["labels"].dtype == torch.int64
        assert sample["crowd"].dtype == sample["difficult"].dtype == torch.bool
        for key in ("labels", "crowd", "difficult", "area"):
            assert sample[key].shape == (count,)
        x1, y1, x2, y2 = sample["boxes"].T
        assert ((x1 >= 0) & (x1 < x2) & (x2 <= width)).all()
        assert ((y1 >= 0) & (y1 < y2) & (y2 <= height)).all()
        assert ((sample["labels"] >= 0) & (sample["labels"] < len(classes))).all()
        assert (sample["area"] > 0).all()
        if sample["masks"] is not None:
            Boxes._check_masks(sample)

    @staticmethod
    def _check_masks(sample):
        assert isinstance(sample["masks"], tv_tensors.Mask)
        assert sample["masks"].shape == (len(sample["boxes"]), *sample["image"].shape[1:])
        assert sample["masks"].dtype == torch.uint8
        assert (sample["masks"] <= 1).all()
        for box, mask, area in zip(sample["boxes"], sample["masks"], sample["area"], strict=True):
            if not mask.any():  # only its box is known
                continue
            rows, columns = torch.nonzero(mask.any(1)), torch.nonzero(mask.any(0))
            around = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert torch.equal(around.float(), box)
            assert area == mask.sum()

    @staticmethod
    def check_dataset(dataset, config, split):
        """Masks of objects only where they are asked for; an id for each image and class."""
        with_masks = build_box_dataset(config, split, masks=True)
        for index in range(len(dataset)):
            assert dataset[index]["masks"] is None
            Boxes.check_sample(with_masks[index], dataset.classes)
        assert len({dataset.image_id(index) for index in range(len(dataset))}) == len(dataset)
        assert len({dataset.category_id(label) for label in range(len(dataset.classes))}) == len(dataset.classes)

    @staticmethod
    def check_batches(dataset, batch, evaluated):
        assert batch["image"].shape == (2, 3, 32, 32)
        assert batch["sizes"] == [(24, 24)] * 2
        for batch in evaluated:
            for place, index in enumerate(batch["index"]):
                sample, truth = dataset[index], batch["truth"][place]
                assert batch["sizes"][place] == truth["size"] == tuple(sample["image"].shape[1:])
                assert type(batch["boxes"][place]) is type(truth["boxes"]) is torch.Tensor
                for key in ("boxes", "labels"):
                    assert torch.equal(batch[key][place], sample[key])
                for key in ("boxes", "labels", "crowd", "difficult", "area"):
                    assert torch.equal(truth[key], sample[key])


class Instances(Boxes):
    """What is agreed of images with boxes and a mask of each object."""

    build = staticmethod(build_instance_dataset)

    @staticmethod
    def check_sample(sample, classes):
        assert sample["masks"] is not None
        Boxes.check_sample(sample, classes)

    @staticmethod
    def check_dataset(dataset, config, split):
        """Nothing more than each of its samples."""

    @staticmethod
    def check_batches(dataset, batch, evaluated):
        """Masks to learn from as those of the boxes; in evaluation they are part of the truth alone."""
        Boxes.check_batches(dataset, batch, evaluated)
        for boxes, masks in zip(batch["boxes"], batch["masks"], strict=True):
            assert masks.shape == (len(boxes), 24, 24)
            for (x1, y1, x2, y2), mask in zip(boxes.tolist(), masks, strict=True):
                assert 0 < mask.sum() == mask[int(y1) : int(-(-y2 // 1)), int(x1) : int(-(-x2 // 1))].sum()
        for batch in evaluated:
            assert batch["masks"] is None
            for truth, index in zip(batch["truth"], batch["index"], strict=True):
                assert np.array_equal(decode(truth["masks"], truth["size"]), dataset[index]["masks"])


KINDS = {"masks": Masks, "boxes": Boxes, "instances": Instances}
