"""What tests of a comparison's report share."""

import pytest

from dcnrun.compare.results import Unfinished, compare
from tests.compare.factories import variant


@pytest.fixture
def comparison(tmp_path):
    failed = Unfinished("dilated 4", 2, tmp_path / "dilated", "the loss | is *nan*\nat step 3", failed=True)
    return compare(
        [
            variant(tmp_path, "standard", ["conv=standard"]),
            variant(tmp_path, "dilated 4", ["conv=dilated"], seeds=(0, 1)),
            variant(tmp_path, "deform|able_x", ["conv=deformable"], skill=0.85),
        ],
        [failed],
    )
