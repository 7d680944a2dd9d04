"""Batches: the same at a step however one gets there, every sample as often as it should be, errors that stay clear."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter

import pytest
import torch
from torchvision import tv_tensors

from dcnrun.config.schema import DataConfig, FolderConfig, ShapesConfig
from dcnrun.data import IGNORE, SegmentationDataset, build_dataset, eval_batches, train_batches
from dcnrun.data.loaders import _PreparedBatches, _start_worker
from dcnrun.errors import DataError, UsageError
from tests.data.factories import folder_tree, labels, save_image, save_mask


def _begin_and_wait(parent):
    _start_worker(0, parent)
    time.sleep(60)
    os._exit(1)


class Numbered(SegmentationDataset):
    """Images of one grey each; the name says how many threads its reader has."""

    classes = ("background", "other")

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        image = torch.full((3, 20, 20), index, dtype=torch.uint8)
        return {
            "image": tv_tensors.Image(image),
            "mask": tv_tensors.Mask(torch.zeros(20, 20, dtype=torch.uint8)),
            "name": str(torch.get_num_threads()),
        }

    def name(self, index):
        return str(index)


def settings(**values):
    return DataConfig(**({"batch_size": 4, "eval_batch_size": 3, "workers": 0} | values))


AUGMENTED = {"crop_size": 32, "scale_min": 0.7, "scale_max": 1.4, "color_jitter": 0.4, "vertical_flip": 0.5}
AUGMENTED |= {"quarter_turns": True, "random_rotation": 20.0, "elastic": 2.0, "mosaic": 0.5}


def stream(dataset, config, *, first_step=0, steps=6, seed=3, **rank):
    return list(train_batches(dataset, config, seed=seed, first_step=first_step, steps=steps, **rank))


def indices(batches):
    return [index for batch in batches for index in batch["index"]]


def assert_same_batches(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["index"] == other["index"]
        assert one["name"] == other["name"]
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["mask"], other["mask"])


@pytest.fixture(scope="module")
def shapes():
    return build_dataset(ShapesConfig(image_size=48, train_images=10), "train")


class Counted(Numbered):
    """Counts how often an image is read."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


class TestTraining:
    def test_the_cache_reads_each_image_once_and_changes_nothing(self, shapes):
        assert_same_batches(stream(shapes, settings(**AUGMENTED)), stream(shapes, settings(cache=True, **AUGMENTED)))
        dataset = Counted(5)
        stream(dataset, settings(cache=True, **AUGMENTED), steps=10)
        assert dataset.reads == 5

    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_a_step_is_the_same_wherever_the_stream_starts(self, shapes, workers):
        whole = stream(shapes, settings(**AUGMENTED))
        rest = stream(shapes, settings(workers=workers, **AUGMENTED), first_step=2, steps=4)
        assert_same_batches(whole[2:], rest)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_the_random_state_outside_neither_matters_nor_changes(self, shapes, workers):
        torch.manual_seed(1)
        first = stream(shapes, settings(workers=workers, **AUGMENTED), steps=2)
        torch.manual_seed(2)
        before = torch.get_rng_state()
        second = stream(shapes, settings(workers=workers, **AUGMENTED), steps=2)
        list(eval_batches(shapes, settings(workers=workers)))
        assert torch.equal(torch.get_rng_state(), before)
        assert_same_batches(first, second)

    @pytest.mark.parametrize("world_size", [2, 4])
    def test_ranks_share_the_batch_of_one(self, shapes, world_size):
        whole = stream(shapes, settings(**AUGMENTED))
        shares = [stream(shapes, settings(**AUGMENTED), rank=rank, world_size=world_size) for rank in range(world_size)]
        for step, batch in enumerate(whole):
            for position in range(4):
                share = shares[position % world_size][step]
                place = position // world_size
                assert share["index"][place] == batch["index"][position]
                assert torch.equal(share["image"][place], batch["image"][position])
                assert torch.equal(share["mask"][place], batch["mask"][position])

    def test_batches_that_do_not_divide(self, shapes):
        with pytest.raises(UsageError, match=r"data.batch_size=4 does not divide among 3 processes"):
            train_batches(shapes, settings(), seed=0, first_step=0, steps=1, world_size=3)

    @pytest.mark.parametrize("length", [1, 3, 7, 10])
    def test_every_epoch_has_every_sample_once(self, length):
        seen = indices(stream(Numbered(length), settings(), steps=3 * length))
        epochs = [seen[start : start + length] for start in range(0, len(seen), length)]
        assert len(epochs) == 12
        assert all(sorted(epoch) == list(range(length)) for epoch in epochs)

    def test_epochs_and_seeds_have_orders_of_their_own(self):
        orders = [tuple(indices(stream(Numbered(12), settings(), first_step=3 * epoch, steps=3))) for epoch in range(4)]
        orders.append(tuple(indices(stream(Numbered(12), settings(), steps=3, seed=4))))
        assert len(set(orders)) == 5

    def test_a_sample_is_augmented_anew_each_time(self, shapes):
        batches = stream(shapes, settings(**AUGMENTED), steps=10)
        views = [
            image
            for batch in batches
            for index, image in zip(batch["index"], batch["image"], strict=True)
            if index == 0
        ]
        assert len(views) == 4
        assert not any(torch.equal(views[0], view) for view in views[1:])

    def test_images_belong_to_their_index(self):
        config = settings(mean=[0.0] * 3, std=[1.0] * 3)
        for batch in stream(Numbered(7), config):
            assert (batch["image"][:, 0, 0, 0] * 255).round().int().tolist() == batch["index"]

    def test_no_steps_no_batches(self, shapes):
        assert stream(shapes, settings(), steps=0) == []


class TestEvaluation:
    @pytest.mark.parametrize(("length", "world_size"), [(7, 1), (7, 3), (6, 2), (2, 4)])
    def test_every_sample_comes_once_over_all_ranks(self, length, world_size):
        shares = [
            list(eval_batches(Numbered(length), settings(), rank=r, world_size=world_size)) for r in range(world_size)
        ]
        assert sorted(index for share in shares for index in indices(share)) == list(range(length))
        assert all(len(batch["index"]) <= 3 for share in shares for batch in share)

    def test_is_not_augmented(self, shapes):
        config = settings(**AUGMENTED, flip=1.0, mean=[0.0] * 3, std=[1.0] * 3)
        for batch in eval_batches(shapes, config):
            for place, index in enumerate(batch["index"]):
                assert torch.equal((batch["image"][place] * 255).round().byte(), shapes[index]["image"])
                assert torch.equal(batch["mask"][place].byte(), shapes[index]["mask"])


class TestSizesThatDiffer:
    def test_are_padded_on_the_right_and_below(self, tmp_path):
        sizes = [(40, 30), (24, 36), (8, 9)]
        for number, size in enumerate(sizes):
            save_image(tmp_path / "images" / "val" / f"{number}.png", size)
            save_mask(tmp_path / "masks" / "val" / f"{number}.png", labels(size))
        dataset = build_dataset(FolderConfig(root=str(tmp_path), classes=["a", "b"]), "val")
        samples = [(dataset[index], 0) for index in range(3)]
        batch = dataset.evaluation(settings()).batch(samples, [0, 1, 2])
        assert batch["image"].shape == (3, 3, 36, 40)
        for number, (width, height) in enumerate(sizes):
            image, mask = batch["image"][number], batch["mask"][number]
            assert batch["sizes"][number] == (height, width)
            assert torch.equal(batch["truth"][number], dataset[number]["mask"])
            assert torch.equal(mask[:height, :width].byte(), dataset[number]["mask"])
            outside = torch.ones(36, 40, dtype=torch.bool)
            outside[:height, :width] = False
            assert (mask[outside] == IGNORE).all()
            assert (image[:, outside] == 0).all()
            assert (image[:, ~outside] != 0).all()


class TestWorkers:
    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_error_reads_as_if_there_were_none(self, tmp_path, workers):
        dataset = build_dataset(FolderConfig(root=str(folder_tree(tmp_path)), classes=["a", "b"]), "val")
        (tmp_path / "images" / "val" / "b.png").write_bytes(b"damaged")
        with pytest.raises(DataError) as direct:
            dataset[1]
        with pytest.raises(DataError) as raised:
            list(eval_batches(dataset, settings(workers=workers, eval_batch_size=1)))
        assert str(raised.value) == str(direct.value)
        assert "Traceback" not in str(raised.value)

    def test_samples_before_the_damaged_one_still_come(self, tmp_path):
        dataset = build_dataset(FolderConfig(root=str(folder_tree(tmp_path)), classes=["a", "b"]), "val")
        (tmp_path / "images" / "val" / "c.png").write_bytes(b"damaged")
        batches = iter(eval_batches(dataset, settings(workers=1, eval_batch_size=1)))
        assert [next(batches)["name"], next(batches)["name"]] == [["a"], ["b"]]
        with pytest.raises(DataError):
            next(batches)

    def test_work_in_one_thread_each(self):
        batches = eval_batches(Numbered(6), settings(workers=2))
        assert {name for batch in batches for name in batch["name"]} == {"1"}

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_leave_it_to_the_training_process_to_stop(self, number):
        batches = iter(stream_lazily(Numbered(8), settings(workers=2), steps=40))
        next(batches)
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        for worker in workers:  # from another process, as a terminal or a scheduler does
            subprocess.run(["kill", f"-{number.value}", str(worker.pid)], check=True)
        assert len(list(batches)) == 39

    def test_end_with_the_stream(self):
        batches = iter(stream_lazily(Numbered(8), settings(workers=2), steps=1000))
        next(batches)
        workers = multiprocessing.active_children()
        batches.close()
        for worker in workers:
            worker.join(timeout=10)
            assert worker.exitcode == 0

    @pytest.mark.skipif(sys.platform != "linux", reason="PyTorch alone looks for the parent elsewhere")
    def test_end_where_the_training_process_was_killed_before_they_began(self):
        dead = subprocess.Popen(["true"])
        dead.wait()
        worker = multiprocessing.get_context("fork").Process(target=_begin_and_wait, args=(dead.pid,))
        worker.start()
        worker.join(timeout=10)
        assert worker.exitcode == 0

    def test_do_not_keep_a_failing_process_from_its_end(self):
        """Each in a process of its own, which begins with all that is imported, and ends as every process does."""
        script = """
import multiprocessing, os, signal, sys
from dcnrun.config.schema import ShapesConfig
from dcnrun.data import build_dataset, train_batches
config = ShapesConfig(image_size=32, workers=2)
for failure in sys.argv[1:]:
    if os.fork() == 0:
        batches = iter(train_batches(build_dataset(config, "train"), config, seed=0, first_step=0, steps=1000))
        next(batches)
        workers = multiprocessing.active_children()
        exec(failure)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 1, failure
"""
        failures = ["raise RuntimeError('loss')", "os.kill(workers[0].pid, signal.SIGKILL); list(batches)"]
        done = subprocess.run([sys.executable, "-c", script, *failures], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def test_can_be_started_by_other_means_than_a_fork(self, shapes):
        samples = _PreparedBatches(shapes, shapes.training(settings(**AUGMENTED)), seed=0, cache=True)
        pickle.loads(pickle.dumps(samples))


def stream_lazily(dataset, config, steps):
    return train_batches(dataset, config, seed=0, first_step=0, steps=steps)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
class TestGpu:
    @pytest.mark.parametrize("workers", [0, 1])
    def test_batches_are_pinned_and_the_gpu_keeps_its_random_state(self, shapes, workers):
        torch.cuda.manual_seed(5)
        before = torch.cuda.get_rng_state()
        batches = stream(shapes, settings(workers=workers, **AUGMENTED), steps=2)
        assert torch.equal(torch.cuda.get_rng_state(), before)
        assert all(batch["image"].is_pinned() and batch["mask"].is_pinned() for batch in batches)
        assert all(isinstance(batch["index"], list) for batch in batches)


def test_counter_is_complete():
    """All samples of a stream longer than an epoch come equally often, up to one."""
    counts = Counter(indices(stream(Numbered(9), settings(), steps=11)))
    assert set(counts.values()) <= {4, 5}
    assert sum(counts.values()) == 44


@pytest.mark.parametrize("broken", [ConnectionResetError, EOFError])
def test_a_worker_whose_pipe_broke_is_dead_and_the_loader_is_kept_by_no_error(broken, monkeypatch):
    """A loader that lives raises another error from wherever the process is when it hears of the death."""
    loaders = []

    class Loader:
        def __next__(self):
            raise broken

        def __iter__(self):
            return self

    def started(_):
        loader = Loader()
        loaders.append(weakref.ref(loader))
        return loader

    monkeypatch.setattr("dcnrun.data.loaders._started", started)
    config = ShapesConfig(image_size=16, train_images=4, batch_size=2)
    batches = train_batches(build_dataset(config, "train"), config, seed=0, first_step=0, steps=1)
    with pytest.raises(RuntimeError, match="DataLoader worker exited unexpectedly") as failed:
        next(batches)
    assert failed.value.__context__ is None
    assert loaders[0]() is None
