"""Which images and runs are drawn, and when; what draws them is replaced by a script that starts at once."""

import json
import sys
from dataclasses import replace

import pytest

from dcnrun.compare import pictures
from dcnrun.compare.image_scores import image_scores
from dcnrun.compare.pictures import DRAWN, draw_pictures
from dcnrun.compare.results import compare
from dcnrun.runs import RunFolder
from dcnrun.tasks.registry import ARCHITECTURES
from tests.compare.factories import variant

DRAWS = """
import json, sys
request = json.loads(sys.argv[1])
open(sys.argv[2] + ".calls", "a").write("x")
images = [{"name": name, "pictures": [], "legend": []} for name in request["images"]]
json.dump({"request": request, "images": images, "left_out": ["1. standard: no luck"]}, open(sys.argv[2], "w"))
"""


@pytest.fixture
def drawing(monkeypatch, tmp_path):
    """Has a script draw, and returns how often it did."""
    calls = tmp_path / f"{DRAWN}.calls"

    def script(text=DRAWS):
        monkeypatch.setattr(pictures, "_PROGRAM", (sys.executable, "-S", "-c", text))
        return lambda: len(calls.read_text()) if calls.exists() else 0

    return script


def with_checkpoints(comparison):
    for each in comparison.variants:
        for run in each.runs:
            file = RunFolder(run.folder).last_checkpoint
            file.parent.mkdir()
            file.write_bytes(b"weights")
    return comparison


def test_the_images_that_differ_most_are_drawn_once(comparison, tmp_path, drawing):
    with_checkpoints(comparison)
    calls = drawing()
    drawn = draw_pictures(comparison, tmp_path, most=4)
    scores = image_scores(comparison)
    assert [image["name"] for image in drawn.images] == [scores.names[i] for i in scores.furthest_apart(4)]
    assert drawn.left_out == ["1. standard: no luck"]
    request = json.loads((tmp_path / DRAWN).read_text())["request"]
    assert [run["title"] for run in request["runs"]] == [
        *("1. standard, seed 0", "2. dilated 4, seed 0", "3. deform|able_x, seed 0"),
    ]
    assert draw_pictures(comparison, tmp_path, most=4) == drawn
    assert calls() == 1
    RunFolder(comparison.variants[2].runs[0].folder).last_checkpoint.write_bytes(b"other weights")
    assert draw_pictures(comparison, tmp_path, most=4) == drawn
    assert calls() == 2
    (tmp_path / DRAWN).write_text("{" * 10)
    assert draw_pictures(comparison, tmp_path, most=4) == drawn
    assert calls() == 3


def test_runs_without_a_checkpoint_are_named(comparison, tmp_path, drawing):
    calls = drawing()
    everything = draw_pictures(comparison, tmp_path, most=4)
    assert everything.left_out == [
        "no run of 1. standard, 2. dilated 4, 3. deform|able_x has its checkpoints/last.pt, by which its scores came about."
    ]
    with_checkpoints(comparison)
    for run in comparison.variants[0].runs[:1] + comparison.variants[1].runs:
        RunFolder(run.folder).last_checkpoint.unlink()
    drawn = draw_pictures(comparison, tmp_path, most=4)
    assert "no run of 2. dilated 4 has" in drawn.left_out[0]
    request = json.loads((tmp_path / DRAWN).read_text())["request"]
    assert [run["title"] for run in request["runs"]] == ["1. standard, seed 1", "3. deform|able_x, seed 0"]
    assert calls() == 1


def test_what_fails_to_draw_is_a_line_and_no_error(comparison, tmp_path, drawing):
    with_checkpoints(comparison)
    drawing("print('first'); raise SystemExit('no memory is left')")
    drawn = draw_pictures(comparison, tmp_path, most=4)
    assert not drawn.images
    assert drawn.left_out == ["they could not be drawn: first no memory is left"]


def test_of_many_variants_the_reference_and_the_best_are_drawn(tmp_path, drawing):
    drawing()
    skills = [0.5, 0.7, 0.6, 0.9, 0.55, 0.8, 0.65, 0.75, 0.85, 0.95]
    variants = [
        variant(tmp_path, f"lr={i}", [f"optim.lr=0.0{i + 1}"], (0,), skill=skill) for i, skill in enumerate(skills)
    ]
    drawn = draw_pictures(with_checkpoints(compare(variants)), tmp_path, most=2)
    assert drawn.left_out[0] == "of 10 variants only the reference and the 7 best others are drawn."
    titles = [run["title"] for run in json.loads((tmp_path / DRAWN).read_text())["request"]["runs"]]
    assert [title.partition(".")[0] for title in titles] == ["1", "2", "4", "6", "7", "8", "9", "10"]


def test_a_task_without_pictures_is_said(comparison, tmp_path, drawing, monkeypatch):
    calls = drawing()
    bare = {name: replace(row, task=replace(row.task, formats=())) for name, row in ARCHITECTURES.items()}
    monkeypatch.setattr(pictures, "ARCHITECTURES", bare)
    drawn = draw_pictures(with_checkpoints(comparison), tmp_path, most=4)
    assert drawn.left_out == ["there are no pictures of what these networks find (masks)."]
    assert calls() == 0


def test_nothing_is_drawn_where_nothing_can_differ_or_none_is_asked_for(comparison, tmp_path, drawing):
    calls = drawing()
    alone = compare([variant(tmp_path, "alone", ["conv=standard"])])
    for each, most in ((with_checkpoints(comparison), 0), (with_checkpoints(alone), 4)):
        drawn = draw_pictures(each, tmp_path, most)
        assert (drawn.images, drawn.left_out) == ((), ())
    assert calls() == 0
