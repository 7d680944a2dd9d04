"""Samples drawn with their labels: what is drawn is what the labels say."""

import numpy as np
import pytest
import torch
from PIL import Image

from dcnrun.config.schema import ShapesConfig
from dcnrun.data import IGNORE, build_box_dataset, build_dataset, pictures
from dcnrun.data.pictures import draw_samples


@pytest.mark.parametrize("count", [1, 3, 5])
def test_boxes_and_masks_change_what_is_seen(tmp_path, count):
    config = ShapesConfig(val_images=5, objects_min=2)
    for dataset in (build_box_dataset(config, "val"), build_box_dataset(config, "val", masks=True)):
        samples = [dataset[index] for index in range(count)]
        draw_samples(samples, dataset.classes, tmp_path / "labelled.png")
        bare = [
            s
            | {
                "boxes": s["boxes"][:0],
                "labels": s["labels"][:0],
                "crowd": s["crowd"][:0],
                "difficult": s["difficult"][:0],
                "masks": None,
            }
            for s in samples
        ]
        draw_samples(bare, dataset.classes, tmp_path / "bare.png")
        assert (tmp_path / "labelled.png").read_bytes() != (tmp_path / "bare.png").read_bytes()


def test_a_box_is_drawn_around_its_pixels(tmp_path):
    """A white object on black: its box's colour is found right at its border and nowhere else."""
    sample = build_box_dataset(ShapesConfig(val_images=1), "val")[0]
    image = torch.zeros_like(sample["image"])
    image[:, 40:90, 20:100] = 255
    sample |= {"image": image, "boxes": sample["boxes"][:1], "labels": torch.tensor([0]), "masks": None}
    sample |= {"crowd": torch.tensor([False]), "difficult": torch.tensor([False])}
    sample["boxes"][0] = torch.tensor([20.0, 40, 100, 90])
    draw_samples([sample], ["only"], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.array(picture.convert("RGB")).astype(int)
    dark = pixels.sum(2) < 30
    rows, columns = (np.flatnonzero(dark.sum(axis) > 0.2 * dark.sum(axis).max()) for axis in (1, 0))  # no letters
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    y, x = (abs(pixels - (31, 119, 180)).sum(2) < 40)[top:bottom, left:right].nonzero()
    found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) * 128 / (right - left)
    assert abs(found - (20, 40, 100, 90)).max() < 1.5


def test_an_outline_lies_between_the_pixels_of_a_mask_and_the_others(monkeypatch):
    """Of a hole too, and at the edge of the image."""
    figures = []
    monkeypatch.setattr(pictures, "save_png", lambda figure, path: figures.append(figure))
    sample = build_box_dataset(ShapesConfig(val_images=1, objects_min=1, objects_max=1), "val", masks=True)[0]
    sample["masks"].fill_(0)
    sample["masks"][0, 0:40, 10:50] = 1
    sample["masks"][0, 10:20, 20:30] = 0
    draw_samples([sample], ["a"] * 9, None)
    (contours,) = figures[0].axes[0].collections
    outer, hole = sorted(contours.get_paths()[0].to_polygons(closed_only=False), key=len, reverse=True)
    for polygon, (left, top, right, bottom) in ((outer, (9.5, -0.5, 49.5, 39.5)), (hole, (19.5, 9.5, 29.5, 19.5))):
        assert (*polygon.min(0), *polygon.max(0)) == (left, top, right, bottom)
    sample["masks"].fill_(0)
    draw_samples([sample], ["a"] * 9, None)
    assert not figures[1].axes[0].collections


def test_ignored_pixels_and_images_without_labels(tmp_path):
    sample = build_dataset(ShapesConfig(val_images=1), "val")[0]
    sample["mask"].fill_(IGNORE)
    draw_samples([sample], ["a"], tmp_path / "a.png")
    empty = build_box_dataset(ShapesConfig(val_images=1, objects_min=0, objects_max=0), "val")[0]
    draw_samples([empty], ["a"], tmp_path / "b.png")
    assert (tmp_path / "b.png").is_file()


def test_a_large_image_is_drawn_with_fewer_pixels(monkeypatch):
    """A box is still around its object; what the sample holds stays as it is."""
    sample = build_box_dataset(ShapesConfig(val_images=1), "val", masks=True)[0]
    monkeypatch.setattr(pictures, "_MOST_SIDE", 64)
    reduced = pictures._reduced(sample)
    assert reduced["image"].shape == (3, 64, 64)
    assert torch.equal(reduced["masks"], sample["masks"][:, ::2, ::2])
    assert torch.equal(2 * torch.as_tensor(reduced["boxes"]), torch.as_tensor(sample["boxes"]))
    assert sample["image"].shape == (3, 128, 128)
    monkeypatch.setattr(pictures, "_MOST_SIDE", 128)
    assert pictures._reduced(sample) is sample


@pytest.mark.timeout(60)
def test_of_very_many_boxes_an_even_sample_is_drawn(tmp_path):
    """Every box to the left is of one class, every box to the right of the other: both are seen."""
    sample = build_box_dataset(ShapesConfig(val_images=1), "val")[0]
    count = 200_000
    left = torch.linspace(0, 100, count)
    boxes = torch.stack([left, torch.full((count,), 40.0), left + 20, torch.full((count,), 60.0)], dim=1)
    sample |= {"image": torch.zeros_like(sample["image"]), "boxes": boxes, "labels": (left > 50).long(), "masks": None}
    sample |= {"crowd": torch.zeros(count, dtype=torch.bool), "difficult": torch.zeros(count, dtype=torch.bool)}
    draw_samples([sample], ["a", "b"], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.array(picture.convert("RGB")).astype(int)
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (abs(pixels - colour).sum(2) < 40).sum() > 1000


class TestKindsOfLabels:
    @staticmethod
    def legend(monkeypatch, samples, classes):
        """The texts and hatches of the legend of a picture, whose file is not made."""
        figures = []
        monkeypatch.setattr(pictures, "save_png", lambda figure, path: figures.append(figure))
        draw_samples(samples, classes, None)
        (legend,) = figures[0].legends
        return {
            t.get_text(): h.get_hatch() for t, h in zip(legend.get_texts(), legend.get_patches(), strict=True)
        }, figures[0]

    def test_crowds_and_difficult_objects_differ_by_line_and_hatch(self, monkeypatch):
        sample = build_box_dataset(ShapesConfig(val_images=1, objects_min=3, objects_max=3), "val")[0]
        sample |= {"crowd": torch.tensor([True, False, False]), "difficult": torch.tensor([False, True, False])}
        legend, figure = self.legend(monkeypatch, [sample], ["a", "b", "c", "d", "e", "f"])
        kinds = {name: hatch for name, hatch in legend.items() if hatch}
        assert kinds == {"crowd (not learnt from)": "//", "difficult (not learnt from)": ".."}
        drawn = [(patch.get_linestyle(), patch.get_hatch()) for patch in figure.axes[0].patches]
        assert drawn == [("--", "//"), (":", ".."), ("solid", None)]

    def test_names_of_classes_stay_in_a_small_image(self, monkeypatch):
        """Beside boxes on the right they are written leftwards."""
        sample = build_box_dataset(ShapesConfig(val_images=1, objects_min=2, objects_max=2, image_size=64), "val")[0]
        sample["boxes"][:] = torch.tensor([[1.0, 20, 9, 30], [50, 40, 62, 50]])
        _, figure = self.legend(monkeypatch, [sample], ["a name that is quite long"] * 6)
        figure.canvas.draw()
        image = figure.axes[0].get_window_extent()
        for text in figure.axes[0].texts:
            extent = text.get_window_extent()
            assert image.x0 <= extent.x0
            assert extent.x1 <= image.x1

    def test_ignored_pixels_are_striped_and_in_the_legend(self, monkeypatch):
        sample = build_dataset(ShapesConfig(val_images=1), "val")[0]
        classes = [str(number) for number in range(9)]
        assert "ignored" not in self.legend(monkeypatch, [sample], classes)[0]
        sample["mask"][:40] = IGNORE
        legend, figure = self.legend(monkeypatch, [sample], classes)
        assert legend["ignored"] == "////"
        shown = figure.axes[0].images[0].get_array()
        assert {tuple(pixel) for pixel in shown[:40].reshape(-1, 3).tolist()} == {pictures._IGNORED, pictures._STRIPE}
        assert (shown[40:] == sample["image"].permute(1, 2, 0).numpy()[40:] / 255).all()
