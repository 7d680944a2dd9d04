"""What is logged, and what a resumed run forgets."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.errors import RunError
from dcnrun.runs import RunFolder, RunStatus
from dcnrun.training import loggers
from dcnrun.training.loggers import (
    LOGGERS,
    CsvLogger,
    JsonLinesLogger,
    MLflowLogger,
    TensorBoardLogger,
    WandbLogger,
    forget_after,
    open_loggers,
)
from tests.training.factories import run


def write(folder, steps):
    for kind in (JsonLinesLogger, CsvLogger):
        logger = kind(folder, compose([]))
        for step in steps:
            logger.log(step, step / 3, "train", {"train/loss": 1 / step, "train/odd": math.nan})
        logger.close(RunStatus.completed)


def test_forgets_what_comes_after_a_step_and_a_torn_line(tmp_path):
    folder, wanted = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    for each in (folder, wanted):
        each.path.mkdir()
    write(folder, range(1, 7))
    with folder.metrics_file.open("a") as file:
        file.write('{"step": 3, "split"')
    with folder.csv_file.open("a") as file:
        file.write("7,2.3")
    forget_after(folder, 4)
    write(wanted, range(1, 5))
    assert folder.metrics_file.read_text() == wanted.metrics_file.read_text()
    assert folder.csv_file.read_text() == wanted.csv_file.read_text()


def test_every_line_is_json_and_not_a_number_is_null(tmp_path):
    folder = RunFolder(tmp_path)
    write(folder, [1, 2])
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert lines[1] == {"step": 2, "epoch": 0.6667, "split": "train", "train/loss": 0.5, "train/odd": None}


def test_a_full_disk_names_the_file(tmp_path):
    folder = RunFolder(tmp_path)
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    folder.metrics_file.symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"Can't write .*metrics[.]jsonl: No space left on device.*resume"):
        JsonLinesLogger(folder, compose([])).log(1, 0.1, "train", {"train/loss": 1.0})


def test_a_file_that_is_deleted_meanwhile_is_missed_at_the_next_line(tmp_path):
    folder = RunFolder(tmp_path)
    logger = JsonLinesLogger(folder, compose([]))
    logger.log(1, 0.1, "train", {"train/loss": 1.0})
    folder.metrics_file.unlink()
    with pytest.raises(RunError, match=r"metrics\.jsonl was deleted or replaced"):
        logger.log(2, 0.1, "train", {"train/loss": 1.0})
    logger.close(RunStatus.failed)


@pytest.mark.parametrize(
    ("overrides", "agent", "wanted"),
    [
        ([], {}, [JsonLinesLogger]),
        (["logger.csv=true"], {}, [JsonLinesLogger, CsvLogger]),
        (["logger=wandb"], {}, [JsonLinesLogger, WandbLogger]),
        (
            ["logger=[jsonl,csv,mlflow,wandb,tensorboard]"],
            {},
            [JsonLinesLogger, CsvLogger, TensorBoardLogger, WandbLogger, MLflowLogger],
        ),
        ([], {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r"}, [JsonLinesLogger, WandbLogger]),
        ([], {"WANDB_SWEEP_ID": "s"}, [JsonLinesLogger]),
    ],
)
def test_a_config_asks_for_loggers(monkeypatch, overrides, agent, wanted):
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in agent.items():
        monkeypatch.setenv(name, value)
    config = compose(overrides)
    assert [logger for logger, is_wanted in LOGGERS.items() if is_wanted(config.logger)] == wanted


@pytest.fixture
def tensorboard():
    """What TensorBoard itself reads of a run's folder: the points of each curve, the plugins' data, the texts."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def read(folder):
        events = accumulator.EventAccumulator(str(folder.tensorboard))
        events.Reload()
        curves = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.scalars.Keys()}
        assert [(picture.step, picture.width, picture.height) for picture in events.Images("pictures")] == [(3, 40, 20)]
        text, *_ = events.Tensors("config/text_summary")  # one of each time that the run was started
        return curves, events.summary_metadata, text.tensor_proto.string_val[0].decode()

    return read


def test_tensorboard_shows_what_was_logged_and_not_what_a_resumed_run_logs_again(tmp_path, tensorboard):
    folder, config = RunFolder(tmp_path), compose(["conv=dilated", "optim.lr=0.25", "data.mean=[0.5,0.5,0.25]"])
    Image.new("RGB", (40, 20)).save(tmp_path / "sheet.jpg")
    for first, loss in ((1, 2.0), (4, 1.0)):
        logger = TensorBoardLogger(folder, config)
        if first == 1:
            logger.log_picture(3, tmp_path / "sheet.jpg")
        for step in range(first, 6):
            logger.log(step, step / 2, "train", {"train/loss": loss, "train/images_per_second": None})
            logger.log(step, step / 2, "val", {"val/miou": step / 8})
            logger.log_classes({"val/miou": {"<road>": step / 4, "sky": math.nan}})
        logger.close(RunStatus.stopped)
        assert forget_after(folder, 3 if first == 1 else 5) == []
    curves, metadata, text = tensorboard(folder)
    assert curves == {
        "train/loss": [(1, 2.0), (2, 2.0), (3, 2.0), (4, 1.0), (5, 1.0)],
        "epoch": [(step, step / 2) for step in range(1, 6)],
        "val/miou": [(step, step / 8) for step in range(1, 6)],
        "val/miou/<road>": [(step, step / 4) for step in range(1, 6)],
    }
    assert "    conv:\n      kind: dilated\n" in text
    from tensorboard.plugins.hparams import metadata as hparams

    content = metadata[hparams.SESSION_START_INFO_TAG].plugin_data.content
    settings = hparams.parse_session_start_info_plugin_data(content).hparams
    assert settings["optim.lr"].number_value == 0.25
    assert settings["conv.kind"].string_value == "dilated"
    assert settings["conv.depthwise"].string_value == "false"
    assert settings["data.mean"].string_value == "[0.5, 0.5, 0.25]"


def test_wandb_logs_offline_and_leaves_no_key(tiny, tmp_path, monkeypatch, capsys):
    key = "0123456789abcdef" * 2 + "01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    folder = run([*tiny, "conv=standard", "logger=wandb", "trainer.steps=2"], tmp_path)
    assert list(folder.rglob("*.wandb"))
    for path in folder.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
    synced = re.search(r"wandb sync (\S+)", capsys.readouterr().out)
    assert list(Path(synced[1]).glob("*.wandb"))
    assert synced[1].endswith(json.loads((folder / "wandb.json").read_text())["id"])


@pytest.fixture
def started(monkeypatch):
    """What wandb.init would have been given; the run that it returns has a summary and does nothing."""
    calls = []

    def start(folder, **arguments):
        calls.append(arguments)
        return SimpleNamespace(summary={})

    monkeypatch.setattr(loggers, "start_wandb", start)
    return calls


def test_each_run_has_an_id_and_a_group_that_a_resume_keeps(tmp_path, monkeypatch, started):
    config = compose(["logger=wandb", "logger.wandb_mode=online", "conv=dilated"])
    folders = [tmp_path / parent / "dilated-seed0" for parent in ("compare-a", "compare-b", "older")]
    (folders[2] / "wandb").mkdir(parents=True)  # of a version that named ids after folders
    for folder in folders[:2]:
        folder.mkdir(parents=True)
    monkeypatch.setenv("WANDB_RUN_GROUP", "compare-a")
    monkeypatch.setenv("WANDB_TAGS", "mine")
    for folder in folders:
        WandbLogger(RunFolder(folder), config)
    monkeypatch.delenv("WANDB_RUN_GROUP")
    for folder in folders:
        WandbLogger(RunFolder(folder), config)
    ids = [call["id"] for call in started]
    assert len(set(ids[:3])) == 3
    assert ids[3:] == ids[:3]
    assert ids[2] == "dilated-seed0"
    assert {call["group"] for call in started} == {"compare-a"}
    assert {call["resume"] for call in started} == {"allow"}
    assert started[0]["job_type"] == "train"
    assert started[0]["tags"] == ["mine", "dilated", "deeplab", "shapes"]


@pytest.mark.parametrize("damaged", ["[" * 100_000, '{"id": 1', "[]", "{}"], ids=["deep", "torn", "list", "empty"])
def test_a_damaged_id_is_made_anew(tmp_path, started, damaged):
    (tmp_path / "wandb.json").write_text(damaged)
    for _ in range(2):
        WandbLogger(RunFolder(tmp_path), compose(["logger=wandb"]))
    assert started[0]["id"] == started[1]["id"] == json.loads((tmp_path / "wandb.json").read_text())["id"]


def test_a_start_that_fails_tells_no_password(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError("no answer from https://me:hunter2@wandb.example/graphql")

    monkeypatch.setattr("wandb.init", refuse)
    with pytest.raises(RunError, match=r"can't start a run \(no answer from https://\*\*\*@wandb\.example/graphql\)\."):
        loggers.start_wandb(RunFolder(tmp_path))


def test_scores_of_classes_are_in_the_summary(tmp_path, started):
    logger = WandbLogger(RunFolder(tmp_path), compose(["logger=wandb"]))
    logger.log_classes({"val/map": {"cat": 0.5, "dog": math.nan}, "val/map_50": {"cat": 0.75}})
    assert logger._run.summary == {"val/map/cat": 0.5, "val/map_50/cat": 0.75}


def test_wandb_can_be_switched_off_for_every_program(tmp_path, monkeypatch, started, capsys):
    config = compose(["logger=wandb"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert [type(logger) for logger in open_loggers(RunFolder(tmp_path), config)] == [JsonLinesLogger]
    assert "WANDB_MODE=disabled" in capsys.readouterr().out
    assert started == []
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert [type(logger) for logger in open_loggers(RunFolder(tmp_path), config)] == [JsonLinesLogger, WandbLogger]


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    """MLflow's own client for the store that runs in tmp_path write by default."""
    module = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda: module.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_mlflow_has_what_was_logged_under_one_id(tmp_path, mlflow, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_GROUP", "compare-a")
    folder = RunFolder(tmp_path / "dilated-seed0")
    folder.path.mkdir()
    config = compose(["logger=[csv,mlflow]", "conv=dilated", "optim.lr=0.25", f"runs_dir={tmp_path}"])
    Image.new("RGB", (40, 20)).save(tmp_path / "step-000003.jpg")
    for steps, status in ((range(1, 4), RunStatus.stopped), (range(4, 6), RunStatus.completed)):
        logger = MLflowLogger(folder, config)
        for step in steps:
            logger.log(step, step / 2, "train", {"train/loss": 1 / step, "train/images_per_second": None})
        logger.log_picture(step, tmp_path / "step-000003.jpg")
        logger.log(step, step / 2, "val", {"val/miou": step / 8})
        logger.log_classes({"val/miou": {"<road>": step / 4, "sky": math.nan}})
        logger.close(status)
    logger = MLflowLogger(folder, config)
    logger.log_classes({"val/map": dict.fromkeys(("..", "", "a/../b", "猫", "c" * 300), 0.5)})
    logger.close(RunStatus.completed)
    client = mlflow()
    (experiment,) = (each for each in client.search_experiments() if each.name == "dcnrun")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads(folder.mlflow_file.read_text())["id"]
    assert (run.info.run_name, run.info.status, run.data.tags["group"]) == ("dilated-seed0", "FINISHED", "compare-a")
    points = {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    assert points == {
        "train/loss": [(step, 1 / step) for step in range(1, 6)],
        "epoch": [(step, step / 2) for step in range(1, 6)],
        "val/miou": [(3, 3 / 8), (5, 5 / 8)],
        "val/miou/_road_": [(3, 3 / 4), (5, 5 / 4)],
        **{f"val/map/{name}": [(0, 0.5)] for name in ("_.._", "__", "a_.._b", "猫", "c" * 200)},
    }
    assert run.data.params["optim.lr"] == "0.25"
    assert run.data.params["conv.kind"] == "dilated"
    (picture,) = client.list_artifacts(run.info.run_id, "pictures")
    assert picture.path == "pictures/step-000003.jpg"
    assert list((tmp_path / "mlflow-artifacts").rglob("step-000003.jpg"))
    logger = MLflowLogger(folder, config)
    client.delete_run(run.info.run_id)
    logger.log(6, 3.0, "train", {"train/loss": 1.0})
    logger.close(RunStatus.failed)  # whose own error is what counts
    assert "Warning: MLflow's store" in capsys.readouterr().out


def test_mlflow_that_cannot_be_reached_is_said(tmp_path, mlflow):
    config = compose(["logger=mlflow", "logger.mlflow_uri=nowhere://me:hunter2@host/x", f"runs_dir={tmp_path}"])
    with pytest.raises(
        RunError, match=r"MLflow's store nowhere://\*\*\*@host/x can't be written .*logger\.mlflow=false"
    ):
        MLflowLogger(RunFolder(tmp_path), config)


def test_runs_begin_in_mlflow_one_at_a_time(tmp_path, mlflow, monkeypatch):
    """Several that make its database at once would fail, all but one."""
    script = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'ab'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    asks = [sys.executable, "-S", "-c", script, str(tmp_path / ".mlflow.lock")]
    while_it_begins = []
    monkeypatch.setattr("mlflow.MlflowClient", lambda tracking_uri: None)
    monkeypatch.setattr(
        MLflowLogger,
        "_begun",
        lambda *_, **__: while_it_begins.append(subprocess.call(asks, stderr=subprocess.DEVNULL)),
    )
    MLflowLogger(RunFolder(tmp_path), compose(["logger=mlflow", f"runs_dir={tmp_path}"]))
    assert while_it_begins == [1]
    assert subprocess.call(asks) == 0
