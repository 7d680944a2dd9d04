#!/usr/bin/env bash
# filelock 4.2.0 and 4.3.1: whether forked workers keep the lock of a process that was killed depends on the version.
#
# Guess: a lock of filelock belongs to the process that acquired it and is free once that process is dead.
# Seen: it is an flock on a file that children inherit. Where a process that holds it is killed with SIGKILL while a child that it forked
# (such as a worker of PyTorch's DataLoader on Linux) lives on, the lock is still held with 4.2.0 and free with 4.3.1; 3.25.0 is as 4.2.0,
# 4.1.0 as 4.3.1. A run that is killed can then not be resumed at once. POSIX locks (fcntl.lockf) are never inherited: dcnrun's run
# folders are locked by one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cd "$folder"
seen() {
	venv/bin/pip install --quiet "filelock==$1"
	venv/bin/python - <<'PY'
import os
import time

import filelock

if os.fork() == 0:
    lock = filelock.FileLock("run.lock")
    lock.acquire(timeout=0)
    if os.fork() == 0:  # the worker
        time.sleep(3)
        os._exit(0)
    os.kill(os.getpid(), 9)
os.wait()
try:
    filelock.FileLock("run.lock").acquire(timeout=0)
    print(filelock.__version__, "free")
except filelock.Timeout:
    print(filelock.__version__, "held by the worker")
PY
	sleep 3
}
all="$(seen 4.2.0)
$(seen 4.3.1)"
echo "$all"
[ "$all" = "4.2.0 held by the worker
4.3.1 free" ]
