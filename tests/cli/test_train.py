from pathlib import Path

from dcnrun.config.compose import compose
from tests.cli.fakes import run


def test_train(replaced, tmp_path):
    calls = replaced("dcnrun.training.run", "train")
    assert run("train", "conv=dilated", "--run-dir", str(tmp_path), "seed=3").exit_code == 0
    overrides = ["conv=dilated", "seed=3"]
    assert calls == [(compose(overrides), overrides, tmp_path)]
    assert run("train").exit_code == 0
    assert calls[1:] == [(compose([]), [], None)]


def test_train_with_an_own_folder(replaced, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cells.yaml").write_text("defaults: [folder, _self_]\nclasses: [background, cell]\n")
    calls = replaced("dcnrun.training.run", "train")
    assert run("train", "data=cells", "--config-dir", str(tmp_path)).exit_code == 0
    assert calls[0][0].data.classes == ["background", "cell"]


def test_dry_run(replaced):
    calls = replaced("dcnrun.training.prepare", "dry_run")
    assert run("train", "--dry-run", "conv=standard").exit_code == 0
    assert calls == [(compose(["conv=standard"]),)]


def test_resume(replaced, tmp_path):
    calls = replaced("dcnrun.training.run", "resume")
    assert run("train", "--resume", str(tmp_path)).exit_code == 0
    assert calls == [(tmp_path, [])]


def test_range_test(replaced, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    calls = replaced("dcnrun.training.lr_range", "lr_range_test")
    assert run("lr", "conv=standard", "--from", "1e-4", "--to", "2", "--steps", "50", "--out=~/x").exit_code == 0
    assert calls == [(compose(["conv=standard"]), 1e-4, 2.0, 50, Path("/home/me/x"))]
