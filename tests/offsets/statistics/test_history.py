"""What a run logged about its offsets."""

from dcnrun.offsets.statistics.history import History, read_histories
from dcnrun.runs import RunFolder
from dcnrun.training.loggers import JsonLinesLogger


def test_histories_are_what_was_logged(tmp_path):
    folder = RunFolder(tmp_path)
    logger = JsonLinesLogger(folder.metrics_file)
    for step in (20, 40):
        values = {
            f"offset_{what}/{name}": step * by for what, name, by in (("abs", "a.b", 0.1), ("outside", "a.b", 0.01))
        }
        logger.log(step, 0.5, "train", {"train/loss": 1.0, "train/offset_abs": 9.0, **values})
        logger.log(step, 0.5, "val", {"val/miou": 0.5})
    logger.close("completed")
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 60, "offset_abs/a.b": 1')
    assert read_histories(folder) == {"a.b": History((20, 40), (2.0, 4.0), (0.2, 0.4))}


def test_no_file_is_no_history(tmp_path):
    assert read_histories(RunFolder(tmp_path)) == {}
