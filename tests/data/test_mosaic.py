"""Mosaics, by where each pixel, mask and box comes from."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

from dcnrun.config.schema import DataConfig, ShapesConfig
from dcnrun.data import IGNORE, box_batches, build_instance_dataset, mask_batches, train_batches
from dcnrun.data.mosaic import draw_parts
from dcnrun.errors import DataError
from dcnrun.resources import resource_dir
from tests.data.test_box_batches import sample_with
from tests.data.test_loaders import Numbered, stream

CONFIG = DataConfig(mean=[0.2, 0.4, 0.6], std=[1.0] * 3)
MEAN = torch.tensor([51, 102, 153], dtype=torch.uint8)[:, None, None]
SIZES = [(40, 60), (90, 100), (30, 25), (41, 200)]  # the third is smaller than its part may be, the fourth lower


def rng(seed):
    return np.random.default_rng(seed)


def tagged(nth, height, width):
    """An image whose pixels say which one it is and where they are."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return tv_tensors.Image(torch.stack([torch.full_like(y, nth), y, x]).to(torch.uint8))


@pytest.mark.parametrize("seed", range(20))
def test_each_pixel_is_one_of_the_image_that_has_its_corner_moved_as_a_whole(seed):
    samples = [
        {"image": tagged(n, *size), "mask": tagged(n, *size)[1] % 7, "name": str(n)} for n, size in enumerate(SIZES)
    ]
    joined = mask_batches.join_samples(CONFIG, samples, rng(seed))
    image, mask = joined["image"].as_subclass(torch.Tensor).int(), joined["mask"].as_subclass(torch.Tensor)
    height, width = SIZES[0]
    assert image.shape == (3, height, width)
    assert joined["name"] == "0"
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    uncovered = mask == IGNORE
    assert torch.equal(uncovered, (image == MEAN).all(0))
    assert torch.equal(mask[~uncovered], (image[1] % 7).to(torch.uint8)[~uncovered])
    rows, columns = [], []
    for nth in range(4):
        own = (image[0] == nth) & ~uncovered
        assert len((y - image[1])[own].unique()) == len((x - image[2])[own].unique()) == 1
        rows.append((int(y[own].min()), int(y[own].max()) + 1))
        columns.append((int(x[own].min()), int(x[own].max()) + 1))
        assert own.sum() == np.diff(rows[-1])[0] * np.diff(columns[-1])[0]  # a rectangle
    (meet_y,), (meet_x,) = (
        {rows[0][1], rows[1][1], rows[2][0], rows[3][0]},
        {columns[0][1], columns[1][0], columns[2][1], columns[3][0]},
    )
    assert height * 0.25 - 0.5 <= meet_y <= height * 0.75 + 0.5
    assert width * 0.25 - 0.5 <= meet_x <= width * 0.75 + 0.5
    for nth, (own_height, own_width) in enumerate(SIZES):
        room = (height - meet_y if nth > 1 else meet_y), (width - meet_x if nth % 2 else meet_x)
        assert np.diff(rows[nth])[0] == min(own_height, room[0])
        assert np.diff(columns[nth])[0] == min(own_width, room[1])


def test_every_window_of_an_image_is_seen():
    starts = Counter(draw_parts([(8, 8)] * 4, rng(seed))[3].top for seed in range(400))
    assert set(starts) == set(range(7))  # the part is 2 to 6 pixels high
    assert min(starts.values()) > 5


OBJECTS = [
    [(2, 3, 22, 17), (30, 0, 50, 30), (4, 34, 16, 60)],
    [(0, 0, 30, 30), (60, 10, 84, 26)],
    [],
    [(40, 40, 72, 58), (8, 8, 12, 12)],
]


def painted(masks=True):
    """Four images of objects, each of a grey of its own among all of them; of the last image the first is a crowd."""
    samples, count = [], 0
    for nth, boxes in enumerate(OBJECTS):
        sample = sample_with(boxes, masks=masks, crowd=[0] if nth == 3 else [])
        inside = sample["image"] > 0
        sample["image"] = tv_tensors.Image(torch.where(inside, sample["image"] // 30 + 20 * count + 1, 0))
        samples.append(sample | {"labels": torch.arange(len(boxes)) + count})
        count += len(boxes)
    return samples


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_boxes_and_masks_of_objects_are_around_what_is_seen_of_them(masks, seed):
    samples = painted(masks)
    joined = box_batches.join_samples(CONFIG, samples, rng(seed))
    greys = {}
    for sample in samples:
        for label, (x1, y1, _, _) in zip(sample["labels"].tolist(), sample["boxes"].tolist(), strict=True):
            greys[label] = (
                int(sample["image"][0, int(y1), int(x1)]),
                (sample["image"][0] == sample["image"][0, int(y1), int(x1)]).sum(),
            )
    assert len({grey for grey, _ in greys.values()}) == 7
    image = joined["image"].as_subclass(torch.Tensor)[0]
    wanted = {label: image == grey for label, (grey, whole) in greys.items() if (image == grey).sum() >= 0.25 * whole}
    assert joined["labels"].tolist() == sorted(wanted)
    seen = torch.stack([*wanted.values()]) if wanted else torch.zeros(0, *image.shape)
    boxes = joined["boxes"]
    assert boxes.canvas_size == image.shape
    assert torch.equal(boxes.as_subclass(torch.Tensor), masks_to_boxes(seen) + torch.tensor([0, 0, 1, 1]))
    assert joined["crowd"].tolist() == [label == 5 for label in joined["labels"]]
    assert len(joined["area"]) == len(joined["difficult"]) == len(wanted)
    if masks:
        assert torch.equal(joined["masks"].as_subclass(torch.Tensor), seen.byte())
    else:
        assert joined["masks"] is None


def test_images_of_other_numbers_are_joined_as_numbers_from_0_to_1():
    samples = [
        {"image": tagged(n, 20, 20), "mask": torch.zeros(20, 20, dtype=torch.uint8), "name": str(n)} for n in range(4)
    ]
    plain = mask_batches.join_samples(CONFIG, samples, rng(0))["image"]
    samples[2]["image"] = tv_tensors.Image(samples[2]["image"] / 255)
    mixed = mask_batches.join_samples(CONFIG, samples, rng(0))["image"]
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.as_subclass(torch.Tensor), plain.as_subclass(torch.Tensor) / 255)
    samples[3]["image"] = tv_tensors.Image(torch.zeros(4, 20, 20))
    with pytest.raises(DataError, match="'3': the image has 4 bands, but the training images have 3"):
        mask_batches.join_samples(CONFIG, samples, rng(0))


def test_as_many_are_mosaics_as_the_setting_says_and_the_others_are_as_without():
    def batches(mosaic):
        return stream(Numbered(50), DataConfig(batch_size=4, workers=0, mosaic=mosaic, color_jitter=0.3), steps=50)

    without, some, all_of_them = batches(0.0), batches(0.25), batches(1.0)
    images = [torch.cat([batch["image"] for batch in each]) for each in (without, some, all_of_them)]
    colours = [[len(image[0].unique()) for image in each] for each in images]
    assert set(colours[0]) == {1}
    mosaics = np.array(colours[1]) > 1
    assert 30 <= mosaics.sum() <= 70  # of 200, of which four images of a mosaic are hardly ever one and the same
    assert torch.equal(images[1][~mosaics], images[0][~mosaics])
    assert torch.equal(images[1][mosaics], images[2][mosaics])
    assert np.mean(np.array(colours[2]) == 4) > 0.7
    assert [batch["index"] for batch in some] == [batch["index"] for batch in without]


@pytest.mark.parametrize(
    "settings", [{}, {"random_rotation": 30.0, "crop_size": 40, "elastic": 2.0, "quarter_turns": True}]
)
def test_instances_of_mosaics_are_trained_on_alike_whatever_the_workers(settings):
    data = ShapesConfig(image_size=48, train_images=6, batch_size=3, mosaic=0.8, **settings)
    dataset = build_instance_dataset(data, "train")
    first, second = (
        list(train_batches(dataset, replace(data, workers=workers), seed=1, first_step=0, steps=3))
        for workers in (0, 2)
    )
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["image"], other["image"])
        for key in ("boxes", "labels", "masks"):
            assert all(torch.equal(a, b) for a, b in zip(one[key], other[key], strict=True))
        for boxes, masks in zip(one["boxes"], one["masks"], strict=True):
            assert len(boxes) == len(masks)
            around = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])
            assert (around[:, :2] >= boxes[:, :2] - 1).all()
            assert (around[:, 2:] <= boxes[:, 2:] + 1).all()


def test_it_is_off_but_where_it_is_asked_for():
    assert DataConfig().mosaic == 0
    assert not [path for path in resource_dir("conf").rglob("*.yaml") if "mosaic" in path.read_text()]
