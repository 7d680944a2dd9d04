"""What a node says of itself, on this machine. That it can do so without dcnrun is in tests/sweep/engines/test_ray.py."""

import sys

import dcnrun
from dcnrun.jobs.cluster.on_node import problems_here


def test_a_node_that_has_all_that_runs_need(tmp_path):
    mark = tmp_path / ".shared"
    mark.write_text("abc")
    assert problems_here((dcnrun.__version__, {str(tmp_path): "data.root"}, (str(mark), "abc"))) == []
    assert problems_here((dcnrun.__version__, {}, None)) == []


def test_another_version_is_said_before_anything_else(tmp_path):
    wanted = ("99.0", {str(tmp_path / "nowhere"): "data.root"}, None)
    assert problems_here(wanted) == [f"has dcnrun {dcnrun.__version__}, and the command 99.0: install the same there"]


def test_no_dcnrun_at_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "dcnrun", None)
    assert problems_here(("1.0", {}, None)) == [f"has no dcnrun ({sys.executable}): install version 1.0 there"]


def test_data_that_is_not_there_and_a_folder_that_is_not_shared(tmp_path):
    mark = tmp_path / ".shared"
    mark.write_text("of another command")
    problems = problems_here((dcnrun.__version__, {"/no/such/data": "data.root"}, (str(mark), "abc")))
    assert problems == [
        "has no /no/such/data: data.root must lead to the same files on every node",
        f"does not see {tmp_path}: give an --out that all nodes share, or --runs copied, by which each keeps its own",
    ]
    (unseen,) = problems_here((dcnrun.__version__, {}, (str(tmp_path / "nowhere" / ".shared"), "abc")))
    assert unseen.startswith(f"does not see {tmp_path / 'nowhere'}")
