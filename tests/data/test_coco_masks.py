"""Masks as COCO's files hold them, against pycocotools; nothing damaged reaches the decoder."""

import contextlib

import numpy as np
import pytest
from pycocotools import mask as reference

from dcnrun.data.coco_masks import area, areas, bounds, decode, encode_each, run_lengths, run_lengths_of
from tests.data.factories import counts_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")

SIZE = (30, 44)


def decoded(segmentation):
    return decode([run_lengths(segmentation, SIZE)], SIZE)[0]


def random_mask(seed):
    random = np.random.default_rng(seed)
    return (random.uniform(size=SIZE) < random.uniform()).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_give_the_mask_back(seed):
    mask = random_mask(seed)
    compressed = reference.encode(np.asfortranarray(mask))
    texts = {"size": list(SIZE), "counts": compressed["counts"].decode()}
    for segmentation in (texts, {"size": list(SIZE), "counts": counts_of(mask)}):
        assert np.array_equal(decoded(segmentation), mask)
        lengths = run_lengths(segmentation, SIZE)
        assert area(lengths) == mask.sum()
        assert bounds(lengths) == reference.toBbox(compressed).tolist()


@pytest.mark.parametrize("highest", [1, 3, 70000])
def test_each_number_is_encoded_as_its_pixels_are(highest):
    random = np.random.default_rng(highest)
    numbers = random.integers(0, highest + 1, SIZE) * (random.uniform(size=SIZE) < 0.7)
    found = encode_each(numbers.astype(np.uint32))
    assert list(found) == [number for number in np.unique(numbers).tolist() if number]
    for number, mask in list(found.items())[:20]:
        assert mask == reference.encode(np.asfortranarray(numbers == number, np.uint8))
    assert encode_each(0 * numbers) == {}


@pytest.mark.parametrize("seed", range(20))
def test_polygons_are_drawn_as_pycocotools_does(seed):
    random = np.random.default_rng(seed)
    height, width = SIZE
    polygons = [
        (random.uniform(-0.3, 1.3, (random.integers(3, 9), 2)) * (width, height)).ravel().tolist()
        for _ in range(random.integers(1, 4))
    ]
    expected = reference.decode(reference.merge(reference.frPyObjects(polygons, height, width)))
    assert np.array_equal(decoded(polygons), expected)


def test_several_at_once_and_none():
    masks = [random_mask(seed) for seed in range(4)]
    lengths = [run_lengths({"size": list(SIZE), "counts": counts_of(mask)}, SIZE) for mask in masks]
    assert np.array_equal(decode(lengths, SIZE), masks)
    assert decode([], SIZE).shape == (0, *SIZE)
    assert decode(lengths, SIZE).flags.c_contiguous


@pytest.mark.parametrize("seed", range(5))
def test_masks_of_many_images_are_those_of_each_by_itself(seed):
    random = np.random.default_rng(seed)
    masks, sizes = [], []
    for number in range(40):
        height, width = size = ((30, 44), (17, 60), (50, 9))[random.integers(3)]
        corners = [
            random.uniform(-0.3, 1.3, (random.integers(3, 9), 2)) * (width, height) for _ in range(1 + number % 3)
        ]
        inside = (random.uniform(size=size) < 0.3).astype(np.uint8)
        outlines = [part.ravel().tolist() for part in corners]
        masks.append([outlines, {"size": list(size), "counts": counts_of(inside)}, outlines, None, []][number % 5])
        sizes.append(size)
    expected = [run_lengths(mask, size) if mask else None for mask, size in zip(masks, sizes, strict=True)]
    assert run_lengths_of(masks, sizes) == expected
    assert areas(expected).tolist() == [area(mask) if mask else 0 for mask in expected]
    assert run_lengths_of(masks, [None] * 40) == [None] * 40


FLOATS = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0]


@pytest.mark.parametrize(
    "wrong",
    [
        [[1.0, 1.0, 5.0, 5.0]],
        [[*FLOATS, 1.0]],
        [FLOATS, []],
        [[*FLOATS[:5], 1e12]],
        [[*FLOATS[:5], float("nan")]],
        [[*FLOATS[:5], float("inf")]],
        [[*FLOATS[:5], 89.0]],
        [[*FLOATS[:5], -45.0]],
        {"size": [4, 4], "counts": [16]},
    ],
)
def test_what_is_wrong_with_one_of_many_masks_is_found(wrong):
    for refuse in (lambda: run_lengths(wrong, SIZE), lambda: run_lengths_of([[FLOATS], wrong, [FLOATS]], [SIZE] * 3)):
        with pytest.raises(ValueError, match=r".+"):
            refuse()


PIXELS = SIZE[0] * SIZE[1]


def test_a_size_may_be_written_with_a_point():
    numbers = {"size": list(SIZE), "counts": [PIXELS - 8, 8]}
    for counts in (numbers["counts"], reference.frPyObjects(numbers, *SIZE)["counts"].decode()):
        assert area(run_lengths({"counts": counts, "size": [float(side) for side in SIZE]}, SIZE)) == 8


@pytest.mark.timeout(20)  # the decoder does not come back from numbers that are not finite
@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "neither"),
        ([], "neither"),
        ("text", "neither"),
        ({"counts": None, "size": list(SIZE)}, "neither"),
        ([1, 2, 3, 4, 5, 6], "not a list x1, y1"),
        ([[1, 1, 3, 3]], "three points"),
        ([[1, 1, 3, 3, 4, 4, 5]], "three points"),
        ([[1, 1, 3, float("nan"), 5, 5]], "no finite number"),
        ([[1, 1, 3, float("inf"), 5, 5]], "no finite number"),
        ([[1, 1, 3, 10**400, 5, 5]], "no finite number"),
        ([[1, 1, 3, "2", 5, 5]], "no finite number"),
        ([[1, 1, 3, 1e6, 5, 5]], "far beyond"),
        ({"counts": [PIXELS - 1], "size": list(SIZE)}, "make up 1320 pixels"),
        ({"counts": [PIXELS, 2**40], "size": list(SIZE)}, "make up"),
        ({"counts": [PIXELS + 5, -5], "size": list(SIZE)}, "integers"),
        ({"counts": [float(PIXELS)], "size": list(SIZE)}, "integers"),
        ({"counts": [PIXELS], "size": [44, 30]}, r"its size is \[44, 30\], its image's \[30, 44\]"),
        ({"counts": [PIXELS]}, "its size is None"),
        ({"counts": "", "size": list(SIZE)}, "RLE"),
        ({"counts": "35", "size": list(SIZE)}, "RLE"),
        ({"counts": "дърво", "size": list(SIZE)}, "RLE"),
        ({"counts": "zzzzzzzzzzzzzzzz", "size": list(SIZE)}, "RLE"),
    ],
)
def test_damaged_masks_are_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        run_lengths(segmentation, SIZE)


@pytest.mark.parametrize("seed", range(50))
def test_random_text_is_refused_or_fills_the_mask(seed):
    random = np.random.default_rng(seed)
    text = "".join(map(chr, random.integers(1, 128, random.integers(1, 60))))
    with contextlib.suppress(ValueError):
        assert decoded({"counts": text, "size": list(SIZE)}).shape == SIZE
