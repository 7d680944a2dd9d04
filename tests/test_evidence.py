"""Figures in README and docs are those of results, each result is described, and those that are older than their code say so."""

import ast
import json
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import deployment
from benchmarks.evidence import BEGIN, END, TABLE, changes_since, commit_of, git, json_files, stamp, table
from benchmarks.evidence_list import RESULTS, Result

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_MEASURED = {
    "95 % interval": "the level of all intervals",
    "at most 0.6 MB for an image": "what the page allows itself",
    "Of the 5.5 points": "of the DCNv1 paper, as the next number",
    "displacements of 3 x 3 points": "a count",
    "by up to 15 degrees": "a setting",
    "(3 % with": "a tolerance",
    "more than 1 % of detections": "a limit",
    "at most 10 % of the pixels": "a limit",
    "at least 1.1 times as fast": "a threshold",
    "median, 95 %, most": "names of columns",
    "right to 2.3 %": "follows from the width of the bins",
    "99 % of the sampling points hardly move": "a threshold",
    "95 % are below 0.05": "a threshold",
    "up to 32 times": "a limit",
    "the 99 % quantile": "a definition",
    "contain 50 and 90 %": "a definition",
    "killed after 30 s": "a limit",
    "without a heartbeat for 60 s": "a limit",
}
"""What has a unit and is no measurement, by the words around it, and what it is."""

OTHERWISE_FOUND = {
    "+3.8 [-1.9, +9.6]": "the first three of the five seeds in results/shapes, by dcnrun.compare.statistics",
    "saved 55 % of the training steps": "1 - share_of_steps",
    "| 24.2 |": "ours / conv2d times torchvision / ours",
    "1.9 to 3.7 times as long for one layer": "ratios of the times in `forms`",
    "killed 200 times": "the kills of the three commands, added",
}
"""Figures that stand beside a link to a result and are not in it, by the words around them, and where they come from."""

NUMBER = r"(?<![\w./-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?"
UNIT = r"(?:%|(?:milli|micro)?seconds?\b|ms\b|s\b|minutes?\b|hours?\b|points?\b|images/s|images a second|[KMG]i?B\b|times\b)"
WITH_UNIT = re.compile(rf"(?P<numbers>{NUMBER}(?: (?:to|and|against) {NUMBER})*) ?(?P<unit>{UNIT})")
DECIMAL = re.compile(r"(?<![\w./-])[-+]?\d+(?:,\d{3})*\.\d+(?:e-?\d+)?(?![\w.])")
SCALES: dict[str, tuple[float, ...]] = {
    "%": (1, 100),
    "point": (1, 100),
    "s": (1, 1e-3, 1e-6),
    "second": (1, 1e-3, 1e-6),
    "ms": (1, 1e3, 1e-3),
    "millisecond": (1, 1e3, 1e-3),
    "microsecond": (1, 1e6, 1e3),
    "minute": (1, 1 / 60, 1e-3 / 60),
    "hour": (1, 1 / 60, 1 / 3600),
    "KB": (1e-3,),
    "MB": (1, 1e-6),
    "GB": (1, 1e-9, 1e-3),
    "KiB": (1, 2**-10),
    "MiB": (1, 2**-20),
    "GiB": (1, 2**-30, 2**-10),
}
"""By unit, what a number of a result is multiplied with to be printed: files have bytes, seconds and shares."""
BARE = (1, 100)
"""The same of numbers without a unit beside them: those of tables have it in their heads."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, item of a list or table, without code and addresses, and the results that it links to."""

    page: Path
    text: str
    links: frozenset[Path]

    def figures(self, allowed: dict[str, str]) -> dict[str, tuple[float, ...]]:
        """The numbers with a unit or a decimal point, without those among allowed words, and their scales."""
        text = self.text
        for words in allowed:
            text = text.replace(words, " ")
        bare = {found.group(): BARE for found in DECIMAL.finditer(text)}
        return bare | self.measured(allowed)

    def measured(self, allowed: dict[str, str]) -> dict[str, tuple[float, ...]]:
        """Those with a unit."""
        text = self.text
        for words in allowed:
            text = text.replace(words, " ")
        return {
            number: SCALES.get(found["unit"].removesuffix("s") or "s", (1,))
            for found in WITH_UNIT.finditer(text)
            for number in re.findall(NUMBER, found["numbers"])
        }


def paragraphs(page: Path) -> list[Paragraph]:
    """The paragraphs of a page that no script wrote, each with its own links to results, or else with those of its section."""
    text = re.sub(r"```.*?```|<!-- (\w+): start -->.*?<!-- \1: end -->", "", page.read_text(), flags=re.DOTALL)
    found = []
    for section in re.split(r"\n(?=#)", text):
        of_section = results_linked(section)
        for part in re.split(r"\n\s*\n|\n(?=- )", section):
            plain = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", part))
            found.append(Paragraph(page, " ".join(plain.split()), results_linked(part) or of_section))
    return found


def results_linked(text: str) -> frozenset[Path]:
    return frozenset(KEPT / name for name in re.findall(r"\]\([^)]*?benchmarks/results/([^)#]+)\)", text))


ALL = [paragraph for page in PAGES for paragraph in paragraphs(page)]


@cache
def numbers_in(link: Path) -> np.ndarray:
    """All numbers of a result, sorted, without signs."""
    beside = (
        [link]
        if link.suffix == ".json"
        else [file for file in link.parent.iterdir() if file.suffix in (".json", ".md")]
    )
    words = re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", " ".join(file.read_text() for file in beside))
    return np.unique([float(word.replace(",", "")) for word in words if word.strip(",")])


def is_in(printed: str, scales: tuple[float, ...], result: np.ndarray) -> bool:
    """Whether a result holds a number that is rounded to what is printed, in one of these scales."""
    mantissa, _, exponent = printed.replace(",", "").lstrip("+-").partition("e")
    digits = len(mantissa.partition(".")[2]) - int(exponent or 0)
    wanted, half = float(mantissa) * 10.0 ** int(exponent or 0), 0.5 * 10.0**-digits
    ends = ([(wanted - half) / scale * (1 - 1e-9), (wanted + half) / scale * (1 + 1e-9)] for scale in scales)
    return any(low < high for low, high in (np.searchsorted(result, pair) for pair in ends))


def test_a_figure_beside_a_link_is_in_that_result():
    """One of few digits may be found by chance; one that is not found is wrong."""
    strange = [
        f"{paragraph.page.name}: {figure} is in none of {', '.join(link.name for link in paragraph.links)}: ...{paragraph.text[:300]}"
        for paragraph in ALL
        if paragraph.links
        for figure, scales in paragraph.figures(NOT_MEASURED | OTHERWISE_FOUND).items()
        if not any(is_in(figure, scales, numbers_in(link)) for link in paragraph.links)
    ]
    assert not strange, "\n".join(strange)


def test_a_measured_figure_has_a_link_to_its_result():
    alone = [
        f"{paragraph.page.name}: {figure} of ...{paragraph.text[:200]}"
        for paragraph in ALL
        if not paragraph.links
        for figure in paragraph.measured(NOT_MEASURED)
    ]
    assert not alone, "\n".join(alone)


@pytest.mark.parametrize("words", [*NOT_MEASURED, *OTHERWISE_FOUND])
def test_every_exception_is_needed(words):
    assert any(words in paragraph.text for paragraph in ALL), f"nothing says {words!r} any more: take it off the list"


def test_tables_that_a_script_writes_are_those_of_its_result():
    written = (ROOT / "docs" / "deployment.md").read_text().partition(f"{deployment.START}\n")[2]
    result = json.loads((KEPT / "deployment.json").read_text())
    assert written.startswith(deployment.tables(result))


def test_every_result_is_described_once():
    described = [file for result in RESULTS for file in result.files if file.startswith("benchmarks/")]
    kept = {f"benchmarks/results/{path.name}{'/' if path.is_dir() else ''}" for path in KEPT.iterdir()}
    assert kept <= set(described)
    assert len(described) == len(set(described))
    assert len({result.name for result in RESULTS}) == len(RESULTS)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.name)
def test_commands_give_the_scripts_what_they_require(result):
    """As far as argparse is told: options without which it ends."""
    for command in result.commands:
        for script in re.findall(r"python (?:-m )?benchmarks[/.](\w+)", command):
            tree = ast.parse((ROOT / "benchmarks" / f"{script}.py").read_text("utf-8"))
            calls = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument")
            ]
            required = [
                ast.literal_eval(call.args[0])
                for call in calls
                if any(word.arg == "required" for word in call.keywords)
            ]
            assert [option for option in required if option not in command.split()] == []


def test_the_table_is_that_of_the_list():
    written = TABLE.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert written == table(), "run python -m benchmarks.evidence --table"


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.name)
def test_what_a_result_names_is_there(result):
    commands = " ".join(result.commands)
    scripts = re.findall(r"python (benchmarks/\w+\.py)", commands)
    scripts += [f"benchmarks/{name}.py" for name in re.findall(r"python -m benchmarks\.(\w+)", commands)]
    for path in (*scripts, *result.measures):
        assert (ROOT / path).exists(), path
    assert "{before}" not in commands or result.before
    assert [file for file in json_files(result) if file.exists() and commit_of(file) is None] == []


def test_a_result_older_than_its_code_says_so():
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository: which commits changed the code since can't be told")
    if git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("a clone without its history: which commits changed the code since can't be told")
    silent = [f"{result.name}: {older}" for result in RESULTS if (older := changes(result)) and not result.older]
    assert not silent, "\n".join([*silent, "make evidence PART=NAME, or say in evidence_list.py why it still stands."])
    new = [result.name for result in RESULTS if result.older and not changes(result)]
    assert not new, f"{', '.join(new)}: as new as the code; take `older` off the list"


@cache
def changes(result: Result) -> list[str]:
    """The commits that changed what a result measures since it was made; none where it is not there."""
    commits = dict.fromkeys(commit for file in json_files(result) if (commit := commit_of(file)))
    found: list[str] = []
    for commit in commits:
        try:
            found += changes_since(commit, result.measures)
        except subprocess.CalledProcessError:
            found.append(f"{commit} is not among the commits here")
    return found


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.name)
def test_a_result_names_no_folder_of_the_machine_that_made_it(result):
    for file in json_files(result):
        assert not file.exists() or not re.findall(
            r"[ \"=](/(?:tmp|home|root|work|mnt|data|Users)/[^ \"]*)", file.read_text()
        )


def test_how_a_result_was_made_stands_at_its_head(tmp_path):
    file, made = tmp_path / "result.json", {"commit": "0" * 40}
    content = ' "a": [1,\n  2],\n "root": "tests/fixtures"\n}\n'
    file.write_text("{\n" + content.replace("tests", f"{ROOT}/tests"))
    stamp(file, made)
    assert file.read_text() == '{\n "made": {"commit": "%s"},\n' % ("0" * 40) + content
    stamp(file, {"commit": "1" * 40})
    assert commit_of(file) == "1" * 40
    stamp(tmp_path / "made.json", made)
    assert commit_of(tmp_path / "made.json") == "0" * 40
