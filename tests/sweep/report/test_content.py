import json
from dataclasses import replace

import pytest

from dcnrun.jobs.ledger import State
from dcnrun.runs import RunFolder, write_json
from dcnrun.sweep.report.content import Cost, cost, importance, trial_warnings
from dcnrun.sweep.spec.distributions import Categorical, Constant
from dcnrun.sweep.spec.sweep_file import EarlyTerminate
from tests.sweep.factories import job
from tests.sweep.report.factories import SPACE, parabola, progress, sweep_of, trials, write


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim.offset_lr_mult", parabola),
        ("conv.offset_groups", lambda settings: 0.1 * settings["conv.offset_groups"]),
    ],
)
def test_the_parameter_that_matters_is_the_most_important(name, value, seed):
    shares = importance(sweep_of(), progress(trials(30, value, seed))).shares
    assert next(iter(shares)) == name
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"optim.offset_lr_mult", "conv.offset_groups", "conv.groups", "trainer.threads"}


def test_importance_is_left_out_with_a_word_where_it_would_mean_nothing():
    assert "8 trials" in importance(sweep_of(), progress(trials(7, parabola))).why_not
    assert "same value" in importance(sweep_of(), progress(trials(20, lambda _: 0.5))).why_not
    assert "no parameter" in importance(sweep_of(optim__lr=Constant(1)), progress(trials(20, parabola))).why_not
    failed = [replace(each, state=State.failed) for each in trials(20, parabola)]
    assert "there are 0" in importance(sweep_of(), progress(failed)).why_not


def test_the_json_has_every_trial_whole(tmp_path):
    one, two, three, _ = trials(4, parabola)
    one = replace(one, history=((10, 0.3), (20, 0.5), (30, 0.4)), started=100.0, ended=160.5, owner="here:12:3:k")
    two = replace(two, state=State.stopped, band=2, reason="band 2: worse", history=((10, 0.1), (20, 0.2)))
    three = replace(three, state=State.failed, reason="killed", attempts=3, history=())
    sweep = replace(sweep_of(), early_terminate=EarlyTerminate(min_iter=2, eta=3.0))
    returned, _ = write([one, two, three], tmp_path, sweep, draw=lambda *_: {})
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == returned
    assert (report["best"], report["ranking"], report["bands"]) == (0, [0, 1], [2])
    first, second, third = report["trials"]
    assert first["parameters"] == one.parameters
    assert first["history"] == [[10, 0.3], [20, 0.5], [30, 0.4]]
    assert (first["value"], first["best_step"], first["seconds"], first["host"]) == (0.5, 20, 60.5, "here")
    assert first["run"] == str(tmp_path / "trial-0000")
    assert (second["state"], second["band"], second["reason"]) == ("stopped", 2, "band 2: worse")
    assert (third["state"], third["value"], third["best_step"], third["attempts"]) == ("failed", None, None, 3)
    assert {"number", "state", "parameters", "reason", "attempts", "run", "seconds"} <= third.keys()


def test_the_stop_rule_is_charged_with_what_it_saved(tmp_path):
    def ended(number, state, reports, logged, steps, band=None):
        """A report every 100 steps and at the end; `logged` is the last step that metrics.jsonl has, `steps` those of a whole run."""
        folder = RunFolder(tmp_path / f"trial-{number:04d}")
        folder.path.mkdir()
        folder.metrics_file.write_text(json.dumps({"step": logged, "train/loss": 1.0}) + "\n")
        folder.write_summary({"steps": steps})
        history = tuple((min(100 * (i + 1), steps), 0.5) for i in range(reports))
        return replace(job(number, {}, (), state, band=band), history=history)

    jobs = [
        ended(0, State.completed, 10, 950, 950),
        ended(1, State.stopped, 2, 240, 950, band=2),
        ended(2, State.stopped, 3, 300, 950),  # by the target, which the rule has no part in
        ended(3, State.failed, 1, 160, 950),
    ]
    # by hand: trial 1 would have been validated at 100, 200, ... 900, and at 950
    assert cost(progress(jobs, tmp_path)) == Cost(16, 1650, 24, 2360)


def test_a_stopped_trial_that_is_elsewhere_would_have_ended_as_the_longest_did():
    whole = replace(job(0, {}, ()), history=((50, 0.5), (100, 0.5)))
    stopped = replace(job(1, {}, (), State.stopped, band=1), history=((50, 0.4),))
    assert cost(progress([whole, stopped])) == Cost(3, 150, 4, 200)


def trials_that_began(folder, *environments):
    jobs = trials(len(environments), parabola)
    for each, environment in zip(jobs, environments, strict=True):
        write_json(RunFolder(folder / each.folder).environment_file, environment)
    return jobs


def test_trials_of_mended_labels_are_named_in_every_report(tmp_path):
    """A sweep goes on after labels were mended: the search would compare scores of the old ones with those of the new."""
    old, new = ({"torch": "2.9.1", "val_labels": hashed} for hashed in ("0123abcd", "4567abcd"))
    jobs = trials_that_began(tmp_path, old, old, new)
    (line,) = trial_warnings(sweep_of(), progress(jobs, tmp_path))
    assert "with different labels (val_labels 0123abcd: trials 0, 1; val_labels 4567abcd: trial 2)" in line
    report, text = write(jobs, tmp_path, draw=lambda *_: {})
    assert report["warnings"] == [line]
    assert "**Warning:** Trials were trained with different labels" in text
    assert "Trials were trained with different labels" in (tmp_path / "report.html").read_text()


def test_trials_of_the_same_beginning_and_failed_ones_are_not_warned_of(tmp_path):
    jobs = trials_that_began(tmp_path, *3 * [{"torch": "2.9.1"}], {"torch": "2.5.0"}, {})
    jobs[3] = replace(jobs[3], state=State.failed)
    assert trial_warnings(sweep_of(), progress(jobs, tmp_path)) == []


def test_data_that_a_parameter_changes_are_no_surprise_and_versions_are(tmp_path):
    began = [{"torch": f"2.{number}", "train_images": f"{number} images"} for number in range(12)]
    jobs = trials_that_began(tmp_path, *began[:2])
    space = SPACE | {"data__train_images": Categorical((100, 200))}
    (line,) = trial_warnings(sweep_of(**space), progress(jobs, tmp_path))
    assert "by different versions" in line
    (*_, line) = trial_warnings(sweep_of(), progress(trials_that_began(tmp_path, *12 * began[:1], began[1]), tmp_path))
    assert "(0 images: trials 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more; 1 images: trial 12)" in line
