"""A whole sweep with the real client and real trainings: run, stopped by hyperband, resumed, sent home."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from dcnrun.sweep.hyperband import judge
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal
from tests.sweep.wandb.driving import KEY, client_environment, start_engine
from tests.sweep.wandb.standin import ENTITY, SWEEP, Run, Server
from tests.training.running import TINY

pytestmark = pytest.mark.slow

PASSWORD = "correct-horse-battery"
FILE = """
name: tiny, but whole
project: rivers
method: random
metric: {name: val/miou, goal: maximize}
early_terminate: {type: hyperband, max_iter: 9, s: 1}
parameters:
  optim.lr: {min: 0.0, max: 0.1}
  trainer.steps: {values: [18, 100000]}
command: ["${env}", dcnrun, train, "${args_no_hyphens}"]
"""
# The first learns; the second never does and would go on for hours. Nested and null as W&B's agents pass them.
SETTINGS = [
    {"optim": {"lr": 0.05, "clip_norm": None}, "trainer.steps": 18},
    {"optim": {"lr": 1e-12, "clip_norm": 1.0}, "trainer.steps": 100000},
]


def hyperband(runs, run):
    histories = {number: other.values("val/miou") for number, other in enumerate(runs.values())}
    number = list(runs).index(run.id)
    return judge(EarlyTerminate(max_iter=9, s=1), Goal.maximize, histories, number) is not None


@dataclass
class Swept:
    server: Server
    folder: Path
    status: int
    out: str
    err: str

    @property
    def result(self):
        return json.loads(self.out.splitlines()[-1])

    def run_folder(self, run):
        return self.folder / "runs" / f"wandb-{SWEEP}" / run


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    with Server(SETTINGS, stop=hyperband, resume=True) as server:
        environment = client_environment(
            folder,
            server.url,
            WANDB_API_KEY=KEY,
            DCNRUN_STORAGE=f"postgresql://dcnrun:{PASSWORD}@db.example.org/sweeps",
            WANDB_TAGS="mine",
        )
        overrides = [*TINY, "conv=standard"]
        overrides = [override for override in overrides if not override.startswith(("optim.", "trainer.steps="))]
        process = start_engine(folder, FILE, environment, overrides=overrides, gpus=["0", "1"])
        out, err = process.communicate(timeout=200)
    return Swept(server, folder, process.returncode, out, err)


def steps(run: Run) -> list[int]:
    return [row["_step"] for row in run.history]


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_ends_and_names_the_sweep(swept):
    assert swept.status == 0, swept.err
    assert swept.result["sweep"] == f"{ENTITY}/rivers/{SWEEP}"
    assert swept.result["url"] == f"{swept.server.url}/{ENTITY}/rivers/sweeps/{SWEEP}"
    assert swept.result["url"] in swept.out
    assert [agent["gpu"] for agent in swept.result["agents"]] == ["0", "1"]
    assert len(swept.server.agents) == 2
    assert swept.server.unknown == []


def test_the_server_is_given_the_file_and_the_overrides(swept):
    config = swept.server.config
    assert config["name"] == "tiny, but whole"
    assert config["metric"] == {"name": "val/miou", "goal": "maximize"}
    assert config["command"][:3] == ["${env}", "dcnrun", "train"]
    assert config["command"][-1] == "conv=standard"


def test_the_first_run_completes(swept):
    run = swept.server.runs["run0"]
    assert (run.state, run.exit_codes, run.stops) == ("finished", [0], 0)
    assert (run.sweep, run.project) == (SWEEP, "rivers")
    assert set(run.tags) == {"mine", "dcnrun", "tiny  but whole"}
    folder = swept.run_folder("run0")
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    assert (folder / "overrides.txt").read_text().splitlines()[:3] == [
        "optim.lr=0.05",
        "optim.clip_norm=null",
        "trainer.steps=18",
    ]


def test_what_runs_logged_is_what_the_server_has(swept):
    for name, run in swept.server.runs.items():
        mine = [line["val/miou"] for line in logged(swept.run_folder(name)) if line["split"] == "val"]
        assert run.values("val/miou") == pytest.approx(mine)
        assert len(mine) >= 3


def test_the_second_is_stopped_resumed_from_its_checkpoint_and_stopped_again(swept):
    run = swept.server.runs["run1"]
    assert (run.resumes, run.state) == (1, "killed")
    assert run.exit_codes == [255, 255]
    assert steps(run) == sorted(set(steps(run)))
    lines = [line["step"] for line in logged(swept.run_folder("run1")) if line["split"] == "train"]
    assert lines == [*range(1, len(lines) + 1)], "steps lost or done twice"
    assert json.loads((swept.run_folder("run1") / "summary.json").read_text())["status"] == "stopped"
    logs = "".join(Path(swept.folder, agent["log"]).read_text() for agent in swept.result["agents"])
    assert f"Resuming runs/wandb-{SWEEP}/run1 after step" in logs


def test_no_secret_is_written_printed_or_sent(swept):
    basic = base64.b64encode(f"api:{KEY}".encode())
    assert swept.server.authorizations >= {f"Basic {basic.decode()}"}, "the key was in use"
    texts = {str(path): path.read_bytes() for path in swept.folder.rglob("*") if path.is_file()}
    texts |= {"standard output": swept.out.encode(), "standard error": swept.err.encode()}
    texts |= {f"sent {i}": body for i, body in enumerate(swept.server.bodies)}
    assert any(b"val/miou" in text for name, text in texts.items() if "/wandb/" in name), (
        "the search reaches W&B's files"
    )
    for secret in (KEY.encode(), basic, PASSWORD.encode()):
        assert [name for name, text in texts.items() if secret in text] == []
