"""Words and options that don't go together are refused before anything is loaded."""

from pathlib import Path

import pytest

from dcnrun.errors import UsageError
from dcnrun.predict.options import Options, check


@pytest.mark.parametrize(
    ("words", "split", "expected"),
    [
        ([], None, "Nothing to predict on"),
        (["data", "a.png"], None, "give either data or a.png"),
        (["a.png"], "val", "--split val is for the images of the run's data set"),
    ],
)
def test_what_does_not_go_together_is_refused(words, split, expected):
    with pytest.raises(UsageError, match=expected):
        check(words, Options(Path("out"), split=split))


@pytest.mark.parametrize(("words", "split"), [(["data"], "train"), (["data"], None), (["./data", "b"], None)])
def test_what_does_is_not(words, split):
    check(words, Options(Path("out"), split=split))
