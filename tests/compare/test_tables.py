"""A comparison as tables, cell by cell."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dcnrun.compare.notes import footnotes
from dcnrun.compare.report import write_report
from dcnrun.compare.results import compare
from dcnrun.compare.tables import escape, markdown
from tests.compare.factories import confusions, matches, per_image, shown, variant


def test_the_terminal_shows_every_number_in_80_columns(comparison):
    text = shown(comparison)
    assert all(len(line) <= 80 for line in text.splitlines())
    standard = comparison.variants[0]
    row = next(line for line in text.splitlines() if "standard" in line and "±" in line)
    assert f"{100 * standard.mean:.1f} ± {100 * standard.std:.1f}" in row
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


def test_published_figures_stand_beside_ours(tmp_path):
    of_the_paper = [
        *("model.backbone=resnet101", "model.head_channels=1024", "model.output_stride=16"),
        *("data=voc2012", "data.eval_short_side=360"),
    ]
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


def test_tables_and_notes_name_the_metric(tmp_path):
    detectors = [
        variant(tmp_path, name, [f"conv={name}", "model=faster_rcnn"], images=matches(0), metric="val/map_50")
        for name in ("standard", "deformable")
    ]
    comparison = compare(detectors)
    assert "AP50 in percent" in footnotes(comparison)[0]
    assert "| variant | seeds | val/map_50 (%) | difference (points) |" in markdown(comparison)
    assert "![AP50 of each" in markdown(comparison)
    report = write_report(comparison, tmp_path / "out")
    assert report["metric"] == "val/map_50"
    assert report["variants"][0]["val/map_50"]["mean"] == pytest.approx(matches(0).score("val/map_50"))


def test_names_that_a_terminal_would_obey_are_written_out(tmp_path):
    """Also of classes that no validation image has."""
    classes = ("sky", "road\x1b[2J", "tree")
    own = variant(tmp_path, "a\x1b[31mb", ["conv=standard"], seeds=(0,), classes=classes)
    without_road = per_image(confusions(0) * np.array([[1], [0], [1]]), classes)
    comparison = compare([replace(own, runs=(replace(own.runs[0], images=without_road),))])
    for text in (shown(comparison, 200), markdown(comparison)):
        assert "\x1b" not in text
        assert "x1b" in next(line for line in text.splitlines() if "No validation image has" in line)
