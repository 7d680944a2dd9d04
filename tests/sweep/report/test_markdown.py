import re
import shlex
from dataclasses import replace

from dcnrun.config.compose import compose
from dcnrun.jobs.ledger import State
from dcnrun.sweep.spec.distributions import Categorical
from dcnrun.sweep.spec.sweep_file import EarlyTerminate
from tests.sweep.report.factories import SPACE, parabola, sweep_of, trials, write


def test_the_best_settings_are_a_command_that_makes_the_same_config(tmp_path):
    space = SPACE | {"name": Categorical(("it's; a `name`",))}
    jobs = [replace(each, parameters={**each.parameters, "name": "it's; a `name`"}) for each in trials(3, parabola)]
    report, text = write(jobs, tmp_path, sweep_of(**space), overrides=("conv=deformable",), draw=lambda *_: {})
    command = re.search(r"^(`{3,})console\n(.*)\n\1$", text, re.M)[2]
    assert command == report["command"]
    program, train, *overrides = shlex.split(command)
    assert (program, train) == ("dcnrun", "train")
    config, best = compose(overrides), max(jobs, key=lambda each: each.history[-1][1])
    assert config.conv.kind == "deformable"
    assert config.name == "it's; a `name`"
    assert config.optim.offset_lr_mult == best.parameters["optim.offset_lr_mult"]
    assert config.conv.offset_groups == best.parameters["conv.offset_groups"]


def test_what_people_read_says_what_was_stopped_and_that_one_run_is_not_a_ranking(tmp_path):
    jobs = trials(4, parabola)
    jobs[3] = replace(jobs[3], reason="ended after 6 of 9 steps")
    jobs[1] = replace(jobs[1], state=State.stopped, band=1, reason="band 1: val/miou 0.1 is worse than 0.4")
    jobs[2] = replace(jobs[2], state=State.failed, reason="ValueError: <b>|no|</b> *luck*")
    sweep = replace(sweep_of(), early_terminate=EarlyTerminate(min_iter=1, eta=3.0))
    _, text = write(jobs, tmp_path, sweep, draw=lambda *_: {})
    assert "- trial 1, stopped: band 1: val/miou 0.1 is worse than 0.4" in text
    assert r"- trial 2, failed: ValueError: \<b\>\|no\|\</b\> \*luck\*" in text
    assert "- trial 3, completed: ended after 6 of 9 steps" in text
    assert "are not a ranking" in text
    assert "--repeats" in text
    assert "without the stop rule" in text
