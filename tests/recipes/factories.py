"""A copy of the package that a recipe of CONTRIBUTING.md is followed in, and the commands that are run there."""

import difflib
import filecmp
import gc
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

CODE = Path(__file__).parents[2]

# The smallest run that goes through everything.
TINY = [
    "data.batch_size=4",
    "data.eval_batch_size=4",
    "data.workers=0",
    "model.backbone=resnet18",
    "model.width=16",
    "trainer.steps=2",
    "trainer.eval_every=1",
    "trainer.log_every=1",
    "trainer.threads=1",
    "trainer.pictures=0",
]
TINY_SHAPES = [*TINY, "data=shapes", "data.image_size=64", "data.train_images=8", "data.val_images=4"]
TINY_HEAD = ["model.head_channels=16"]
TINY_DETECTOR = [
    "model.fpn_channels=64",
    "model.anchor_sizes=[8,16,32,64,128]",
    "optim.lr=0.001",
]

_LIBRARIES = (
    "hydra",
    "hypothesis",
    "lightning_fabric",
    "matplotlib.figure",
    "onnxruntime",
    "onnxscript",
    "pytest",
    "rich.table",
    "scipy.stats",
    "torch.onnx",
    "torchvision",
    "typer.testing",
)
"""What the commands import, `dcnrun` apart."""


@dataclass(frozen=True)
class Recipe:
    """A section of CONTRIBUTING.md that says in numbered steps what is to be edited and added."""

    title: str
    files: frozenset[str]
    """The paths that the steps name, NAME as it is written there; a folder ends with a slash."""


def read_recipes(text: str) -> dict[str, Recipe]:
    """Return the recipes of CONTRIBUTING.md by their titles: the sections "Add a ..."."""
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    titled = {section.partition("\n")[0]: section for section in sections if section.startswith("Add a")}
    return {title: Recipe(title, frozenset(_paths_in_steps(section))) for title, section in titled.items()}


def _paths_in_steps(section: str) -> list[str]:
    steps = re.findall(r"^\d+\. .*(?:\n   .*)*", section, flags=re.MULTILINE)
    return [path for step in steps for path in re.findall(r"`((?:dcnrun|conf|tests)/[\w./]+)`", step)]


class Copy:
    """The package, its settings and its tests in a folder of their own, to be changed and run."""

    def __init__(self, folder: Path, commands: "CommandServer") -> None:
        self.folder = folder
        self._commands = commands
        for name in ("dcnrun", "conf", "tests"):
            shutil.copytree(CODE / name, folder / name, ignore=shutil.ignore_patterns("fixtures", "recipes"))
        for name in ("kernels", "sweeps", "tests/fixtures"):
            (folder / name).symlink_to(CODE / name)
        shutil.copy(CODE / "pyproject.toml", folder)

    def insert_after(self, file: str, anchor: str, text: str) -> None:
        """Insert lines below the only line, or the only block of lines, that reads `anchor`."""
        self._insert(file, anchor, f"{anchor}{text}")

    def insert_before(self, file: str, anchor: str, text: str) -> None:
        """Insert lines above the only line, or the only block of lines, that reads `anchor`."""
        self._insert(file, anchor, f"{text}{anchor}")

    def write(self, file: str, text: str) -> None:
        """Add a new file."""
        path = self.folder / file
        assert not path.exists(), f"{file} is there already: insert into it"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _insert(self, file: str, anchor: str, replacement: str) -> None:
        path = self.folder / file
        content = path.read_text()
        assert content.count(anchor) == 1, f"{file} has {content.count(anchor)} times {anchor!r}: give another anchor"
        path.write_text(content.replace(anchor, replacement))

    @property
    def added(self) -> set[str]:
        """The files that were added."""
        return {file for file in self._files() if not (CODE / file).exists()}

    @property
    def edited(self) -> set[str]:
        """The files that were there and are no longer what they were."""
        there = self._files() - self.added
        return {file for file in there if not filecmp.cmp(CODE / file, self.folder / file, shallow=False)}

    def _files(self) -> set[str]:
        found = [path for name in ("dcnrun", "conf", "tests") for path in (self.folder / name).rglob("*")]
        return {
            path.relative_to(self.folder).as_posix()
            for path in found
            if path.is_file() and "__pycache__" not in path.parts
        }

    def edits(self) -> int:
        """Count the places in files that were there at which something was inserted; an import belongs to what it is for."""
        return sum(self._edits_of(file) for file in self.edited)

    def _edits_of(self, file: str) -> int:
        before, after = ((root / file).read_text().splitlines() for root in (CODE, self.folder))
        changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        end_of_imports = next(
            number for number, line in enumerate(before) if re.match(r"@|class |def |[A-Z_a-z]+\b.* = ", line)
        )
        return sum(tag != "equal" and start > end_of_imports for tag, start, *_ in changes)

    def touched(self, name: str) -> set[str]:
        """Return what was touched, in the words of a recipe: NAME for the name that the new thing was given."""
        return self.edited | {file.replace(name, "NAME") for file in self.added}

    def run(self, *commands: Sequence[str]) -> list[str]:
        """Run commands of `dcnrun`, or `pytest`, in one process; each must succeed. Return what each printed."""
        results = self._commands.run(self.folder, commands)
        for command, (exit_code, output) in zip(commands, results, strict=True):
            assert exit_code == 0, f"{' '.join(command)}: exit code {exit_code}\n{output}"
        return [output for _, output in results]

    def fail(self, *command: str) -> str:
        """Run a command of `dcnrun` that is a wrong one, and return what it printed."""
        ((exit_code, output),) = self._commands.run(self.folder, [command])
        assert exit_code == 2, output
        return output


class CommandServer:
    """A process that has imported the libraries, but nothing of dcnrun: from it each copy's commands start at once."""

    def __init__(self) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYTHON"))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=inherited | {"COLUMNS": "200", "WANDB_MODE": "offline"},
        )

    def run(self, folder: Path, commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
        """Run commands with the code in a folder, which is their working directory too: exit codes, and what was printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), commands]) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "0\n", "the process that ran the commands broke down"
        results: list[tuple[int, str]] = json.loads((folder / "results.json").read_text())
        return results

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _serve() -> None:
    """Read folders and commands, and run them in children of this process, one after the other."""
    for library in _LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # no child looks for garbage among the libraries, nor copies their memory by that
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(2, 1)  # what libraries print is no answer
            try:
                _run(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)


def _run(folder: str, commands: list[list[str]]) -> None:
    """Run commands with the code in a folder, and write their exit codes and what they printed to a file there."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    import pytest
    from typer.testing import CliRunner

    from dcnrun.cli import app
    from dcnrun.training import validation

    validation.TIMED_BATCHES = 1  # of an inference whose speed no recipe looks at
    results: list[tuple[int, str]] = []
    for command, *arguments in commands:
        if command == "pytest":
            printed = io.StringIO()
            with redirect_stdout(printed):
                results.append((int(pytest.main(["-p", "no:cacheprovider", *arguments])), printed.getvalue()))
        else:
            result = CliRunner().invoke(app, [command, *arguments])
            results.append((result.exit_code, result.output))
    Path("results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    _serve()
