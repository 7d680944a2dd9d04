import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dcnrun.errors import ConfigError, UsageError
from dcnrun.resources import resource_dir
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, LogUniform, Uniform
from dcnrun.sweep.spec.reading import read_sweep
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal, Impute, Method, Metric
from tests.sweep.spec.factories import parse, problems, with_parameter

WHOLE = """\
name: tune the rate
project: dcnrun
description: of offsets
method: bayes
metric: {name: val/miou, goal: maximize, target: 0.9, impute: worst, impute_while_running: latest}
run_cap: 20
early_terminate: {type: hyperband, min_iter: 2, eta: 2, strict: false}
parameters:
  optim.offset_lr_mult: {distribution: log_uniform_values, min: 0.001, max: 10}
  conv.groups:
    values: [1, 2, 4]
  optim:
    parameters:
      lr: {min: 0.1, max: 1.0}
      warmup_steps: {min: 0, max: 50}
  seed: {value: 3}
command: ["${env}", dcnrun, train, experiment=quick, logger=wandb, logger.wandb_mode=online, "${args_no_hyphens}"]
"""


def test_a_whole_file():
    sweep = parse(WHOLE)
    assert (sweep.name, sweep.method, sweep.run_cap) == ("tune the rate", Method.bayes, 20)
    assert sweep.metric == Metric("val/miou", Goal.maximize, 0.9, Impute.worst, Impute.latest)
    assert sweep.early_terminate == EarlyTerminate(min_iter=2, eta=2, strict=False)
    assert {parameter.name: parameter.distribution for parameter in sweep.parameters} == {
        "optim.offset_lr_mult": LogUniform(0.001, 10),
        "conv.groups": Categorical((1, 2, 4)),
        "optim.lr": Uniform(0.1, 1),
        "optim.warmup_steps": IntUniform(0, 50),
        "seed": Constant(3),
    }
    assert sweep.fixed == ("experiment=quick",)
    assert sweep.raw == yaml.safe_load(WHOLE)
    assert sweep.text == WHOLE
    assert sweep.notes == ()


def test_where_things_stand():
    sweep = parse(WHOLE)
    assert sweep.at("metric") == "lr.yaml:5"
    assert sweep.at("parameters.conv.groups") == "lr.yaml:10"
    assert sweep.at("parameters.optim.warmup_steps") == "lr.yaml:15"
    assert sweep.at("parameters.not.there") == "lr.yaml:8"


def test_defaults():
    sweep = parse(
        "method: random\nparameters: {seed: {value: 1}}\nmetric: {name: a}\nearly_terminate: {type: hyperband, max_iter: 27, s: 2}\n"
    )
    assert sweep.name == "lr"
    assert sweep.metric == Metric("a", Goal.minimize)
    assert sweep.early_terminate == EarlyTerminate(max_iter=27, s=2, eta=3.0, strict=True)
    assert (sweep.run_cap, sweep.fixed) == (None, ())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{min: 0, max: 0.5}", "one of min and max is an integer, the other is not, which W&B's client refuses as ambiguous; taken as uniform. Write min: 0.0."),
        ("{min: 0.5, max: 2}", "taken as uniform. Write max: 2.0."),
        ("{min: 0.0, max: 0.5}", None),
        ("{distribution: uniform, min: 0, max: 0.5}", None),
        ("{distribution: log_uniform, min: -9.2, max: -2.3}", "log_uniform takes exponents of e: it is drawn from 0.000101039 to 0.100259. log_uniform_values takes"),
        ("{distribution: inv_log_uniform, min: 1, max: 2}", "it is drawn from 0.135335 to 0.367879. inv_log_uniform_values takes values."),
        ("{values: [None, a]}", "the text None is null to `dcnrun train` under an agent of W&B, and here. Write null."),
        ("{value: 'null'}", "the text None is null"),
        ("{values: [null, none]}", None),
    ],
)  # fmt: skip
def test_what_wandb_reads_otherwise_is_said_with_its_line(spec, said):
    for text in (f"a: {spec}", f"a: {{parameters: {{b: {spec}}}}}"):
        notes = parse(f"method: random\nparameters:\n  seed: {{values: [1, 2]}}\n  {text}\n").notes
        assert len(notes) == (said is not None)
        assert all(note.startswith(("lr.yaml:4: a: ", "lr.yaml:4: a.b: ")) and said in note for note in notes)


def test_none_in_words_is_null_as_an_agent_of_wandb_has_it():
    (parameter,) = parse("method: grid\nparameters: {model.weights: {values: [None, 'null', x]}}\n").parameters
    assert parameter.distribution == Categorical((None, None, "x"))


def test_impute_while_running_false_is_mended_and_said():
    sweep = parse("method: random\nparameters: {seed: {value: 1}}\nmetric:\n  name: a\n  impute_while_running: false\n")
    assert sweep.metric == Metric("a")
    assert sweep.raw["metric"]["impute_while_running"] == "false"
    assert sweep.notes[0].startswith("lr.yaml:5: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: random\nparameters: {seed: {value: 1}}\ncommand: dcnrun train", "command: must be a list of words"),
        ("method: random\nparameters: {seed: {value: 1}}\ncommand: ['${arg}']", "${arg} is nothing that an agent replaces; did you"),
        ("method: bayes\nparameters: {seed: {values: [1, 2]}}", "bayes needs `metric`"),
        ("method: bayes\nparameters: {seed: {value: 1}}\nmetric: {name: a}", "has nothing to search"),
        ("method: grid\nparameters: {optim.lr: {min: 0.1, max: 0.2}}", "a grid can't be over all numbers between two"),
        ("method: grid\nparameters: {a: {values: [1], probabilities: [1]}}", "parameters.a.probabilities: mean nothing in a grid"),
    ],
)  # fmt: skip
def test_problems_name_line_key_and_remedy(text, expected):
    assert expected in "\n".join(problems(text))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{min_iter: 2}", "type: must be hyperband, but is missing"),
        ("{type: hyperbnd, min_iter: 2}", "type: must be hyperband, but is hyperbnd"),
        ("{type: hyperband}", "needs `min_iter`, the first band"),
        ("{type: hyperband, max_iter: 27}", "needs `s`"),
        ("{type: hyperband, max_iter: 27, min_iter: 1}", "needs `s`"),
        ("{type: hyperband, max_iter: 2, s: 1}", "2 is less than eta 3: there would be no band at all"),
        ("{type: hyperband, min_iter: 0}", "min_iter: must be an integer of at least 1"),
        ("{type: hyperband, min_iter: 1, eta: 1}", "eta: must be a number above 1"),
        ("{type: hyperband, min_iter: 1, strict: sometimes}", "strict: must be true or false"),
        ("{type: hyperband, min_itr: 1}", "min_itr: is no key of early_terminate; did you mean min_iter"),
    ],
)
def test_problems_of_the_stop_rule(rule, expected):
    text = f"method: random\nparameters: {{seed: {{value: 1}}}}\nmetric: {{name: a}}\nearly_terminate: {rule}\n"
    found = problems(text)
    assert expected in "\n".join(found)
    assert all(problem.startswith("lr.yaml:4: early_terminate") for problem in found)


def test_a_stop_rule_needs_a_metric():
    text = "method: random\nparameters: {seed: {value: 1}}\nearly_terminate: {type: hyperband, min_iter: 1}\n"
    assert problems(text) == ["lr.yaml:3: early_terminate: needs `metric`: what runs are judged by."]


def test_all_problems_come_together():
    text = """\
method: bayes
metirc: {name: val/miou}
run_cap: none
parameters:
  optim.lr: {min: 1, max: 0}
  conv.groups: {value: [1], values: [2]}
"""
    found = problems(text)
    assert [problem.split(":")[1] for problem in found] == ["2", "5", "6", "3", "1"]
    assert "did you mean metric" in found[0]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=rf"^{tmp_path}/nothing\.yaml can't be read: No such file or directory\.$"):
        read_sweep(tmp_path / "nothing.yaml")
    with pytest.raises(
        UsageError, match=r"^seed=3 can't be read: .* The sweep file comes first, overrides after it\.$"
    ):
        read_sweep(Path("seed=3"))


@pytest.mark.timeout(20)
def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", tmp_path, Path("/dev/zero")):
        with pytest.raises(
            UsageError, match=rf"^{path} can't be read: it is no file, but a folder, a pipe or a device\."
        ):
            read_sweep(path)


@pytest.mark.parametrize("name", ["offset_lr_bayes", "offset_lr_bayes.yaml", "sweeps/offset_lr_bayes.yaml"])
def test_a_shipped_file_is_found_by_its_name_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "offset_lr_bayes").mkdir()
    assert read_sweep(Path(name)).text == (resource_dir("sweeps") / "offset_lr_bayes.yaml").read_text()
    own = tmp_path / name
    if own.suffix:
        own.parent.mkdir(exist_ok=True)
        own.write_text(with_parameter("{values: [1, 2]}"))
        assert read_sweep(Path(name)).name == "offset_lr_bayes", "a file of one's own comes first"


def test_the_names_of_shipped_files_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"^offset_lr can't be read: No such .* There are dilation_control, .*, offset_lr_"
    ):
        read_sweep(Path("offset_lr"))


def test_read_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(with_parameter("{values: [1, 2]}"), encoding="utf-8")
    assert read_sweep(path).name == "mine"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 30) | st.floats(-2, 2) | st.sampled_from(["bayes", "grid", "val/miou", "1e-3"]),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["method", "metric", "name", "parameters", "values", "min", "max", "distribution", "type", "eta", "engine", "goal"]),
            inner,
            max_size=4,
        ),
        max_leaves=12,
    ),
    st.sampled_from(["method", "metric", "parameters", "early_terminate", "run_cap", "command", "scheduler", "controller", "metrics"]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_nonsense_is_refused_with_a_line_and_nothing_else(nonsense, key):
    whole = yaml.safe_load(WHOLE)
    text = yaml.safe_dump({**whole, key: nonsense})
    refused: list[str] = []
    try:
        parse(text)
    except ConfigError as error:
        refused = error.problems
    assert all(problem.startswith("lr.yaml:") for problem in refused)
    lines = [int(line) for problem in refused if (line := problem.split(":")[1]).isdigit()]
    assert all(1 <= line <= len(text.splitlines()) for line in lines)
