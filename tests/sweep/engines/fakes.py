"""A fake server of Weights & Biases on 127.0.0.1, and the W&B engine in a process of its own that talks to it.

The server has one sweep and answers the calls that the real client makes for it. It knows just enough of the GraphQL to answer wandb 0.31 (its Python part and wandb-core): names and shapes are those that
the client sends. Anything else is answered with an error and kept in `unknown`.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from dcnrun.errors import DcnrunError
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.engines.wandb import WandbEngine
from dcnrun.sweep.spec.reading import read_sweep

ENTITY, SWEEP = "someone", "sweep123"

Json = dict[str, Any]


@dataclass
class Run:
    """A run as the server knows it."""

    id: str
    args: Json
    agent: str
    state: str = "pending"
    exit_codes: list[int] = field(default_factory=list)
    history: list[Json] = field(default_factory=list)
    config: Json = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    sweep: str | None = None
    project: str | None = None
    stops: int = 0
    resumes: int = 0
    reported_before: int = 0
    """Rows of the history from before it was resumed."""

    def values(self, metric: str) -> list[float]:
        """What was logged of a metric so far."""
        return [row[metric] for row in self.history if metric in row]


Rule = Callable[[Mapping[str, Run], Run], bool]


class Server:
    """Hands out settings as run commands, stops runs by a rule, resumes, and sends its agents home at the end.

    `stop` is asked at each heartbeat whether a run that reported since it started is to end early. With `resume`, the first run that was stopped
    is resumed once all settings are handed out, as W&B resumes a run that was preempted.
    What was asked and sent is kept for tests to look at.
    """

    def __init__(
        self,
        settings: Iterable[Json] = (),
        stop: Rule = lambda runs, run: False,
        resume: bool = False,
        knows_the_key: bool = True,
    ) -> None:
        self.config: Json = {}
        self.project: str | None = None
        self.runs: dict[str, Run] = {}
        self.agents: list[str] = []
        self.unknown: list[str] = []
        self.bodies: list[bytes] = []
        self.authorizations: set[str | None] = set()
        self._settings: Iterator[Json] = iter(settings)
        self._stop = stop
        self._may_resume = resume
        self._knows_the_key = knows_the_key
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._operations = {
            "Viewer": self._viewer,
            "ServerFeaturesQuery": lambda sent: {"serverInfo": {"features": []}},
            "UpsertSweep": self._upsert_sweep,
            "SweepWithRuns": self._sweep_with_runs,
            "CreateAgent": self._create_agent,
            "Heartbeat": self._heartbeat,
            "RunResumeStatus": self._run_resume_status,
            "UpsertBucket": self._upsert_bucket,
            "CreateRunFiles": self._create_run_files,
            "OrganizationCoreWeaveOrganizationID": lambda sent: {"entity": None},
        }

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, query: str, variables: Json) -> Json:
        """What is sent back for a GraphQL operation."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else query
        with self._lock:
            if name not in self._operations:
                self.unknown.append(query)
                return {"errors": [{"message": f"The fake server doesn't know {name}."}]}
            return {"data": self._operations[name](variables)}

    def take(self, run_id: str, sent: Json) -> None:
        """Part of a run's file stream: its history, and in the end how it ended."""
        with self._lock:
            run = self.runs[run_id]
            history = sent.get("files", {}).get("wandb-history.jsonl")
            if history:
                del run.history[history["offset"] :]
                run.history += [json.loads(line) for line in history["content"]]
            if sent.get("complete"):
                run.exit_codes.append(sent["exitcode"])
                run.state = "finished" if sent["exitcode"] == 0 else "killed" if run.stops > run.resumes else "failed"

    def _viewer(self, sent: Json) -> Json:
        if not self._knows_the_key:
            return {"viewer": None}
        return {
            "viewer": {
                "id": "1",
                "entity": ENTITY,
                "username": ENTITY,
                "email": "someone@example.org",
                "flags": "{}",
                "teams": {"edges": []},
            }
        }

    def _upsert_sweep(self, sent: Json) -> Json:
        self.config = yaml.safe_load(sent["config"])
        self.project = sent["projectName"] or "uncategorized"
        return {
            "upsertSweep": {"sweep": {"name": SWEEP, "project": self._project()}, "configValidationWarnings": []},
        }

    def _project(self) -> Json:
        return {"id": "1", "name": self.project, "entity": {"id": "1", "name": ENTITY}}

    def _sweep_with_runs(self, sent: Json) -> Json:
        if (sent["entity"], sent["project"], sent["sweep"]) != (ENTITY, self.project, SWEEP):
            return {"project": None}
        return {
            "project": {
                "sweep": {"id": "1", "name": SWEEP, "config": yaml.safe_dump(self.config), "runs": {"edges": []}}
            }
        }

    def _create_agent(self, sent: Json) -> Json:
        self.agents.append(f"agent-{len(self.agents)}")
        return {"createAgent": {"agent": {"id": self.agents[-1]}}}

    def _heartbeat(self, sent: Json) -> Json:
        agent = sent["id"]
        running = [self.runs[name] for name, runs in json.loads(sent["runState"]).items() if runs]
        reporting = [run for run in running if len(run.history) > run.reported_before]
        commands = [self._stopped(run) for run in reporting if self._stop(self.runs, run)]
        if not running:
            commands.append(self._next(agent))
        return {"agentHeartbeat": {"agent": {"id": agent}, "commands": json.dumps(commands)}}

    def _stopped(self, run: Run) -> Json:
        run.stops += 1
        return {"type": "stop", "run_id": run.id}

    def _next(self, agent: str) -> Json:
        setting = next(self._settings, None)
        if setting is not None:
            run = Run(f"run{len(self.runs)}", {name: {"value": value} for name, value in setting.items()}, agent)
            self.runs[run.id] = run
            return {"type": "run", "run_id": run.id, "program": None, "args": run.args}
        for run in self.runs.values():
            if self._may_resume and run.state == "killed":
                self._may_resume = False
                run.resumes, run.state, run.agent = run.resumes + 1, "pending", agent
                run.reported_before = len(run.history)
                internal = {"value": {"framework": "torch", "t": {"1": [1, 5]}}}
                return {"type": "resume", "run_id": run.id, "program": None, "args": {**run.args, "_wandb": internal}}
        return {"type": "exit"}

    def _run_resume_status(self, sent: Json) -> Json:
        run = self.runs[sent["name"]]
        started = run.state != "pending" or run.resumes > 0
        bucket = {
            "id": run.id,
            "name": run.id,
            "summaryMetrics": "{}",
            "displayName": run.id,
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": run.tags,
            "notes": None,
            "wandbConfig": "{}",
        }
        return {
            "model": {
                "id": "1",
                "name": self.project,
                "entity": {"id": "1", "name": ENTITY},
                "bucket": bucket if started else None,
            }
        }

    def _upsert_bucket(self, sent: Json) -> Json:
        run = self.runs[sent["name"]]
        run.state = "running"
        run.config = json.loads(sent["config"]) if sent.get("config") else run.config
        run.tags = sent.get("tags") or run.tags
        run.sweep, run.project = sent.get("sweep") or run.sweep, sent.get("project") or run.project
        return {
            "upsertBucket": {
                "bucket": {
                    "id": run.id,
                    "name": run.id,
                    "displayName": run.id,
                    "description": None,
                    "config": json.dumps(run.config),
                    "sweepName": run.sweep,
                    "historyLineCount": len(run.history),
                    "project": self._project(),
                },
                "inserted": not run.history,
            }
        }

    def _create_run_files(self, sent: Json) -> Json:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{sent['run']}/{name}"} for name in sent["files"]]
        return {"createRunFiles": {"runID": sent["run"], "uploadHeaders": [], "files": files}}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that a process left open when it ended."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = json.loads(self._body() or b"{}")
            if self.path == "/graphql":
                self._send(server.answer(sent["query"], sent.get("variables") or {}))
            elif self.path.endswith("/file_stream"):
                server.take(self.path.split("/")[-2], sent)
                self._send({})
            else:
                server.unknown.append(self.path)
                self.send_error(404)

        def do_PUT(self) -> None:  # a file of a run
            self._body()
            self._send({})

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            server.authorizations.add(self.headers.get("Authorization"))
            server.bodies.append(body)
            return body

        def _send(self, answer: Json) -> None:
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


# The client's agents ask the server every 5 s, which nothing of theirs changes; here they would spend most of a test so.
ASKS_OFTEN = """
import sys
if "agent" in sys.orig_argv:
    from wandb.wandb_agent import Agent
    Agent.POLL_INTERVAL = 0.5
"""
KEY = "feedface0123456789c0ffee0123456789decade"


def client_environment(folder: Path, url: str, **more: str) -> dict[str, str]:
    """Nothing of this machine's own W&B: no login but `more`, no server but `url`, files below `folder`.

    The client's agents ask the server for work more often than they do.
    """
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(ASKS_OFTEN)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "CUDA_VISIBLE"))}
    return own | {
        "WANDB_BASE_URL": url,
        "WANDB_CONFIG_DIR": str(folder / "client"),
        "WANDB_CACHE_DIR": str(folder / "client"),
        "WANDB_DATA_DIR": str(folder / "client"),
        "WANDB_ARTIFACT_DIR": str(folder / "client"),
        "NETRC": str(folder / "netrc"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",  # below, the client takes 15
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        **more,
    }


def start_engine(
    folder: Path, file: str, environment: dict[str, str], *overrides: str, **options: object
) -> "subprocess.Popen[str]":
    """Start the W&B engine on a sweep file's text, in `folder`."""
    (folder / "sweep.yaml").write_text(file)
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps([overrides, options])],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class _UncheckedEngine(WandbEngine):
    """Leaves out the check of the settings, which imports torch and takes longer than all the rest."""

    def read(self, path, overrides):
        return read_sweep(path)


def main() -> None:
    overrides, options = json.loads(sys.argv[1])
    try:
        result = _UncheckedEngine().run(Path("sweep.yaml"), overrides, Options(out=Path("runs/sweeps/it"), **options))
        print(json.dumps(result))
    except DcnrunError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
