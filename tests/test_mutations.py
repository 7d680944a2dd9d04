"""Damaged run folders: a slice of benchmarks/mutations.py, whose 1,200 cases take half an hour."""

import os

from benchmarks import mutations
from tests.training.fakes import FORKSERVER

COMMANDS = ("compare", "evaluate", "evaluate last")
NUMBERS = [number for number in range(150) if mutations.draw(number)[1] in COMMANDS][:14]


def try_slice(folder):
    import dcnrun.compare.compare_runs  # noqa: F401  once, and not in each process that is forked

    os.environ["WANDB_MODE"] = "disabled"
    folder.mkdir()
    bases = mutations.prepare(folder, COMMANDS)
    cases = [mutations.mutation(number, bases, folder) for number in NUMBERS]
    assert len({(case["file"], case["damage"]) for case in cases}) > len(cases) / 2
    wrong = [case for case in cases if case["came"] in mutations.FAULTS]
    assert not wrong, wrong
    assert {case["came"] for case in cases} >= {"refused", "same"}, cases


def test_commands_say_what_is_damaged_or_give_the_same_numbers(tmp_path):
    """In a process that has trained nothing: what is forked from one that has can't."""
    process = FORKSERVER.Process(target=try_slice, args=(tmp_path / "cases",))
    process.start()
    process.join()
    assert process.exitcode == 0
