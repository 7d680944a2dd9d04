import pytest
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import given
from hypothesis import strategies as st

from dcnrun.config.overrides import as_override, parse, split_choices
from dcnrun.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "key", "values"),
    [
        ("conv=deformable", "conv", ["deformable"]),
        ("conv=standard,dilated", "conv", ["standard", "dilated"]),
        ("conv.dilation=2,4,6", "conv.dilation", ["2", "4", "6"]),
        ("seed=range(0,3)", "seed", ["0", "1", "2"]),
        ("seed=range(6,0,-2)", "seed", ["6", "4", "2"]),
        ("seed=choice(1,5)", "seed", ["1", "5"]),
        ("optim.lr=range(0.1,0.4,0.1)", "optim.lr", ["0.1", "0.2", "0.3"]),
        ("data.mean=[0.1,0.2]", "data.mean", ["[0.1,0.2]"]),
        ("optim.clip_norm=null,1", "optim.clip_norm", ["null", "1"]),
        ("name='3'", "name", ["'3'"]),
        ("name=", "name", [""]),
        ("name=Jürgen s, 'ä',~x", "name", ["'Jürgen s'", "'ä'", "'~x'"]),
        ("data.root=/data/Jürgen/a~b", "data.root", ["'/data/Jürgen/a~b'"]),
        ("data.classes=[Straße, wall ,木]", "data.classes", ["['Straße',wall,'木']"]),
        ("conv.layers=1,2,3", "conv.layers", ["1", "2", "3"]),
    ],
)
def test_key_and_values(override, key, values):
    assert split_choices(override) == (key, values)


@pytest.mark.parametrize(
    ("override", "settings"),
    [
        ("conv.layers=c3,c4,c5", ["c3,c4,c5"]),
        ("conv.layers=[c3,c4,c5]", ["c3,c4,c5"]),
        ("conv.layers=['c4', c5]", ["c4,c5"]),
        ("conv.layers='c4,c5'", ["c4,c5"]),
        ("conv.layers=c3-c5", ["c3-c5"]),
        ("conv.layers=[c5],[c4,c5]", ["c5", "c4,c5"]),
        ("conv.layers='c4,c5',c5", ["c4,c5", "c5"]),
        ("conv.layers=c5,3", ["c5", 3]),
    ],
)
def test_stage_names_are_one_setting(override, settings):
    assert parse(override).elements == settings


@pytest.mark.parametrize(
    "override",
    [
        "conv=a,b",
        "conv.layers=c3,c4",
        "name='it\\'s',\"a, b\"",
        "optim={lr: 0.1}",
        "data.mean=[0.1,0.2]",
        "name=${seed}",
    ],
)
def test_values_are_overrides_again(override):
    parsed = parse(override)
    assert [parse(f"{parsed.key}={value}").elements for value in parsed.values] == [[e] for e in parsed.elements]


_TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8)


@given(_TEXTS)
def test_any_quoted_text_survives(text):
    parsed = parse(f"name={QuotedString(text, Quote.single).with_quotes()}")
    assert parsed.elements == [text]
    assert parse(f"name={parsed.values[0]}").elements == [text]


def test_a_choice_and_values_for_a_section_differ():
    assert parse("conv=dilated").is_group
    assert parse("conv=dilated,standard").is_group
    assert parse("experiment=quick").is_group
    assert not parse("conv={dilation: 2}").is_group
    assert not parse("conv.dilation=2").is_group


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("deformable", "key=value"),
        ("=3", "missing"),
        ("conv=[a", "can't be read"),
        ("a b=3", "can't be read"),
        ("seed=nothing(1)", "can't be read"),
        ("+optim.foo=1", "can't be added"),
        ("++optim.lr=1", "can't be added"),
        ("~optim.lr", "can't be deleted"),
        ("conv@model=dilated", "@"),
        ("hydra.run.dir=/tmp", "Hydra"),
        ("hydra/launcher=basic", "Hydra"),
        ("conv=glob(*)", "one by one"),
        ("optim.lr=interval(0,1)", "one by one"),
        ("seed=shuffle(1,2)", "one by one"),
        ("seed=shuffle(range(1,4))", "one by one"),
        ("seed=range(0,0)", "0 values"),
        ("seed=range(0,100000)", "100000 values"),
        ("seed=range(0,3,0)", "step"),
        ("seed=range(0,inf)", "step"),
    ],
)
def test_what_is_refused_and_why(override, reason):
    with pytest.raises(ConfigError) as refused:
        parse(override)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{override}:")
    assert reason in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("value", "override"),
    [
        (0.1, "a=0.1"),
        (1e-05, "a=1e-05"),
        (3, "a=3"),
        (True, "a=true"),
        (None, "a=null"),
        ("c3-c5", "a=c3-c5"),
        ([0.5, 1], "a=[0.5,1]"),
        ("3", "a='3'"),
        ("a, b", "a='a, b'"),
        ("/data/a(1)", "a='/data/a(1)'"),
        (["c(1)", "d", 2], "a=['c(1)','d',2]"),
    ],
)
def test_values_as_overrides(value, override):
    assert as_override("a", value) == override


@given(_TEXTS | st.floats(allow_nan=False) | st.lists(_TEXTS, max_size=3))
def test_an_override_is_read_as_the_value_it_was_made_of(value):
    assert parse(as_override("name", value)).elements == [value]
