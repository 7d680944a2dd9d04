from hypothesis import given
from hypothesis import strategies as st

from dcnrun.sweep.shares import shares


@given(st.integers(1, 200), st.integers(1, 12))
def test_a_count_is_split_exactly_and_evenly(count, agents):
    each = shares(count, agents)
    assert sum(each) == count
    assert max(each) - min(each) <= 1
    assert len(each) == min(count, agents)


def test_without_a_count_none_has_one():
    assert shares(None, 3) == [None] * 3
