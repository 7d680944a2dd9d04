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


@pytest.mark.parametrize(
    ("tile", "overlap", "expected"),
    [
        (None, None, None),
        (1024, None, (1024, 128)),
        (512, 256, (512, 256)),
        (1000, None, "--tile 1000: give a multiple of 32"),
        (512, 100, "--overlap 100: give a multiple of 32"),
        (128, None, "--overlap 128: with --tile 128, give 0 to 64"),
        (None, 64, "give --tile too"),
    ],
)
def test_tiles_are_of_a_size_that_can_be(tile, overlap, expected):
    options = Options(Path("out"), tile=tile, overlap=overlap)
    if isinstance(expected, str):
        with pytest.raises(UsageError, match=expected):
            check(["a.png"], options)
    else:
        assert options.tiling() == expected
