import pytest
import yaml

from dcnrun.sweep.spec.distributions import Categorical, LogUniform, Uniform
from tests.sweep.spec.factories import parse, problems, with_parameter


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
