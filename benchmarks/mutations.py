"""Damages run folders 1,000 times, and gives training 200 foreign checkpoints, and looks at what every command makes of them.

    python -m benchmarks.mutations benchmarks/results/mutations.json
    python -m benchmarks.mutations mutations.json --only 17,200-233    # these cases again, with what they printed

Each case damages one file of a run folder (a bit, a half, another type, another file's content, a folder or a FIFO in its
place, ...) and runs one command that reads it, in a process forked from this one. Right is a line that names the file, or the
numbers of the undamaged run. Wrong are a traceback, other numbers without a word, more than 4 GiB, and 10 s more than the command
takes on the undamaged run (an export of any network takes PyTorch as long). A case is what its number draws, so that it can be tried
alone. Targets: 0 of each.
"""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dcnrun.bench.machine import describe
from dcnrun.ops.jit.processor import available_cores
from dcnrun.runs import RunFolder

MUTATIONS, FOREIGN = 1000, 200
LONGEST_S, MOST_BYTES = 10.0, 4 * 2**30
TINY = [
    *("data=shapes", "data.image_size=48", "data.train_images=16", "data.val_images=5", "data.batch_size=4"),
    *("data.eval_batch_size=2", "data.workers=0", "model.width=16", "model.head_channels=16", "conv=deformable"),
    *(
        "trainer.steps=6",
        "trainer.log_every=1",
        "trainer.eval_every=3",
        "trainer.save_every=2",
        "trainer.threads=1",
        "trainer.pictures=0",
    ),
]
RANDOM = random.Random


# Damage: of bytes, of JSON and YAML, of arrays and checkpoints, and of the place of a file.


def _overwrite(change: Callable[[bytearray, RANDOM], bytes | bytearray]) -> Callable[[Path, RANDOM], None]:
    def damage(file: Path, rng: RANDOM) -> None:
        file.write_bytes(change(bytearray(file.read_bytes()), rng))

    return damage


def _flip(data: bytearray, rng: RANDOM) -> bytearray:
    for _ in range(rng.choice([1, 1, 1, 8, 100])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _with_hole(data: bytearray, rng: RANDOM) -> bytearray:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([1, 16, 512, 4096]))
    data[start:end] = rng.choice([b"\0", b" ", rng.randbytes(1)]) * (end - start)
    return data


def _digit(data: bytearray, rng: RANDOM) -> bytearray:
    places = [i for i, byte in enumerate(data) if chr(byte).isdigit()]
    if places:
        data[rng.choice(places)] = ord(rng.choice("0123456789"))
    return data


def _remove(file: Path, _: RANDOM) -> None:
    file.unlink()


def _as_folder(file: Path, _: RANDOM) -> None:
    file.unlink()
    file.mkdir()


def _as_fifo(file: Path, _: RANDOM) -> None:
    file.unlink()
    os.mkfifo(file)


def _as_loop(file: Path, _: RANDOM) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _as_another(file: Path, rng: RANDOM) -> None:
    others = [path for path in sorted(file.parent.parent.rglob("*")) if path.is_file() and path != file]
    shutil.copyfile(rng.choice(others), file)


def _enormous(file: Path, _: RANDOM) -> None:
    os.truncate(file, 6 * 2**30)  # a hole, which takes no room on the disk


ANY_FILE: Mapping[str, Callable[[Path, RANDOM], None]] = {
    "half": _overwrite(lambda data, rng: data[: rng.randrange(len(data))]),
    "bits": _overwrite(_flip),
    "hole": _overwrite(_with_hole),
    "empty": _overwrite(lambda *_: b""),
    "noise": _overwrite(lambda data, rng: rng.randbytes(rng.choice([1, 100, len(data)]))),
    "more": _overwrite(lambda data, rng: data + rng.choice([b"\0" * 100, b"\n", bytes(data), b"\xff\xfe", b"{}"])),
    "missing": _remove,
    "folder": _as_folder,
    "FIFO": _as_fifo,
    "loop": _as_loop,
    "another": _as_another,
    "enormous": _enormous,
}
TEXT: Mapping[str, Callable[[Path, RANDOM], None]] = {
    "digit": _overwrite(_digit),
    "UTF-16": _overwrite(lambda data, _: data.decode("latin-1").encode("utf-16")),
    "latin-1": _overwrite(lambda data, rng: data.replace(b"a", b"\xe9", rng.randrange(1, 9))),
    "BOM": _overwrite(lambda data, _: b"\xef\xbb\xbf" + data),
}
_VALUES: Sequence[Any] = (
    *(None, True, "text", "0.5", [], [1, [2]], {}, {"a": 1}, 1e308, 10**400, -1, 0, 1.5, float("nan"), float("inf")),
    *("\ud800", "\x1b[31mred[/red]", "x" * 100_000, "${oc.env:HOME}", "${", "../..", "/dev/zero", 2**63),
)


def _swap(content: Any, rng: RANDOM) -> None:
    """Put another value somewhere, or take a key away, or add one."""
    while True:
        if not isinstance(content, dict | list) or not content:
            return
        key: Any = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
        if isinstance(content[key], dict | list) and content[key] and rng.random() < 0.8:
            content = content[key]
            continue
        action = rng.random()
        if action < 0.7:
            content[key] = rng.choice(_VALUES)
        elif action < 0.85:
            del content[key]
        elif isinstance(content, dict):
            content[rng.choice(["more", "\x1b[2J", "step", ""])] = rng.choice(_VALUES)
        return


def _json(file: Path, rng: RANDOM) -> None:
    content = json.loads(file.read_text())
    _swap(content, rng)
    file.write_text(json.dumps(content))


def _json_lines(file: Path, rng: RANDOM) -> None:
    lines = file.read_text().splitlines()
    place = rng.randrange(len(lines))
    action = rng.choice(["swap", "swap", "swap", "twice", "half", "away", "deep", "other order"])
    if action == "swap":
        content = json.loads(lines[place])
        _swap(content, rng)
        lines[place] = json.dumps(content)
    elif action == "twice":
        lines.insert(rng.randrange(len(lines)), lines[place])
    elif action == "half":
        lines[place] = lines[place][: rng.randrange(len(lines[place]))]
    elif action == "away":
        del lines[place]
    elif action == "deep":
        lines[place] = "[" * 100_000
    else:
        rng.shuffle(lines)
    file.write_text("\n".join(lines) + "\n")


def _yaml(file: Path, rng: RANDOM) -> None:
    lines = file.read_text().splitlines()
    place = rng.choice([i for i, line in enumerate(lines) if ": " in line])
    key = lines[place].partition(":")[0]
    indent = key[: len(key) - len(key.lstrip())]
    value = rng.choice(
        [
            *(
                "",
                "text",
                "[]",
                "{}",
                "[1, 2]",
                "{a: 1}",
                "null",
                "true",
                "1e308",
                "1" * 400,
                "-1",
                "0",
                ".nan",
                "2024-01-01",
            ),
            *(
                "${oc.env:HOME}",
                "${",
                "'\\${'",
                "!!python/object/apply:os.getcwd []",
                "!!int ''",
                "*nothing",
                "&a [*a]",
            ),
            *(
                "'\\e[31m'",
                '"\\e[31m[/red]"',
                "???",
                "/dev/zero",
                "~nobody/x",
                "[" * 500,
                "1.5e-5",
                "99999999999",
                "'1'",
            ),
        ]
    )
    action = rng.choice(["swap", "swap", "swap", "swap", "twice", "away", "bomb", "merge"])
    if action == "swap":
        lines[place] = f"{key}: {value}"
    elif action == "twice":
        lines.insert(place, f"{key}: {value}")
    elif action == "away":
        del lines[place]
    else:
        merged = "<<: " if action == "merge" else ""
        opening, closing = ("{", "}") if merged else ("", "")
        bomb = "\n".join(
            f"{indent}x{i}: &x{i} {opening}{merged}[{', '.join([f'*x{i - 1}'] * 9)}]{closing}" for i in range(1, 12)
        )
        lines.insert(place, f"{indent}x0: &x0 {{a: 1}}\n{bomb}")
    file.write_text("\n".join(lines) + "\n")


def _arrays(file: Path, rng: RANDOM) -> None:
    with np.load(file) as held:
        arrays: dict[str, Any] = dict(held)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    changes: Sequence[Any] = (
        *(
            np.atleast_1d(array)[:1],
            array[..., None],
            array.astype(str),
            np.zeros(0),
            np.array(3),
            np.array([{}], dtype=object),
        ),
        *(np.full(array.shape, np.nan), np.zeros(array.shape, complex), np.zeros((2**28, 2), np.int8)),
    )
    arrays[name] = changes[rng.randrange(len(changes))]
    if rng.random() < 0.2:
        del arrays[name]
    np.savez_compressed(file, **arrays)


class _Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/mutations-ran-code",)


def _checkpoint(file: Path, rng: RANDOM) -> None:
    """Leave keys out, swap types, and change tensors so that they can't be the network's."""
    state = torch.load(file, weights_only=True)
    action = rng.choice(["key", "value", "tensor", "tensor", "zipped", "code", "legacy"])
    if action == "key":
        del state[rng.choice([key for key in state if key not in ("classes", "clock", "images")])]
    elif action == "value":
        # not of what is only said (classes, clock), nor where another value is as good (the step)
        key = rng.choice([key for key in ("network", "optimizer", "random", "losses", "best") if key in state])
        state[key] = rng.choice([None, "text", [], [1], {"a": 1}, 3, torch.zeros(2), {"a": torch.zeros(1)}])
    elif action == "tensor":
        network = state["network"]
        name = rng.choice([name for name in network if not name.endswith("num_batches_tracked")])
        network[name] = rng.choice(_tensors(network[name]))
    elif action == "code":
        state["network"]["code"] = _Code()
    torch.save(state, file, _use_new_zipfile_serialization=action != "legacy")
    if action == "zipped":
        _rezip(file)


def _tensors(tensor: torch.Tensor) -> list[Any]:
    return [
        tensor[:1].clone() if tensor.shape[0] > 1 else tensor[None],
        tensor[..., None],
        tensor.to_sparse(),
        tensor.to("meta"),
        tensor.to(torch.complex64),
        torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
        tensor.to(torch.int8),
        tensor.flatten()[:1].expand(2**40),
        tensor * torch.nan,
        tensor.double() * 1e300,
        3.0,
        [1.0],
    ]


def _rezip(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


# Which commands read which file.


@dataclass(frozen=True)
class Target:
    """A file of a run folder, how its content is damaged, and the commands that read it."""

    file: str
    damages: Mapping[str, Callable[[Path, RANDOM], None]]
    commands: Sequence[str]
    weight: int = 1


TARGETS = (
    Target("config.yaml", ANY_FILE | TEXT | dict.fromkeys(["YAML", "YAML ", "YAML  ", "YAML   "], _yaml), ("compare", "evaluate", "resume", "fine-tune", "visualize", "export"), 5),
    Target("summary.json", ANY_FILE | TEXT | dict.fromkeys(["JSON", "JSON ", "JSON  ", "JSON   "], _json), ("compare", "compare", "evaluate", "resume", "resume completed"), 4),
    Target("metrics.jsonl", ANY_FILE | TEXT | dict.fromkeys(["JSON", "JSON ", "JSON  ", "JSON   "], _json_lines), ("compare", "compare", "resume", "visualize"), 4),
    Target("per_image.npz", ANY_FILE | dict.fromkeys(["arrays", "arrays ", "arrays  "], _arrays), ("compare",), 3),
    Target("checkpoints/best.pt", ANY_FILE | dict.fromkeys(["state", "state ", "state  "], _checkpoint), ("evaluate", "resume", "fine-tune", "visualize", "export"), 3),
    Target("checkpoints/last.pt", ANY_FILE | dict.fromkeys(["state", "state ", "state  "], _checkpoint), ("evaluate last", "resume"), 3),
    Target("checkpoints/previous.pt", ANY_FILE, ("resume",)),
    Target("paths.json", ANY_FILE | TEXT | {"JSON": _json}, ("evaluate", "resume")),
    Target("overrides.txt", ANY_FILE | TEXT, ("compare", "resume")),
    Target("env.json", ANY_FILE | TEXT | {"JSON": _json}, ("compare", "evaluate", "resume")),
    Target("metrics.csv", ANY_FILE | TEXT, ("resume",)),
)  # fmt: skip


def arguments_of(command: str, run: Path, out: Path) -> list[str]:
    """The command line, without `dcnrun`; its result is the object of --json."""
    match command.split():
        case ["compare"]:
            return ["compare", str(run), "--out", str(out), "--json"]
        case ["evaluate", *which]:
            return ["evaluate", str(run), "--checkpoint", which[0] if which else "best", "--json"]
        case ["resume", *_]:
            return ["train", "--resume", str(run), "--json"]
        case ["fine-tune"]:
            return ["train", "--dry-run", *TINY, f"model.weights={run}", "--json"]
        case ["visualize"]:
            return [
                "visualize-offsets",
                str(run),
                "val-000000",
                "--limit",
                "1",
                "--no-page",
                "--out",
                str(out),
                "--json",
            ]
        case _:
            return ["export", str(run), "--out", str(out / "model.onnx"), "--json"]


VOLATILE = (
    *("_per_second", "seconds", "memory", "wait_share", "folder", "out", "file", "run", "bytes", "device", "pictures"),
    *("config", "warnings", "settings", "versions", "comparisons", "page", "history", "not_finite"),
)


def numbers(value: Any) -> Any:
    """What of a result must not change in silence: all that is not timed, a place, or said in words."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if not any(part in key for part in VOLATILE)}
        return {key: numbers(item) for key, item in kept.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else value


# Running a command in a forked process.


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int | str
    out: str
    said: str
    seconds: float
    """Without those in which it waited for a core."""
    bytes: int


def run(arguments: Sequence[str], longest: float = 4 * LONGEST_S) -> Ran:
    """Run the command line in a fork of this process, which has imported all that it needs."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, "out"), Path(folder, "err")]
        began = time.monotonic()
        child = os.fork()
        if not child:
            _run_here(arguments, files)
        status: int | str = "hangs"
        waited = 0.0
        while time.monotonic() - began - waited < longest:
            with contextlib.suppress(OSError):
                waited = int(Path(f"/proc/{child}/schedstat").read_text().split()[1]) / 1e9
            done, raw, usage = os.wait4(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(raw)
                break
            time.sleep(0.01)
        else:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
        out, said = (file.read_text(errors="replace") if file.exists() else "" for file in files)
        return Ran(status, out, said, time.monotonic() - began - waited, usage.ru_maxrss * 1024)


def _run_here(arguments: Sequence[str], files: Sequence[Path]) -> None:
    from dcnrun.cli import app
    from dcnrun.console import console

    console.width = 1000  # a line is judged as it was meant, whatever the length of the folder's name
    code = 1
    try:
        for file, descriptor in zip(files, (1, 2), strict=True):
            with file.open("wb") as opened:
                os.dup2(opened.fileno(), descriptor)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, held + MOST_BYTES))
        sys.argv = ["dcnrun", *arguments]
        app()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def result_of(ran: Ran, command: str, folder: RunFolder) -> Any:
    """The numbers of a command: of its object and, where a run was resumed, of what it logged."""
    try:
        result = numbers(json.loads(ran.out.splitlines()[-1]))
    except (ValueError, IndexError):
        return None
    logged = {}
    if command.startswith("resume"):
        for record in folder.read_metrics():
            values = {
                name: value for name, value in record.values.items() if not any(part in name for part in VOLATILE)
            }
            logged[f"{record.split} {record.step}"] = values
    return [result, logged]


def judge(ran: Ran, result: Any, wanted: Any, names: Sequence[str]) -> str:
    """In a word, what came of a case."""
    lines = [line for line in ran.said.splitlines() if "arning" in line or line.startswith("error:")]
    if "Traceback" in ran.said or ran.status not in (0, 1, 2, "hangs"):
        return "traceback"
    if ran.status == "hangs":
        return "hang"
    if ran.bytes > MOST_BYTES:
        return "memory"
    if any("\x1b" in line or "weights_only" in line for line in ran.said.splitlines()):
        return "internals"
    is_named = any(name in line for name in names for line in lines)
    if ran.status != 0:
        return "refused" if is_named else "refused, but not named"
    if result == wanted:
        return "same, and said" if is_named else "same"
    return "said" if is_named else "silent"


# Foreign checkpoints.


def foreign(number: int, whole: Mapping[str, torch.Tensor], path: Path) -> str:
    """Write one, and return what it is; `whole` is the state dict of a network of ours."""
    import torchvision

    rng = RANDOM(f"foreign {number}")
    backbone = {name.removeprefix("backbone."): value for name, value in whole.items() if name.startswith("backbone.")}
    kind = rng.choice(["network", "prefix", "pickle", "zip", "tensor", "tensor", "other", "bytes", "nested", "legacy"])
    if kind == "network":
        name = rng.choice(["resnet34", "vgg11", "mobilenet_v2", "squeezenet1_0", "resnet18", "shufflenet_v2_x0_5"])
        torch.save(getattr(torchvision.models, name)().state_dict(), path)
        return name
    if kind == "prefix":
        prefix = rng.choice(
            ["module.", "model.", "backbone.", "student.backbone.", "_orig_mod.", "0.", "\x1b[31m.", ""]
        )
        container = rng.choice(["state_dict", "model", "model_state_dict", "ema", "net", None])
        extra = {f"{prefix}layer2.0.conv2.conv_offset.weight": torch.zeros(2), "neck.weight": torch.ones(3)}
        state = {prefix + name: value for name, value in backbone.items()} | extra
        torch.save({container: state, "epoch": 3, "lr": [0.1]} if container else state, path)
        return f"{container}: {prefix!r}"
    if kind == "pickle":
        pickled = rng.choice([torch.nn.Linear(2, 2), {"conv1.weight": _Code()}, np.zeros(3), Path("/tmp"), {1, 2}])
        if rng.random() < 0.5:
            torch.save(pickled, path)
        else:
            path.write_bytes(pickle.dumps(pickled))
        return f"pickle of {type(pickled).__name__}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
            for name in rng.sample(["data.pkl", "a/data.pkl", "a/version", "word/document.xml", "constants.pkl"], 3):
                archive.writestr(name, rng.choice([b"", b"\x80\x02}q\x00.", b"0" * 10**6, rng.randbytes(99)]))
        return "zip"
    if kind == "tensor":
        name = rng.choice([name for name in backbone if not name.endswith("num_batches_tracked")])
        place = rng.randrange(12)
        torch.save(backbone | {name: _tensors(backbone[name])[place]}, path)
        return f"tensor {place} in {name}"
    if kind == "other":
        contents = [
            3,
            None,
            [],
            {},
            "text",
            torch.zeros(3),
            {"state_dict": 3},
            {3: torch.zeros(2)},
            [backbone],
            {"network": backbone},
        ]
        place = rng.randrange(len(contents))
        torch.save(contents[place], path)
        return f"content {place}"
    if kind == "bytes":
        buffer = io.BytesIO()
        torch.save(backbone, buffer)
        path.write_bytes(buffer.getvalue())
        damage = rng.choice(sorted(ANY_FILE.keys() - {"another"}))
        ANY_FILE[damage](path, rng)
        return damage
    if kind == "nested":
        nested: Any = {"w": torch.zeros(1)}
        for _ in range(rng.choice([3, 30])):
            nested = {f"k{i}": nested for i in range(9)}
        torch.save(nested | {"state_dict": backbone}, path)
        return "nested"
    torch.save(
        {"step": rng.choice([1, "x"]), "network": rng.choice([whole, backbone, [1]])},
        path,
        _use_new_zipfile_serialization=False,
    )
    return "legacy"


# All cases.


@dataclass(frozen=True)
class Bases:
    """A completed run, the same run before its last step, and what commands say of them."""

    finished: Path
    stopped: Path
    wanted: Mapping[str, Any]
    slowest: Mapping[str, float]


def prepare(folder: Path, commands: Sequence[str]) -> Bases:
    """Train the run that all cases damage a copy of."""
    finished, stopped = folder / "finished", folder / "stopped"
    ran = run(["train", *TINY, "logger=csv", "--run-dir", str(finished), "--json"], 300)
    assert ran.status == 0, ran.said
    shutil.copytree(finished, stopped)
    held = RunFolder(stopped)
    held.previous_checkpoint.replace(held.last_checkpoint)  # of step 4
    shutil.copyfile(held.last_checkpoint, held.previous_checkpoint)
    best = torch.load(held.best_checkpoint, weights_only=True)
    metric = next(key for key in best["best"] if key != "step")
    torch.save(best | {"step": 3, "best": {"step": 3, metric: dict(held.curve(metric))[3]}}, held.best_checkpoint)
    held.per_image_file.unlink()
    held.write_summary(
        held.read_summary() | {"status": "stopped", "metrics": {}, "per_class": {}, "best": {}, "step": 4}
    )
    wanted, slowest = {}, {}
    for command in commands:
        run_folder = copy_of(finished, stopped, command, folder / "work")
        ran = run(arguments_of(command, run_folder, folder / "out"), 300)
        assert ran.status == 0, (command, ran.said)
        wanted[command], slowest[command] = result_of(ran, command, RunFolder(run_folder)), ran.seconds
    return Bases(finished, stopped, wanted, slowest)


def copy_of(finished: Path, stopped: Path, command: str, to: Path) -> Path:
    """A fresh copy of the run that a command reads."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(stopped if command == "resume" else finished, to))


def draw(number: int) -> tuple[Target, str, str, RANDOM]:
    """Return what a case damages, the command that reads it, the damage, and what the rest is drawn from."""
    rng = RANDOM(f"mutation {number}")
    target = rng.choices(TARGETS, [target.weight for target in TARGETS])[0]
    command = rng.choice(target.commands)
    if command in ("visualize", "export") and rng.random() < 0.7:  # slow, and they read a run as evaluate does
        command = rng.choice(target.commands)
    return target, command, rng.choice(sorted(target.damages)), rng


def mutation(number: int, bases: Bases, folder: Path) -> dict[str, Any]:
    """One case: what was damaged, how, and what came of it."""
    target, command, kind, rng = draw(number)
    run_folder = copy_of(bases.finished, bases.stopped, command, folder / "work")
    file = run_folder / target.file
    what = {"number": number, "file": target.file, "damage": kind.strip(), "command": command}
    if not file.exists():  # a run that was stopped has no results per image
        return what | {"came": "same", "seconds": 0.0}
    target.damages[kind](file, rng)
    names = (file.name, str(run_folder), *(["config's"] if target.file.endswith(".pt") else []))
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    ran = run(arguments_of(command, run_folder, out))
    came = judge(ran, result_of(ran, command, RunFolder(run_folder)), bases.wanted[command], names)
    return what | _measured(ran, came, bases.slowest[command])


def foreign_case(number: int, whole: Mapping[str, torch.Tensor], folder: Path) -> dict[str, Any]:
    """One foreign checkpoint as `model.weights`: refused in a line that names it, or loaded with what was not used."""
    path = folder / "foreign.pt"
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    what = foreign(number, whole, path)
    ran = run(["train", "--dry-run", *TINY, f"model.weights={path}", "--json"])
    said = [line for line in ran.said.splitlines() if line.startswith(f"model.weights={path}: ")]
    came = judge(ran, bool(said), True, (path.name,))
    return {"number": number, "damage": what, "command": "foreign", **_measured(ran, came, 0.0)}


def _measured(ran: Ran, came: str, undamaged: float) -> dict[str, Any]:
    if came not in ("traceback", "hang") and ran.seconds > undamaged + LONGEST_S:
        came = "hang"
    kept = {"came": came, "seconds": round(ran.seconds, 2), "MiB": ran.bytes >> 20}
    return kept | ({"said": ran.said[-3000:]} if came in FAULTS else {})


FAULTS = ("traceback", "hang", "memory", "internals", "silent", "refused, but not named")


def tried(numbers: Sequence[int], bases: Bases, folder: Path, verbose: bool = False) -> list[dict[str, Any]]:
    """All these cases, shared by as many processes as there are cores."""
    whole = torch.load(RunFolder(bases.finished).best_checkpoint, weights_only=True)["network"]
    shares = [numbers[i :: available_cores()] for i in range(min(available_cores(), len(numbers)))]
    children = []
    for place, share in enumerate(shares):
        if child := os.fork():
            children.append(child)
            continue
        try:
            _try_share(share, bases, whole, folder / str(place), verbose)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    files = [folder / str(place) / "cases.jsonl" for place in range(len(shares))]
    cases = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(cases) == len(numbers), "a process of this script ended early"
    return sorted(cases, key=lambda case: case["number"])


def _try_share(
    numbers: Sequence[int], bases: Bases, whole: Mapping[str, torch.Tensor], folder: Path, verbose: bool
) -> None:
    folder.mkdir()
    with (folder / "cases.jsonl").open("w") as file:
        for number in numbers:
            is_mutation = number < MUTATIONS
            case = mutation(number, bases, folder) if is_mutation else foreign_case(number, whole, folder)
            file.write(json.dumps(case) + "\n")
            file.flush()
            if verbose or case["came"] in FAULTS:
                print(json.dumps({key: value for key, value in case.items() if key != "said"}))
                print(case.get("said", ""), flush=True)


def _range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def main(arguments: Sequence[str]) -> int:
    out, *options = arguments
    only = [number for part in options[1].split(",") for number in _range(part)] if options[:1] == ["--only"] else None
    import dcnrun.compare.compare_runs
    import dcnrun.export.run
    import dcnrun.training.run
    import dcnrun.visualize.command  # noqa: F401
    from dcnrun.training import validation

    torch.set_num_threads(1)
    validation.TIMED_BATCHES = 1  # of an inference whose speed no case looks at
    os.environ["WANDB_MODE"] = "disabled"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        commands = sorted({command for target in TARGETS for command in target.commands})
        bases = prepare(folder, commands)
        cases = tried(only or range(MUTATIONS + FOREIGN), bases, folder, verbose=only is not None)
    came = {
        name: dict(
            sorted(Counter(case["came"] for case in cases if (case["command"] == "foreign") == is_foreign).items())
        )
        for name, is_foreign in (("mutations", False), ("foreign", True))
    }
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    result = {
        "machine": describe(),
        "command": "python -m benchmarks.mutations benchmarks/results/mutations.json",
        "commit": commit,
        "came": came,
        "faults": sum(case["came"] in FAULTS for case in cases),
        "slowest_s": max(case["seconds"] for case in cases),
        "seconds_undamaged": {command: round(seconds, 2) for command, seconds in bases.slowest.items()},
        "commands": dict(Counter(case["command"] for case in cases)),
        "files": dict(Counter(case["file"] for case in cases if "file" in case)),
        "wrong": [case for case in cases if case["came"] in FAULTS],
    }
    Path(out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(came, indent=1))
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
