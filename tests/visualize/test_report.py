"""What is written and printed of measures."""

import csv
import io
import json

from rich.console import Console

from dcnrun.offsets.objects import SizeClass
from dcnrun.runs import json_ready
from dcnrun.visualize.report import as_dict, tables, write_measures
from tests.visualize.factories import LAYERS


def test_files_hold_the_numbers(measures, tmp_path):
    assert [path.name for path in write_measures(measures, tmp_path)] == ["offsets.json", "offsets.csv"]
    content = json.loads((tmp_path / "offsets.json").read_text())
    assert content == json.loads(json.dumps(json_ready(as_dict(measures))))
    assert [layer["name"] for layer in content["layers"]] == LAYERS
    assert content["area_thresholds"] == {"medium": 150, "large": 400}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "offsets.csv").read_text())))
    assert [(row["layer"], row["size"]) for row in rows[:4]] == [(LAYERS[0], size.value) for size in SizeClass]
    for row in rows:
        layer = next(layer for layer in measures.layers if layer.name == row["layer"])
        spread = layer.spreads[SizeClass(row["size"])]
        assert (float(row["mean"]), float(row["std"]), int(row["count"])) == (spread.mean, spread.std, spread.count)


def test_tables_fit_a_terminal_and_say_what_the_sizes_are(measures):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables(measures))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "small < 150 <= medium < 400 <= large" in " ".join(text.split())
    first = measures.layers[0].spreads[SizeClass.small]
    assert f"{first.mean:.2f}±{first.std:.2f}" in text
    assert text.index("layer4.1.conv2") < text.index("layer4.0.conv2")
