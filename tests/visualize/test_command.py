"""`dcnrun visualize-offsets` from run folders to files."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from dcnrun.cli import app
from dcnrun.errors import DataError, RunError, UsageError
from dcnrun.offsets.receptive_field import receptive_field
from dcnrun.runs import RunFolder
from dcnrun.visualize import command
from dcnrun.visualize.command import visualize_offsets
from dcnrun.visualize.load import LoadedRun, load_run
from dcnrun.visualize.measures import measure_run
from dcnrun.visualize.options import Options
from tests.training.factories import TINY_DETECTOR
from tests.visualize.factories import FIRST, photo, quick, trained, written_files

# All there is, by the command itself.


def test_one_run(modulated):
    result = CliRunner().invoke(app, ["visualize-offsets", str(modulated), FIRST, "--limit", "3", "--json"])
    assert result.exit_code == 0, result.stderr
    out = modulated / "figures" / "offsets"
    views = [f"{FIRST}/{view}.png" for view in ("flow", "masks", "points", "receptive_field")]
    files = ["offsets.csv", "offsets.html", "offsets.json", "offsets.npz", "receptive_fields.json", "sizes.png"]
    assert written_files(out) == sorted([*files, *views])
    for name in written_files(out):
        if name.endswith(".png"):
            with Image.open(out / name) as picture:
                picture.load()
    written = json.loads(result.stdout)
    assert (written["out"], written["page"], written["images"]) == (str(out), str(out / "offsets.html"), [FIRST])
    assert sorted(written["pictures"].values()) == sorted(
        str(out / name) for name in written_files(out) if name.endswith(".png")
    )
    assert json.loads((out / "offsets.json").read_text()) == written["runs"][0]
    assert (written["runs"][0]["images"], len(written["runs"][0]["layers"])) == (3, 3)
    assert json.loads((out / "receptive_fields.json").read_text()) == written["receptive_fields"]
    for said in ("Effective dilation", "Size of objects", "95 % interval", "Offsets", "Effective receptive fields"):
        assert said in result.stderr
    assert "\n\n\n" not in result.stderr


def test_the_statistics_are_those_of_measure(modulated, tmp_path):
    visualize_offsets([str(modulated)], [], Options(out=tmp_path, at=((1, 1),), layers=("layer4.1.conv2",), limit=2))
    measures = measure_run(modulated, limit=2)
    rows = (tmp_path / "offsets.csv").read_text().splitlines()[1:]
    means = [spread.mean for layer in measures.layers for spread in layer.spreads.values() if spread.count]
    assert [float(row.split(",")[2]) for row in rows if row.split(",")[2]] == pytest.approx(means)


def test_the_arrays_are_what_the_network_did(modulated, tmp_path):
    quick([modulated, "val-000002", FIRST], tmp_path)
    run = load_run(modulated)
    capture = run.capture(run.dataset[2].image)
    with np.load(tmp_path / "offsets.npz") as arrays:
        assert arrays["images"].tolist() == ["val-000002", FIRST]
        for layer in capture.layers:
            np.testing.assert_array_equal(arrays[f"0/{layer.name}/offset"], layer.offset)


def test_several_runs_side_by_side(modulated, standard, tmp_path):
    result = quick([standard, modulated, FIRST], tmp_path, page=True, limit=2)
    assert {"standard/offsets.npz", f"standard/{FIRST}/points.png", f"modulated/{FIRST}/masks.png"} <= set(
        written_files(tmp_path)
    )
    assert {path.parent.parent.name for path in tmp_path.rglob("flow.png")} == {"modulated"}
    assert [row["run"] for row in result["receptive_fields"]] == ["standard", "modulated"]
    for row, folder in zip(result["receptive_fields"], (standard, modulated), strict=True):
        run = load_run(folder)
        # the layer's map has a pixel for 16 of the image, the first of them centred at 0: (20, 30) is nearest to (1, 2)
        field = receptive_field(run.network, run.dataset[0].image, "backbone.layer4.1.conv2", 1, 2)
        assert (row["radius_50"], row["radius_90"]) == (field.radius(0.5), field.radius(0.9))
    plain, moved = result["runs"]
    assert all(
        layer["effective_dilation"]["background"]["mean"] == layer["plain_dilation"] for layer in plain["layers"]
    )
    assert any(
        layer["effective_dilation"]["background"]["mean"] != layer["plain_dilation"] for layer in moved["layers"]
    )
    assert (tmp_path / "offsets.html").stat().st_size > 10_000


def test_runs_of_one_name_keep_their_files_apart(standard, tmp_path):
    shutil.copytree(standard, other := tmp_path / "other" / "standard")
    quick([standard, other, FIRST], out := tmp_path / "out")
    assert {f"standard/{FIRST}/points.png", f"standard--2-/{FIRST}/points.png"} <= set(written_files(out))


def test_a_detector_with_its_regions(detector, tmp_path):
    result = quick([detector, FIRST], tmp_path, limit=2, page=True, at=())
    assert f"{FIRST}/regions-roi_heads.box_roi_pool.png" in written_files(tmp_path)
    assert any(row["place"].startswith("background") for row in result["receptive_fields"])
    with np.load(tmp_path / "offsets.npz") as arrays:
        assert arrays["0/size"].tolist() == [64, 64]  # padded to a multiple of 32, as in evaluation


def test_a_run_that_moves_only_regions(detector, tmp_path, capfd):
    """It has no layer to look into: its regions are drawn, beside another run's layers too."""
    settings = ("conv=standard", "conv.layers=0", "model.roi_pool=deformable")
    regions = trained(tmp_path / "regions", *settings, base=TINY_DETECTOR)
    result = quick([regions, FIRST], out := tmp_path / "out", page=True, limit=1, layers=(), at=())
    picture = f"{FIRST}/regions-roi_heads.box_roi_pool.png"
    assert written_files(out) == ["offsets.html", "offsets.npz", "receptive_fields.json", picture]
    assert (result["receptive_fields"], result["runs"]) == ([], [])
    with np.load(out / "offsets.npz") as arrays:
        boxes = arrays["0/roi_heads.box_roi_pool/boxes"].astype(float).round(3).tolist()
    assert f'"boxes":{json.dumps(boxes, separators=(",", ":"))}' in (out / "offsets.html").read_text()
    assert "compares no layer (conv.layers=0): shown are the regions" in "".join(capfd.readouterr())
    both = quick([regions, detector, FIRST], out := tmp_path / "both", page=True, limit=1, layers=(), at=())
    assert {f"regions/{picture}", f"detector/{FIRST}/points.png", "offsets.html"} <= set(written_files(out))
    assert {row["run"] for row in both["receptive_fields"]} == {"detector"}
    assert [run["run"] for run in both["runs"]] == [str(detector)]


@pytest.mark.parametrize(("size", "places"), [((1, 1), 1), ((3, 2), 5)])
def test_a_tiny_image(modulated, tmp_path, size, places):
    result = quick([modulated, photo(tmp_path / "tiny.png", size=size)], tmp_path / "out", at=(), page=True)
    rows = result["receptive_fields"]
    assert len({(row["y"], row["x"]) for row in rows}) == len(rows) == places
    assert all(0 <= row["y"] < size[1] and 0 <= row["x"] < size[0] for row in rows)


def test_a_photo_taken_upright(standard, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    quick([standard, photo(tmp_path / "own.png", exif=exif)], tmp_path / "out", at=((39, 29),))
    with np.load(tmp_path / "out" / "offsets.npz") as arrays:
        assert arrays["0/size"].tolist() == [40, 30]


def test_hostile_file_names(standard, tmp_path):
    hostile = ["<script>alert(1)<.png", "....png", "....", "$x^{\n.png", "a" * 200 + ".png", os.fsdecode(b"\xff.png")]
    files = [photo(tmp_path / "a.png").rename(tmp_path / name) for name in hostile]
    out = tmp_path / "deep" / "out"
    result = CliRunner().invoke(
        app,
        [
            "visualize-offsets",
            str(standard),
            *map(str, files),
            "--out",
            str(out),
            "--limit",
            "0",
            "--at",
            "1,1",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.stderr
    folders = {path.parent.name for path in out.rglob("points.png")}
    assert len(folders) == len(files)
    assert all(path.parent.parent == out for path in out.rglob("*.png"))
    assert all(not name.startswith(".") and "<" not in name and "\n" not in name for name in folders)
    assert "<script>alert" not in (out / "offsets.html").read_text()


# What can't be shown.


def fails(arguments, out, error, words, **options):
    with pytest.raises(error) as raised:
        quick(arguments, out, **options)
    message = str(raised.value)
    assert all(word in message for word in words), message
    assert len(message.splitlines()) == 1


def test_wrong_arguments(standard, tmp_path):
    (empty := tmp_path / "empty").mkdir()
    (text := tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.full((30, 40), 4000, np.uint16)).save(deep := tmp_path / "deep.png")
    out = tmp_path / "out"
    fails([empty], out, UsageError, ["empty", "run folder"])
    fails([standard, empty], out, UsageError, ["empty", "images"])
    fails([standard, text], out, DataError, ["text.png", "can't be read"])
    fails([standard, deep], out, DataError, ["deep", "has 1 band,", "have 3", "data.bands"])
    fails([standard, "nowhere.png"], out, UsageError, ["nowhere.png", "val-000000"])
    fails([standard, FIRST], out, UsageError, ["--at 20,48", FIRST, "48 x 48"], at=((20, 48),))
    fails(
        [standard, FIRST], out, UsageError, ["layer4.1.conv9", "did you mean layer4.1.conv"], layers=("layer4.1.conv9",)
    )
    fails([standard, FIRST], out, UsageError, ["--layer xyz", "layer4.0.conv2"], layers=("xyz",))
    fails([standard, FIRST], text / "out", UsageError, ["--out", "text.png"])


def test_a_folder_that_looks_like_a_setting():
    result = CliRunner().invoke(app, ["visualize-offsets", "runs/a=c"])
    assert result.exit_code == 2
    assert "runs/a=c: none of these is a run folder" in result.stderr


def test_a_run_without_layers(standard, tmp_path):
    """Nor regions that move."""
    for layers in ((), ("layer4.1.conv2",)):
        with pytest.raises(UsageError, match=r"standard compares no layer \(conv.layers=0\): there is nothing to show"):
            quick([standard, FIRST], tmp_path, ["conv.layers=0"], layers=layers)


def test_layers_have_their_full_names_too(standard, tmp_path):
    quick([standard, FIRST], tmp_path, layers=("backbone.layer4.1.conv1", "layer4.0.conv2"))


def test_runs_that_see_other_images(standard, tmp_path):
    """The same names, but the built-in data of another seed; and the same images at another size."""
    for setting, words in (("seed: 0", ["different images", FIRST]), ("image_size: 48", ["48 x 48", "40 x 40", FIRST])):
        shutil.copytree(standard, copy := tmp_path / setting.partition(":")[0])
        text = RunFolder(copy).config_file.read_text()
        other = {"seed: 0": "seed: 1", "image_size: 48": "image_size: 40"}[setting]
        RunFolder(copy).config_file.write_text(text.replace(f"  {setting}", f"  {other}"))
        fails([standard, copy, FIRST], tmp_path / "out", UsageError, words)
    shutil.copytree(standard, copy := tmp_path / "fewer")
    RunFolder(copy).config_file.write_text(text.replace("val_images: 5", "val_images: 4"))
    fails([standard, copy, "val-000004"], tmp_path / "out", UsageError, ["fewer", "val-000004"])


def test_a_detector_beside_a_run_that_does_not_pad(standard, detector, tmp_path):
    fails(
        [standard, detector, FIRST], tmp_path, UsageError, ["48 x 48", "64 x 64", "detectors pad images", "one by one"]
    )


# What is told beside.


def test_what_earlier_calls_left(modulated, standard, tmp_path, capfd):
    quick([modulated, FIRST, "val-000001"], tmp_path, page=True, limit=1)
    told = "".join(capfd.readouterr())
    page = tmp_path / "offsets.html"
    assert f"Written: {page} ({page.stat().st_size / 1e6:.1f} MB)" in told
    assert "earlier calls" not in told
    (tmp_path / "notes.txt").write_text("mine")
    quick([standard, FIRST], tmp_path)
    before = [f"val-000001/{view}.png" for view in ("flow", "masks", "points", "receptive_field")]
    now = [f"{FIRST}/points.png", f"{FIRST}/receptive_field.png", "offsets.npz", "receptive_fields.json"]
    assert written_files(tmp_path) == sorted(["notes.txt", *before, *now])
    told = "".join(capfd.readouterr())
    assert f"{tmp_path} holds results of earlier calls too: val-000001." in told
    assert f"Written: {tmp_path}\n" in told
    assert "Warning" not in told


def test_layers_that_are_drawn_where_they_are_guessed_to_be(standard, tmp_path, capfd, monkeypatch):
    seen = LoadedRun.capture

    def guessed(run, image):
        capture = seen(run, image)
        *others, last = capture.layers
        return replace(capture, layers=(*others, replace(last, input_grid=replace(last.input_grid, exact=False))))

    monkeypatch.setattr(LoadedRun, "capture", guessed)
    quick([standard, FIRST], tmp_path)
    told = "".join(capfd.readouterr())
    assert "Warning: standard: an operation before backbone.layer4.1.conv2 is not known here" in told
    assert "1 of 3 layers" in told


# Weights & Biases.


@pytest.fixture
def logged(monkeypatch):
    """What Weights & Biases would get: runs' names, measures and pictures."""
    calls = []
    monkeypatch.setattr(command, "log_to_wandb", lambda run, *rest: calls.append((run.folder.path.name, *rest)))
    return calls


def test_wandb_gets_what_was_measured(modulated, tmp_path, logged):
    quick([modulated, FIRST], tmp_path, limit=1)
    assert not logged
    quick([modulated, FIRST], tmp_path, ["logger.wandb=true"], limit=1)
    ((name, measures, pictures),) = logged
    assert (name, len(measures.images)) == ("modulated", 1)
    assert set(pictures) == {f"{FIRST}/{view}" for view in ("points", "flow", "masks", "receptive_field")} | {"sizes"}
    assert all(path.is_file() for path in pictures.values())


def test_wandb_gets_of_each_run_its_own_pictures(modulated, standard, tmp_path, logged):
    """Without statistics too."""
    result = quick([standard, modulated, FIRST], tmp_path, ["logger.wandb=true"])
    common = f"{FIRST}/receptive_field"
    assert [(name, measures, set(pictures)) for name, measures, pictures in logged] == [
        ("standard", None, {f"{FIRST}/points", common}),
        ("modulated", None, {f"{FIRST}/{view}" for view in ("points", "flow", "masks")} | {common}),
    ]
    for name, _, pictures in logged:
        assert pictures[f"{FIRST}/points"] == tmp_path / name / FIRST / "points.png"
        assert result["pictures"][f"{name}/{FIRST}/points"] == str(pictures[f"{FIRST}/points"])


def test_without_a_login_all_files_are_written_and_told(modulated, standard, tmp_path, monkeypatch, capfd):
    def fail(*_):
        raise RunError("no login")

    monkeypatch.setattr(command, "log_to_wandb", fail)
    with pytest.raises(RunError, match="no login"):
        quick([standard, modulated, FIRST], tmp_path, ["logger.wandb=true"], limit=1)
    assert {f"{run}/offsets.{kind}" for run in ("standard", "modulated") for kind in ("json", "csv", "npz")} <= set(
        written_files(tmp_path)
    )
    assert f"Written: {tmp_path}" in "".join(capfd.readouterr())
