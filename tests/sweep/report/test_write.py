import re

import pytest

from dcnrun.jobs.ledger import State
from tests.sweep.factories import job
from tests.sweep.report.factories import parabola, settings, sweep_of, trials, write

FIGURES = ["history.png", "importance.png", "parallel.png", "slice.png"]
NONE = [job(i, own, [], State.failed, reason="out of memory") for i, own in zip(range(3), settings(), strict=False)]


@pytest.mark.parametrize(
    ("jobs", "figures"),
    [
        (trials(12, parabola), FIGURES),
        (trials(1, parabola), ["history.png", "parallel.png", "slice.png"]),
        (trials(9, lambda _: 0.5), ["history.png", "parallel.png", "slice.png"]),
        (NONE, ["history.png"]),
        ([], ["history.png"]),
    ],
    ids=["many", "one", "equal", "failed", "none"],
)
def test_there_are_the_figures_that_the_trials_give(tmp_path, jobs, figures):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "slice.png").write_text("of an earlier report")
    _, text = write(jobs, tmp_path)
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == figures
    assert re.findall(r"\]\(figures/(.*?)\)", text) == figures
    assert all((tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in figures)


def test_a_sweep_without_a_metric_has_a_report_all_the_same(tmp_path):
    report, text = write(trials(3, parabola), tmp_path, sweep_of(metric=None))
    assert report["metric"] is None
    assert "## Best settings" in text
    assert not list(tmp_path.glob("figures/*"))
