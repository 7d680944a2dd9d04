"""Images with boxes as the network sees them: all in step, nothing lost but what a crop takes, padding told apart."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

from dcnrun.config.schema import DataConfig, ShapesConfig
from dcnrun.data import BoxDataset, build_box_dataset, eval_batches, train_batches
from dcnrun.data.box_batches import EvaluationTransform, TrainingTransform
from dcnrun.data.coco_masks import decode
from dcnrun.errors import UsageError

HEIGHT, WIDTH = 60, 84
GREYS = torch.arange(60, 250, 30, dtype=torch.uint8)


def config(**settings):
    return DataConfig(**({"flip": 0.0, "mean": [0.0] * 3, "std": [1.0] * 3} | settings))


def sample_with(boxes, height=HEIGHT, width=WIDTH, crowd=(), difficult=(), masks=True):
    """Objects of one grey each on black, that fill their boxes; they must not overlap."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    painted = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        image[:, y1:y2, x1:x2] = GREYS[number]
        painted[number, y1:y2, x1:x2] = 1
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    places = torch.arange(len(boxes))
    return {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width)),
        "labels": places,
        "crowd": torch.tensor([number in crowd for number in range(len(boxes))], dtype=torch.bool),
        "difficult": torch.tensor([number in difficult for number in range(len(boxes))], dtype=torch.bool),
        "area": painted.sum((1, 2)).float(),
        "masks": tv_tensors.Mask(painted) if masks else None,
        "name": "painted",
    }


BOXES = [(2, 3, 22, 17), (30, 0, 50, 30), (60, 10, 84, 26), (4, 34, 16, 60), (40, 40, 72, 58)]
GEOMETRY = [
    {},
    {"flip": 0.5, "vertical_flip": 0.5},
    {"crop_size": 40},
    {"crop_size": 100},
    {"scale_min": 0.5, "scale_max": 2.0},
    {"short_sides": [40, 90, 120]},
    {"short_sides": [90], "long_side_max": 100},
    {"quarter_turns": True},
    {"quarter_turns": True, "crop_size": 100, "flip": 0.5},
    {"short_sides": [40, 80], "scale_min": 0.8, "scale_max": 1.2, "crop_size": 50, "flip": 0.5, "vertical_flip": 0.5},
]


@pytest.mark.parametrize("settings", GEOMETRY, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_image_boxes_and_masks_stay_in_step(settings, seed):
    """What is painted in each box is found there, and by its mask up to a pixel of every resize."""
    torch.manual_seed(seed)
    seen = TrainingTransform(config(**settings))(sample_with(BOXES))
    grey = (seen.image[0] * 255).round()
    assert len(seen.boxes) == len(seen.labels) == len(seen.masks)
    assert seen.masks.shape[1:] == grey.shape
    for box, label, mask in zip(seen.boxes, seen.labels, seen.masks, strict=True):
        x1, y1, x2, y2 = box.tolist()
        assert 0 <= x1 < x2 <= grey.shape[1]
        assert 0 <= y1 < y2 <= grey.shape[0]
        inner = grey[round(y1) + 2 : round(y2) - 2, round(x1) + 2 : round(x2) - 2]
        assert ((inner - GREYS[label]).abs() <= 1).all()
        rows, columns = torch.nonzero(mask.any(1)), torch.nonzero(mask.any(0))
        around = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        resizes = max(1, ("short_sides" in settings) + ("scale_min" in settings))
        assert (around - box).abs().max() <= resizes
    unseen = [label for label in range(len(BOXES)) if label not in seen.labels]
    if "crop_size" not in settings or settings["crop_size"] == 100:
        assert not unseen
    for label in unseen:  # what is left of a dropped object is less than a quarter
        left = ((grey - GREYS[label]).abs() <= 1).sum()
        whole = (BOXES[label][2] - BOXES[label][0]) * (BOXES[label][3] - BOXES[label][1])
        scale = max(settings.get("short_sides", [HEIGHT])) / HEIGHT * settings.get("scale_max", 1)
        assert left <= 0.25 * whole * scale**2


def share_left(sample, seen, label):
    """Of an object's pixels, those that are found in the image by their grey."""
    grey = (seen.image[0] * 255).round()
    return ((grey - GREYS[label]).abs() <= 1).sum() / sample["masks"][label].sum()


@pytest.mark.parametrize(
    "warp", [{"random_rotation": 60.0}, {"elastic": 4.0}, {"random_rotation": 60.0, "elastic": 2.0}], ids=str
)
def test_boxes_of_rotated_and_deformed_objects_are_those_of_their_masks(warp):
    sample = sample_with(BOXES)
    transform = TrainingTransform(config(flip=0.5, quarter_turns=True, **warp))
    dropped = 0
    for seed in range(12):
        torch.manual_seed(seed)
        seen = transform(sample)
        assert len(seen.boxes) == len(seen.labels) == len(seen.masks) > 0
        first_and_last = masks_to_boxes(seen.masks)
        assert torch.equal(seen.boxes, first_and_last + torch.tensor([0, 0, 1, 1]))
        grey = (seen.image[0] * 255).round()
        for label, mask in zip(seen.labels, seen.masks, strict=True):
            # where colours mix with black or with the mean beyond the image, the mask has the nearest
            assert ((grey[mask > 0] - GREYS[label]).abs() <= 1).float().mean() > 0.5
            assert mask.sum() >= 0.25 * sample["masks"][label].sum()
        missing = set(range(len(BOXES))) - set(seen.labels.tolist())
        assert all(share_left(sample, seen, label) <= 0.3 for label in missing)
        dropped += len(missing)
    assert dropped > 0 or "random_rotation" not in warp


def test_rotation_needs_masks_and_quarter_turns_do_not():
    sample = sample_with(BOXES, masks=False)
    for warp in ({"random_rotation": 1.0}, {"elastic": 1.0}):
        with pytest.raises(UsageError, match=r"data.random_rotation and data.elastic need the masks of objects"):
            TrainingTransform(config(**warp))(sample)
        assert TrainingTransform(config(**warp))(sample_with([], masks=False)).boxes.shape == (0, 4)
        assert TrainingTransform(config(**warp))(sample_with([])).masks.shape == (0, HEIGHT, WIDTH)
    assert len(TrainingTransform(config(quarter_turns=True))(sample).boxes) == len(BOXES)


def test_quarter_turns_of_boxes_are_those_of_painted_objects():
    """By numpy.rot90 of what is painted, in an image that is not square."""
    sample = sample_with(BOXES)
    transform = TrainingTransform(config(quarter_turns=True))
    found = set()
    for seed in range(16):
        torch.manual_seed(seed)
        seen = transform(sample)
        turned = [np.rot90(sample["image"], turns, (1, 2)) for turns in range(4)]
        (turns,) = (n for n in range(4) if np.array_equal((seen.image * 255).round(), turned[n]))
        masks = np.rot90(sample["masks"], turns, (1, 2))
        assert np.array_equal(seen.masks, masks)
        for box, mask in zip(seen.boxes.tolist(), masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        found.add(turns)
    assert found == {0, 1, 2, 3}


def test_a_flip_mirrors_the_boxes():
    (box,) = TrainingTransform(config(flip=1.0))(sample_with([(2, 3, 22, 17)])).boxes.tolist()
    assert box == [WIDTH - 22, 3, WIDTH - 2, 17]
    (box,) = TrainingTransform(config(vertical_flip=1.0))(sample_with([(2, 3, 22, 17)])).boxes.tolist()
    assert box == [2, HEIGHT - 17, 22, HEIGHT - 3]


@pytest.mark.parametrize(("visible", "is_kept"), [(4, False), (5, True), (20, True)])
def test_a_crop_keeps_a_quarter_of_an_object_or_none_of_it(visible, is_kept):
    """A crop that takes the left 20 columns of an image 40 wide."""
    sample = sample_with([(20 - visible, 0, 40 - visible, 20)], 20, 40)
    transform = TrainingTransform(config(crop_size=20))
    for seed in range(200):
        torch.manual_seed(seed)
        seen = transform(sample)
        if seen.image[0, :, : 20 - visible].sum() == 0 and seen.image[0, :, 20 - visible :].all():
            break
    else:
        pytest.fail("no crop at the left edge")
    assert len(seen.boxes) == is_kept
    if is_kept:
        assert seen.boxes.tolist() == [[20 - visible, 0, 20, 20]]


def test_objects_smaller_than_a_pixel_are_dropped():
    sample = sample_with([(0, 0, 20, 20), (30, 30, 33, 60)])
    assert TrainingTransform(config(short_sides=[16]))(sample).labels.tolist() == [0]
    assert TrainingTransform(config(short_sides=[30]))(sample).labels.tolist() == [0, 1]


def test_crowds_and_difficult_objects_are_not_trained_on_but_kept_for_scoring():
    sample = sample_with(BOXES, crowd=[1], difficult=[2, 3])
    trained, evaluated = (make(config())(sample) for make in (TrainingTransform, EvaluationTransform))
    assert trained.labels.tolist() == [0, 4]
    assert len(trained.masks) == 2
    assert evaluated.labels.tolist() == [0, 1, 2, 3, 4]
    for seen in (trained, evaluated):
        assert seen.truth["boxes"].tolist() == [list(map(float, box)) for box in BOXES]
        assert seen.truth["crowd"].tolist() == [False, True, False, False, False]
        assert seen.truth["difficult"].tolist() == [False, False, True, True, False]


def test_an_object_whose_mask_is_cropped_away_is_not_trained_on():
    """Most of its box is left, and nothing of the pixels that it consists of where the crop begins in the first row or column."""
    sample = sample_with([(0, 0, 40, 40), (0, 0, 20, 20)], 40, 40)
    sample["masks"][0] = 0
    sample["masks"][0, 30:32, 30:32] = 1
    transform = TrainingTransform(config(crop_size=30))
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        trained = transform(sample)
        assert trained.masks.flatten(1).any(1).all()
        seen.add(tuple(trained.labels.tolist()))
    assert seen == {(0, 1), (1,)}
    bare = TrainingTransform(config())(sample | {"masks": None})
    assert bare.labels.tolist() == [0, 1]


def test_evaluation_resizes_to_its_own_short_side():
    sample = sample_with([(0, 0, WIDTH, HEIGHT)])
    seen = EvaluationTransform(config(eval_short_side=120, short_sides=[30], flip=1.0, crop_size=20))(sample)
    assert seen.image.shape == (3, 120, 168)
    assert seen.boxes.tolist() == [[0, 0, 168, 120]]
    assert seen.truth["boxes"].tolist() == [[0, 0, WIDTH, HEIGHT]]
    assert seen.truth["size"] == (HEIGHT, WIDTH)
    limited = EvaluationTransform(config(eval_short_side=120, long_side_max=140))(sample)
    assert limited.image.shape == (3, 100, 140)


def test_short_sides_are_drawn_evenly():
    transform = TrainingTransform(config(short_sides=[32, 48, 64]))
    torch.manual_seed(0)
    sides = [transform(sample_with([], masks=False)).image.shape[1] for _ in range(90)]
    assert {side: sides.count(side) > 15 for side in sides} == {32: True, 48: True, 64: True}


@pytest.mark.parametrize("shape", [(1, 400), (400, 1)])
def test_slivers_keep_a_pixel(shape):
    seen = TrainingTransform(config(short_sides=[32], long_side_max=64))(sample_with([], *shape, masks=False))
    assert sorted(seen.image.shape) == [1, 3, 64]


def test_normalisation():
    settings = DataConfig(flip=0.0)
    sample = sample_with(BOXES)
    mean, std = (torch.tensor(values)[:, None, None] for values in (settings.mean, settings.std))
    for make in (TrainingTransform, EvaluationTransform):
        image = make(settings)(sample).image
        torch.testing.assert_close(image, (sample["image"].as_subclass(torch.Tensor) / 255 - mean) / std)
        assert type(image) is torch.Tensor


class Painted(BoxDataset):
    """Images of different sizes; the first without objects."""

    classes = ("a", "b", "c", "d", "e")

    def __init__(self, masks=True):
        sizes = [(60, 84), (40, 100), (64, 64)]
        boxes = [[], [(0, 0, 9, 9)], [(0, 0, 9, 9), (20, 20, 60, 60)]]
        self.samples = [sample_with(b, *size, masks=masks) for b, size in zip(boxes, sizes, strict=True)]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]

    def name(self, index):
        return str(index)


def assert_masks_of_truth(truth, sample):
    """They are those of a sample; None: there are none."""
    if sample is None:
        assert truth["masks"] is None
    else:
        assert np.array_equal(decode(truth["masks"], truth["size"]), sample["masks"])


def of_all(dataset):
    """All samples in one batch, prepared as for evaluation."""
    return dataset.evaluation(config()).batch([(sample, 0) for sample in dataset.samples], [*range(len(dataset))])


@pytest.mark.parametrize("masks", [False, True])
def test_sizes_that_differ_are_padded_on_the_right_and_below(masks):
    batch = of_all(Painted(masks))
    assert batch["image"].shape == (3, 3, 64, 128)
    assert batch["sizes"] == [(60, 84), (40, 100), (64, 64)]
    assert batch["index"] == [0, 1, 2]
    for place, sample in enumerate(Painted().samples):
        height, width = batch["sizes"][place]
        assert torch.equal((batch["image"][place, :, :height, :width] * 255).round().byte(), sample["image"])
        assert (batch["image"][place, :, height:] == 0).all()
        assert (batch["image"][place, :, :, width:] == 0).all()
        assert batch["boxes"][place].tolist() == sample["boxes"].tolist()
        assert batch["boxes"][place].shape == (len(sample["labels"]), 4)
        assert batch["labels"][place].tolist() == sample["labels"].tolist()
        assert batch["truth"][place]["size"] == batch["sizes"][place]
        assert_masks_of_truth(batch["truth"][place], sample if masks else None)
    assert batch["masks"] is None


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("masks", [False, True])
def test_images_are_evaluated_beside_others_of_their_size_alone(workers, masks):
    """Each batch is that of its images by themselves, whatever they were read with."""
    dataset = Painted(masks)
    dataset.samples = [dataset.samples[place] for place in (0, 1, 0, 2, 1)]
    batches = list(eval_batches(dataset, config(eval_batch_size=5, workers=workers)))
    assert [batch["index"] for batch in batches] == [[0, 2], [1, 4], [3]]
    preparation = dataset.evaluation(config())
    for batch in batches:
        samples = [(dataset.samples[place], 0) for place in batch["index"]]
        assert torch.equal(batch["image"], preparation.batch(samples, batch["index"])["image"])
        for place, (sample, _) in enumerate(samples):
            assert batch["boxes"][place].tolist() == sample["boxes"].tolist()
            assert batch["truth"][place]["size"] == batch["sizes"][place] == tuple(sample["image"].shape[1:])
            assert_masks_of_truth(batch["truth"][place], sample if masks else None)


def test_a_batch_costs_few_file_descriptors():
    """Each block of memory from a worker costs one; there may be 1024 of them."""
    batch = of_all(Painted())
    columns = [
        batch["boxes"],
        batch["labels"],
        *([t[key] for t in batch["truth"]] for key in ("boxes", "area", "crowd")),
    ]
    for column in columns:
        assert len({tensor.untyped_storage().data_ptr() for tensor in column}) == 1


AUGMENTED = {"crop_size": 40, "scale_min": 0.7, "scale_max": 1.4, "color_jitter": 0.4, "flip": 0.5, "batch_size": 4}


def stream(dataset, first_step=0, steps=5, **settings):
    return list(train_batches(dataset, config(**(AUGMENTED | settings)), seed=3, first_step=first_step, steps=steps))


def assert_same_batches(first, second):
    for one, other in zip(first, second, strict=True):
        assert (one["index"], one["name"], one["sizes"]) == (other["index"], other["name"], other["sizes"])
        assert torch.equal(one["image"], other["image"])
        for key in ("boxes", "labels"):
            assert all(torch.equal(a, b) for a, b in zip(one[key], other[key], strict=True))


@pytest.fixture(scope="module")
def shapes():
    return build_box_dataset(ShapesConfig(image_size=48, train_images=10), "train")


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("cache", [False, True])
def test_a_step_is_the_same_wherever_the_stream_starts(shapes, workers, cache):
    assert_same_batches(stream(shapes)[2:], stream(shapes, first_step=2, steps=3, workers=workers, cache=cache))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_batch_of_one(shapes, world_size):
    settings = config(**AUGMENTED)
    (whole,) = stream(shapes, steps=1)
    for rank in range(world_size):
        (share,) = train_batches(shapes, settings, seed=3, first_step=0, steps=1, rank=rank, world_size=world_size)
        assert share["index"] == whole["index"][rank::world_size]
        for key in ("boxes", "labels"):
            assert all(torch.equal(a, b) for a, b in zip(share[key], whole[key][rank::world_size], strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("workers", [0, 1])
def test_pinned_batches_keep_their_form(workers):
    batches = list(eval_batches(Painted(), config(eval_batch_size=1, workers=workers)))
    assert all(batch["image"].is_pinned() for batch in batches)
    assert [batch["sizes"] for batch in batches] == [[(60, 84)], [(40, 100)], [(64, 64)]]
    assert [type(batch["truth"][0]["size"]).__name__ for batch in batches] == ["Size"] * 3
