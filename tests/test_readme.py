"""The README's commands work as written, as those of docs/cluster do, and CI runs its test command."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement

import dcnrun
from dcnrun.cli import app
from dcnrun.compare.grid import build_grid
from dcnrun.config.compose import compose
from dcnrun.jobs.cluster.options import read_resources
from dcnrun.sweep.engines.engine import Engine
from dcnrun.tasks.validate import check

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
CONSOLE = [line for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def commands(name: str) -> list[list[str]]:
    """Arguments of every `dcnrun <name>` in the README."""
    found = re.findall(rf"(?:^|\s|/)dcnrun {name} (.*)", "\n".join(CONSOLE))
    return [shlex.split(arguments, comments=True) for arguments in found]


def test_ci_runs_the_test_command():
    assert "make install test" in CONSOLE
    assert "\nmake install test" in (REPOSITORY / ".ci" / "run").read_text()


@pytest.mark.parametrize("arguments", commands("compare"), ids=" ".join)
def test_comparisons_compose(arguments):
    grid = build_grid(arguments)
    assert len(grid.variants) >= 3
    assert len(grid.seeds) >= 3


@pytest.mark.parametrize("arguments", commands("train"), ids=" ".join)
def test_runs_compose(arguments):
    overrides = [argument for argument in arguments if "=" in argument]
    if "--resume" not in arguments:
        check(compose(overrides))
        assert overrides


def test_pictures_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (REPOSITORY / path).is_file(), path


def test_files_that_it_names_are_there():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPOSITORY / path).exists(), path


CLUSTER = REPOSITORY / "docs" / "cluster"


def test_the_job_for_kubernetes_is_one_that_our_command_line_takes():
    """As KubeRay's sample of a RayJob of `ray.io/v1` is put together; the API itself is not here to ask."""
    job = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {pod["template"]["spec"]["containers"][0]["image"] for pod in pods}
    build = (CLUSTER / "Dockerfile").read_text()
    assert images == {f"REGISTRY/dcnrun:{dcnrun.__version__}"}
    assert f"--tag {images.pop()} ." in build
    assert f"'ray[default]=={cluster['rayVersion']}'" in build
    (wanted,) = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]["ray"]
    assert cluster["rayVersion"] in Requirement(wanted).specifier
    for pod in pods:
        spec = pod["template"]["spec"]
        mounted = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
    program, name, *arguments = shlex.split(job["spec"]["entrypoint"])
    command = typer.main.get_command(app).commands[name]
    options = command.make_context(name, arguments).params
    assert (program, options["engine"]) == ("dcnrun", Engine.ray)
    assert (REPOSITORY / "sweeps" / f"{options['file']}.yaml").is_file()
    assert options["out"].is_relative_to(spec["containers"][0]["volumeMounts"][0]["mountPath"])
    limits = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]
    needs = read_resources(options["per_trial"])
    assert needs.gpus <= int(limits["nvidia.com/gpu"])
    assert needs.cpus <= int(limits["cpu"])


def test_the_script_for_slurm_is_one_of_bash():
    """What it does is in benchmarks/ray_runs.py."""
    subprocess.run(["bash", "-n", CLUSTER / "ray.sbatch"], check=True)
