"""offsets.npz as a reader with numpy alone finds it."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from dcnrun.errors import UsageError
from dcnrun.offsets import Capture, Grid, RoIs, layer_points
from dcnrun.offsets.arrays import write_arrays
from tests.offsets.factories import hand_made, noise

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "stride": (2, 1),
    "dilation": (1, 2),
    "padding": (1, 2),
    "offset_groups": 2,
    "grid": Grid((1.5, 2.5), (4, 8)),
}


def capture(seed):
    """Two layers, the first with a mask, and two regions; images differ in size."""
    size = (6 + seed, 9)
    shape = hand_made(input_size=size, **SETTINGS).offset.shape
    mask = noise(*shape[:2], *shape[3:], seed=seed).sigmoid()
    first = hand_made(noise(*shape, seed=seed), name="a.conv", input_size=size, mask=mask, **SETTINGS)
    bins = noise(2, 3, 3, 2, seed=seed)
    rois = RoIs("pool", noise(2, 4), bins, bins + 1, noise(2, 2), None)
    second = hand_made(name="b", input_size=size, grid=Grid(exact=False))
    return Capture((4 * size[0], 8 * size[1]), (first, second), (rois,))


def points_by_numpy(file, image, number, y, x):
    """Positions (groups, points, 2) in the image, from the arrays and the formula in the module's docstring alone."""
    layer = file["layers"][number]
    stride, padding, dilation, kernel = (file[key][number] for key in ("stride", "padding", "dilation", "kernel_size"))
    start, step = file[f"{image}/{layer}/input_grid"]
    points = np.array(list(product(range(kernel[0]), range(kernel[1]))))
    on_map = np.array([y, x]) * stride - padding + points * dilation + file[f"{image}/{layer}/offset"][..., y, x]
    return start + on_map * step


def test_the_geometry_can_be_redone_from_the_file(tmp_path):
    captures = {"street 1": capture(0), "../etc/é": capture(1)}
    write_arrays(captures, tmp_path / "offsets.npz")
    with np.load(tmp_path / "offsets.npz", allow_pickle=False) as opened:
        file = {name: opened[name] for name in opened.files}
    assert file["images"].tolist() == ["street 1", "../etc/é"]
    assert file["layers"].tolist() == ["a.conv", "b"]
    for i, captured in enumerate(captures.values()):
        assert tuple(file[f"{i}/size"]) == captured.image_size
        for number, layer in enumerate(captured.layers):
            assert tuple(file[f"{i}/{layer.name}/input_size"]) == layer.input_size
            assert tuple(file[f"{i}/{layer.name}/output_size"]) == layer.output_size
            for y, x in ((0, 0), (2, 5), (layer.output_size[0] - 1, 1)):
                wanted = layer.input_grid.to_image(torch.stack(layer_points(layer, y, x), dim=-1))
                assert points_by_numpy(file, i, number, y, x) == pytest.approx(wanted.numpy(), abs=1e-4)


def test_shapes_and_types_are_as_documented(tmp_path):
    captured = capture(0)
    write_arrays({"one": captured}, tmp_path / "offsets.npz")
    file = np.load(tmp_path / "offsets.npz", allow_pickle=False)
    first, second = captured.layers
    assert np.array_equal(file["0/a.conv/offset"], first.offset)
    assert np.array_equal(file["0/a.conv/mask"], first.mask)
    assert (file["0/b/mask"] == np.ones((1, 9, *second.output_size))).all()
    assert file["a.conv/tap_weight"].shape == (2, 9)
    assert file["kernel_size"].tolist() == [[3, 3], [3, 3]]
    assert file["offset_groups"].tolist() == [2, 1]
    assert file["exact"].tolist() == [True, False]
    assert file["0/a.conv/output_grid"].tolist() == [list(first.output_grid.start), list(first.output_grid.step)]
    (rois,) = captured.rois
    assert file["regions"].tolist() == ["pool"]
    for name in ("boxes", "bins", "plain_bins", "bin_size"):
        assert np.array_equal(file[f"0/pool/{name}"], getattr(rois, name))
    assert (file["0/pool/mask"] == np.ones((2, 3, 3))).all()
    kinds = {"U": str, "b": bool, "i": np.int64, "f": np.float32}
    assert all(np.issubdtype(file[name].dtype, kinds[file[name].dtype.kind]) for name in file.files)


def test_the_arrays_are_those_that_are_documented(tmp_path):
    write_arrays({"one": capture(0)}, tmp_path / "offsets.npz")
    table = (ROOT / "docs" / "offsets.md").read_text().split("| array |")[-1].split("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    names = {"0": "i", "a.conv": "LAYER", "b": "LAYER", "pool": "POOL"}
    there = {
        "/".join(names.get(part, part) for part in name.split("/")) for name in np.load(tmp_path / "offsets.npz").files
    }
    assert there == documented


def test_captures_of_different_layers_or_none_are_refused(tmp_path):
    other = Capture((24, 72), (hand_made(name="c"),), ())
    with pytest.raises(UsageError, match="one and two were not seen by the same layers"):
        write_arrays({"one": capture(0), "two": other}, tmp_path / "offsets.npz")
    with pytest.raises(UsageError, match="no images"):
        write_arrays({}, tmp_path / "offsets.npz")
    assert not list(tmp_path.iterdir())
