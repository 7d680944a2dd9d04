"""Bands, mean and deviation as the training images have them."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torchvision import tv_tensors

from dcnrun.config.compose import compose
from dcnrun.config.schema import DataConfig, FolderConfig, ShapesConfig
from dcnrun.data import BoxDataset, build_dataset
from dcnrun.data.bands import settle
from dcnrun.data.check import check_data
from dcnrun.errors import DataError, UsageError
from tests.data.factories import deep_tree, folder_tree, save_image


def settled(root, **settings):
    config = FolderConfig(root=str(root), classes=["no", "yes"], workers=0, **settings)
    return settle(config, build_dataset(config, "train"))


def test_images_of_8_bits_leave_the_settings_as_they_are(tmp_path):
    config, notes = settled(folder_tree(tmp_path))
    assert (config.bands, config.mean, config.std, notes) == ([], DataConfig().mean, DataConfig().std, [])
    shapes = ShapesConfig(train_images=2)
    assert settle(shapes, build_dataset(shapes, "train")) == (shapes, [])


def test_five_bands_are_measured(tmp_path):
    stored = deep_tree(tmp_path)
    config, notes = settled(tmp_path)
    pixels = np.concatenate([stored["train", name].reshape(-1, 5) for name in "abc"]) / 65535
    assert config.bands == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(config.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(config.std, pixels.std(0), rtol=1e-5)
    assert "5 bands" in notes[0]
    assert "measured on 3 training images: data.mean=[" in notes[1]
    assert settle(config, build_dataset(config, "train"))[0] == config


def test_chosen_bands_are_measured(tmp_path):
    stored = deep_tree(tmp_path)
    pixels = np.concatenate([stored["train", name].reshape(-1, 5) for name in "abc"]) / 65535
    config, _ = settled(tmp_path, bands=[4, 1])
    np.testing.assert_allclose(config.mean, pixels.mean(0)[[4, 1]], rtol=1e-5)


def test_auto_measures_images_of_8_bits_too():
    given = compose(["conv=standard", "data=shapes", "data.train_images=2", "data.mean=auto", "data.std=auto"]).data
    dataset = build_dataset(given, "train")
    config, _ = settle(given, dataset)
    pixels = np.concatenate([dataset[index]["image"].numpy().reshape(3, -1) for index in range(2)], axis=1) / 255
    np.testing.assert_allclose(config.mean, pixels.mean(1), rtol=1e-5)
    np.testing.assert_allclose(config.std, pixels.std(1), rtol=1e-5)


def test_alpha_is_said(tmp_path):
    folder_tree(tmp_path)
    Image.new("RGBA", (40, 30)).save(tmp_path / "images" / "train" / "a.png")
    assert settled(tmp_path)[1] == [
        "alpha of 1 of 3 images looked at: left out (data.bands=[0, 1, 2, 3] takes it for a band)"
    ]


def test_images_that_differ_are_named(tmp_path):
    folder_tree(tmp_path)
    (tmp_path / "images/train/b.png").unlink()
    tifffile.imwrite(
        tmp_path / "images/train/b.tif",
        np.zeros((30, 40, 5), np.uint16),
        photometric="minisblack",
        planarconfig="contig",
    )
    with pytest.raises(
        DataError, match=r"a.png has 3 bands, .*b.tif has 5 bands; data.bands, such as data.bands=\[0, 1, 2\]"
    ):
        settled(tmp_path)
    assert settled(tmp_path, bands=[0, 1, 2])[0].bands == [0, 1, 2]


def test_grey_of_16_bits_among_colours_is_widened(tmp_path):
    folder_tree(tmp_path)
    (tmp_path / "images/train/b.png").unlink()
    tifffile.imwrite(tmp_path / "images/train/b.tif", np.full((30, 40), 65535, np.uint16))
    config, _ = settled(tmp_path)
    assert config.bands == [0, 1, 2]
    assert build_dataset(config, "train")[1]["image"].shape == (3, 30, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [0.1, 0.2, 0.3]}, r"data.mean has 3 numbers, but images have 5 bands"),
        ({"color_jitter": 0.5}, r"data.color_jitter=0.5 is for images of 8 bits with three bands"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, settings, message):
    deep_tree(tmp_path)
    with pytest.raises(UsageError, match=message):
        settled(tmp_path, **settings)


def test_an_image_of_other_bands_is_named_when_it_is_prepared(tmp_path):
    folder_tree(tmp_path)
    config = FolderConfig(root=str(tmp_path), classes=["no", "yes"], mean=[0.0] * 5, std=[1.0] * 5)
    dataset = build_dataset(config, "val")
    with pytest.raises(DataError, match=r"'a': the image has 3 bands, but the training images have 5"):
        dataset.evaluation(config).batch_of_one(dataset[0])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_crops_pad_by_the_mean(tmp_path, dtype):
    deep_tree(tmp_path, dtype=dtype)
    config, _ = settled(tmp_path, crop_size=64, flip=0.0)
    dataset = build_dataset(config, "train")
    batch = dataset.training(config).batch_of_one(dataset[0])
    padding = batch["image"][0][:, (batch["mask"][0] == 255)]
    assert padding.shape[1] == 64 * 64 - 30 * 40
    assert padding.abs().max() < 1e-4


def test_the_check_shows_five_bands(tmp_path):
    deep_tree(tmp_path)
    config = FolderConfig(root=str(tmp_path), classes=["no", "yes"], workers=0)
    report = check_data(config, ["train"], out=tmp_path / "out")
    assert report["problems"] == 0
    assert report["splits"]["train"]["notes"][0].startswith("images have 5 bands")
    assert (tmp_path / "out" / "train.png").is_file()


def test_the_check_names_images_that_differ(tmp_path):
    deep_tree(tmp_path)
    (tmp_path / "images/train/b.tif").unlink()
    save_image(tmp_path / "images/train/b.png")
    report = check_data(FolderConfig(root=str(tmp_path), classes=["no", "yes"], workers=0), ["train"])
    assert "images differ in their bands" in report["splits"]["train"]["first_problems"][0]


def floats(path, *, least=0.0, most=255.0):
    """A TIFF of floats in the place of an image's file."""
    with Image.open(path) as image:
        shape = (image.height, image.width, 3)
    path.unlink()
    pixels = np.linspace(least, most, np.prod(shape), dtype=np.float32).reshape(shape)
    tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="rgb")


def test_images_of_another_scale_are_named_when_they_are_prepared(tmp_path):
    """Floats from 0 to 255 beside 8 bits would be one colour to a network, in training and in evaluation; what cubic curves overshoot is not."""
    files = sorted((folder_tree(tmp_path) / "images/train").iterdir())
    floats(files[0], least=-0.08, most=1.1)
    floats(files[1])
    config = FolderConfig(root=str(tmp_path), classes=["no", "yes"])
    dataset = build_dataset(config, "train")
    for prepared in (dataset.training(config), dataset.evaluation(config)):
        prepared.batch_of_one(dataset[0])
        with pytest.raises(DataError, match=rf"'{files[1].stem}': its numbers go from 0 to 255, .* of 8 bits"):
            prepared.batch_of_one(dataset[1])


def test_boxes_and_masks_have_the_same_rule():
    sample = {"image": tv_tensors.Image(torch.full((3, 8, 8), 200.0)), "name": "bright"}
    with pytest.raises(DataError, match="'bright': its numbers go from 200 to 200"):
        BoxDataset.evaluation(DataConfig()).transform(sample)


def test_the_check_names_validation_images_of_another_scale_than_the_training_images(tmp_path):
    name = sorted((folder_tree(tmp_path) / "images/val").iterdir())[0]
    floats(name)
    report = check_data(FolderConfig(root=str(tmp_path), classes=["no", "yes"], workers=0))
    assert report["splits"]["train"]["problems"] == 0
    assert f"{name.stem!r}: its numbers go from 0 to 255" in report["splits"]["val"]["first_problems"][0]
    assert report["splits"]["val"]["problems"] == 1
