"""The built-in data set: generated images of shapes, with everything known about every object.

Classes differ by shape alone. Colour and texture are drawn from one distribution for objects of all classes, for the
background and for distractors; every class has the same area at the same radius.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

from dcnrun.config.schema import ShapesConfig
from dcnrun.data.box_batches import BoxDataset
from dcnrun.data.mask_batches import SegmentationDataset
from dcnrun.data.outlines import DISTRACTORS, HAZE, OBJECTS, Pose, Warp
from dcnrun.data.painting import Canvas, Paint
from dcnrun.data.sample import BoxSample, Rule, Sample, Split

_SMALLEST_RADIUS = 2
"""In pixels."""
_LARGEST_RADIUS = 0.5
"""As a share of the image's side."""
_SPLIT_STREAM = {"train": 0, "val": 1}
_PLACE_TRIES = 60
_CLEARANCE = 0.85
"""Least distance of two objects' centres, as a share of the sum of their radii: a little overlap is wanted."""
_HAZE_EDGE = 1.5
"""Width over which haze fades, as a share of its radius."""


def rules(config: ShapesConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of such a data set must keep beside their ranges."""
    least, most = config.objects_min, config.objects_max
    smallest, largest = config.object_scale_min, config.object_scale_max
    in_range = _scales(config)
    visible = _SMALLEST_RADIUS / config.image_size if config.image_size > 0 else 0.0
    yield "objects_max", least <= most, f"at least data.objects_min={least}"
    least_scale = f"at least {visible:.3g}, {_SMALLEST_RADIUS} pixels at data.image_size={config.image_size}"
    yield "object_scale_min", smallest >= visible, least_scale
    yield "object_scale_max", smallest <= largest, f"at least data.object_scale_min={smallest}"
    is_apt = config.object_scale_range is None or (visible <= in_range[0] and in_range[1] <= _LARGEST_RADIUS)
    such = f"such that radii, which are from {in_range[0]:.3g} to {in_range[1]:.3g} of the image's side, are from {visible:.3g} to {_LARGEST_RADIUS}"
    yield "object_scale_range", is_apt, such


def _scales(config: ShapesConfig) -> tuple[float, float]:
    """Return the smallest and the largest radius of an object, as shares of the image's side."""
    smallest, largest = config.object_scale_min, config.object_scale_max
    if config.object_scale_range is None:
        return smallest, largest
    mean, factor = sqrt(abs(smallest * largest)), sqrt(max(1.0, config.object_scale_range))
    return mean / factor, mean * factor


@dataclass(frozen=True)
class ShapeObject(Pose):
    """One object of a scene: its pose, its class and the box of its visible part."""

    label: int
    box: tuple[float, float, float, float]
    """(x1, y1, x2, y2), the outer edges of its outermost visible pixels."""


@dataclass(frozen=True)
class Scene:
    """All there is to know about one image; n objects, in the order of their first index below."""

    image: Image
    """uint8 (3, H, W)"""
    mask: Mask
    """uint8 (H, W), classes"""
    instances: Mask
    """bool (n, H, W), the visible part of each object"""
    boxes: BoundingBoxes
    """float32 (n, 4), xyxy, of the visible parts"""
    labels: torch.Tensor
    """int64 (n,)"""
    objects: tuple[ShapeObject, ...]


class ShapesDataset(SegmentationDataset):
    """Scenes that depend on the settings, the split and the index alone.

    The settings `warp`, `rotation` and `texture` change nothing but what they say: two data sets that differ in one of
    them show the same objects at the same positions. Sines may round differently on different processors, which can
    change a pixel by 1/255.
    """

    classes = ("background", *(outline.name for outline in OBJECTS))

    def __init__(self, config: ShapesConfig, split: Split) -> None:
        self._config = config
        self._split: Split = split
        self._length = config.train_images if split == "train" else config.val_images

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        pixels, identity, placed = self._paint(index)
        image = Image(torch.from_numpy(pixels))
        return {"image": image, "mask": _class_mask(identity, placed), "name": self.name(index)}

    def name(self, index: int) -> str:
        """Name of the sample at `index`: the split and the index."""
        return f"{self._split}-{index:06d}"

    def scene(self, index: int) -> Scene:
        """Return the image at `index` with all that is known about it; an object hidden altogether is left out."""
        image, identity, placed = self._paint(index)
        size = self._config.image_size
        visible = [number for number in range(1, len(placed) + 1) if (identity == number).any()]
        instances = np.stack([identity == number for number in visible]) if visible else np.zeros((0, size, size), bool)
        objects = tuple(
            ShapeObject(pose.centre, pose.radius, pose.rotation, pose.warp, label, _box(instance))
            for (label, pose), instance in zip((placed[number - 1] for number in visible), instances, strict=True)
        )
        return Scene(
            image=Image(torch.from_numpy(image)),
            mask=_class_mask(identity, placed),
            instances=Mask(torch.from_numpy(instances)),
            boxes=BoundingBoxes(
                torch.tensor([item.box for item in objects]).reshape(-1, 4), format="XYXY", canvas_size=(size, size)
            ),
            labels=torch.tensor([item.label for item in objects], dtype=torch.int64),
            objects=objects,
        )

    def _paint(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[tuple[int, Pose]]]:
        """The image (3, H, W), the number of the object visible at each pixel (0: none), and the label and pose of objects 1, 2, ..."""
        if not 0 <= index < self._length:
            raise IndexError(f"index {index} of a data set of {self._length} images")
        config = self._config
        random = np.random.default_rng([config.seed, _SPLIT_STREAM[self._split], index])
        paints: list[Paint] = []

        def new_paint() -> Paint:
            paints.append(Paint.draw(random, paints, config.image_size, config.texture))
            return paints[-1]

        canvas = Canvas(config.image_size, new_paint())
        for _ in range(random.integers(config.distractors, endpoint=True)):
            kind = random.integers(len(DISTRACTORS), endpoint=True)
            pose = self._pose(random, *self._places(random, 1)[0])
            if kind < len(DISTRACTORS):
                canvas.add(DISTRACTORS[kind], pose, new_paint())
            else:
                canvas.add(HAZE, pose, new_paint(), edge=_HAZE_EDGE * pose.radius)
        placed = []
        count = int(random.integers(config.objects_min, config.objects_max, endpoint=True))
        for number, (centre, radius) in enumerate(self._places(random, count), start=1):
            label = int(random.integers(len(OBJECTS))) + 1
            pose = self._pose(random, centre, radius)
            canvas.add(OBJECTS[label - 1], pose, new_paint(), identity=number)
            placed.append((label, pose))
        return canvas.develop(random, config.texture), canvas.identity, placed

    def _places(self, random: np.random.Generator, count: int) -> list[tuple[tuple[float, float], float]]:
        """Centres and radii of up to `count` items that overlap little, the largest first; fewer if room runs out.

        Painted in this order, small items lie over large ones and none is hidden.
        """
        config, size = self._config, self._config.image_size
        smallest, largest = _scales(config)
        places: list[tuple[tuple[float, float], float]] = []
        for _ in range(count):
            shares = np.exp(random.uniform(log(smallest), log(largest), _PLACE_TRIES))
            centres = size * (shares + (1 - 2 * shares) * random.uniform(size=(2, _PLACE_TRIES)))
            radii = size * shares
            free = np.ones(_PLACE_TRIES, bool)
            for (y, x), radius in places:
                free &= np.hypot(centres[0] - y, centres[1] - x) >= _CLEARANCE * (radii + radius)
            if free.any():
                first = free.argmax()
                places.append(((float(centres[0, first]), float(centres[1, first])), float(radii[first])))
        return sorted(places, key=lambda place: -place[1])

    def _pose(self, random: np.random.Generator, centre: tuple[float, float], radius: float) -> Pose:
        rotation = self._config.rotation * random.uniform(-1, 1)
        return Pose(centre, radius, rotation, Warp.draw(random, self._config.warp))


class ShapesBoxDataset(BoxDataset):
    """The images of ShapesDataset with a box around the visible part of each object; there is no class background."""

    classes = ShapesDataset.classes[1:]

    def __init__(self, config: ShapesConfig, split: Split, masks: bool = False) -> None:
        self._shapes = ShapesDataset(config, split)
        self._masks = masks

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> BoxSample:
        scene = self._shapes.scene(index)
        nothing = torch.zeros(len(scene.objects), dtype=torch.bool)
        return {
            "image": scene.image,
            "boxes": scene.boxes,
            "labels": scene.labels - 1,
            "crowd": nothing,
            "difficult": nothing.clone(),
            "area": scene.instances.sum((1, 2)).float(),
            "masks": Mask(scene.instances.to(torch.uint8)) if self._masks else None,
            "name": self.name(index),
        }

    def name(self, index: int) -> str:
        """Name of the sample at `index`: the split and the index."""
        return self._shapes.name(index)


def _class_mask(identity: NDArray[np.uint8], placed: list[tuple[int, Pose]]) -> Mask:
    labels = np.array([0, *(label for label, _ in placed)], np.uint8)
    return Mask(torch.from_numpy(labels[identity]))


def _box(instance: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(instance.any(axis=1)), np.flatnonzero(instance.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
