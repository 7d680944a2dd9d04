"""Files that `torch.save` wrote, and of safetensors: tensors and plain values, read without running anything that is in them."""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcnrun.console import printable
from dcnrun.runs import require_regular

_STATE_DICT = "save the state dict of the model instead: torch.save(model.state_dict(), FILE)"
_PLAIN_COPY = (
    "where you trust the file, and have the software that wrote it, write a plain one: python -c 'import sys, torch; "
    'found = torch.load(sys.argv[1], "cpu", weights_only=False); meta = found.get("meta", {}); '
    'plain = {"state_dict": found.get("state_dict", found.get("model", found)), "meta": {"cfg": str(meta.get("cfg", meta.get("config")))}}; '
    "torch.save(plain, sys.argv[2])' FILE plain.pth"
)
_PLAIN_COPY_OF_ARRAYS = (
    "where you trust the file, write a plain one: python -c 'import pickle, sys, torch; "
    'found = pickle.load(open(sys.argv[1], "rb"), encoding="latin1"); '
    'torch.save({name: torch.as_tensor(value) for name, value in found["model"].items()}, sys.argv[2])\' FILE plain.pth'
)
_OLD_TORCH_FILE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What files begin with that `torch.save` wrote before PyTorch 1.6: a number, pickled."""
_LFS_POINTER = b"version https://git-lfs"
_OF_PROJECTS = ("mmengine.", "mmcv.", "numpy.", "argparse.", "detectron2.", "fvcore.", "omegaconf.", "yacs.")
"""Modules of what projects keep in checkpoints beside tensors."""


class NotTensorsError(Exception):
    """Why a file can't be read as tensors, to follow the file's name."""


def read_torch_file(path: Path) -> Any:
    """Read tensors and plain values that `torch.save` wrote, or safetensors; NotTensorsError for anything else."""
    try:
        require_regular(path)
        if _is_safetensors(path):
            return _read_safetensors(path)
        _require_whole(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except NotTensorsError:
        raise
    except FileNotFoundError:
        raise NotTensorsError("does not exist") from None
    except OSError as error:
        raise NotTensorsError(f"can't be read: {error.strerror or 'it is damaged'}") from error
    except Exception as error:  # a damaged or foreign file fails in many ways
        raise NotTensorsError(_reason(path, str(error))) from error


def is_plain(value: Any) -> bool:
    """Return whether a value is a tensor of numbers in memory: neither sparse nor quantized, and not without its data."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_nested
    )


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins as those of safetensors do: with the length of a header, in 8 bytes, that is a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise NotTensorsError(
            "is a file of safetensors, which needs the package of that name: pip install 'dcnrun[safetensors]'"
        ) from None
    try:
        return load_file(path)
    except Exception as error:  # of the library, or of PyTorch for types that it lacks
        raise NotTensorsError("is damaged, or not what safetensors writes") from error


def _require_whole(path: Path) -> None:
    """Raise NotTensorsError for an archive that is damaged or that grows when it is read."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise NotTensorsError("is a compressed archive, and not what torch.save writes")
        damaged = archive.testzip()  # compares every part with its checksum
    if damaged is not None:
        raise NotTensorsError(f"is damaged in {printable(damaged)}")


def _is_other_pickle(path: Path) -> bool:
    """Return whether a file is a pickle, and none that PyTorch wrote."""
    return _starts_with(path, b"\x80") and not _starts_with(path, _OLD_TORCH_FILE)


def _starts_with(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except (OSError, ValueError):  # it is gone, or has no name that there can be
        return False


def _reason(path: Path, said: str) -> str:
    """Return in our words why PyTorch refused a file."""
    if _is_other_pickle(path):
        return f"is a pickle and not what torch.save writes, as the files of detectron2's model zoo; {_PLAIN_COPY_OF_ARRAYS}"
    if found := re.search(r"GLOBAL (\S+)", said):
        advice = _PLAIN_COPY if found[1].startswith(_OF_PROJECTS) else _STATE_DICT
        return f"is a pickle of objects such as {printable(found[1])}, which only running it could restore; {advice}"
    if "TorchScript" in said:
        return f"is a TorchScript program; {_STATE_DICT}"
    if _starts_with(path, _LFS_POINTER):
        return "is a pointer of Git LFS in the place of the file, which git lfs pull fetches"
    return "is damaged, or not what torch.save writes"
