import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.sweep.spec.distributions import (
    Beta,
    Categorical,
    Constant,
    IntUniform,
    InvLogUniform,
    LogNormal,
    LogUniform,
    Normal,
    Uniform,
    index_of,
    rounded,
    sample_values,
    setting_key,
)


@pytest.mark.parametrize(
    ("distribution", "tried"),
    [
        (Constant("a"), ["a"]),
        (Categorical((1, 2, None)), [1, 2, None]),
        (IntUniform(1, 8), [1, 2, 3, 4, 5, 6, 7, 8]),
        (IntUniform(1, 16), list(range(1, 17))),
        (IntUniform(1, 17), [1, 17]),
        (IntUniform(0, 2**900), [0, 2**900]),
        (Uniform(2, 8, 3), [3, 6, 9]),
        (Uniform(0.0, 1.0, 0.25), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (LogUniform(1.0, 1000.0, 2), [0, 1000]),
        (Uniform(0.1, 1.0), [0.1, 1.0]),
        (LogUniform(0.1, 1.0), [0.1, 1.0]),
        (InvLogUniform(0.1, 1.0), [0.1, 1.0]),
        (Normal(2.0, 1.0, 1), [2]),
        (LogNormal(0.0, 1.0), [1.0]),
        (Beta(1.0, 1.0, 1), [0, 1]),
    ],
)
def test_what_a_parameter_is_tried_by(distribution, tried):
    assert sample_values(distribution) == tried


@given(st.integers(-20, 20), st.integers(1, 40), st.sampled_from([1, 2, 3, 0.5, 0.3]), st.floats(0, 1))
def test_all_that_may_be_drawn_is_tried_where_it_is_little(least, width, q, share):
    distribution = Uniform(least, least + width, q)
    drawn = rounded(least + share * width, q)
    assert any(math.isclose(drawn, value, abs_tol=1e-9) for value in sample_values(distribution)) or width / q >= 15


def test_the_same_setting_has_the_same_setting_key() -> None:
    assert setting_key(1) == setting_key(1.0) != setting_key(True)
    assert setting_key("1") != setting_key(1)
    assert setting_key({"a": 1, "b": [2]}) == setting_key({"b": [2], "a": 1})


def test_a_value_is_found_as_what_it_is() -> None:
    values = [1, True, "1", [1, 2], None]
    assert [index_of(values, value) for value in values] == [0, 1, 2, 3, 4]
    assert index_of(values, 1.0) == 0
