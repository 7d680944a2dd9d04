import os
import stat
from pathlib import Path

import pytest

from dcnrun.ops.jit import KernelUnavailable, cache


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def stored(tmp_path):
    """A file in a new cache."""
    library = tmp_path / "library"
    library.write_bytes(b"code")
    file = tmp_path / "cache" / "kernels" / "a.so"
    before = os.umask(0o002)
    cache.store(library, file, {"seconds": 1.5})
    os.umask(before)
    return file


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DCNRUN_CACHE", str(tmp_path))
    assert cache.kernels_folder() == tmp_path / "kernels"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCNRUN_CACHE", "here")
    assert cache.kernels_folder() == tmp_path / "here" / "kernels"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DCNRUN_CACHE", "~/mine")
    assert cache.kernels_folder() == tmp_path / "mine" / "kernels"
    monkeypatch.delenv("DCNRUN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.kernels_folder() in (
        Path(tmp_path, ".cache", "dcnrun", "kernels"),
        Path(tmp_path, "Library", "Caches", "dcnrun", "kernels"),
    )


def test_what_was_stored_is_found(stored):
    assert cache.find(stored)["seconds"] == 1.5
    assert (mode(stored.parent), mode(stored)) == (0o700, 0o644)
    assert sorted(path.name for path in stored.parent.iterdir()) == ["a.json", "a.so"]
    assert cache.find(stored.with_name("b.so")) is None
    assert cache.find(stored.parent / "nowhere" / "b.so") is None


def test_others_are_kept_out_of_the_folder(stored):
    stored.parent.chmod(0o777)
    assert cache.find(stored)
    assert mode(stored.parent) == 0o755


def test_a_folder_that_may_be_read_stays_so(stored):
    stored.parent.chmod(0o755)
    cache.store(stored, stored.with_name("b.so"), {})
    assert cache.find(stored)
    assert mode(stored.parent) == 0o755


def test_nothing_is_loaded_from_a_folder_of_another_user(stored, monkeypatch):
    monkeypatch.setattr(cache, "_trusted_users", lambda: {os.geteuid() + 1})
    with pytest.raises(KernelUnavailable, match=r"belongs to another user.*DCNRUN_CACHE"):
        cache.find(stored)
    with pytest.raises(KernelUnavailable, match="belongs to another user"):
        cache.store(stored, stored, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_another_user(stored):
    os.chown(stored, 12345, -1)
    assert cache.find(stored) is None
    os.chown(stored.parent, 12345, -1)
    with pytest.raises(KernelUnavailable, match="belongs to another user"):
        cache.find(stored)
