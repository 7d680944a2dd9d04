"""Results of several processes come together, each image's once."""

import json
from pathlib import Path

import torch

from dcnrun.tasks.gather import gathered

# By process; the second has nothing, the third repeats an image.
SHARES = [{4: "e", 0: "a", 2: "c"}, {}, {1: "b", 3: "d", 0: "a"}]


def test_one_process_alone_in_the_order_of_the_data_set():
    assert gathered(SHARES[0]) == ["a", "c", "e"]


def test_processes_have_the_results_of_all(tmp_path):
    torch.multiprocessing.start_processes(_of_a_process, (tmp_path,), len(SHARES), start_method="fork")
    of_each = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(len(SHARES))]
    assert of_each == [["a", "b", "c", "d", "e"]] * len(SHARES)


def _of_a_process(rank: int, folder: Path) -> None:
    store = torch.distributed.FileStore(str(folder / "meeting"), len(SHARES))
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=len(SHARES))
    (folder / f"{rank}.json").write_text(json.dumps(gathered(SHARES[rank])))
    torch.distributed.destroy_process_group()
