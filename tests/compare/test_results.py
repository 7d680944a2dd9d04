import json

import numpy as np
import pytest

from dcnrun.compare.results import VariantResult, compare, read_finished
from dcnrun.errors import RunError
from dcnrun.runs import RunFolder
from tests.compare.fake import confusions, write_run


def test_reads_what_training_left(tmp_path):
    run = read_finished(write_run(tmp_path / "run", ["conv=dilated"], seed=3, curve=(0.1, 0.2)))
    assert (run.seed, run.settings["conv.dilation"]) == (3, 4)
    assert run.miou == run.summary["metrics"]["val/miou"]
    assert [score for _, score in run.curve] == [0.1, 0.2, run.miou]
    np.testing.assert_array_equal(run.images.confusion, confusions(3))


def test_images_are_sorted_by_name(tmp_path):
    file = RunFolder(write_run(tmp_path / "run", ["conv=dilated"])).confusion_file
    content = dict(np.load(file))
    np.savez(file, confusion=content["confusion"][::-1], names=content["names"][::-1])
    np.testing.assert_array_equal(read_finished(tmp_path / "run").images.confusion, confusions(0))


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_a_run_that_is_not_completed_says_why(tmp_path, status):
    write_run(tmp_path / "run", ["conv=dilated"], status=status, reason="the loss is nan")
    with pytest.raises(RunError, match=f"{status}: the loss is nan"):
        read_finished(tmp_path / "run")


def test_a_run_without_a_score_is_not_finished(tmp_path):
    folder = RunFolder(write_run(tmp_path / "run", ["conv=dilated"]))
    folder.write_summary(folder.read_summary() | {"metrics": {"val/miou": None}})
    with pytest.raises(RunError, match="no val/miou"):
        read_finished(folder.path)
    folder.summary_file.unlink()
    with pytest.raises(RunError, match=r"summary\.json is missing"):
        read_finished(folder.path)


def _missing(folder):
    folder.confusion_file.unlink()


def _torn(folder):
    folder.confusion_file.write_bytes(folder.confusion_file.read_bytes()[:200])


def _pickled(folder):
    np.savez(folder.confusion_file, confusion=np.array([{}], dtype=object), names=np.array(["a"]))


def _of_another_validation(folder):
    matrices = confusions(9, 0.4)
    np.savez(folder.confusion_file, confusion=matrices, names=np.arange(len(matrices)).astype(str))


@pytest.mark.parametrize("spoil", [_missing, _torn, _pickled, _of_another_validation])
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


def test_costs_and_scores_are_means_over_the_seeds(tmp_path):
    write_run(tmp_path / "0", ["conv=dilated"], seed=0, train_images_per_second=10.0)
    write_run(tmp_path / "1", ["conv=dilated"], seed=1, train_images_per_second=30.0, peak_memory_bytes=None)
    runs = [read_finished(tmp_path / name) for name in ("0", "1")]
    variant = VariantResult("dilated", runs[0].settings, tuple(runs))
    assert variant.cost("train_images_per_second") == 20
    assert variant.cost("peak_memory_bytes") == runs[0].summary["peak_memory_bytes"]
    assert variant.mean == pytest.approx((runs[0].miou + runs[1].miou) / 2)
    assert variant.std == pytest.approx(abs(runs[0].miou - runs[1].miou) / 2**0.5)
    assert VariantResult("dilated", runs[0].settings, tuple(runs[:1])).std is None


def test_differences_are_to_the_first(tmp_path):
    variants = []
    for name, skill in (("standard", 0.6), ("dilated", 0.7), ("deformable", 0.8)):
        run = read_finished(write_run(tmp_path / name, [f"conv={name}"], skill=skill))
        variants.append(VariantResult(name, run.settings, (run,)))
    comparison = compare(variants)
    assert comparison.differences[0] is None
    assert comparison.differences[2].mean == pytest.approx(variants[2].mean - variants[0].mean)
