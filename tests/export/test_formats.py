"""Exported files opened by their names."""

import pytest

from dcnrun.errors import UsageError
from dcnrun.export.formats import open_exported


def test_files_that_are_none(tmp_path):
    with pytest.raises(UsageError, match=r"model\.jpg: exported files end with .*\.onnx"):
        open_exported(tmp_path / "model.jpg")
    with pytest.raises(UsageError, match="there is no such file"):
        open_exported(tmp_path / "model.onnx")
