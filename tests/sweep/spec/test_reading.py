from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dcnrun.errors import ConfigError, UsageError
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, LogUniform, Uniform
from dcnrun.sweep.spec.reading import parse_sweep, read_sweep
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal, Impute, Method, Metric

PATH = Path("lr.yaml")
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
      lr: {min: 0.1, max: 1}
      warmup_steps: {min: 0, max: 50}
  seed: {value: 3}
command: ["${env}", dcnrun, train, experiment=quick, logger=wandb, logger.wandb_mode=online, "${args_no_hyphens}"]
"""


def parse(text):
    return parse_sweep(text, PATH)


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def with_parameter(spec):
    return f"method: random\nparameters:\n  optim.lr: {spec}\n"


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
    ("written", "meant", "better"),
    [
        ("1e-5", 1e-5, "1.0e-05"),
        ("1E5", 1e5, "100000.0"),
        ("2.5e3", 2500.0, "2500.0"),
        (".5e7", 5e6, "5000000.0"),
        ("-1e-5", -1e-5, "-1.0e-05"),
    ],
)
def test_exponents_are_mended_and_said(written, meant, better):
    assert isinstance(yaml.safe_load(written), str)
    sweep = parse(with_parameter(f"{{min: {written}, max: 1.0e+9}}"))
    assert sweep.parameters[0].distribution == Uniform(meant, 1e9)
    assert sweep.raw["parameters"]["optim.lr"]["min"] == meant
    (note,) = sweep.notes
    assert note.startswith(f"lr.yaml:3: {written} is text")
    assert note.endswith(f"Write {better}.")
    assert yaml.safe_load(better) == meant


def test_exponents_are_mended_in_lists_but_not_in_quotes():
    sweep = parse(with_parameter("{values: [1e-3, '1e-3', 1.0e-3, c3]}"))
    assert sweep.parameters[0].distribution == Categorical((0.001, "1e-3", 0.001, "c3"))
    assert len(sweep.notes) == 1


def test_a_quoted_number_is_no_number():
    assert problems(with_parameter("{min: '0.1', max: 1}")) == [
        "lr.yaml:3: parameters.optim.lr.min: must be a number, but is '0.1'."
    ]


def test_impute_while_running_false_is_mended_and_said():
    sweep = parse("method: random\nparameters: {seed: {value: 1}}\nmetric:\n  name: a\n  impute_while_running: false\n")
    assert sweep.metric == Metric("a")
    assert sweep.raw["metric"]["impute_while_running"] == "false"
    assert sweep.notes[0].startswith("lr.yaml:5: ")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{value: 3}", Constant(3)),
        ("{value: null}", Constant(None)),
        ("{min: 1, max: 4}", IntUniform(1, 4)),
        ("{min: 1.0, max: 4.0}", Uniform(1, 4)),
        ("{min: 1, max: 4.5}", Uniform(1, 4.5)),
        ("{distribution: uniform, min: 1, max: 4}", Uniform(1, 4)),
        ("{values: [a, b], probabilities: [0.25, 0.75]}", Categorical(("a", "b"), (0.25, 0.75))),
        ("{distribution: log_uniform, min: 0, max: 1}", LogUniform(1, 2.718281828459045)),
    ],
)
def test_what_is_inferred(spec, expected):
    assert parse(with_parameter(spec)).parameters[0].distribution == expected


def test_steps_that_are_whole_stay_whole():
    distribution = parse(with_parameter("{distribution: q_uniform, min: 1, max: 9}")).parameters[0].distribution
    assert distribution == Uniform(1, 9, 1)
    assert all(type(number) is int for number in (distribution.min, distribution.max, distribution.q))


def test_merge_keys_and_aliases():
    sweep = parse(
        """\
method: random
parameters:
  optim.lr: &rate
    distribution: log_uniform_values
    min: 0.001
    max: 1.0
  optim.offset_lr_mult:
    <<: *rate
    max: 10.0
  optim.weight_decay: *rate
"""
    )
    assert [parameter.distribution for parameter in sweep.parameters] == [
        LogUniform(0.001, 1),
        LogUniform(0.001, 10),
        LogUniform(0.001, 1),
    ]


def test_a_wrong_key_that_wins_over_a_merged_one_has_its_own_line():
    text = "method: random\nparameters:\n  a: &rate {min: 1, max: 9}\n  b:\n    <<: *rate\n    max: 9.5\n    min: ten\n"
    assert problems(text) == ["lr.yaml:7: parameters.b.min: must be a number, but is 'ten'."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: bayse\nparameters: {seed: {value: 1}}", "lr.yaml:1: method: is bayse, but must be one of bayes"),
        ("method: bayse\nparameters: {seed: {value: 1}}", "did you mean bayes?"),
        (with_parameter("{distribution: log_unifrom_values, min: 1, max: 2}"), "did you mean log_uniform_values"),
        (with_parameter("{vlaues: [1]}"), "lr.yaml:3: parameters.optim.lr.vlaues: is no key of a parameter; did you mean value"),
        (with_parameter("{min: 1, max: 2, q: 1}"), "alone says not how to draw: add `distribution`"),
        (
            with_parameter("{distribution: uniform, min: 1, max: 2, q: 1}"),
            "takes min, max and no q; did you mean distribution: q_uniform or q_log_uniform_values",
        ),
        (with_parameter("{distribution: q_uniform, min: 1}"), "distribution q_uniform needs max."),
        (with_parameter("{min: 2, max: 1}"), "optim.lr.min: min 2 must be less than max 1"),
        (with_parameter("{distribution: log_uniform_values, min: 0, max: 1}"), "min: must be above 0, but is 0"),
        (with_parameter("{distribution: log_uniform, min: 0, max: 1000}"), "e to the power of 1000 is no number"),
        (with_parameter("{min: .inf, max: 1.0}"), "min: must be a number, but is inf"),
        (with_parameter("{value: 2024-01-01}"), "2024-01-01 is no value that JSON has"),
        (with_parameter("{values: [1, 2], probabilities: [0.5]}"), "1 probabilities for 2 values"),
        (with_parameter("{values: [1, 2], probabilities: [0.5, 0.4]}"), "must sum to 1, but sum to 0.9"),
        (with_parameter("0.1"), "lr.yaml:3: parameters.optim.lr: must be a mapping"),
        ("method: random\nparameters: {a/b: {value: 1}}", "a/b: a name has letters, digits"),
        ("method: random\nparameters: {optim.lr: {value: 1}, optim: {parameters: {lr: {value: 2}}}}", "optim.lr is there twice"),
        ("method: random\nparameters: {seed: {value: 1}}\nrun_cap: 0", "lr.yaml:3: run_cap: must be an integer of at least 1"),
        ("method: random\nparameters: {seed: {value: 1}}\nruncap: 3", "runcap: is no key of a sweep file; did you mean run_cap?"),
        ("method: random\nparameters: {seed: {value: 1}}\nname: 3", "name: must be text, but is 3: put it in quotes."),
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


def test_a_key_that_is_there_twice():
    text = "method: random\nparameters:\n  optim.lr: {value: 1}\n  optim.lr: {value: 2}\nmethod: grid\n"
    assert problems(text) == [
        "lr.yaml:5: method is there twice, in line 1 too: leave one out.",
        "lr.yaml:4: optim.lr is there twice, in line 3 too: leave one out.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: [bayes\nname: x", "lr.yaml:2: can't be read as YAML"),
        ("", "a sweep file is a mapping"),
        ("- method", "a sweep file is a mapping"),
        ("method: &a [*a]", "what & names holds itself"),
        ("method: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("[" * 5000, "can't be read as YAML"),
        ("when: 2024-99-99", "can't be read as YAML"),
    ],
    ids=["syntax", "empty", "list", "endless", "python", "deep", "date"],
)
def test_what_is_no_sweep_file(text, expected):
    assert expected in "\n".join(problems(text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=rf"^{tmp_path}/nothing\.yaml can't be read: No such file or directory\.$"):
        read_sweep(tmp_path / "nothing.yaml")
    with pytest.raises(
        UsageError, match=r"^seed=3 can't be read: .* The sweep file comes first, overrides after it\.$"
    ):
        read_sweep(Path("seed=3"))


def test_nested_names_without_the_word_parameters():
    expected = "is no key of a parameter: nested names stand under `parameters`, or are written with a dot."
    assert problems("method: random\nparameters:\n  conv:\n    groups: {values: [1, 2]}\n") == [
        f"lr.yaml:4: parameters.conv.groups: {expected}"
    ]


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
@settings(max_examples=300, deadline=None)
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
