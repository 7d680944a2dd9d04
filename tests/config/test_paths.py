"""Settings that are paths: the home folder, and where they are found again."""

import shutil

import pytest

from dcnrun.config.compose import compose, load, to_yaml
from dcnrun.config.paths import find_paths, is_path, paths_to_keep
from dcnrun.config.settings import all_settings
from dcnrun.errors import ConfigError

FOLDER = ["data=folder", "data.classes=[a,b]"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with data, weights and a run, in which one works."""
    (tmp_path / "project" / "runs" / "run").mkdir(parents=True)
    (tmp_path / "project" / "data").mkdir()
    (tmp_path / "project" / "w.pt").touch()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_every_setting_that_names_a_file_or_folder_is_a_path():
    assert [key for key in all_settings() if is_path(key)] == ["model.weights", "data.root", "runs_dir"]
    assert not is_path("nothing")


@pytest.mark.parametrize("key", ["model.weights", "data.root", "runs_dir"])
@pytest.mark.parametrize("value", ["~/a.b", "'~/a.b'"])
def test_the_home_folder_in_each(key, value, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert paths_of(compose([*FOLDER, f"{key}={value}"]))[key] == "/home/me/a.b"


def test_a_home_folder_that_is_none():
    with pytest.raises(ConfigError, match=r"data\.root=~nobody-here/x: there is no such home folder"):
        compose([*FOLDER, "data.root=~nobody-here/x"])


def paths_of(config):
    return {"model.weights": config.model.weights, "data.root": config.data.root, "runs_dir": config.runs_dir}


def test_paths_are_found_from_another_folder_and_beside_a_run_that_moved(project, tmp_path, monkeypatch):
    config = compose([*FOLDER, "data.root=data", "model.weights=./w.pt"])
    kept = paths_to_keep(config, config, project / "runs" / "run")
    monkeypatch.chdir(tmp_path)
    here = {name: str(project / name) for name in ("data", "w.pt", "runs")}
    wanted = {"model.weights": here["w.pt"], "data.root": here["data"], "runs_dir": here["runs"]}
    found, moved = find_paths(config, kept, project / "runs" / "run")
    assert (paths_of(found), moved) == (wanted, [])
    assert config.data.root == "data"
    shutil.move(project, tmp_path / "moved")
    found, moved = find_paths(config, kept, tmp_path / "moved" / "runs" / "run")
    assert paths_of(found) == {key: path.replace("/project/", "/moved/") for key, path in wanted.items()}
    assert f"data.root: {here['data']} is gone; taken instead: {tmp_path}/moved/data" in moved


def test_a_path_that_is_found_nowhere_stays_where_it_was_and_another_value_counts(project):
    config = compose([*FOLDER, "data.root=data"])
    kept = paths_to_keep(config, config, project / "runs" / "run")
    (project / "data").rmdir()
    assert find_paths(config, kept, project / "runs" / "run")[0].data.root == str(project / "data")
    other = compose([*FOLDER, "data.root=other", "runs_dir=other"])
    assert find_paths(other, kept, project / "runs" / "run")[0] == other
    assert find_paths(config, {"data.root": {"value": "data"}}, project)[0] == config  # a file that was changed by hand


def test_a_path_that_is_given_leads_from_here_though_the_run_has_the_same_text(project, tmp_path, monkeypatch):
    run = project / "runs" / "run"
    config = compose([*FOLDER, "data.root=data", "model.weights=DEFAULT"])
    (run / "config.yaml").write_text(to_yaml(config))
    kept = paths_to_keep(config, config, run)
    (tmp_path / "elsewhere" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    roots = {}
    for given in ((), ("data.root=data",), (*FOLDER, "data.root=data"), ("model.weights=DEFAULT",)):
        found, moved = find_paths(load(run / "config.yaml", given), kept, run)
        roots[given] = found.data.root
        assert (found.model.weights, moved) == ("DEFAULT", [])
    assert [*roots.values()] == [str(folder / "data") for folder in (project, *[tmp_path / "elsewhere"] * 2, project)]


def test_names_of_published_weights_are_no_paths(project):
    config = compose(["model.weights=DEFAULT"])
    kept = paths_to_keep(config, config, project / "runs" / "run")
    assert kept.keys() == {"runs_dir"}
    assert find_paths(config, kept, project / "runs" / "run")[0].model.weights == "DEFAULT"
