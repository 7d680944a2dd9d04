"""Images to show: validation images, files and directories, as networks see them."""

import numpy as np
import pytest
import torch
from PIL import Image

from dcnrun.errors import UsageError
from dcnrun.visualize.image_sources import MOST_OF_A_FOLDER, ImageSource, denormalised, image_sources, size_warning
from dcnrun.visualize.load import load_run
from tests.visualize.factories import FIRST, photo, quick


def test_validation_images_are_chosen_evenly():
    assert [source.name for source in image_sources([], list("abcdefghi"))] == ["a", "e", "i"]
    assert [source.name for source in image_sources([], ["a", "b"])] == ["a", "b"]


def test_images_of_other_sizes_and_colours(standard, tmp_path):
    run = load_run(standard)
    for mode, suffix in (("L", "png"), ("RGBA", "png"), ("P", "png"), ("RGB", "jpg"), ("L", "tif")):
        file = photo(tmp_path / f"{mode}.{suffix}", mode=mode)
        example = ImageSource("own", file).example(run)
        seen = denormalised(example, run.config.data)
        np.testing.assert_array_equal(seen, np.asarray(Image.open(file).convert("RGB")))
    assert quick([standard, file], tmp_path / "out")["images"] == ["L"]


def test_images_are_prepared_as_in_evaluation(standard, tmp_path):
    """A validation image written to a file is seen as the validation image itself, resized too."""
    overrides = ["data.eval_short_side=32"]
    run = load_run(standard, overrides=overrides)
    own = load_run(standard)
    Image.fromarray(denormalised(own.dataset[1], own.config.data)).save(tmp_path / "own.png")
    seen = ImageSource("own", tmp_path / "own.png").example(run)
    assert seen.image.shape == (3, 32, 32)
    torch.testing.assert_close(seen.image, run.dataset[1].image)


def test_images_of_a_detector_are_padded(detector, tmp_path):
    run = load_run(detector)
    seen = ImageSource("own", photo(tmp_path / "own.png")).example(run)
    assert (seen.image.shape, seen.objects.size) == ((3, 32, 64), (30, 40))
    assert (seen.image[:, 30:] == 0).all()
    with pytest.raises(UsageError, match=r"--at 31,5 is outside of own, which the network sees as 30 x 40"):
        quick([detector, tmp_path / "own.png"], tmp_path / "out", at=((31, 5),))


def test_an_image_far_larger_than_those_of_validation(standard, tmp_path, capfd):
    run = load_run(standard)
    large = ImageSource("large", photo(tmp_path / "large.png", size=(120, 80))).example(run)
    usual = ImageSource("usual", photo(tmp_path / "usual.png", size=(96, 96))).example(run)
    assert size_warning(usual, run.dataset[0]) is None  # four times 48 x 48
    assert "large is seen as 80 x 120 pixels" in size_warning(large, run.dataset[0])
    quick([standard, tmp_path / "large.png"], tmp_path / "out")
    assert "data.eval_short_side=48 makes it smaller" in "".join(capfd.readouterr())
    quick([standard, tmp_path / "large.png", FIRST], tmp_path / "out", ["data.eval_short_side=48"])
    assert "Warning" not in "".join(capfd.readouterr())


def test_a_directory_of_images(tmp_path):
    for i in range(MOST_OF_A_FOLDER + 2):
        photo(tmp_path / f"{i:02}.png")
    (tmp_path / "notes.txt").write_text("no image")
    shown = [source.name for source in image_sources([str(tmp_path)], [FIRST])]
    assert (len(shown), shown[0], shown[-1]) == (MOST_OF_A_FOLDER, "00", "09")
