"""The same setting, though it went through JSON."""

from dcnrun.sweep.keys import index_of, key


def test_the_same_setting_has_the_same_key() -> None:
    assert key(1) == key(1.0) != key(True)
    assert key("1") != key(1)
    assert key({"a": 1, "b": [2]}) == key({"b": [2], "a": 1})


def test_a_value_is_found_as_what_it_is() -> None:
    values = [1, True, "1", [1, 2], None]
    assert [index_of(values, value) for value in values] == [0, 1, 2, 3, 4]
    assert index_of(values, 1.0) == 0
