"""The files that a comparison leaves."""

import json

from dcnrun.compare.report import write_report


def test_files_hold_everything(comparison, tmp_path):
    report = write_report(comparison, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("compare.html", "compare.json", "compare.md", "compare.png")
    ]
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == report
    deformable = report["variants"][2]
    assert deformable["difference"]["verdict"] == "higher"
    assert deformable["difference"]["per_seed"].keys() == {"0", "1", "2"}
    assert deformable["settings"]["optim.lr"] == 0.001
    assert [run["seed"] for run in deformable["runs"]] == [0, 1, 2]
    assert report["failed"][0]["variant"] == "dilated 4"
    assert report["not_included"] == []
    assert {"dcnrun", "torch"} <= report["versions"].keys()
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")
