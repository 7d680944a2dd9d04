"""Options of the command line."""

import pytest

from dcnrun.errors import UsageError
from dcnrun.visualize.options import parse_query_point


def test_query_points_are_parsed():
    assert parse_query_point("12,034") == (12, 34)
    for wrong in ("12", "1,2,3", "a,b", "", "1.5,2"):
        with pytest.raises(UsageError, match="--at"):
            parse_query_point(wrong)
