"""A row of the ledger that no agent wrote so is refused with a reason, whatever of it is of another kind."""

from typing import Any

import pytest

from dcnrun.jobs.rows import DamagedRow, is_plain_name, read_row

WHOLE = {
    "number": 3,
    "overrides": '["optim.lr=0.1"]',
    "parameters": '{"optim.lr": 0.1}',
    "folder": "trial-0003",
    "state": "running",
    "attempts": 1,
    "owner": "node7:12:99:kernel",
    "history": "[[10, 0.5], [20, 1]]",
    "reason": None,
    "band": None,
    "started": 1.5,
    "ended": None,
    "beat": 2,
}


def test_a_whole_row_is_read() -> None:
    read = read_row(WHOLE)
    assert read["overrides"] == ("optim.lr=0.1",)
    assert read["parameters"] == {"optim.lr": 0.1}
    assert read["history"] == ((10, 0.5), (20, 1.0))
    assert {key: read[key] for key in WHOLE if key not in ("overrides", "parameters", "history")} == {
        key: value for key, value in WHOLE.items() if key not in ("overrides", "parameters", "history")
    }


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("number", "three", "number is 'three', and not an integer"),
        ("number", True, "and not an integer"),
        ("attempts", "1", "attempts is '1', and not an integer"),
        ("attempts", None, "and not an integer"),
        ("overrides", "optim.lr=0.1", "overrides is 'optim.lr=0.1', and not JSON"),
        ("overrides", '["--resume", "/etc"]', "and not a list of key=value"),
        ("overrides", '["-h"]', "and not a list of key=value"),
        ("overrides", "[1]", "and not a list of key=value"),
        ("overrides", '"seed=1"', "and not a list of key=value"),
        ("parameters", "[]", "and not values by name"),
        ("parameters", "{", "and not JSON"),
        ("parameters", None, "and not JSON"),
        ("parameters", "[" * 100_000, "and not JSON"),
        ("history", "[[1]]", "and not a list of steps"),
        ("history", '[[1, "0.5"]]', "and not a list of steps with a number each"),
        ("history", "[[1, NaN]]", "and not a list of steps"),
        ("history", f"[[1, {'9' * 400}]]", "and not a list of steps"),
        ("history", "[[1, true]]", "and not a list of steps"),
        ("history", '{"1": 0.5}', "and not a list of steps"),
        ("history", b"\xff", "and not JSON"),
        ("folder", "../elsewhere", "folder is '../elsewhere', and not the name of a folder in the sweep's own"),
        ("folder", "/etc", "and not the name of a folder"),
        ("folder", "..", "and not the name of a folder"),
        ("folder", "a\x1b[31m", "and not the name of a folder"),
        ("folder", None, "and not the name of a folder"),
        ("state", 3, "state is 3, and not a text"),
        ("owner", 12, "owner is 12, and not a text"),
        ("reason", 1.5, "reason is 1.5, and not a text"),
        ("band", "2", "band is '2', and not an integer"),
        ("beat", "now", "beat is 'now', and not a number"),
        ("started", float("inf"), "and not a number"),
        ("ended", 10**400, "and not a number"),
    ],
)
def test_what_no_agent_writes(column: str, value: Any, why: str) -> None:
    with pytest.raises(DamagedRow) as error:
        read_row({**WHOLE, column: value})
    message = str(error.value)
    assert message.startswith(f"{column} is ")
    assert why in message
    assert len(message) < 130
    assert message.isascii()
    assert message.isprintable()


def test_names_of_folders() -> None:
    assert is_plain_name("deformable-seed0")
    assert not any(map(is_plain_name, ["", ".", "..", "a/b", "/a", "a\n", 3, None]))
