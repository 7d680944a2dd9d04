"""The generated data: what is recorded is what is shown, and nothing but the shape tells the class."""

import dataclasses
from itertools import pairwise
from math import log, pi

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from dcnrun.config.schema import ShapesConfig, Source
from dcnrun.data import build_box_dataset
from dcnrun.data.outlines import OBJECTS
from dcnrun.data.shapes import ShapesDataset
from tests.data.conformance import DatasetSuite, assert_same

LABELS = range(1, len(OBJECTS) + 1)


class TestShapes(DatasetSuite):
    source = Source.shapes

    @pytest.fixture
    def config(self):
        return ShapesConfig(train_images=5, val_images=3, objects_min=0)

    def test_images_with_boxes_are_those_with_masks(self, config, split):
        dataset, masks = build_box_dataset(config, split), ShapesDataset(config, split)
        assert len(dataset) == len(masks)
        assert dataset.classes == masks.classes[1:]
        for index in range(len(dataset)):
            assert dataset[index]["name"] == masks[index]["name"]
            assert torch.equal(dataset[index]["image"], masks[index]["image"])

    def test_objects_make_up_the_class_mask(self, config, split):
        objects, masks = build_box_dataset(config, split, masks=True), ShapesDataset(config, split)
        for index in range(len(masks)):
            painted = torch.zeros(128, 128, dtype=torch.uint8)
            for mask, label in zip(objects[index]["masks"], objects[index]["labels"], strict=True):
                painted[mask > 0] = label + 1
            assert torch.equal(painted, masks[index]["mask"])


def shapes(split="train", **settings):
    return ShapesDataset(ShapesConfig(**settings), split)


def lone(**settings):
    """One object an image, and nothing else but the background."""
    settings = {"objects_min": 1, "objects_max": 1, "distractors": 0, "object_scale_max": 0.2} | settings
    return shapes(**settings)


def scenes(dataset, count):
    return [dataset.scene(index) for index in range(count)]


def full_mask(item, size):
    """All of an object inside the image, hidden or not, worked out from its record alone."""
    centres = np.arange(size) + 0.5
    return OBJECTS[item.label - 1].level(*item.canonical(centres[:, None], centres[None])) < 0


class TestScene:
    def test_agrees_with_the_sample(self):
        dataset = shapes()
        for index in range(20):
            sample, scene = dataset[index], dataset.scene(index)
            assert torch.equal(sample["image"], scene.image)
            assert torch.equal(sample["mask"], scene.mask)

    def test_semantic_mask_is_the_instances_in_their_classes(self):
        for scene in scenes(shapes(), 20):
            painted = torch.zeros_like(scene.mask)
            for instance, label in zip(scene.instances, scene.labels, strict=True):
                assert not painted[instance].any(), "instances overlap"
                painted[instance] = label
            assert torch.equal(painted, scene.mask)

    def test_shapes_and_types(self):
        for scene in scenes(shapes(objects_min=0, objects_max=1), 10):
            count = len(scene.objects)
            assert scene.instances.shape == (count, 128, 128)
            assert scene.instances.dtype == torch.bool
            assert scene.boxes.shape == (count, 4)
            assert scene.boxes.dtype == torch.float32
            assert scene.labels.dtype == torch.int64
            assert scene.labels.tolist() == [item.label for item in scene.objects]
            assert scene.boxes.tolist() == [list(item.box) for item in scene.objects]

    def test_boxes_are_tight(self):
        for scene in scenes(shapes(), 20):
            for instance, (x1, y1, x2, y2) in zip(scene.instances, scene.boxes.int().tolist(), strict=True):
                inside = instance[y1:y2, x1:x2]
                assert inside.sum() == instance.sum()
                assert inside[0].any()
                assert inside[-1].any()
                assert inside[:, 0].any()
                assert inside[:, -1].any()

    @pytest.mark.parametrize("warp", [0.0, 0.3, 0.6])
    def test_masks_are_the_recorded_objects_later_ones_on_top(self, warp):
        for scene in scenes(shapes(warp=warp), 20):
            painted = np.zeros((128, 128), np.uint8)
            for item in scene.objects:
                painted[full_mask(item, 128)] = item.label
            # a point on an outline may round to either side
            assert (painted != scene.mask.numpy()).sum() <= 2

    def test_objects_stay_visible(self):
        shares = [
            instance.sum().item() / full_mask(item, 128).sum()
            for scene in scenes(shapes(), 150)
            for item, instance in zip(scene.objects, scene.instances, strict=True)
        ]
        assert min(shares) > 0.3
        assert np.quantile(shares, 0.02) > 0.6
        assert np.mean(np.array(shares) < 1) > 0.1, "some occlusion is wanted"

    @pytest.mark.parametrize("size", [16, 37, 200])
    def test_any_size(self, size):
        scene = shapes(image_size=size, object_scale_min=0.15).scene(0)
        assert scene.image.shape == (3, size, size)
        assert scene.objects


class TestRecords:
    def test_unwarped_masks_have_the_recorded_area_and_centre(self):
        seen = set()
        for scene in scenes(lone(warp=0.0, image_size=256, object_scale_min=0.1), 60):
            (item,) = scene.objects
            mask = scene.instances[0].numpy()
            if mask[[0, -1]].any() or mask[:, [0, -1]].any():
                continue  # cut by the border
            assert mask.sum() == pytest.approx(pi * item.radius**2, rel=0.03)
            name = OBJECTS[item.label - 1].name
            if name != "horseshoe":
                centre = np.array(ndimage.center_of_mass(mask)) + 0.5
                assert np.hypot(*(centre - item.centre)) < 0.3
            seen.add(name)
        assert len(seen) == len(OBJECTS)

    def test_the_gap_of_the_horseshoe_points_where_the_rotation_says(self):
        checked = 0
        for scene in scenes(lone(warp=0.0, object_scale_min=0.15), 100):
            (item,) = scene.objects
            mask = scene.instances[0].numpy()
            if OBJECTS[item.label - 1].name == "horseshoe" and not (mask[[0, -1]].any() or mask[:, [0, -1]].any()):
                down, right = item.centre - (np.array(ndimage.center_of_mass(mask)) + 0.5)
                difference = np.degrees(np.arctan2(down, right)) - item.rotation
                assert abs((difference + 180) % 360 - 180) < 4
                checked += 1
        assert checked > 3

    @pytest.mark.parametrize("rotation", [0.0, 30.0])
    def test_rotations_keep_to_their_setting(self, rotation):
        angles = [item.rotation for scene in scenes(shapes(rotation=rotation), 40) for item in scene.objects]
        assert np.abs(angles).max() <= rotation
        assert np.ptp(angles) >= 1.8 * rotation

    def test_radii_are_spread_evenly_over_the_octaves_of_their_range(self):
        radii = [scene.objects[0].radius / 128 for scene in scenes(lone(object_scale_min=0.05), 150)]
        assert stats.kstest(np.log(radii), stats.uniform(log(0.05), log(4)).cdf).pvalue > 0.01

    @pytest.mark.parametrize(("wide", "smallest", "largest"), [(1.0, 0.1, 0.1), (4.0, 0.05, 0.2)])
    def test_a_range_of_radii_lies_about_the_geometric_mean_of_the_others(self, wide, smallest, largest):
        dataset = lone(object_scale_min=0.1, object_scale_max=0.1, object_scale_range=wide)
        radii = [scene.objects[0].radius / 128 for scene in scenes(dataset, 40)]
        assert smallest * (1 - 1e-9) <= min(radii) <= 1.2 * smallest
        assert largest / 1.2 <= max(radii) <= largest * (1 + 1e-9)

    def test_object_counts_keep_to_their_setting(self):
        counts = [len(scene.objects) for scene in scenes(shapes(objects_min=2, objects_max=4), 100)]
        assert min(counts) >= 1
        assert np.mean(np.array(counts) < 2) < 0.02, "room for the fewest is there, or nearly always"
        assert max(counts) == 4

    def test_where_room_runs_out_there_are_fewer(self):
        (scene,) = scenes(shapes(objects_min=50, objects_max=50, object_scale_min=0.2), 1)
        assert 1 <= len(scene.objects) < 20

    def test_all_classes_are_equally_frequent(self):
        labels = np.concatenate([scene.labels.numpy() for scene in scenes(shapes(image_size=32), 250)])
        assert stats.chisquare(np.bincount(labels, minlength=len(LABELS) + 1)[1:]).pvalue > 0.01

    def test_the_warp_is_recorded_as_set(self):
        assert {item.warp.strength for scene in scenes(shapes(warp=0.2), 5) for item in scene.objects} == {0.2}


class TestSettings:
    def test_a_stronger_warp_moves_outlines_farther(self):
        masks = {
            warp: [scene.instances[0].numpy() for scene in scenes(lone(warp=warp), 40)]
            for warp in (0.0, 0.15, 0.3, 0.6)
        }
        overlap = [
            np.mean(
                [(mask & plain).sum() / (mask | plain).sum() for mask, plain in zip(warped, masks[0.0], strict=True)]
            )
            for warped in masks.values()
        ]
        assert overlap[0] == 1
        assert all(before - after > 0.08 for before, after in pairwise(overlap))

    @pytest.mark.parametrize(
        ("setting", "values"), [("warp", (0.0, 0.5)), ("rotation", (10.0, 180.0)), ("texture", (0.0, 1.0))]
    )
    def test_changes_nothing_else(self, setting, values):
        one, other = (shapes(**{setting: value}) for value in values)
        for first, second in zip(scenes(one, 10), scenes(other, 10), strict=True):
            for item, twin in zip(first.objects, second.objects, strict=True):
                assert (item.label, item.centre, item.radius) == (twin.label, twin.centre, twin.radius)
                assert setting == "rotation" or item.rotation == twin.rotation
            if setting == "texture":
                assert torch.equal(first.mask, second.mask)
                assert not torch.equal(first.image, second.image)

    def test_no_texture_is_flat_colour(self):
        image = shapes(texture=0.0, distractors=0, objects_min=0, objects_max=0)[0]["image"]
        assert (image == image[:, :1, :1]).all()

    def test_more_texture_is_rougher(self):
        roughness = [
            np.mean([scene.image.float().std().item() for scene in scenes(shapes(texture=texture, objects_max=2), 10)])
            for texture in (0.0, 0.5, 1.0)
        ]
        assert roughness == sorted(roughness)

    def test_distractors_are_seen_but_not_labelled(self):
        plain, distracted = (shapes(distractors=most, texture=0.0, objects_min=0, objects_max=0) for most in (0, 4))
        assert not any(scene.mask.any() for scene in scenes(distracted, 20))
        flat = [scene.image.float().std((1, 2)).max() < 1 for scene in scenes(plain, 20)]
        assert all(flat)
        busy = [scene.image.float().std((1, 2)).max() > 1 for scene in scenes(distracted, 20)]
        assert 10 < sum(busy) < 20  # none to the most, evenly

    def test_splits_and_seeds_differ(self):
        assert not torch.equal(shapes("train")[0]["image"], shapes("val")[0]["image"])
        assert not torch.equal(shapes(seed=0)[0]["image"], shapes(seed=1)[0]["image"])

    def test_an_image_does_not_depend_on_how_many_there_are(self):
        assert_same(shapes(train_images=3)[2], shapes(train_images=3000)[2])


@dataclasses.dataclass
class Measured:
    """What can be measured of every object: its class, the look of its inside, the form of its outline, its size."""

    labels: np.ndarray
    look: np.ndarray
    form: np.ndarray
    share: np.ndarray


@pytest.fixture(scope="module")
def measured():
    labels, look, form, share = [], [], [], []
    for scene in scenes(shapes(object_scale_min=0.1), 300):
        pixels = scene.image.numpy().astype(float) / 255
        for item, instance in zip(scene.objects, scene.instances.numpy(), strict=True):
            inside = ndimage.binary_erosion(instance, iterations=2)  # leaves out the edge's mixed colours
            if inside.sum() < 40:
                continue
            colours = pixels[:, inside]
            steps = np.diff(pixels, axis=1)[:, inside[1:]], np.diff(pixels, axis=2)[:, inside[:, 1:]]
            labels.append(item.label)
            look.append([*colours.mean(1), *colours.std(1), *(step.std() for step in steps)])
            outline = instance.sum() - ndimage.binary_erosion(instance).sum()
            x1, y1, x2, y2 = item.box
            form.append([outline**2 / instance.sum(), instance.sum() / ((x2 - x1) * (y2 - y1))])
            share.append(instance.sum() / (pi * item.radius**2))
    return Measured(np.array(labels), np.array(look), np.array(form), np.array(share))


def nearest_mean_accuracy(features, labels):
    """Learnt on every other object, scored on the rest."""
    features = (features - features.mean(0)) / features.std(0)
    means = np.stack([features[::2][labels[::2] == label].mean(0) for label in LABELS])
    distance = ((features[1::2, None] - means) ** 2).sum(2)
    return (distance.argmin(1) + 1 == labels[1::2]).mean()


class TestNothingButShapeTellsTheClass:
    def test_colour_and_texture_leave_a_classifier_at_chance(self, measured):
        chance, scored = 1 / len(LABELS), len(measured.labels) // 2
        accuracy = nearest_mean_accuracy(measured.look, measured.labels)
        assert accuracy < chance + 3 * np.sqrt(chance * (1 - chance) / scored)

    def test_the_form_of_the_outline_does_not(self, measured):
        assert nearest_mean_accuracy(measured.form, measured.labels) > 2 / len(LABELS)

    def test_colours_of_each_class_are_those_of_the_others(self, measured):
        pvalues = [
            stats.ks_2samp(
                measured.look[measured.labels == label, channel], measured.look[measured.labels != label, channel]
            ).pvalue
            for label in LABELS
            for channel in range(3)
        ]
        assert min(pvalues) > 0.01 / len(pvalues)

    def test_no_class_is_larger(self, measured):
        shares = [measured.share[measured.labels == label].mean() for label in LABELS]
        assert max(shares) / min(shares) < 1.15
