import json
import re

import pytest
from rich.console import Console

from dcnrun.compare.compare_runs import compare_runs
from dcnrun.compare.notes import footnotes, warnings
from dcnrun.compare.report import write_report
from dcnrun.compare.results import Unfinished, VariantResult, compare, read_finished
from dcnrun.compare.tables import escape, markdown, terminal
from dcnrun.errors import RunError, UsageError
from tests.compare.factories import confusions, matches, per_image, write_run


def variant(tmp_path, name, overrides, seeds=(0, 1, 2), skill=0.7, **options):
    runs = [
        read_finished(write_run(tmp_path / f"{name}-{seed}", overrides, seed=seed, skill=skill, **options))
        for seed in seeds
    ]
    return VariantResult(name, runs[0].settings, tuple(runs))


def without_runs(tmp_path, name, overrides):
    settings = variant(tmp_path, name, overrides, seeds=(0,)).settings
    return VariantResult(name, settings, ())


@pytest.fixture
def comparison(tmp_path):
    failed = Unfinished("dilated 4", 2, tmp_path / "dilated", "the loss | is *nan*\nat step 3", failed=True)
    return compare(
        [
            variant(tmp_path, "standard", ["conv=standard"]),
            variant(tmp_path, "dilated 4", ["conv=dilated"], seeds=(0, 1)),
            variant(tmp_path, "deform|able_x", ["conv=deformable"], skill=0.85),
        ],
        [failed],
    )


def shown(comparison, width=80):
    console = Console(width=width, record=True, force_terminal=False)
    console.print(terminal(comparison))
    return console.export_text()


def test_the_terminal_shows_every_number_in_80_columns(comparison):
    text = shown(comparison)
    assert all(len(line) <= 80 for line in text.splitlines())
    standard = comparison.variants[0]
    row = next(line for line in text.splitlines() if "standard" in line and "±" in line)
    assert f"{100 * standard.mean:.2f} ± {100 * standard.std:.2f}" in row
    assert "reference" in row
    assert re.search(r"dilated 4 +│ +2 of 3 ", text)
    cost = next(line for line in text.splitlines() if "11.2 M" in line)
    assert all(number in cost for number in ("1.23 G", "41.7", "151", "700 MiB"))
    assert "Failed: dilated 4, seed 2" in text


def test_markdown_is_one_table_with_names_as_they_are(comparison):
    lines = markdown(comparison).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 5
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert r"deform\|able\_x" in table[4]
    assert "| higher |" in table[4]
    assert sum("is \\*nan\\* at step 3" in line for line in lines) == 1


def test_escaping():
    assert escape("a|b *c* _d_ `e` <f> [g]\nh") == r"a\|b \*c\* \_d\_ \`e\` \<f\> \[g\] h"


def test_files_hold_everything(comparison, tmp_path):
    report = write_report(comparison, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.json", "compare.md", "compare.png"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == report
    deformable = report["variants"][2]
    assert deformable["difference"]["verdict"] == "higher"
    assert deformable["difference"]["per_seed"].keys() == {"0", "1", "2"}
    assert deformable["settings"]["optim.lr"] == 0.01
    assert [run["seed"] for run in deformable["runs"]] == [0, 1, 2]
    assert report["failed"][0]["variant"] == "dilated 4"
    assert report["not_included"] == []
    assert {"dcnrun", "torch"} <= report["versions"].keys()
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_footnotes_say_what_is_equal(comparison):
    text = " ".join(footnotes(comparison))
    assert "1000 steps of 8 images" in text
    assert "12 validation images" in text
    assert "95 % interval" in text


def test_a_single_seed_is_warned_of(tmp_path):
    one = compare([variant(tmp_path, "a", ["conv=standard"], seeds=(0,))])
    assert any("single seed" in warning for warning in warnings(one))
    two = compare([variant(tmp_path, "a", ["conv=standard"], seeds=(0, 1))])
    assert warnings(two) == []


def test_a_variant_that_changes_nothing_is_warned_of(tmp_path):
    plain, same = (variant(tmp_path, name, [f"conv={name}"]) for name in ("standard", "dilated"))
    assert warnings(compare([plain, same])) == [
        "dilated scored exactly as standard did: the settings changed nothing, or neither learned."
    ]


def test_an_untuned_dilated_control_is_warned_of(tmp_path):
    plain = variant(tmp_path, "standard", ["conv=standard"], skill=0.6)
    four, six = (variant(tmp_path, f"d{d}", ["conv=dilated", f"conv.dilation={d}"]) for d in (4, 6))
    deformable = variant(tmp_path, "deformable", ["conv=deformable"])
    assert any("no dilated control" in w for w in warnings(compare([plain, deformable])))
    assert any("Only one dilation" in w for w in warnings(compare([plain, four, deformable])))
    assert warnings(compare([plain, four, six, deformable])) == []
    assert warnings(compare([plain, four])) == []


def test_a_class_that_no_image_has_is_warned_of(tmp_path):
    """As where the masks hold 0 and 255, which is ignored."""
    images = confusions(0)
    images[:, 2] = 0
    runs = [variant(tmp_path, kind, [f"conv={kind}"], images=per_image(images)) for kind in ("standard", "dilated")]
    assert any("No validation image has star:" in warning for warning in warnings(compare(runs)))
    assert not any("No validation image" in warning for warning in warnings(compare([variant(tmp_path, "a", [])])))


def test_one_shared_seed_has_no_interval_and_is_named(tmp_path):
    """Its bootstrap knows of the images alone."""
    variants = [
        variant(tmp_path, "a", ["conv=standard"], (0, 1, 2)),
        variant(tmp_path, "b", ["conv=dilated"], (0, 1)),
        variant(tmp_path, "c", ["conv=deformable"], (2, 3)),
    ]
    comparison = compare(variants)
    rows = dict(line.strip("| ").split(" | ", 1) for line in markdown(comparison).splitlines() if line.startswith("| "))
    assert ["[" in rows[name] for name in "abc"] == [False, True, False]
    assert any("differences of c are not judged" in warning for warning in warnings(comparison))


def test_training_that_still_rose_is_warned_of(tmp_path):
    rising = variant(tmp_path, "rising", ["conv=standard"], skill=0.6, curve=(0.1, 0.2))
    flat = variant(tmp_path, "flat", ["conv=dilated"], curve=(0.1, 0.9))
    (warning,) = warnings(compare([rising, flat]))
    assert "converged for rising:" in warning


def test_a_reference_without_runs_and_missing_images_are_warned_of(tmp_path):
    nothing = without_runs(tmp_path, "standard", ["conv=standard"])
    dilated = variant(tmp_path, "dilated", ["conv=dilated"])
    comparison = compare([nothing, dilated])
    assert "standard, the reference, has no completed run" in warnings(comparison)[0]
    assert " - " in shown(comparison)
    plain = variant(tmp_path, "plain", ["conv=standard"], with_images=False)
    assert any("seeds only" in warning for warning in warnings(compare([plain, dilated])))


def test_speed_on_different_devices_is_warned_of(tmp_path):
    comparison = compare(
        [variant(tmp_path, "a", ["conv=standard"]), variant(tmp_path, "b", ["conv=dilated"], device="gpu")]
    )
    assert any("different devices" in warning for warning in warnings(comparison))


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
    ],
)
def test_runs_of_another_task_are_refused(tmp_path, overrides, problem):
    runs = [write_run(tmp_path / "one", []), write_run(tmp_path / "two", overrides)]
    with pytest.raises(UsageError, match=problem):
        compare_runs(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


def test_tables_and_notes_name_the_metric(tmp_path):
    detectors = [
        variant(tmp_path, name, [f"conv={name}", "model=faster_rcnn"], images=matches(0), metric="val/map_50")
        for name in ("standard", "deformable")
    ]
    comparison = compare(detectors)
    assert "AP50 in percent" in footnotes(comparison)[0]
    assert "| variant | seeds | val/map_50 | difference |" in markdown(comparison)
    assert "![AP50 of each" in markdown(comparison)
    report = write_report(comparison, tmp_path / "out")
    assert report["metric"] == "val/map_50"
    assert report["variants"][0]["val/map_50"]["mean"] == pytest.approx(matches(0).score("val/map_50"))


def test_published_figures_stand_beside_ours(tmp_path):
    of_the_paper = ["model.backbone=resnet101", "model.head_channels=1024", "data=voc2012", "data.eval_short_side=360"]
    variants = [
        variant(tmp_path, kind, [f"conv={kind}", *of_the_paper]) for kind in ("standard", "deformable", "dilated")
    ]
    variants.append(variant(tmp_path, "modulated", ["conv=modulated", *of_the_paper], (0,)))
    comparison = compare(variants)
    table = [line.split("|")[4].strip() for line in markdown(comparison).splitlines() if line.startswith("|")]
    assert table == ["published", "---:", "69.7", "75.2", "73.1", "-"]
    assert "published" in shown(comparison, 100)
    assert any("Dai et al. 2017 (DCNv1), Tables 1 and 3" in note for note in footnotes(comparison))
    report = write_report(comparison, tmp_path / "out")
    assert report["variants"][1]["published"]["val/miou"] == pytest.approx(0.752)
    assert report["variants"][3]["published"] is None


def test_without_published_figures_there_is_no_column(comparison):
    assert "| published" not in markdown(comparison)
    assert not any(note.startswith("Published") for note in footnotes(comparison))


def test_the_same_variant_and_seed_twice_is_refused(tmp_path):
    runs = [write_run(tmp_path / "one", []), write_run(tmp_path / "two", [])]
    with pytest.raises(UsageError, match=r"one and .*two have the same settings and seed 0"):
        compare_runs(runs, tmp_path / "out")


def test_nothing_finished_and_no_run_folder_are_errors(tmp_path):
    with pytest.raises(RunError, match="None of these runs is completed"):
        compare_runs([write_run(tmp_path / "one", [], status="running")], tmp_path / "out")
    with pytest.raises(UsageError, match="not a run folder"):
        compare_runs([tmp_path], tmp_path / "out")
