"""Images and objects as evaluation has them."""

import pytest
import torch

from dcnrun.config.compose import compose
from dcnrun.data import build_dataset, eval_batches
from dcnrun.data.shapes import ShapesDataset
from dcnrun.tasks.registry import task_of
from dcnrun.visualize.dataset import ExampleDataset
from tests.data.factories import coco_tree, folder_tree

SHAPES = ["data=shapes", "data.image_size=48", "data.val_images=3", "data.eval_short_side=72", "data.workers=0"]


def examples(config):
    return ExampleDataset(task_of(config.model).dataset(config.data, "val"), config.data, "val")


@pytest.mark.parametrize("model", ["deeplab", "faster_rcnn", "mask_rcnn"])
def test_shapes_gives_its_own_boxes_to_every_task(model):
    """Half as large again, and the boxes and areas with it."""
    config = compose([*SHAPES, f"model={model}", "conv=standard", "data.eval_batch_size=1"])
    found = examples(config)
    batches = list(eval_batches(task_of(config.model).dataset(config.data, "val"), config.data))
    assert len(found) == len(batches) == 3
    assert found.names == [batch["name"][0] for batch in batches]
    for index, batch in enumerate(batches):
        example, scene = found[index], ShapesDataset(config.data, "val").scene(index)
        assert torch.equal(example.image, batch["image"][0])
        assert example.objects.size == (72, 72)
        assert torch.allclose(example.objects.boxes, 1.5 * scene.boxes)
        assert torch.allclose(example.objects.area, 1.5**2 * scene.instances.sum((1, 2)).float())
        assert list(example.objects.classes) == [ShapesDataset.classes[label] for label in scene.labels]


@pytest.mark.parametrize("background", ["background", "_background_", "__Background__"])
def test_masks_without_boxes_are_taken_apart(background, tmp_path):
    config = compose(
        ["data=folder", f"data.root={folder_tree(tmp_path)}", f"data.classes=[{background},thing]", "conv=standard"]
    )
    found = examples(config)
    mask = build_dataset(config.data, "val")[1]["mask"]
    assert found[1].name == found.names[1] == "b"
    assert found[1].objects.area.sum() == (mask == 1).sum()
    assert (found[1].objects.unknown == (mask == 255)).all()
    assert "masks" in found.objects_from


def test_a_detector_s_padding_is_no_part_of_the_image_and_crowds_no_objects(tmp_path):
    config = compose(["data=coco", f"data.root={coco_tree(tmp_path)}", "model=retinanet", "conv=standard"])
    found = {example.name: example for example in map(examples(config).__getitem__, range(3))}
    assert {tuple(example.image.shape) for example in found.values()} == {(3, 32, 64)}
    by_width = {example.objects.size[1]: example.objects for example in found.values()}
    assert {objects.size[0] for objects in by_width.values()} == {30}
    assert by_width[47].boxes.tolist() == [[5, 4, 25, 14]]
    assert (by_width[43].boxes.tolist(), by_width[43].classes) == ([[2, 3, 6, 8]], ("zebra",))
    assert by_width[43].unknown.sum() == 30 * 10
    assert len(by_width[45].boxes) == 0
