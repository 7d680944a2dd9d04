"""When two values of a parameter are the same setting."""

import json
from collections.abc import Sequence
from typing import Any


def key(value: Any) -> str:
    """Text that values have in common when they are the same setting: 1 and 1.0 are, 1 and true are not."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, sort_keys=True, default=str)


def index_of(values: Sequence[Any], value: Any) -> int:
    """Position of a value among several."""
    return [key(each) for each in values].index(key(value))
