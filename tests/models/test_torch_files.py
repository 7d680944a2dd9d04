"""Files that `torch.save` wrote, and those that it did not or whose objects would have to be run."""

import argparse
import os
import pickle
import shlex
import sys

import pytest
import torch
from safetensors.torch import save_file

from dcnrun.models.torch_files import NotTensorsError, is_plain, read_torch_file

STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.num_batches_tracked": torch.tensor(7)}


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('evaluated')",))


@pytest.mark.parametrize("in_archive", [True, False])
def test_files_of_new_and_old_pytorch(tmp_path, in_archive):
    path = tmp_path / "x.pt"
    torch.save({"state_dict": STATE, "epoch": 3}, path, _use_new_zipfile_serialization=in_archive)
    content = read_torch_file(path)
    assert content["epoch"] == 3
    assert all(torch.equal(content["state_dict"][name], value) for name, value in STATE.items())
    torch.save({"x": Evil()}, path, _use_new_zipfile_serialization=in_archive)
    with pytest.raises(
        NotTensorsError, match=r"a pickle of objects such as .*exec, .*save the state dict of the model"
    ):
        read_torch_file(path)


@pytest.mark.parametrize("kind", ["argparse.Namespace", "a pickle and not what torch.save writes"])
def test_what_projects_keep_beside_tensors_is_not_run_and_a_way_out_is_said(tmp_path, kind, monkeypatch):
    """The command that the message gives is carried out."""
    path = tmp_path / "x.pt"
    if kind.startswith("argparse"):
        meta = {"config": "style='caffe'", "hook_msgs": argparse.Namespace()}
        torch.save({"state_dict": STATE, "args": argparse.Namespace(lr=1), "meta": meta}, path)
    else:
        arrays = {name: value.numpy() for name, value in STATE.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    with pytest.raises(NotTensorsError, match=f"{kind}.*where you trust") as refused:
        read_torch_file(path)
    python, dash_c, command, *files = shlex.split(str(refused.value).partition("a plain one: ")[2])
    assert (python, dash_c, files) == ("python", "-c", ["FILE", "plain.pth"])
    monkeypatch.setattr(sys, "argv", ["-c", str(path), str(tmp_path / "plain.pth")])
    exec(command, {})
    copy = read_torch_file(tmp_path / "plain.pth")
    if kind.startswith("argparse"):
        assert copy["meta"] == {"cfg": "style='caffe'"}  # which says what the network's style is
        copy = copy["state_dict"]
    assert all(torch.equal(copy[name], value) for name, value in STATE.items())


def test_files_of_safetensors_by_whatever_name(tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    save_file(STATE, path)
    content = read_torch_file(path)
    assert content.keys() == STATE.keys()
    assert all(torch.equal(content[name], value) for name, value in STATE.items())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(NotTensorsError, match="damaged, or not what safetensors writes"):
        read_torch_file(path)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(NotTensorsError, match=r"pip install 'dcnrun\[safetensors\]'"):
        read_torch_file(path)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    for path in (tmp_path / "x.pt", tmp_path):
        with pytest.raises(NotTensorsError, match="no file"):
            read_torch_file(path)
    (tmp_path / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    with pytest.raises(NotTensorsError, match="git lfs pull"):
        read_torch_file(tmp_path / "lfs.pth")
    with pytest.raises(NotTensorsError, match="does not exist"):
        read_torch_file(tmp_path / "none.pt")


def test_what_is_plain():
    tensor = torch.zeros(2, 2)
    assert is_plain(tensor)
    assert not any(map(is_plain, [tensor.to_sparse(), tensor.to("meta"), 3, None]))
