import fcntl
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dcnrun
from dcnrun.ops.jit import KernelUnavailable, build_cpu, cache, load, load_cpu
from dcnrun.ops.jit.build_spec import DEFINES
from tests.ops.jit.fakes import NAME, SOURCE, calls

ONE = NAME, torch.float32
processes = multiprocessing.get_context("fork")


def start(work):
    """Run a function in a process of its own."""
    process = processes.Process(target=work)
    process.start()
    return process


def test_each_dtype_has_a_library_of_its_own(sandbox):
    bits = {dtype: load_cpu(NAME, dtype).bits() for dtype in DEFINES}
    assert bits == {torch.float32: 32, torch.float64: 64, torch.bfloat16: 16, torch.float16: 16}
    assert [file.name.rsplit("-", 1)[0] for file in sandbox.built()] == [
        f"{NAME}-{dtype}" for dtype in ("bfloat16", "float16", "float32", "float64")
    ]
    assert sandbox.leftovers() == []


def test_a_library_is_opened_once_in_a_process(sandbox):
    libraries = []
    threads = [threading.Thread(target=lambda: libraries.append(load_cpu(*ONE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(libraries) == 4
    assert all(library is libraries[0] for library in libraries)


def test_a_second_process_does_not_compile(sandbox):
    compiler = sandbox.compiler()
    file = build_cpu(*ONE).file
    assert calls(compiler) == 1
    process = start(lambda: sys.exit(load_cpu(*ONE).answer() != 42))
    process.join()
    assert process.exitcode == 0
    assert load_cpu(*ONE).answer() == 42
    assert load.load(*ONE).built.file == file
    assert calls(compiler) == 1


@pytest.mark.parametrize("locks", [True, False])
def test_ten_processes_at_once(sandbox, monkeypatch, locks):
    if not locks:
        monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError("no locks here")))
    compiler = sandbox.compiler()
    ready = processes.Barrier(10)

    def work():
        ready.wait()
        sys.exit(load_cpu(*ONE).answer() != 42)

    started = [start(work) for _ in range(10)]
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * 10
    assert calls(compiler) == 1 if locks else calls(compiler) > 1
    assert len(sandbox.built()) == 1
    assert cache.find(sandbox.built()[0])
    assert sandbox.leftovers() == []


def test_a_killed_build_holds_nobody_up(sandbox):
    marker = sandbox.folder / "compiling"
    sandbox.compiler(
        before=f'if [ "$1" != --version ] && [ ! -e "{marker}" ]; then echo $$ > "{marker}"; exec sleep 60; fi\n'
    )
    building = start(lambda: build_cpu(*ONE))
    while not (marker.exists() and marker.read_text()):
        time.sleep(0.01)
    building.kill()
    building.join()
    try:
        assert sandbox.built() == []
        started = time.monotonic()
        assert load_cpu(*ONE).answer() == 42
        assert time.monotonic() - started < 10
    finally:
        os.kill(int(marker.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("way", ["from memory", "no files in memory", "its name was used before", "no Linux"])
def test_what_was_checked_is_loaded_whatever_becomes_of_the_file(sandbox, monkeypatch, way):
    """Another library, in the place of the checked one before it is loaded: its code would run as soon as it is."""
    sandbox.source.write_text("#include <cstdlib>\n__attribute__((constructor)) static void run() { std::exit(1); }\n")
    other = build_cpu(*ONE).file.read_bytes()
    sandbox.source.write_text(SOURCE)
    sandbox.forget()
    file, find = build_cpu(*ONE).file, cache.find

    def find_and_replace(file):
        found = find(file)
        file.write_bytes(other)
        return found

    monkeypatch.setattr(cache, "find", find_and_replace)
    match way:
        case "no files in memory":
            monkeypatch.setattr(os, "memfd_create", lambda *_: (_ for _ in ()).throw(OSError("not permitted")))
        case "its name was used before":
            monkeypatch.setattr(load, "_names", {f"/proc/self/fd/{number}" for number in range(2000)})
        case "no Linux":
            monkeypatch.setattr(load, "sys", SimpleNamespace(platform="darwin"))
    library = load.load(*ONE)
    assert (library.built.was_there, library.library.answer()) == (True, 42)
    assert library.library._name.startswith("/proc/self/fd/") == (way == "from memory")
    assert file.read_bytes() == other
    assert sandbox.leftovers() == []


@pytest.mark.parametrize("harm", ["truncated", "emptied", "changed", "no record", "record damaged", "others may write"])
def test_a_damaged_file_is_built_again(sandbox, harm):
    compiler = sandbox.compiler()
    file = build_cpu(*ONE).file
    content = file.read_bytes()
    record = file.with_suffix(".json")
    match harm:
        case "truncated":
            os.truncate(file, len(content) // 2)
        case "emptied":
            os.truncate(file, 0)
        case "changed":
            file.write_bytes(content[:-1] + b"\x01")
        case "no record":
            record.unlink()
        case "record damaged":
            record.write_text("[]")
        case "others may write":
            file.chmod(0o666)
    assert load_cpu(*ONE).answer() == 42
    assert calls(compiler) == 2
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    sandbox.forget()
    load_cpu(*ONE)
    assert calls(compiler) == 2


def no_folder(sandbox, monkeypatch):
    sandbox.cache.write_text("a file where the folder should be")


def full_disk(sandbox, monkeypatch):
    put = cache._put

    def put_little(content, file):
        if file.suffix == ".so":
            raise OSError(28, "No space left on device")
        put(content, file)

    monkeypatch.setattr(cache, "_put", put_little)


def foreign(sandbox, monkeypatch):
    (sandbox.cache / "kernels").mkdir(parents=True)
    monkeypatch.setattr(cache, "_trusted_users", lambda: {os.geteuid() + 1})


def replaceable(sandbox, monkeypatch):
    sandbox.cache.mkdir()
    sandbox.cache.chmod(0o777)


def read_only(sandbox, monkeypatch):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    sandbox.cache.mkdir(mode=0o500)


def homeless(sandbox, monkeypatch):
    monkeypatch.setenv("DCNRUN_CACHE", "~nobody-of-this-name/cache")


@pytest.mark.parametrize("spoil", [no_folder, full_disk, foreign, replaceable, read_only, homeless])
def test_without_a_cache_the_process_has_a_library_of_its_own(sandbox, monkeypatch, spoil):
    spoil(sandbox, monkeypatch)
    compiler = sandbox.compiler()
    assert load_cpu(*ONE).answer() == 42
    assert calls(compiler) == 1
    assert load.load(*ONE).built.not_kept is not None
    assert (sandbox.built(), sandbox.leftovers()) == ([], [])
    with pytest.raises(KernelUnavailable, match="DCNRUN_CACHE"):
        build_cpu(*ONE)


def test_a_read_only_cache_that_is_filled_will_do(sandbox):
    compiler = sandbox.compiler()
    file = build_cpu(*ONE).file
    file.parent.chmod(0o500)
    assert load.load(*ONE).built.file == file
    assert calls(compiler) == 1


def test_without_a_compiler(sandbox, monkeypatch):
    path = os.environ["PATH"]
    sandbox.leave_no_compiler()
    with pytest.raises(KernelUnavailable) as raised:
        load_cpu(*ONE)
    assert raised.value.reason == "no C++ compiler was found (c++, g++, clang++)"
    assert "install" in raised.value.remedy
    assert str(raised.value) == f"{raised.value.reason}; {raised.value.remedy}"
    monkeypatch.setenv("PATH", path)
    with pytest.raises(KernelUnavailable, match="no C\\+\\+ compiler was found"):
        load_cpu(*ONE)
    assert load_cpu(NAME, torch.float64).bits() == 64


def test_without_a_compiler_a_library_that_another_compiled_will_do(sandbox):
    file = build_cpu(*ONE).file
    sandbox.leave_no_compiler()
    assert load.load(*ONE).built.file == file
    sandbox.forget()
    sandbox.header.write_text("#define ANSWER 43\n")
    with pytest.raises(KernelUnavailable):
        load_cpu(*ONE)


def test_what_there_is_no_kernel_of(sandbox):
    with pytest.raises(KernelUnavailable, match=r"no CPU kernels for torch.int32; .*torch.float32"):
        load_cpu(NAME, torch.int32)
    with pytest.raises(KernelUnavailable, match=r"cpu/nothing.cpp is missing"):
        load_cpu("nothing", torch.float32)


def test_a_library_that_the_system_refuses(sandbox):
    sandbox.source.write_text(
        'extern "C" int missing(); extern "C" __attribute__((visibility("default"))) int (*now)() = missing;\n'
    )
    with pytest.raises(KernelUnavailable, match=r"can't be loaded: .*missing"):
        load_cpu(*ONE)


def test_no_temporary_folder(sandbox, monkeypatch):
    sandbox.temporary.rmdir()
    with pytest.raises(KernelUnavailable, match="TMPDIR"):
        load_cpu(*ONE)


def test_a_disk_that_fills_up_leaves_nothing_half_written(sandbox):
    file = sandbox.cache / "kernels" / "a.so"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            cache.store(bytes(100_000), file, {})
        except KernelUnavailable:
            sys.exit(0)
        sys.exit(1)

    process = start(work)
    process.join()
    assert process.exitcode == 0
    assert list(file.parent.iterdir()) == []


def test_nobody_waits_for_ever(sandbox):
    file = sandbox.cache / "kernels" / "a.so"
    with cache.one_builds(file, 1):
        started = time.monotonic()
        with cache.one_builds(file, 0.3):
            assert 0.2 < time.monotonic() - started < 5


SHARES_OPENMP = """
import sys
from pathlib import Path
import torch
from dcnrun.ops.jit import build_spec, load_cpu
build_spec.resource_dir = lambda name: Path(sys.argv[1]) / name
library = load_cpu("deform_conv2d", torch.float32)
torch.rand(300, 300) @ torch.rand(300, 300)
threads = []
for n in (3, 1, 2):
    torch.set_num_threads(n)
    threads.append(library.threads())
maps = [line.split()[-1] for line in open("/proc/self/maps")]
print(threads, len({path for path in maps if "/libgomp" in path or "/libomp" in path or "/libiomp" in path}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kernels_share_the_openmp_of_torch(sandbox):
    result = subprocess.run(
        [sys.executable, "-c", SHARES_OPENMP, str(sandbox.folder)],
        env=os.environ | {"PYTHONPATH": str(Path(dcnrun.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.stdout, result.stderr) == ("[3, 1, 2] 1\n", "")
