import pytest

from tests.sweep.spec.factories import problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: bayse\nparameters: {seed: {value: 1}}", "lr.yaml:1: method: is bayse, but must be one of bayes"),
        ("method: bayse\nparameters: {seed: {value: 1}}", "did you mean bayes?"),
        ("method: random\nparameters: {seed: {value: 1}}\nrun_cap: 0", "lr.yaml:3: run_cap: must be an integer of at least 1"),
        ("method: random\nparameters: {seed: {value: 1}}\nruncap: 3", "runcap: is no key of a sweep file; did you mean run_cap?"),
        ("method: random\nparameters: {seed: {value: 1}}\nname: 3", "name: must be text, but is 3: put it in quotes."),
    ],
)  # fmt: skip
def test_problems_name_line_key_and_remedy(text, expected):
    assert expected in "\n".join(problems(text))
