"""The files of predictions hold what evaluation scores, for every task, and survive whatever ends the command."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dcnrun.config.compose import load
from dcnrun.data import build_dataset
from dcnrun.errors import ProblemsError, RunError, UsageError
from dcnrun.predict import command
from dcnrun.predict.results import ResultFolder
from dcnrun.runs import RunFolder
from dcnrun.tasks.found import PredictionFormat
from dcnrun.training.evaluate import evaluate
from tests.predict.factories import files_below, photo, predicted, read_mask, saved_run


def test_masks_score_as_evaluation_does(segmenter, tmp_path):
    """The confusion matrix of the files against the data set's masks, at sizes that the network does not see."""
    resized = ["data.eval_short_side=40"]
    metrics = evaluate(segmenter, overrides=resized)["metrics"]
    predicted([segmenter], ["data"], tmp_path / "out", *resized)
    dataset = build_dataset(load(RunFolder(segmenter).config_file).data, "val")
    confusion = np.zeros((8, 8))
    for sample in dataset:
        mask = read_mask(tmp_path / "out" / "masks" / f"{sample['name']}.png")
        np.add.at(confusion, (sample["mask"].numpy(), mask), 1)
    assert np.trace(confusion) / confusion.sum() == pytest.approx(metrics["val/pixel_acc"])
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    assert np.mean((np.diag(confusion) / union)[union > 0]) == pytest.approx(metrics["val/miou"])


@pytest.mark.parametrize("run", [pytest.param("detector", marks=pytest.mark.slow), "instances"])
def test_objects_are_those_of_evaluation(run, request, tmp_path):
    run = request.getfixturevalue(run)
    few = ["data.val_images=2", "model.detections_per_image=15", "model.score_threshold=0"]
    evaluate(run, overrides=few, predictions=tmp_path / "found.json")
    predicted([run], ["data"], tmp_path / "out", *few, min_score=0.0)
    expected = json.loads((tmp_path / "found.json").read_text())
    found = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert len(found["annotations"]) == len(expected) > 20

    def order(each):
        return each["image_id"], -each["score"], each["bbox"]

    for mine, theirs in zip(sorted(found["annotations"], key=order), sorted(expected, key=order), strict=True):
        assert mine["bbox"] == pytest.approx(theirs["bbox"], abs=1e-3)
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-6)
        assert {key: mine[key] for key in theirs if key not in ("bbox", "score")} == {
            key: theirs[key] for key in theirs if key not in ("bbox", "score")
        }


def test_a_folder_keeps_its_shape_and_damaged_images_are_named(segmenter, tmp_path, capsys):
    photos = tmp_path / "photos"
    photo(photos / "a" / "x.png", (20, 30))
    photo(photos / "b" / "x.png", (31, 17))
    (photos / "bad\x1b.jpg").write_bytes(b"no picture")
    with pytest.raises(ProblemsError, match="1 of 3 images can't be read") as error:
        predicted([segmenter], [photos], photos / "out")
    assert error.value.report["done"] == 2
    assert error.value.exit_code == 1
    assert "\\x1b.jpg: can't be read" in " ".join(capsys.readouterr().out.split())
    out = photos / "out"
    kinds = [
        f"{folder}/{name}"
        for folder, end in (("masks", "png"), ("overlays", "jpg"))
        for name in (f"a/x.{end}", f"b/x.{end}")
    ]
    assert files_below(out) == [".lock", "classes.txt", *kinds, "predict.json", "predict.jsonl"]
    assert read_mask(out / "masks" / "b" / "x.png").shape == (31, 17)
    assert (out / "classes.txt").read_text().splitlines()[0] == "background"


class Killed(BaseException):
    """What no code expects."""


def test_what_was_done_is_not_done_again_and_all_is_as_without_an_end(detector, tmp_path, monkeypatch, capsys):
    for number in range(7):
        photo(tmp_path / "photos" / f"{number}.png", (30 + number % 2, 40), seed=number)
    options = {"batch": 2, "min_score": 0.1}
    predicted([detector], [tmp_path / "photos"], tmp_path / "whole", **options)
    original, seen = command._Job._write, []

    def write(job, ready, predictions):
        seen.append(ready.source.key)
        if len(seen) == 4:
            raise Killed
        return original(job, ready, predictions)

    monkeypatch.setattr(command._Job, "_write", write)
    with pytest.raises(Killed):
        predicted([detector], [tmp_path / "photos"], tmp_path / "out", **options)
    done = {json.loads(line)["image"] for line in (tmp_path / "out" / "predict.jsonl").read_text().splitlines()}
    assert len(done) == 3
    seen.clear()
    seen += [""] * 4
    predicted([detector], [tmp_path / "photos"], tmp_path / "out", **options)
    assert "3 of 7 images are done already." in capsys.readouterr().out
    assert done.isdisjoint(seen)
    assert files_below(tmp_path / "out") == files_below(tmp_path / "whole")
    for name in files_below(tmp_path / "whole"):
        if name.endswith((".txt", ".jpg", "coco.json")):
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_another_image_of_the_same_name_is_predicted_anew(segmenter, tmp_path, capsys):
    for name in ("x", "y"):
        photo(tmp_path / "photos" / f"{name}.png", (16, 16))
    predicted([segmenter], [tmp_path / "photos"], tmp_path / "out")
    photo(tmp_path / "photos" / "x.png", (20, 30), seed=1)
    predicted([segmenter], [tmp_path / "photos"], tmp_path / "out")
    assert read_mask(tmp_path / "out" / "masks" / "x.png").shape == (20, 30)
    said = capsys.readouterr().out
    assert "1 of 2 images have changed since, and are predicted again.\n1 of 2 images are done already." in said
    predicted([segmenter], [tmp_path / "photos"], tmp_path / "out")
    assert "2 of 2 images are done already." in capsys.readouterr().out


def test_an_interrupt_says_what_is_kept(segmenter, tmp_path, monkeypatch, capsys):
    for number in range(3):
        photo(tmp_path / "photos" / f"{number}.png", (16, 16), seed=number)
    original = ResultFolder.finish_image

    def finish(results, record):
        original(results, record)
        if len(results.done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResultFolder, "finish_image", finish)
    with pytest.raises(KeyboardInterrupt):
        predicted([segmenter], [tmp_path / "photos"], tmp_path / "out", batch=1)
    said = f"Stopped: 2 of 3 images are done and kept in {tmp_path / 'out'}. The same command goes on with the others."
    assert said in capsys.readouterr().out


def test_predictions_of_another_checkpoint_are_left_alone(segmenter, tmp_path):
    photo(tmp_path / "photos" / "x.png")
    predicted([segmenter], [tmp_path / "photos"], tmp_path / "out")
    other = saved_run(tmp_path / "segmenter", "conv=deformable", seed=1)
    with pytest.raises(UsageError, match=r"predictions that were made otherwise: checkpoints was"):
        predicted([other], [tmp_path / "photos"], tmp_path / "out")


def test_formats_and_scores_that_a_run_has_not_are_refused(segmenter, detector, tmp_path):
    picture = photo(tmp_path / "x.png")
    with pytest.raises(UsageError, match="--format yolo: segmenter finds masks, which are written as png, overlay"):
        predicted([segmenter], [picture], tmp_path / "out", formats=(PredictionFormat.yolo,))
    with pytest.raises(UsageError, match="which have no scores"):
        predicted([segmenter], [picture], tmp_path / "out", min_score=0.5)
    assert not (tmp_path / "out").exists()
    predicted([detector], [picture], tmp_path / "out", formats=(PredictionFormat.yolo,))
    assert files_below(tmp_path / "out") == [".lock", "classes.txt", "labels/x.txt", "predict.json", "predict.jsonl"]


def test_runs_that_are_none_or_have_no_checkpoint_are_refused(segmenter, tmp_path):
    picture = photo(tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"none of these is a run folder"):
        predicted([], [picture], tmp_path / "out")
    empty = shutil.copytree(segmenter, tmp_path / "run")
    (empty / "checkpoints" / "best.pt").unlink()
    with pytest.raises(RunError, match=r"best\.pt"):
        predicted([empty], [picture], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_of_other_bands_are_named_and_16_bits_are_seen(segmenter, tmp_path, capsys):
    run = saved_run(tmp_path / "run", "data.bands=[0]", "data.mean=[0.5]", "data.std=[0.2]")
    values = (65535 * np.random.default_rng(0).random((40, 48))).astype(np.uint16)
    (tmp_path / "photos").mkdir()
    Image.fromarray(values).save(tmp_path / "photos" / "deep.png")
    with pytest.raises(ProblemsError, match="1 of 1 images can't be read"):
        predicted([segmenter], [tmp_path / "photos"], tmp_path / "colours")
    assert "'deep.png': the image has 1 band, but" in " ".join(capsys.readouterr().out.split())
    predicted([run], [tmp_path / "photos"], tmp_path / "out")
    (run,) = command.load_predictors([str(run)], ["photos"], [], command.Options(tmp_path))
    with torch.inference_mode():
        image = (torch.from_numpy(values / 65535).float() - 0.5) / 0.2
        expected = run.network(image[None, None])[0].argmax(0)
    assert (read_mask(tmp_path / "out" / "masks" / "deep.png") == expected.numpy()).mean() > 0.999


def test_runs_side_by_side_have_folders_and_a_list_of_where_they_differ(segmenter, tmp_path, capsys):
    """Also where their classes are in another order: the files have the first run's."""
    order = [3, 1, 0, 2, 7, 6, 5, 4]
    names = ("background", "disc", "square", "triangle", "star", "cross", "ring", "horseshoe")
    other = saved_run(tmp_path / "other", "conv=deformable", seed=1)
    same = saved_run(tmp_path / "same", "conv=deformable", classes=[names[label] for label in order])
    photo(tmp_path / "photos" / "x.png")
    photo(tmp_path / "photos" / "a" / "y.png", seed=2)
    report = predicted([segmenter, other], [tmp_path / "photos"], tmp_path / "out")
    assert "they differ on" in capsys.readouterr().out
    out = tmp_path / "out"
    files = files_below(out)
    assert [name for name in files if name.startswith("side-by-side")] == ["side-by-side/a/y.jpg", "side-by-side/x.jpg"]
    assert {"segmenter/masks/a/y.png", "other/masks/a/y.png", "other/classes.txt"} <= set(files)
    rows = [line.split(",") for line in (out / "differences.csv").read_text().splitlines()]
    assert rows[0] == ["image", "differs"]
    assert [row[0] for row in rows[1:]] == [each["image"] for each in report["differing"]]
    assert float(rows[1][1]) >= float(rows[2][1])
    report = predicted([segmenter, same], [tmp_path / "photos" / "x.png"], tmp_path / "renumbered")
    (shown,) = report["differing"]
    assert shown["share"] > 0  # the same numbers stand for other classes
    masks = [read_mask(tmp_path / "renumbered" / run / "masks" / "x.png") for run in ("segmenter", "same")]
    assert (np.array(order)[masks[0]] == masks[1]).all()
