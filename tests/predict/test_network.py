"""A run's network sees images as in evaluation, and images of other sizes beside it change nothing."""

from dataclasses import replace

import pytest
import torch
from torchvision.tv_tensors import Image

from dcnrun.config.compose import load
from dcnrun.data import build_box_dataset, eval_batches
from dcnrun.errors import DataError, UsageError
from dcnrun.predict.network import load_predictors, run_names
from dcnrun.predict.options import Options
from dcnrun.runs import RunFolder
from tests.predict.factories import pixels, saved_run


def loaded(tmp_path, *runs, words=("photos",), overrides=(), **options):
    return load_predictors([str(run) for run in runs], words, overrides, Options(tmp_path / "out", **options))


def test_images_are_prepared_as_in_evaluation(detector, tmp_path):
    resized = ["data.eval_short_side=64", "data.eval_batch_size=3", "data.val_images=3"]
    (run,) = loaded(tmp_path, detector, overrides=resized)
    dataset = build_box_dataset(run.config.data, "val")
    (batch,) = eval_batches(dataset, run.config.data)
    mine = run.batch([run.prepared(dataset[index]["image"], "x") for index in range(3)])
    assert (mine["image"] == batch["image"]).all()
    assert mine["sizes"] == batch["sizes"]


def test_objects_are_found_down_to_the_score_that_is_asked_for(detector, tmp_path):
    """Below the threshold of the run's own evaluation, 0.05, too."""
    image = Image(torch.from_numpy(pixels((40, 56)).transpose(2, 0, 1)))
    least = {}
    for min_score in (None, 0.001, 0.4):
        (run,) = loaded(tmp_path, detector, min_score=min_score, overrides=["model.detections_per_image=1000"])
        ((_, found),) = run.predict([run.prepared(image, "x")])
        least[min_score] = float(found["scores"].min())
    assert least[None] == least[0.4] > 0.05 > least[0.001] > 0.001


def test_images_with_numbers_of_another_scale_are_refused(segmenter, tmp_path):
    """Floats from 0 to 255 for a network of 8 bits, and 8 bits for one of reflectances: either would see one colour."""
    (run,) = loaded(tmp_path, segmenter)
    image = torch.from_numpy(pixels((20, 30)).transpose(2, 0, 1))
    scaled = run.prepared(Image(image / 255), "x").transformed.image  # as of 16 bits
    assert (scaled - run.prepared(Image(image), "x").transformed.image).abs().max() < 1e-5
    with pytest.raises(DataError, match=rf"'x': its numbers go from 0 to {image.max()}, .* of 8 bits"):
        run.prepared(Image((image - image.min()).float() * image.max() / (image.max() - image.min())), "x")
    bands = ["data.bands=[0,1,2]", "data.mean=[2000,1000,1500]", "data.std=[500,400,300]"]
    (run,) = loaded(tmp_path, segmenter, overrides=bands)
    run.prepared(Image(image.float() * 10), "x")
    with pytest.raises(DataError, match=r"8 bits, which count from 0 to 1, but .*mean=\[2000\.0, 1000\.0, 1500\.0\]"):
        run.prepared(Image(image), "x")


def test_what_is_found_does_not_depend_on_the_images_beside(segmenter, tmp_path):
    (run,) = loaded(tmp_path, segmenter)
    images = [Image(torch.from_numpy(pixels(size).transpose(2, 0, 1))) for size in ((40, 56), (33, 70), (40, 56))]
    prepared = [run.prepared(image, "x") for image in images]
    together = dict(run.predict(prepared))
    for index, one in enumerate(prepared):
        ((_, alone),) = run.predict([one])
        assert (together[index] == alone).float().mean() > 0.999  # sums of other sizes of batches may round otherwise
        assert alone.shape == one.size
    assert len(together[0].unique()) > 1


@pytest.mark.parametrize("overrides", [(), ("data.eval_short_side=170",)])
def test_an_image_in_tiles_is_seen_as_a_whole_one(overrides, segmenter, tmp_path):
    """Of a network without context: as with any network where the overlap holds its context."""
    torch.manual_seed(0)
    pointwise = torch.nn.Conv2d(3, 8, 1)
    (run,) = loaded(tmp_path, segmenter, overrides=overrides, tile=64, overlap=32, batch=3)
    run, image = replace(run, network=pointwise), Image(torch.from_numpy(pixels((150, 211)).transpose(2, 0, 1)))
    assert run.prepared(image, "x").to_cut is not None
    ((_, tiled),) = run.predict([run.prepared(image, "x")])
    ((_, whole),) = replace(run, tiling=None).predict([replace(run, tiling=None).prepared(image, "x")])
    assert tiled.shape == whole.shape == (150, 211)
    assert (tiled == whole).float().mean() > 0.999
    assert len(whole.unique()) > 2
    small = Image(torch.from_numpy(pixels((60, 64)).transpose(2, 0, 1)))
    assert (run.prepared(small, "x").to_cut is None) == (not overrides)


def test_objects_in_tiles_are_found_with_their_masks(instances, tmp_path):
    (run,) = loaded(tmp_path, instances, tile=64, overlap=32)
    image = Image(torch.from_numpy(pixels((70, 100)).transpose(2, 0, 1)))
    ((_, prediction),) = run.predict([run.prepared(image, "x")])
    objects = run.found(prediction, (70, 100), 0.0).objects
    assert len(objects) == len(objects.masks) > 0
    assert (objects.boxes >= 0).all()
    assert (objects.boxes <= [100, 70, 100, 70]).all()
    assert objects.boxes[:, 2].max() > 80


def test_options_are_settings(segmenter, tmp_path):
    (run,) = loaded(tmp_path, segmenter, batch=7, device="cpu")
    assert run.config.data.eval_batch_size == 7
    assert run.fabric.device.type == "cpu"
    assert run.dataset is None
    assert len(run.digest()) == 16


def test_the_images_of_a_data_set_are_those_of_the_split(segmenter, tmp_path):
    (run,) = loaded(tmp_path, segmenter, words=("data",), split="train", overrides=["data.train_images=6"])
    assert len(run.dataset) == 6
    (run,) = loaded(tmp_path, segmenter, words=("data",))
    assert len(run.dataset) == load(RunFolder(segmenter).config_file).data.val_images


def test_runs_that_cannot_be_side_by_side_are_refused(segmenter, detector, tmp_path):
    with pytest.raises(UsageError, match="segmenter finds masks, detector boxes"):
        loaded(tmp_path, segmenter, detector)
    others = saved_run(tmp_path / "others", classes=("background", "cat"))
    with pytest.raises(UsageError, match="give runs with the same"):
        loaded(tmp_path, segmenter, others)


def test_runs_of_one_name_have_numbers():
    assert run_names(["a", "b", "a", "a-2"]) == ["a", "b", "a-2", "a-2-2"]
