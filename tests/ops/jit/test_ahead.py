import json
import re

import pytest
from typer.testing import CliRunner

from dcnrun.cli import app
from dcnrun.ops.jit.recipe import DEFINES
from tests.ops.jit.workshop import NAME


def run(*arguments):
    return CliRunner().invoke(app, ["kernels", "build", *arguments])


def test_all_dtypes_then_none(workshop):
    (workshop.source.parent / "another.cpp").write_text("")
    result = run()
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * len(DEFINES)
    assert sorted(line.split()[0] for line in lines) == [str(file) for file in workshop.built()]
    assert all(re.fullmatch(r"/\S+  \d\.\d s", line) for line in lines)
    assert [line.split(maxsplit=1)[1] for line in run().stdout.splitlines()] == ["cached"] * len(lines)


def test_json_of_some_dtypes(workshop):
    first, again = (json.loads(run("--dtype", "bfloat16", "--json").stdout) for _ in range(2))
    [file] = workshop.built()
    assert file.name.startswith(f"{NAME}-bfloat16-")
    assert first["files"][0]["file"] == again["files"][0]["file"] == str(file)
    assert first["files"][0]["seconds"] > 0
    assert again["files"][0]["seconds"] is None


def test_a_failure_shows_all_that_the_compiler_said(workshop):
    workshop.source.write_text("int first = ;\nint second = ;\n")
    result = run("--json")
    assert result.exit_code == 1
    assert f"{workshop.source}:2:" in result.stderr
    assert "-march=native" in result.stderr or "-mcpu=native" in result.stderr
    assert "Traceback" not in result.stderr
    assert f"can't compile {NAME}.cpp: {workshop.source}:1:" in json.loads(result.stdout)["error"]


@pytest.mark.parametrize("broken", ["compiler", "cache"])
def test_what_can_not_be_built_or_kept(workshop, broken):
    if broken == "compiler":
        workshop.leave_no_compiler()
    else:
        workshop.cache.write_text("a file where the folder should be")
    result = run()
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
