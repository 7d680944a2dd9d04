"""YAML files that would hang, run or hide something."""

import os
from pathlib import Path

import pytest
import yaml

from dcnrun.config.compose import compose, load, to_yaml
from dcnrun.config.yaml_files import read_yaml
from dcnrun.errors import ConfigError

FILE = Path("x.yaml")
ALIASES = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGES = "m0: &m0 {x: 1}\n" + "".join(f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 9)}]\n" for i in range(1, 30))


def problem(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refused:
        read_yaml(path)
    (line,) = refused.value.problems
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ALIASES, "aliases"),
        (MERGES, "aliases"),
        ("a: &a {b: *a}", "holds itself"),
        ("[" * 500, "nested too deeply"),
        ("a: 1\nb: {c: 1, c: 2}", "x.yaml:2: c is there twice, in line 2 too"),
        ("a: [1, 2", "x.yaml:1: can't be read as YAML"),
        ("x" * 2**19, "524,288 characters"),
        (b"\xff\xfe\x00", "not UTF-8"),
        ("a: !!python/object/apply:os.getcwd []", "constructor"),
        ("a: !!int ''", "tag"),
        ("a: !!timestamp x", "tag"),
        ("a: " + "9" * 5000, "can't be read as YAML"),
        ("? [a]\n: 1", "unhashable"),
    ],
)
def test_what_would_hang_run_or_hide_something_is_refused(tmp_path, content, said):
    assert said in problem(tmp_path / "x.yaml", content)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "pipe", "no file"), (tmp_path, "no file"), (tmp_path / "none", "No such file")):
        with pytest.raises(ConfigError, match=said):
            read_yaml(path)


def test_the_rest_is_as_pyyaml_reads_it(tmp_path):
    text = "a: &a {x: 1, y: [1.5, null, true, 2024-01-01, text]}\nb: *a\nc:\n  <<: *a\n  x: 2\nlist: [*a, *a]\n"
    (tmp_path / "x.yaml").write_text(text)
    assert read_yaml(tmp_path / "x.yaml") == yaml.safe_load(text)
    (tmp_path / "x.yaml").write_text("")
    assert read_yaml(tmp_path / "x.yaml") is None


def test_a_run_is_read_without_resolving_anything(tmp_path, monkeypatch):
    """A secret of the machine would go wherever the run's settings go, such as compare.json."""
    monkeypatch.setenv("SECRET", "hunter2")
    whole = to_yaml(compose(["data=folder", "data.root=/data", "data.classes=[a,b]"]))
    for text in ("${oc.env:SECRET}", r"\${name}", r"a\\${nothing:at all}\b"):
        file = tmp_path / "config.yaml"
        file.write_text(whole.replace("root: /data", f"root: '{text}'"))
        config = load(file)
        assert config.data.root == text
        file.write_text(to_yaml(config))
        assert load(file) == config
    file.write_text(whole.replace("root: /data", "root: '${never'"))
    with pytest.raises(ConfigError, match=r"data\.root has a \$\{ that nothing closes"):
        load(file)
    file.write_text(whole.replace("steps: 1000", "steps: ${oc.env:SECRET}"))
    with pytest.raises(ConfigError, match=r"trainer\.steps"):
        load(file)


def test_an_own_choice_does_not_grow_either(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cells.yaml").write_text(ALIASES)
    with pytest.raises(ConfigError, match=r"cells\.yaml: its aliases"):
        compose(["data=cells"], tmp_path)
