"""The built wheel works from any folder: what ships beside the code is inside it."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True, timeout=200)
    return next(folder.glob("dcnrun-*.whl"))


def test_what_the_wheel_holds(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    viewer = [f"dcnrun/visualize/viewer/page.{kind}" for kind in ("html", "js", "css")]
    pages = [f"dcnrun/pages/{name}" for name in ("frame.html", "base.css", "report.css", "theme.js", "charts.js")]
    pages += [*viewer, "dcnrun/compare/page.js", "dcnrun/sweep/report/page.js"]
    for name in ("dcnrun/cli/__init__.py", "dcnrun/conf/config.yaml", "dcnrun/conf/conv/deformable.yaml", *pages):
        assert name in names
    samples = ("dcnrun/samples/nuclei/images/train/", "dcnrun/samples/treecrowns/VOC2007/JPEGImages/")
    for folder in ("dcnrun/kernels/", "dcnrun/sweeps/", *samples):
        assert any(name.startswith(folder) for name in names), folder
    assert not any(name.startswith(("tests/", "benchmarks/", "dcnrun/tests/")) for name in names)


# Runs a script once with each list of arguments: several trainings start torch once.
EACH = """
import json, runpy, sys
script, *runs = sys.argv[1:]
for run in runs:
    sys.argv = [script, *json.loads(run)]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.mark.slow
def test_an_installed_wheel_trains_elsewhere(wheel, tmp_path):
    """A new environment that sees this one's libraries, but not this checkout; on images that are made and that are shipped."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # A folder named in a .pth file is searched, but the .pth of an editable install in it is not followed.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=100)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command):
        return subprocess.run(command, cwd=elsewhere, env=clean, capture_output=True, text=True, timeout=200)

    where = run(python, "-c", "import dcnrun; print(dcnrun.__file__)")
    assert where.stdout.startswith(str(environment)), where
    length = ["trainer.steps=2", "model.width=16", "--json"]
    trainings = [["train", *data, *length] for data in (["data=shapes", "data.val_images=4"], ["data=nuclei"])]
    done = run(python, "-c", EACH, environment / "bin" / "dcnrun", *map(json.dumps, trainings))
    assert done.returncode == 0, done.stderr
    summaries = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [summary["status"] for summary in summaries] == ["completed", "completed"]
    for summary in summaries:
        assert (elsewhere / summary["run"] / "config.yaml").is_file()
