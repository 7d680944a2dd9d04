"""Finished runs, compared without training."""

import pytest

from dcnrun.compare.compare_runs import compare_runs
from dcnrun.errors import RunError, UsageError
from tests.compare.factories import matches, write_run


def test_finished_runs_are_grouped_and_named(tmp_path):
    runs = [
        write_run(tmp_path / f"{kind}{layers}-{seed}", [f"conv={kind}", f"conv.layers={layers}", f"name=n{seed}"], seed)
        for seed in (0, 1)
        for kind, layers in (("standard", 3), ("deformable", 3), ("deformable", 6))
    ]
    stopped = write_run(tmp_path / "stopped", ["conv=modulated"], status="stopped", reason="asked to stop")
    report = compare_runs([*runs, stopped], tmp_path / "out")
    assert [v["name"] for v in report["variants"]] == ["standard", "deformable layers=3", "deformable layers=6"]
    assert all(v["seeds"] == [0, 1] for v in report["variants"])
    assert "asked to stop" in report["not_included"][0]["reason"]
    assert report["failed"] == []
    assert (tmp_path / "out" / "compare.md").exists()


def test_a_comparison_of_runs_goes_beside_them(tmp_path):
    runs = [write_run(tmp_path / kind, [f"conv={kind}"]) for kind in ("standard", "dilated")]
    report = compare_runs(runs)
    (folder,) = tmp_path.glob("compare-*")
    assert report["folder"] == str(folder)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["data.warp=0.5"], r"data\.warp is 0\.3 for .*/one but 0\.5 for .*/two"),
        (["trainer.steps=5"], r"trainer\.steps is 1000 for .*/one but 5 for .*/two"),
        (["trainer.patience=5"], r"trainer\.patience is null for .*/one but 5 for .*/two"),
    ],
)
def test_runs_of_another_task_are_refused(tmp_path, overrides, problem):
    runs = [write_run(tmp_path / "one", []), write_run(tmp_path / "two", overrides)]
    with pytest.raises(UsageError, match=problem):
        compare_runs(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_data_is_the_same_however_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    data = ["data=folder", "data.classes=[background,circle,star]"]
    runs = [
        write_run(tmp_path / kind, [*data, f"data.root={root}", f"conv={kind}"])
        for kind, root in (("standard", "photos"), ("dilated", tmp_path / "photos"))
    ]
    assert [variant["name"] for variant in compare_runs(runs, tmp_path / "out")["variants"]] == [
        "standard",
        "dilated 4",
    ]
    (tmp_path / "others").mkdir()
    runs.append(write_run(tmp_path / "another", [*data, "data.root=others"]))
    with pytest.raises(UsageError, match=r"data\.root is photos for .*/standard but others for .*/another"):
        compare_runs(runs, tmp_path / "out")


def test_runs_with_other_classes_are_refused(tmp_path):
    runs = [write_run(tmp_path / "one", []), write_run(tmp_path / "two", [], classes=("a", "b", "c"))]
    with pytest.raises(UsageError, match=r"classes are background, circle, star for .* but a, b, c for"):
        compare_runs(runs, tmp_path / "out")


def test_runs_of_other_metrics_or_of_something_else_are_refused(tmp_path):
    boxes = {"images": matches(0), "metric": "val/map"}
    masks, boxes, by_50 = (
        write_run(tmp_path / "masks", []),
        write_run(tmp_path / "boxes", ["model=faster_rcnn"], **boxes),
        write_run(
            tmp_path / "by_50", ["model=faster_rcnn", "trainer.metric=val/map_50"], **boxes | {"metric": "val/map_50"}
        ),
    )
    with pytest.raises(UsageError, match=r"what is found is masks for .*/masks but boxes for .*/boxes"):
        compare_runs([masks, boxes], tmp_path / "out")
    with pytest.raises(UsageError, match=r"trainer\.metric is null for .*/boxes but val/map_50 for .*/by_50"):
        compare_runs([boxes, by_50], tmp_path / "out")


def test_the_same_variant_and_seed_twice_is_refused(tmp_path):
    runs = [write_run(tmp_path / "one", []), write_run(tmp_path / "two", [])]
    with pytest.raises(UsageError, match=r"one and .*two have the same settings and seed 0"):
        compare_runs(runs, tmp_path / "out")


def test_nothing_finished_and_no_run_folder_are_errors(tmp_path):
    with pytest.raises(RunError, match="None of these runs is completed"):
        compare_runs([write_run(tmp_path / "one", [], status="running")], tmp_path / "out")
    with pytest.raises(UsageError, match="not a run folder"):
        compare_runs([tmp_path], tmp_path / "out")
