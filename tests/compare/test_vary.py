"""Comparisons at several values of a setting, from runs that are as training leaves them."""

import json
from statistics import fmean

import pytest
from matplotlib.colors import to_hex
from PIL import Image

from benchmarks.gain_figure import varied_of
from dcnrun.compare.report import as_dict
from dcnrun.compare.results import compare
from dcnrun.compare.runner import run_grid
from dcnrun.compare.tables import escape
from dcnrun.compare.vary import Varied, markdown, plot, run_varied, table, with_gains_over_dilated
from dcnrun.compare.vary import as_dict as as_dict_of
from dcnrun.config.schema import CONV_TRAITS, ConvKind
from dcnrun.errors import ConfigError, RunError, UsageError
from dcnrun.plotting import save_png
from dcnrun.runs import json_ready
from tests.compare.factories import variant

WARPS = {"0": 0.72, "0.6": 0.9}  # how often deformable convolution finds a pixel
ROTATIONS = {"0": "0", "90": "0.6"}  # and for which warp it does so as often
GRID = ["data=shapes", "conv=standard,dilated,deformable", "conv.dilation=2,4", "seed=0,1,2"]


def report(folder, skill):
    kinds = {"standard": "conv=standard", "dilated 2": "conv=dilated", "dilated 4": "conv=dilated"}
    rows = [variant(folder, name, [kind]) for name, kind in kinds.items()]
    return json_ready(
        as_dict(compare([*rows, variant(folder, "deformable", ["conv=deformable"], skill=skill)]), folder)
    )


class Pretended:
    """Stands for `run_grid`, whose reports there are."""

    def __init__(self, reports):
        self.reports = reports
        self.started = []

    def __call__(self, overrides, folder):
        self.started.append((list(overrides), folder.name))
        key, _, value = overrides[-1].partition("=")
        return self.reports[value if key == "data.warp" else ROTATIONS[value]] | {"folder": str(folder)}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    return {value: report(folder / value, skill) for value, skill in WARPS.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory, reports):
    """What was started, what was returned, and the folder."""
    folder, run = tmp_path_factory.mktemp("vary") / "out", Pretended(reports)
    result = run_varied(GRID, ["data.warp=0,0.6", "data.rotation=0,90"], folder, None, False, run)
    return run.started, result, folder


@pytest.fixture(scope="module")
def varied(reports):
    return Varied("data.warp", {value: with_gains_over_dilated(own) for value, own in reports.items()})


def test_each_value_is_a_comparison_in_a_folder_of_its_own(made):
    started, result, folder = made
    warps = [([*GRID, f"data.warp={value}"], f"data.warp-{value}") for value in WARPS]
    assert started == [*warps, *(([*GRID, f"data.rotation={value}"], f"data.rotation-{value}") for value in ROTATIONS)]
    by_warp, by_rotation = result["varied"]
    assert by_warp["comparisons"] == {value: str(folder / f"data.warp-{value}") for value in WARPS}
    assert list(by_rotation["comparisons"]) == list(ROTATIONS)


def test_the_files_say_what_each_comparison_says(made, reports):
    _, result, folder = made
    assert json.loads((folder / "vary.json").read_text()) == result
    assert (result["reference"], result["metric"]) == ("standard", "val/miou")
    *others, deformable = result["varied"][0]["variants"]
    for value, own in reports.items():
        scores = {row["name"]: [run["val/miou"] for run in row["runs"]] for row in own["variants"]}
        control = max(("dilated 2", "dilated 4"), key=lambda name: fmean(scores[name]))
        found = deformable["values"][value]
        assert found["over_dilated"]["control"] == control
        for gain, base in (("difference", "standard"), ("over_dilated", control)):
            gains = [a - b for a, b in zip(scores["deformable"], scores[base], strict=True)]
            assert found[gain]["mean"] == pytest.approx(fmean(gains), abs=1e-12)
            low, high = found[gain]["interval"]
            assert low < fmean(gains) < high
        assert all(other["values"][value]["over_dilated"] is None for other in others)
    with Image.open(folder / "vary.png") as picture:
        assert picture.size[0] > 1000
        drawn = picture.tobytes()
    (by_file := folder.parent / "again").mkdir()
    save_png(plot(list(varied_of(folder / "vary.json"))), by_file / "vary.png")
    with Image.open(by_file / "vary.png") as picture:
        assert picture.tobytes() == drawn


def test_the_table_has_a_row_for_each_variant_and_a_column_for_each_value(varied):
    heads, _, *rows = [line.split(" | ") for line in markdown([varied]).splitlines() if line.startswith("| ")]
    assert [head.strip("| ") for head in heads[1:]] == ["data.warp=0", "data.warp=0.6"]
    names = [row[0].strip("| ") for row in rows]
    assert names == ["standard", "dilated 2", "dilated 4", "deformable", "deformable, over the better dilated"]
    assert len({row[1] for row in rows[:3]}) == 2  # equal scores, and a difference of 0 to the reference
    assert all("(+" in cell for cell in rows[3][1:])
    assert all(cell.startswith("+") for cell in rows[4][1:])


def test_the_figure_shows_the_differences_at_their_values(varied):
    left, right, over_dilated = plot([varied]).axes
    means = {line.get_label(): line for line in right.lines if not line.get_label().startswith("_")}
    assert means.keys() == {"dilated 2", "dilated 4", "deformable"}
    (gain,) = [line for line in over_dilated.lines if not line.get_label().startswith("_")]
    gains = [100 * report["variants"][3]["over_dilated"]["mean"] for report in varied.reports.values()]
    assert list(gain.get_ydata()) == pytest.approx(gains)
    wanted = [100 * report["variants"][3]["difference"]["mean"] for report in varied.reports.values()]
    assert list(means["deformable"].get_ydata()) == pytest.approx(wanted)
    assert list(means["deformable"].get_xdata()) == pytest.approx([0, 0.6], abs=0.02)
    assert means["dilated 2"].get_linestyle() != means["dilated 4"].get_linestyle()
    assert to_hex(means["deformable"].get_color()) == CONV_TRAITS[ConvKind.deformable].colour.lower()
    assert list(left.lines[0].get_xdata()) == [0, 0.6]


def test_runs_that_are_missing_at_a_value_are_named(reports, tmp_path):
    """Else a mean of two seeds would stand beside those of three without a word."""
    run = {"variant": "deformable", "seed": 2, "folder": "x/deformable-seed2", "reason": "the loss is nan"}
    at_none, at_some = (with_gains_over_dilated(own) for own in reports.values())
    varied = Varied(
        "data.warp", {"0": at_none, "0.6": at_some | {"failed": [run], "not_included": [run | {"seed": 1}]}}
    )
    first, second = "Failed: deformable, seed 2 (x", "Not included: deformable, seed 1 (x"
    for line, words in zip(as_dict_of([varied], tmp_path)["varied"][0]["missing"], (first, second), strict=True):
        assert line.startswith(f"data.warp=0.6: {words}")
        assert line.endswith("the loss is nan")
        assert f"- {escape(line)}" in markdown([varied])
        assert line in table(varied).caption.plain


def test_a_value_at_which_every_run_fails_keeps_no_other_from_running(reports, tmp_path):
    whole = Pretended(reports)

    def run(overrides, folder):
        if overrides[-1] == "data.warp=0":
            raise RunError("Every run failed: out of memory")
        return whole(overrides, folder)

    with pytest.raises(RunError, match=r"data\.warp=0: Every run failed: out of memory"):
        run_varied(GRID, ["data.warp=0,0.6"], tmp_path, None, False, run)
    written = json.loads((tmp_path / "vary.json").read_text())
    assert list(written["varied"][0]["comparisons"]) == ["0.6"]


def test_values_that_are_no_numbers_stand_side_by_side(varied):
    words = Varied("model.backbone", {"resnet18": varied.reports["0"], "resnet50": varied.reports["0.6"]})
    columns = plot([varied, words]).axes
    assert len(columns) == 6
    right = columns[-1]
    assert list(right.get_xticks()) == [0, 1]
    assert [label.get_text() for label in right.get_xticklabels()] == ["resnet18", "resnet50"]


@pytest.mark.parametrize(
    ("vary", "error", "says"),
    [
        ("data.warp=0.3", UsageError, "give a setting two values or more"),
        ("seed=0,1", UsageError, "seeds are runs of one variant"),
        ("conv.dilation=2,4", UsageError, "conv.dilation is among the overrides too"),
        ("conv.offset_groups=1,7", ConfigError, "conv.offset_groups=7"),
        ("data.warpp=0,1", ConfigError, "data.warpp"),
        ("data.warp=0,9", ConfigError, "data.warp=9"),
        ("data.warp=0,0.1 data.warp=0.2,0.3", UsageError, "give all values of a setting at once"),
        ("data.warp=0.2,0.0,0", UsageError, "data.warp=0.0 and data.warp=0 are the same comparison"),
        ("name=a,b", UsageError, "name=a and name=b are the same comparison: the setting has no effect"),
    ],
)
def test_what_cannot_be_varied_is_said_before_the_first_run(vary, error, says, tmp_path):
    run = Pretended({})
    with pytest.raises(error, match=says):
        run_varied([*GRID, "data.image_size=64"], ["data.rotation=0,90", *vary.split()], tmp_path, None, False, run)
    assert run.started == []


def test_variants_must_be_the_same_at_each_value(tmp_path):
    with pytest.raises(UsageError, match="with conv=standard the variants are standard, with conv=dilated dilated 4"):
        run_varied(["data=shapes"], ["conv=standard,dilated"], tmp_path, None, False, Pretended({}))


def test_a_dry_run_shows_every_plan(tmp_path, capsys):
    settings = ["data=shapes", f"runs_dir={tmp_path}", "conv=standard,deformable"]
    plan = run_varied(
        settings, ["data.warp=0,0.6"], None, None, True, lambda each, folder: run_grid(each, folder, dry_run=True)
    )
    (varied,) = plan["varied"]
    assert [len(values["runs"]) for values in varied["values"].values()] == [2, 2]
    assert varied["values"]["0.6"]["folder"].endswith("data.warp-0.6")
    assert "data.warp=0.6, 2 of 2" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
