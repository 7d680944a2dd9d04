"""The recipe "Add a logger", followed to the letter: a line to read for each validation."""

from tests.recipes.factories import TINY_HEAD, TINY_SHAPES


def add_logger(package):
    package.insert_after(
        "dcnrun/config/schema.py",
        '    csv: bool = setting(False, "also write metrics.csv", changes_numbers=False)\n',
        '    text: bool = setting(False, "also write validations.txt", changes_numbers=False)\n',
    )
    package.insert_before(
        "dcnrun/training/loggers.py",
        "def under_wandb_agent() -> bool:\n",
        '''\
class TextLogger(Logger):
    """validations.txt: a line to read for each validation."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self._file = self.path(folder).open("a", encoding="utf-8")

    @staticmethod
    def path(folder: RunFolder) -> Path:
        """Return where the lines go."""
        return folder.path / "validations.txt"

    def log(self, step: int, epoch: float, split: str, values: Values) -> None:
        """Append one line for a validation."""
        if split == "val":
            line = f"{step}: {'  '.join(f'{name} {value:.4f}' for name, value in values.items())}\\n"
            with _full_disk_explained(Path(self._file.name)):
                self._file.write(line)
                self._file.flush()

    def close(self, status: RunStatus) -> None:
        """Say how the run ended."""
        self._file.write(f"{status}\\n")
        self._file.close()

    @classmethod
    def forget_after(cls, folder: RunFolder, step: int) -> list[str]:
        """Drop lines past a step, and how the run ended; there is nothing to say of the rest."""
        if cls.path(folder).exists():
            numbered = [line.partition(":") for line in cls.path(folder).read_text(encoding="utf-8").splitlines()]
            kept = ["".join(parts) + "\\n" for parts in numbered if parts[1] and int(parts[0]) <= step]
            write_text(cls.path(folder), "".join(kept))
        return []


''',
    )
    package.insert_after(
        "dcnrun/training/loggers.py",
        "    CsvLogger: lambda logger: logger.csv,\n",
        "    TextLogger: lambda logger: logger.text,\n",
    )
    package.write("conf/logger/text.yaml", "text: true\n")
    package.insert_before(
        "tests/training/test_loggers.py",
        "def test_forgets_what_comes_after_a_step_and_a_torn_line(tmp_path):\n",
        """\
def test_validations_in_text_past_a_step_are_forgotten(tmp_path):
    lines = tmp_path / "validations.txt"
    lines.write_text("1: val/miou 0.1\\n2: val/miou 0.2\\nstopped\\n")
    forget_after(RunFolder(tmp_path), 1)
    assert lines.read_text() == "1: val/miou 0.1\\n"


""",
    )


def test_a_logger_follows_a_run(package, recipes):
    add_logger(package)
    assert package.touched("text") == recipes["Add a logger"].files
    tiny = [*TINY_SHAPES, *TINY_HEAD, "conv.layers=1", "logger=text", "trainer.save_every=1"]
    listed, plan, *_ = package.run(
        ("config", "--list"),
        ("train", *tiny, "--dry-run"),
        ("train", *tiny, "conv=deformable", "--run-dir", "deformable"),
        ("train", *tiny, "conv=standard", "logger.text=false", "--run-dir", "standard"),
        ("compare", "standard", "deformable", "--out", "compared"),
        ("pytest", "tests/training/test_loggers.py", "-k", "text"),
    )
    assert "jsonl, mlflow, tensorboard, text, wandb" in listed
    assert "text: true" in plan
    lines = (package.folder / "deformable" / "validations.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["1", "2", "completed"]
    assert "val/miou 0." in lines[0]
    assert not (package.folder / "standard" / "validations.txt").exists()
    assert (package.folder / "compared" / "compare.png").stat().st_size > 10_000
