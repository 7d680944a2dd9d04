import os
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from dcnrun.ops.jit import KernelUnavailable, cache


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def stored(tmp_path):
    """A file in a new cache."""
    file = tmp_path / "cache" / "kernels" / "a.so"
    before = os.umask(0o002)
    cache.store(b"code", file, {"seconds": 1.5})
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
    assert (cache.find(stored).content, cache.find(stored).record["seconds"]) == (b"code", 1.5)
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
    cache.store(b"more", stored.with_name("b.so"), {})
    assert cache.find(stored)
    assert mode(stored.parent) == 0o755


def test_nothing_is_loaded_from_a_folder_of_another_user(stored, monkeypatch):
    monkeypatch.setattr(cache, "_trusted_users", lambda: {os.geteuid() + 1})
    with pytest.raises(KernelUnavailable, match=r"belongs to another user.*DCNRUN_CACHE"):
        cache.find(stored)
    with pytest.raises(KernelUnavailable, match="belongs to another user"):
        cache.store(b"code", stored, {})


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_nothing_is_loaded_where_others_may_put_another_folder(stored, mode, monkeypatch):
    """In whatever folder above; but for one where nobody may rename what is another's."""
    monkeypatch.setattr(cache, "_is_of_nobody_else", lambda group: False)
    for parent in (stored.parents[1], stored.parents[2]):
        parent.chmod(mode)
        refused = pytest.raises(
            KernelUnavailable, match=rf"others may replace folders in {parent}, so.*chmod go-w.*DCNRUN_CACHE"
        )
        with refused:
            cache.find(stored)
        with refused:
            cache.store(b"code", stored, {})
        parent.chmod(mode | stat.S_ISVTX)
        assert cache.find(stored)
        parent.chmod(0o755)
    assert cache.find(stored)


def test_nor_where_others_may_change_what_a_link_leads_to(stored, tmp_path):
    public = tmp_path / "public"
    public.mkdir()
    (public / "link").symlink_to(stored.parent, target_is_directory=True)
    assert cache.find(public / "link" / stored.name)
    public.chmod(0o777)
    with pytest.raises(KernelUnavailable, match=rf"others may replace folders in {public}"):
        cache.find(public / "link" / stored.name)


def test_the_users_own_group_may_write(stored, monkeypatch):
    """Many systems give each user one, and folders that it may write to."""
    import grp
    import pwd

    monkeypatch.setattr(pwd, "getpwuid", lambda user: SimpleNamespace(pw_name="ann"))
    stored.parents[1].chmod(0o775)
    os.chown(stored.parents[1], -1, os.getegid())
    if os.getegid() == 0:
        assert cache.find(stored)
        os.chown(stored.parents[1], -1, 12345)
    for members, alone in (([], True), (["ann"], True), (["ann", "bob"], False)):
        for name in ("ann", "staff"):
            monkeypatch.setattr(grp, "getgrgid", lambda group, found=(name, "x", 12345, members): found)
            if alone and name == "ann":
                assert cache.find(stored)
            else:
                with pytest.raises(KernelUnavailable, match="others may replace folders"):
                    cache.find(stored)


def test_a_link_is_no_library(stored):
    stored.rename(stored.with_name("b.so"))
    stored.symlink_to("b.so")
    assert cache.find(stored) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_another_user(stored):
    os.chown(stored, 12345, -1)
    assert cache.find(stored) is None
    os.chown(stored.parent, 12345, -1)
    with pytest.raises(KernelUnavailable, match="belongs to another user"):
        cache.find(stored)


def test_a_file_of_any_kind_is_put_whole_and_read(tmp_path):
    file = tmp_path / "new" / "verdict.json"
    assert cache.read(file) is None
    cache.put(b"{}", file)
    assert cache.read(file) == b"{}"
    assert [path.name for path in file.parent.iterdir()] == ["verdict.json"]
    file.chmod(0o666)
    assert cache.read(file) is None


def test_whose_turn_it_is_to_build(tmp_path, monkeypatch):
    """A process that waited in vain takes the lock from nobody."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = tmp_path / "a.so"
    with cache.one_builds(file, 1) as first:
        for _ in range(2):
            with cache.one_builds(file, 0.1) as second:
                assert (first, second) == (True, False)
    with cache.one_builds(file, 0.1) as turn:
        assert turn
    assert list(tmp_path.iterdir()) == []
