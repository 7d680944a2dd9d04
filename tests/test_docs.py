"""What README and docs say: commands are ours and work, links lead somewhere, and CI runs the README's test command."""

import os
import re
import shlex
import subprocess
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement

import dcnrun
from dcnrun.cli import app
from dcnrun.compare.grid import build_grid
from dcnrun.config.compose import compose
from dcnrun.data import build_box_dataset
from dcnrun.data.discover.folder import discover
from dcnrun.jobs.cluster.options import read_resources
from dcnrun.sweep.engines.engine import Engine
from dcnrun.tasks.validate import check
from tests.data.factories import save_image

REPOSITORY = Path(__file__).parents[1]
USERS_PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MAKE = (REPOSITORY / "Makefile").read_text().replace("\\\n", "")
COPIED = [REPOSITORY / path for path in re.findall(r"^PAGES = (.*)", MAKE, re.MULTILINE)[0].split()]
"""What `make docs` makes the site of."""
PAGES = [page for path in COPIED for page in ([path] if path.is_file() else path.rglob("*.md")) if page.suffix == ".md"]


def commands() -> list[str]:
    """What follows `dcnrun` in each command that users are shown, once."""
    texts = [page.read_text().replace("\\\n", "") for page in USERS_PAGES]  # a line that ends so goes on in the next
    blocks = [block for text in texts for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)]
    lines = [part for block in blocks for line in block.splitlines() for part in line.split(" && ")]
    found = [re.search(r"(?:^|\s|/)dcnrun (.*)", line) for line in lines]
    return list(dict.fromkeys(shlex.join(shlex.split(match[1], comments=True)) for match in found if match))


@pytest.mark.parametrize("line", commands())
def test_our_command_line_takes_it(line):
    arguments = shlex.split(line)
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):  # a group
        name, *arguments = arguments
        command = command.commands[name]
    options = command.make_context(name, list(arguments)).params
    overrides = [argument for argument in options.get("arguments") or options.get("overrides") or [] if "=" in argument]
    if options.get("config_dir"):
        return  # settings that the tutorial writes: tests/test_tutorial.py
    if name == "compare" and overrides:
        grid = build_grid(overrides)
        assert len(grid.variants) >= 2
        assert len(grid.seeds) >= 3
    if name == "train" and not options["resume"]:
        assert overrides
        check(compose(overrides))


def test_ci_runs_the_test_command():
    assert "`make install test`" in USERS_PAGES[0].read_text()
    assert "\nmake install test" in (REPOSITORY / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    """In the repository, whose tree the site has too. What a page of the site is missing of headings, `make docs` says."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", prose(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), target
        assert any(path.is_relative_to(copied) for copied in COPIED), f"{target} is not in PAGES of the Makefile"
        if anchor:
            assert anchor in anchors(path), f"{target}#{anchor}"


def test_every_page_is_in_the_site_s_menu():
    text = (REPOSITORY / "mkdocs.yml").read_text()
    assert set(re.findall(r"docs/[a-z]+\.md", text)) == {f"docs/{page.name}" for page in USERS_PAGES[1:]}


def prose(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    names = [
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", text, re.MULTILINE)
    ]
    return {f"{name}-{i}" if i else name for name, count in Counter(names).items() for i in range(count)}


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


def test_the_script_for_slurm_ends_where_ray_does_not_start(tmp_path):
    """Else the job would wait for it to the end of its time. What it does where Ray starts is in benchmarks/ray_runs.py."""
    for name, does in (("scontrol", "echo node0"), ("srun", "echo no such port >&2; exit 1"), ("ray", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    job = {"JOB_NODELIST": "node0", "JOB_ID": "1", "JOB_NUM_NODES": "1", "CPUS_PER_TASK": "2"}
    environment = {f"SLURM_{name}": value for name, value in job.items()} | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = ["bash", CLUSTER / "ray.sbatch", "sweep", "FILE"]
    ended = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "no such port" in ended.stderr
    assert "Ray did not start on node0" in ended.stderr


def test_boxes_in_other_files(tmp_path, monkeypatch):
    """The lines of Python that write COCO's JSON of a table."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        save_image(tmp_path / f"my-data/train/{name}.png", seed=number)
    (tmp_path / "my-data/train.csv").write_text(
        "filename,class,xmin,ymin,xmax,ymax\nb.png,dog,3,4,15,14\nb.png,cat,1,2,9,9.5\n"
    )
    text = (REPOSITORY / "docs/data.md").read_text()
    exec(re.findall(r"## Boxes in other files\n.*?```python\n(.*?)```", text, re.DOTALL)[0], {})
    config = compose([*discover(tmp_path / "my-data")[0].overrides, "data.train_empty=true"]).data
    found = {}
    for split in ("train", "val"):
        dataset = build_box_dataset(config, split)
        found |= {dataset.name(n): dataset[n] for n in range(len(dataset))}
    assert dataset.classes == ("cat", "dog")
    assert found["a.png"]["boxes"].shape == (0, 4)
    assert found["b.png"]["boxes"].tolist() == [[3, 4, 15, 14], [1, 2, 9, 9.5]]
    assert found["b.png"]["labels"].tolist() == [1, 0]
