"""What Weights & Biases gets of a run's offsets, offline."""

import json
import shutil

from PIL import Image

from dcnrun.config.compose import compose
from dcnrun.offsets.objects import SizeClass
from dcnrun.runs import RunFolder
from dcnrun.training.run import train
from dcnrun.visualize.load import load_run
from dcnrun.visualize.measures import measure
from dcnrun.visualize.wandb_upload import log_to_wandb
from tests.training.factories import TINY


def media_of(offline):
    return [path for path in (offline / "files" / "media").rglob("*") if path.is_file()]


def test_tables_and_pictures_are_logged_in_the_run_s_folder(tmp_path):
    overrides = [*TINY, "conv=deformable", "trainer.steps=1", "logger.wandb_mode=offline"]
    folder, picture = RunFolder(tmp_path / "run"), tmp_path / "picture.png"
    train(compose(overrides), overrides, folder.path)
    Image.new("RGB", (8, 8)).save(picture)
    run = load_run(folder.path)
    log_to_wandb(run, None, {"offset field": picture})
    (offline,) = (folder.path / "wandb").glob("offline-run-*")
    (logged,) = media_of(offline)
    assert logged.read_bytes() == picture.read_bytes()
    shutil.rmtree(folder.path / "wandb")

    measures = measure(run, limit=1)
    log_to_wandb(run, measures, {"offset field": picture})
    (offline,) = (folder.path / "wandb").glob("offline-run-*")
    media = media_of(offline)
    assert [path.read_bytes() for path in media if path.suffix == ".png"] == [picture.read_bytes()]
    logged = {path.name.split("_")[0]: json.loads(path.read_text())["data"] for path in media if path.suffix == ".json"}
    assert len(logged["effective"]) == len(measures.layers) * len(SizeClass)
    assert [row[0] for row in logged["offset"]] == [layer.name for layer in measures.layers]
    assert logged["warnings"] == [[line] for layer in measures.layers for line in layer.warnings]
