import json

import numpy as np
import pytest

from dcnrun.compare.notes import warnings
from dcnrun.compare.results import VariantResult, compare, read_finished
from dcnrun.errors import RunError
from dcnrun.runs import RunFolder
from tests.compare.factories import confusions, matches, per_image, write_run


def test_reads_what_training_left(tmp_path):
    run = read_finished(write_run(tmp_path / "run", ["conv=dilated"], seed=3, curve=(0.1, 0.2)))
    assert (run.seed, run.settings["conv.dilation"]) == (3, 4)
    assert run.score == run.summary["metrics"]["val/miou"]
    assert [score for _, score in run.curve] == [0.1, 0.2, run.score]
    np.testing.assert_array_equal(run.images.confusion, confusions(3))


def test_runs_of_older_versions_are_read(tmp_path):
    folder = RunFolder(write_run(tmp_path / "run", ["conv=dilated"], classes=("a", "b", "c")))
    folder.per_image_file.unlink()
    names = np.array([f"val-{i:03d}" for i in range(12)])
    np.savez(folder.confusion_file, confusion=confusions(0)[::-1], names=names[::-1], classes=np.array(["a", "b", "c"]))
    summary = folder.read_summary()
    folder.write_summary(summary | {"class_iou": summary.pop("per_class")["val/miou"]} | {"per_class": None})
    run = read_finished(folder.path)
    assert run.classes == ("a", "b", "c")
    np.testing.assert_array_equal(run.images.confusion, confusions(0))


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_a_run_that_is_not_completed_says_why(tmp_path, status):
    write_run(tmp_path / "run", ["conv=dilated"], status=status, reason="the loss is nan")
    with pytest.raises(RunError, match=f"{status}: the loss is nan"):
        read_finished(tmp_path / "run")


def test_a_run_without_a_score_is_not_finished(tmp_path):
    folder = RunFolder(write_run(tmp_path / "run", ["conv=dilated"]))
    folder.write_summary(folder.read_summary() | {"metrics": {"val/miou": None}})
    with pytest.raises(RunError, match="its val/miou is not a number: no validation image"):
        read_finished(folder.path)
    folder.write_summary(folder.read_summary() | {"metrics": {}})
    with pytest.raises(RunError, match="no val/miou"):
        read_finished(folder.path)
    folder.write_summary(folder.read_summary() | {"best": {}})
    with pytest.raises(RunError, match="does not say which metric"):
        read_finished(folder.path)
    folder.summary_file.unlink()
    with pytest.raises(RunError, match=r"summary\.json is missing"):
        read_finished(folder.path)


def _missing(folder):
    folder.per_image_file.unlink()


def _torn(folder):
    folder.per_image_file.write_bytes(folder.per_image_file.read_bytes()[:200])


def _of_another_validation(folder):
    per_image(confusions(9, 0.4)).save(folder.per_image_file)


def _names_without_end(folder):
    with np.load(folder.per_image_file) as held:
        arrays = dict(held)
    np.savez_compressed(folder.per_image_file, **arrays | {"names": np.zeros((10**7, 2), np.int8)})


@pytest.mark.parametrize("spoil", [_missing, _torn, _of_another_validation, _names_without_end])
def test_results_per_image_are_used_only_if_they_are_the_runs_own(tmp_path, spoil):
    folder = RunFolder(write_run(tmp_path / "run", ["conv=dilated"]))
    assert read_finished(folder.path).images is not None
    spoil(folder)
    assert read_finished(folder.path).images is None


def test_a_torn_line_of_metrics_is_left_out(tmp_path):
    folder = RunFolder(write_run(tmp_path / "run", ["conv=dilated"], curve=(0.1,)))
    with folder.metrics_file.open("a") as file:
        file.write(json.dumps({"step": 1, "split": "train", "train/loss": 1.0}) + "\n" + '{"step": 99, "val/mi')
    assert len(read_finished(folder.path).curve) == 2


def test_what_is_wrong_with_the_files_of_a_run_is_said(tmp_path):
    folder = RunFolder(write_run(tmp_path / "run", ["conv=dilated"], curve=(0.1, 0.2)))
    assert read_finished(folder.path).problems == ()
    whole = folder.metrics_file.read_text()
    folder.metrics_file.write_text(whole.replace("0.2", '"0.2"'))
    run = read_finished(folder.path)
    assert len(run.curve) == 2
    assert [problem.split(" ")[0] for problem in run.problems] == 2 * [str(folder.metrics_file)]
    assert warnings(compare([VariantResult("dilated", run.settings, (run,))]))[:2] == [*run.problems]
    folder.metrics_file.write_text(whole)
    data = bytearray(folder.per_image_file.read_bytes())
    data[len(data) // 2] ^= 1
    folder.per_image_file.write_bytes(data)
    assert "per_image.npz is damaged" in read_finished(folder.path).problems[-1]
    folder.per_image_file.unlink()
    folder.write_summary(folder.read_summary())
    older = json.loads(folder.summary_file.read_text())
    del older["checksums"]
    older["metrics"]["val/miou"] += 0.1
    folder.summary_file.write_text(json.dumps(older))
    (problem,) = read_finished(folder.path).problems
    assert "metrics.jsonl has another val/miou than summary.json at the last step" in problem


def test_costs_and_scores_are_means_over_the_seeds(tmp_path):
    write_run(tmp_path / "0", ["conv=dilated"], seed=0, train_images_per_second=10.0)
    write_run(tmp_path / "1", ["conv=dilated"], seed=1, train_images_per_second=30.0, peak_memory_bytes=None)
    runs = [read_finished(tmp_path / name) for name in ("0", "1")]
    variant = VariantResult("dilated", runs[0].settings, tuple(runs))
    assert variant.cost("train_images_per_second") == 20
    assert variant.cost("peak_memory_bytes") == runs[0].summary["peak_memory_bytes"]
    assert variant.mean == pytest.approx((runs[0].score + runs[1].score) / 2)
    assert variant.std == pytest.approx(abs(runs[0].score - runs[1].score) / 2**0.5)
    assert VariantResult("dilated", runs[0].settings, tuple(runs[:1])).std is None


def test_differences_are_to_the_first(tmp_path):
    variants = []
    for name, skill in (("standard", 0.6), ("dilated", 0.7), ("deformable", 0.8)):
        run = read_finished(write_run(tmp_path / name, [f"conv={name}"], skill=skill))
        variants.append(VariantResult(name, run.settings, (run,)))
    comparison = compare(variants)
    assert comparison.differences[0] is None
    assert comparison.differences[2].mean == pytest.approx(variants[2].mean - variants[0].mean)


def test_runs_of_detection_are_read_and_compared_by_their_metric(tmp_path):
    variants = []
    for name, skill in (("standard", 0.5), ("deformable", 0.9)):
        overrides = [f"conv={name}", "model=faster_rcnn"]
        runs = [
            read_finished(
                write_run(
                    tmp_path / f"{name}{s}", overrides, s, images=matches(s, skill), metric="val/map", curve=(0.1,)
                )
            )
            for s in range(3)
        ]
        variants.append(VariantResult(name, runs[0].settings, tuple(runs)))
    assert variants[0].runs[0].score == matches(0, 0.5).score("val/map")
    assert [score for _, score in variants[0].runs[0].curve] == [0.1, variants[0].runs[0].score]
    comparison = compare(variants)
    assert comparison.metric == "val/map"
    assert comparison.differences[1].without_images is None
    assert comparison.differences[1].verdict == "higher"
