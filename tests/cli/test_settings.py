from pathlib import Path

import yaml

from dcnrun.config.compose import compose
from tests.cli.fakes import last_object, run
from tests.data.factories import folder_tree


def test_config():
    result = run("config", "conv=dilated", "data=nuclei")
    assert result.exit_code == 0
    shown = yaml.safe_load(result.stdout)
    assert (shown["conv"]["kind"], shown["conv"]["dilation"], shown["data"]["source"]) == ("dilated", 4, "folder")


def test_config_list():
    result = run("config", "--list", "optim.lr=0.125")
    assert result.exit_code == 0
    for part in ["optim.lr=0.125", "base learning rate", "a number", "deformable, dilated, modulated, standard"]:
        assert part in result.stdout


def test_json_of_config():
    assert last_object(run("config", "conv=dilated", "--json").stdout)["config"]["conv"]["dilation"] == 4
    listing = last_object(run("config", "--list", "--json").stdout)
    assert listing["groups"]["optim"] == ["adamw", "sgd"]
    assert {"key", "type", "value", "meaning"} <= listing["settings"][0].keys()


def test_data_check_fails_with_problems_and_reports_them(replaced):
    replaced("dcnrun.data.check", "check_data", {"problems": 2, "splits": {}})
    result = run("data", "check", "--json")
    assert result.exit_code == 1
    error = "the data set has 2 problems, listed above"
    told = {"status": "error", "error": error, "exit_code": 1}
    assert last_object(result.stdout) == {"problems": 2, "splits": {}, **told}
    assert result.stderr.splitlines()[-1] == f"error: {error}"


def test_data_check(replaced):
    calls = replaced("dcnrun.data.check", "check_data")
    assert run("data", "check").exit_code == 0
    assert run("data", "check", "model=retinanet").exit_code == 0
    more = ["--labels", "boxes", "--samples", "3", "--out", "a", "--no-images"]
    assert run("data", "check", "data.image_size=64", *more).exit_code == 0
    splits = ("train", "val")
    assert calls == [
        (compose([]).data, splits, 12, Path("data-check"), None, True),
        (compose([]).data, splits, 12, Path("data-check"), "boxes", True),
        (compose(["data.image_size=64"]).data, splits, 3, Path("a"), "boxes", False),
    ]


def test_weights_inspect(replaced):
    calls = replaced("dcnrun.tasks.inspect_weights", "inspect_weights", {"settings": ["conv=deformable"]})
    result = run("weights", "inspect", "a.pth", "--json")
    assert last_object(result.stdout) == {"settings": ["conv=deformable"]}
    assert calls == [(Path("a.pth"),)]


class TestDataCheckOfAFolder:
    def test_says_what_it_is_and_checks_it(self, replaced, tmp_path):
        calls = replaced("dcnrun.data.check", "check_data", {"problems": 0, "splits": {}})
        folder_tree(tmp_path)
        result = run("data", "check", str(tmp_path), "data.workers=0", "--json")
        assert result.exit_code == 0
        (found,) = last_object(result.stdout)["found"]
        assert found["format"] == "folders of images and masks"
        assert found["command"] in result.stderr
        assert found["command"].startswith(f"dcnrun train data=folder data.root={tmp_path} model=deeplab ")
        assert (calls[0][0].root, calls[0][0].workers, calls[0][4]) == (str(tmp_path), 0, "masks")

    def test_that_holds_nothing_known(self, tmp_path):
        result = run("data", "check", str(tmp_path))
        assert result.exit_code == 2
        assert "no data set was recognised" in result.stderr

    def test_of_which_there_is_one(self, tmp_path):
        assert run("data", "check", str(tmp_path), str(tmp_path)).exit_code == 2

    def test_that_is_not_there_or_no_folder(self, tmp_path):
        (tmp_path / "a.png").touch()
        for name, what in (("absent", "there is no such folder"), ("a.png", "is no folder and no .json or .yaml")):
            result = run("data", "check", str(tmp_path / name))
            assert result.exit_code == 2
            assert f"error: {tmp_path / name}: {what}; an override is written key=value." in result.stderr
        (tmp_path / "a.tar.gz").touch()
        assert "it is an archive: unpack it" in run("data", "check", str(tmp_path / "a.tar.gz")).stderr
