"""Batches for training and evaluation.

Training reads a stream of positions: one shuffled epoch after the other, cut into batches. What stands at a position,
augmentation included, depends on the seed and the position alone: not on the number of workers or processes, nor on
where the stream was entered. So a resumed run sees what a run never interrupted would have seen.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from dcnrun.config.schema import DataConfig
from dcnrun.data.mosaic import PARTS
from dcnrun.data.sample import BatchT, LabelledDataset, Preparation, SampleT, batches_of_one_size
from dcnrun.errors import DataError, UsageError

SeenT = TypeVar("SeenT")
LoadedT = TypeVar("LoadedT")

_ORDER, _AUGMENTATION, _MOSAIC = 0, 1, 2

_LOOKED_AT_TOGETHER = 16
_SECONDS_BETWEEN_LOOKS = 5.0

# Forking is quick: a worker neither imports torch again nor receives a copy of the data set. It is safe with the thread
# pool that torch keeps for its operators, which does not survive a fork, since a worker runs everything in one thread.
# Elsewhere than on Linux the system's own default is the safe one.
_START_METHOD = "fork" if sys.platform == "linux" else None


@dataclass(frozen=True)
class _Place:
    """What to prepare: the sample at `index`, with the augmentation that belongs to `position`."""

    position: int
    index: int


def train_batches(
    dataset: LabelledDataset[SampleT, BatchT],
    config: DataConfig,
    *,
    seed: int,
    first_step: int,
    steps: int,
    rank: int = 0,
    world_size: int = 1,
) -> Generator[BatchT, None, None]:
    """The batches of the `steps` steps from `first_step` on (0 is the very first), this rank's share of each.

    Step s takes the positions from s * batch_size on, rank r every world_size-th of them from the r-th on. UsageError
    if the ranks can't share a batch evenly; DataError when a sample can't be read.
    """
    size = config.batch_size
    if size % world_size:
        raise UsageError(f"data.batch_size={size} does not divide among {world_size} processes; choose a multiple")

    def places() -> Iterator[list[_Place]]:
        for step in range(first_step, first_step + steps):
            positions = range(step * size + rank, (step + 1) * size, world_size)
            yield [_Place(position, _shuffled(position, len(dataset), seed)) for position in positions]

    batches = _PreparedBatches(dataset, dataset.training(config), seed, config.cache)
    loaded = _loaded(batches, places(), config.workers)
    return _raising(loaded)


def eval_batches(
    dataset: LabelledDataset[SampleT, BatchT], config: DataConfig, *, rank: int = 0, world_size: int = 1
) -> Generator[BatchT, None, None]:
    """Yield this rank's share of the samples, each with others of its size alone; over all ranks each comes exactly once.

    At most `eval_batch_size` are read, and stand in a batch, together: in the order of the data set where all are of one
    size. Ranks may differ by a sample, and so by a batch. DataError when a sample can't be read.
    """
    indices = range(rank, len(dataset), world_size)
    size = config.eval_batch_size
    places = (
        [_Place(index, index) for index in indices[start : start + size]] for start in range(0, len(indices), size)
    )
    preparation = dataset.evaluation(config)
    batches = _PreparedBatches(dataset, preparation, seed=0, cache=False)  # each is read once
    loaded = _loaded(batches, places, config.workers)
    for batch in _raising(loaded):
        yield from batches_of_one_size(batch, preparation.multiple)


def look_at_each(
    dataset: LabelledDataset[SampleT, BatchT], look: Callable[[SampleT], SeenT], workers: int
) -> Iterator[SeenT | DataError]:
    """Yield what `look` makes of each sample in order, or the error of one that can't be read; done by `workers`."""
    starts = range(0, len(dataset), _LOOKED_AT_TOGETHER)
    parts = (range(len(dataset))[start : start + _LOOKED_AT_TOGETHER] for start in starts)
    for seen in _loaded(_Looks(dataset, look), parts, workers):
        yield from seen


class _Looks(Dataset[list[SeenT | DataError]], Generic[SampleT, SeenT]):
    """What is seen of several samples: handing results over one by one would take longer than looking."""

    def __init__(self, samples: Dataset[SampleT], look: Callable[[SampleT], SeenT]) -> None:
        self._samples = samples
        self._look = look

    def __getitem__(self, indices: range) -> list[SeenT | DataError]:
        return [self._seen(index) for index in indices]

    def _seen(self, index: int) -> SeenT | DataError:
        try:
            return self._look(self._samples[index])
        except DataError as error:
            return error


class _PreparedBatches(Dataset[LoadedT | DataError], Generic[SampleT, LoadedT]):
    """Batches as the network sees them.

    A DataError is given back rather than raised, since DataLoader would bury its message in a worker's traceback.
    """

    def __init__(
        self,
        samples: LabelledDataset[SampleT, Any],
        preparation: Preparation[SampleT, Any, LoadedT],
        seed: int,
        cache: bool,
    ) -> None:
        self._samples = samples
        self._preparation = preparation
        self._seed = seed
        self._cache: dict[int, SampleT] | None = {} if cache else None

    def __getitem__(self, places: list[_Place]) -> LoadedT | DataError:
        read = ((self._sample(place), _derived_seed(self._seed, place.position)) for place in places)
        try:
            return self._preparation.batch(read, [place.index for place in places])
        except DataError as error:
            return error

    def _sample(self, place: _Place) -> SampleT:
        """The sample of a place, in a mosaic with three others where one is drawn."""
        sample, mosaic = self._read(place.index), self._preparation.mosaic
        if mosaic is None:
            return sample
        rng = np.random.default_rng([self._seed, _MOSAIC, place.position])
        if rng.random() >= mosaic.probability:
            return sample
        others = rng.integers(len(self._samples), size=PARTS - 1)
        return mosaic.join([sample, *(self._read(int(index)) for index in others)], rng)

    def _read(self, index: int) -> SampleT:
        if self._cache is None:
            return self._samples[index]
        if index not in self._cache:
            self._cache[index] = self._samples[index]
        return self._cache[index]


def _loaded(dataset: Dataset[LoadedT], places: Iterable[Any], workers: int) -> Generator[LoadedT, None, None]:
    """Yield what a data set has at each of the places."""
    loader = DataLoader(
        dataset,
        sampler=places,
        batch_size=None,  # what is at one of the places is a batch already
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=partial(_start_worker, parent=os.getpid()),
        multiprocessing_context=_START_METHOD if workers else None,
        # DataLoader draws a seed for its workers: not from the generator that the training process uses.
        generator=torch.Generator(),
    )
    try:
        yield from _started(loader)
        return
    except (ConnectionError, EOFError):  # a worker was killed, and PyTorch has not seen it yet
        pass
    # Only now: with its traceback the error would keep the loader alive, which then raises another when it sees it.
    raise RuntimeError("DataLoader worker exited unexpectedly")


def _as_it_is(loaded: LoadedT) -> LoadedT:
    return loaded


def _raising(batches: Generator[LoadedT | DataError, None, None]) -> Generator[LoadedT, None, None]:
    with closing(batches):  # an error's traceback would keep them, and their workers, alive
        for batch in batches:
            if isinstance(batch, DataError):
                raise batch
            yield batch


# Ctrl-C, Ctrl-\, a closed terminal and a scheduler's SIGTERM reach every process of a group. Whether to stop is for the
# training process to decide, which then ends its workers, by SIGTERM if need be. Only Linux tells who sent a signal.
_HELD_SIGNALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP} | (
    {signal.SIGTERM} if sys.platform == "linux" else set()
)


def _started(loader: DataLoader[LoadedT]) -> Iterator[LoadedT]:
    """The loader's iterator; its workers start with the signals held, so that there is no moment when one hits them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_SIGNALS)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(_: int, parent: int) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":
        threading.Thread(target=_end_with_the_parent, args=(parent,), daemon=True).start()


def _end_with_the_parent(parent: int) -> None:
    """End this process when its parent says so, or is gone.

    PyTorch looks for it too, but takes for the parent whoever that is when a worker begins: not one that was killed before.
    """
    while os.getppid() == parent:
        told = signal.sigtimedwait({signal.SIGTERM}, _SECONDS_BETWEEN_LOOKS)
        if told is not None and told.si_pid == parent:
            break
    os._exit(0)


def _shuffled(position: int, length: int, seed: int) -> int:
    epoch, place = divmod(position, length)
    return int(_epoch_order(length, seed, epoch)[place])


@lru_cache(maxsize=4)
def _epoch_order(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(length)


def _derived_seed(seed: int, position: int) -> int:
    return int(np.random.SeedSequence([seed, _AUGMENTATION, position]).generate_state(1, np.uint64)[0])
