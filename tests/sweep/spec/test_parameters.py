import pytest

from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, LogUniform, Uniform
from tests.sweep.spec.factories import parse, problems, with_parameter


def test_a_quoted_number_is_no_number():
    assert problems(with_parameter("{min: '0.1', max: 1}")) == [
        "lr.yaml:3: parameters.optim.lr.min: must be a number, but is '0.1'."
    ]


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


def test_nested_names_without_the_word_parameters():
    expected = "is no key of a parameter: nested names stand under `parameters`, or are written with a dot."
    assert problems("method: random\nparameters:\n  conv:\n    groups: {values: [1, 2]}\n") == [
        f"lr.yaml:4: parameters.conv.groups: {expected}"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
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
    ],
)  # fmt: skip
def test_problems_name_line_key_and_remedy(text, expected):
    assert expected in "\n".join(problems(text))
