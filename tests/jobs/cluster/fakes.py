"""A fake of an actor of Ray: its methods are called in this process, as `ray.get(actor.method.remote(...))` would."""

import pickle
from collections.abc import Callable
from typing import Any

import ray

from dcnrun.errors import RunError
from dcnrun.jobs.cluster.agents import Batch, ToDo, take_jobs
from dcnrun.jobs.cluster.options import ClusterOptions
from dcnrun.jobs.cluster.served import LedgerActor


class FakeActor:
    """Stands for an actor whose methods are those of an object."""

    def __init__(self, served: object) -> None:
        self._served = served

    def __getattr__(self, name: str) -> "FakeMethod":
        return FakeMethod(getattr(self._served, name))


class FakeMethod:
    """Stands for a method of an actor."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def options(self, concurrency_group: str) -> "FakeMethod":
        return self

    def remote(self, *arguments: Any) -> Any:
        return self._method(*arguments)


def run_here(batch: Batch, options: ClusterOptions, look: Callable[[], ToDo]) -> None:
    """Stands for `run_on_cluster`: one agent in this process, which gets its work as a node does, pickled.

    `ray.get` must return what it is given.
    """
    look()
    actor = FakeActor(LedgerActor(batch.open_jobs, batch.work.folder))
    reason = take_jobs(pickle.loads(ray.cloudpickle.dumps(batch.work)), 0, actor)
    look()
    if reason:
        raise RunError(reason)
