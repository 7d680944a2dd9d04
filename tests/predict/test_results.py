"""The folder of predictions says what it is of, and what is done stays done."""

import json

import numpy as np
import pytest

from dcnrun.errors import RunError, UsageError
from dcnrun.predict.results import ResultFolder
from dcnrun.tasks.found import Found, FoundObjects, PredictionFormat

OF = {"runs": ["run"], "images": "/photos", "min_score": None}


def record(image, result=None, objects=()):
    return {"image": image, "result": result or image, "size": [2, 3], "objects": [list(objects)]}


def folder(path, *formats, runs=("run",)):
    return ResultFolder(path, runs, formats)


def test_what_is_done_is_known_again_but_for_what_was_torn_or_deleted(tmp_path):
    results = folder(tmp_path / "out", PredictionFormat.png)
    found, picture = Found((2, 3), classes=np.ones((2, 3), np.uint8)), np.zeros((2, 3, 3), np.uint8)
    with results.opened(OF, ["a", "b"]):
        for image in ("y", "x", "z", "lost"):
            results.write("run", image, found, picture, ["a", "b"])
            results.finish_image(record(image))
        assert [each["image"] for each in results.records()] == ["lost", "x", "y", "z"]
    journal = tmp_path / "out" / "predict.jsonl"
    whole = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*whole[:2], b"no record\n", *whole[3:], whole[2][:-5]]))
    (tmp_path / "out" / "masks" / "lost.png").unlink()
    (tmp_path / "out" / "masks" / ".x.png.12345.part").touch()
    with results.opened(OF, ["a", "b"]):
        assert set(results.done) == {"x", "y"}
        assert [each["image"] for each in results.records()] == ["x", "y"]
        results.finish_image(record("z"))
        assert [each["image"] for each in results.records()] == ["x", "y", "z"]
    assert not list((tmp_path / "out").rglob("*.part"))


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda out: (out / "mine.txt").write_text(""), r"holds other files, mine.txt among them"),
        (lambda out: (out / "predict.json").write_text("{"), r"predict.json is damaged"),
        (lambda out: (out / "predict.json").write_text("[]"), r"predict.json is damaged"),
        (
            lambda out: (out / "predict.json").write_text(json.dumps(OF | {"images": "/others"})),
            r'images was "/others" and is "/photos"',
        ),
    ],
)
def test_a_folder_of_something_else_is_left_alone(prepare, expected, tmp_path):
    prepare(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=expected), folder(tmp_path).opened(OF, ["a"]):
        pass
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UsageError, match="can't be written to"), folder(path).opened(OF, ["a"]):
            pass


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    results = folder(tmp_path / "out", PredictionFormat.png)
    with results.opened(OF, ["a", "b"]):
        (tmp_path / "out" / "masks").touch()
        with pytest.raises(RunError, match=r"masks.*is not a folder"):
            results.write(
                "run", "x", Found((2, 3), classes=np.ones((2, 3), np.uint8)), np.zeros((2, 3, 3), np.uint8), ["a", "b"]
            )


def test_each_of_several_runs_has_a_folder(tmp_path):
    results = folder(tmp_path / "out", PredictionFormat.yolo, PredictionFormat.coco, runs=("one", "two"))
    objects = FoundObjects(np.array([[0.0, 0, 1, 1]]), np.ones(1), np.zeros(1, int), None)
    with results.opened(OF, ["a"]):
        for run in ("one", "two"):
            results.write(run, "x", Found((2, 3), objects=objects), np.zeros((2, 3, 3), np.uint8), ["a"])
        results.finish_image(record("x.png", "x") | {"objects": [[], [{"category_id": 1}]]})
        written = results.write_coco({1: "a"}, {})
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == ["one/coco.json", "two/coco.json"]
    counts = [len(json.loads(path.read_text())["annotations"]) for path in written]
    assert counts == [0, 1]
    assert (tmp_path / "out" / "two" / "labels" / "x.txt").read_text() == "0 0.166667 0.250000 0.333333 0.500000\n"


def test_ids_are_those_that_a_data_set_has_now(tmp_path):
    """YOLO, VOC and labelme have none of their own: with an image added before others, these are counted anew."""
    results, said = folder(tmp_path / "out", PredictionFormat.coco), OF | {"categories": [[0, "x"]]}
    for image, ids in (("b", {"b": 1, "gone": 2}), ("a", {"a": 1, "b": 2})):
        with results.opened(said, ["x"]):
            results.finish_image(record(image, objects=[{"category_id": 1}]))
            results.finish_image(record("gone"))
            (written,) = results.write_coco({1: "x"}, ids)
    content = json.loads(written.read_text())
    assert {each["file_name"]: each["id"] for each in content["images"]} == {"a": 1, "b": 2}
    assert [each["image_id"] for each in content["annotations"]] == [1, 2]
    with (
        pytest.raises(UsageError, match=r"categories was \[\[0"),
        results.opened(OF | {"categories": [[1, "x"]]}, ["x"]),
    ):
        pass
