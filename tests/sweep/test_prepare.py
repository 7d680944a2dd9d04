import pytest

from dcnrun.errors import UsageError
from dcnrun.sweep.prepare import Options, local_plan


def test_settings_that_cannot_be_compared_are_refused_at_once_where_they_are_to_be_repeated(sweeps):
    sweeps.write(parameters={"trainer.steps": {"values": [4, 8]}}, command=["dcnrun", "train", "${args_no_hyphens}"])
    local_plan(sweeps.file, [], Options())
    with pytest.raises(UsageError, match=r"trainer\.steps is 4 for trainer\.steps=4 but 8"):
        local_plan(sweeps.file, [], Options(repeats=2))
