"""Files scored by the evaluation of runs: with what they say of themselves, or with what is said of them."""

import dataclasses
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from dcnrun.config.compose import compose, to_yaml
from dcnrun.data import build_dataset
from dcnrun.errors import ConfigError, DataError, DcnrunError, UsageError
from dcnrun.export.evaluate import evaluate_file
from tests.export import factories
from tests.training.factories import TINY

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

MEAN, STD = [0.2, 0.3, 0.4], [0.5, 0.25, 0.125]
CONFIG = compose([*TINY, f"data.mean={MEAN}", f"data.std={STD}"])
VAL_SET = build_dataset(CONFIG.data, "val")
WEIGHT = np.random.default_rng(0).normal(size=(8, 3, 1, 1)).astype(np.float32)
DESCRIPTION = dataclasses.replace(
    factories.DESCRIPTION, classes=VAL_SET.classes, mean=tuple(MEAN), std=tuple(STD), config=to_yaml(CONFIG)
)
PREPARED = [f"data.mean={MEAN}", f"data.std={STD}"]


def saved(path, metadata, nodes=None, channels=8):
    """A network of one convolution of 1x1, or of other nodes, with names of somebody else's for input and output."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = nodes or [helper.make_node("Conv", ["pixels", "weight"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("pixels", kind, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", kind, None)],
        [onnx.numpy_helper.from_array(WEIGHT[:channels], "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def file(tmp_path):
    return saved(tmp_path / "model.onnx", DESCRIPTION.as_metadata())


@pytest.fixture
def foreign(tmp_path):
    return saved(tmp_path / "foreign.onnx", {})


def classes_of(pixels):
    """What the network says of an image (3, h, w) of bytes."""
    normalised = (pixels / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    return np.einsum("oc,chw->ohw", WEIGHT[:, :, 0, 0], normalised).argmax(0)


@pytest.fixture(scope="module")
def miou():
    """Of all pixels of the data set together: each class's intersection over its union."""
    samples = [VAL_SET[index] for index in range(len(VAL_SET))]
    truth = np.stack([sample["mask"].numpy() for sample in samples])
    found = np.stack([classes_of(sample["image"].numpy()) for sample in samples])
    overlaps = [((truth == c) & (found == c)).sum() / ((truth == c) | (found == c)).sum() for c in range(8)]
    return np.mean([overlap for c, overlap in enumerate(overlaps) if (truth == c).any()])


@pytest.fixture
def folder(tmp_path):
    """The validation images as files, their classes numbered the other way round, and the settings that read them."""
    for index in range(len(VAL_SET)):
        sample = VAL_SET[index]
        mask = len(VAL_SET.classes) - 1 - sample["mask"].numpy()
        for kind, pixels in (("images", sample["image"].numpy().transpose(1, 2, 0)), ("masks", mask)):
            (tmp_path / kind / "val").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / "val" / f"{sample['name']}.png")
    classes = ",".join(reversed(VAL_SET.classes))
    return ["data=folder", f"data.root={tmp_path}", f"data.classes=[{classes}]", "data.workers=0"]


def test_a_file_is_scored_by_what_it_says_of_itself(file, miou, capsys):
    result = evaluate_file(file)
    assert result["metrics"]["val/miou"] == pytest.approx(miou, abs=1e-4)
    assert (result["model"], result["images"]) == (str(file), 5)
    assert "holds the best checkpoint of its run" in " ".join(capsys.readouterr().out.split())
    last = saved(file, dataclasses.replace(DESCRIPTION, checkpoint="last").as_metadata())
    assert evaluate_file(last, ["data.eval_batch_size=3"])["metrics"] == result["metrics"]
    assert "optimistic" not in capsys.readouterr().out


def test_other_data_are_prepared_likewise_and_matched_by_name(file, folder, miou, tmp_path):
    result = evaluate_file(file, folder, errors=tmp_path / "errors")
    assert result["metrics"]["val/miou"] == pytest.approx(miou, abs=1e-4)
    assert (tmp_path / "errors" / "errors.json").is_file()
    with pytest.raises(UsageError, match=r"does not fit .*model\.onnx: the classes there are background"):
        evaluate_file(file, [*folder, "data.classes=[a,b]"])


def test_a_file_that_says_nothing_needs_to_be_told(foreign, folder, miou):
    for given, missing in (([], "data, data.mean, data.std"), (folder, "data.mean, data.std")):
        with pytest.raises(UsageError, match=rf"does not say how it was trained.*: {missing} must be given"):
            evaluate_file(foreign, given)
    reversed_classes = evaluate_file(foreign, [*folder, *PREPARED])["metrics"]["val/miou"]
    assert abs(reversed_classes - miou) > 0.01  # nothing is known of its classes: they are matched by number
    told = [*TINY, "data=shapes", *PREPARED]
    assert evaluate_file(foreign, told)["metrics"]["val/miou"] == pytest.approx(miou, abs=1e-4)
    with pytest.raises(UsageError, match="model=faster_rcnn: files of networks for segmentation"):
        evaluate_file(foreign, [*PREPARED, "data=treecrowns", "model=faster_rcnn"])


def test_a_network_that_normalises_by_itself_is_given_pixels(tmp_path, miou):
    """Values from 0 to 1, whatever the evaluation has made of them before."""
    moved, scale = (np.float32(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    constants = [
        onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in (("mean", moved), ("std", scale))
    ]
    nodes = [
        *constants,
        onnx.helper.make_node("Sub", ["pixels", "mean"], ["moved"]),
        onnx.helper.make_node("Div", ["moved", "std"], ["normal"]),
        onnx.helper.make_node("Conv", ["normal", "weight"], ["logits"]),
    ]
    described = dataclasses.replace(DESCRIPTION, normalises=True, of_bytes=False)
    file = saved(tmp_path / "model.onnx", described.as_metadata(), nodes)
    assert evaluate_file(file)["metrics"]["val/miou"] == pytest.approx(miou, abs=1e-4)
    with pytest.raises(UsageError, match=r"normalises its input itself: leave out data\.mean"):
        evaluate_file(file, ["data.mean=[0,0,0]"])


def test_a_file_for_one_size_sees_images_in_it(tmp_path):
    """Images of 48x48 are made larger, and scores smaller: of a network that looks at each pixel alone little changes."""
    described = dataclasses.replace(DESCRIPTION, size=(96, 72))
    file = saved(tmp_path / "model.onnx", described.as_metadata())
    larger = evaluate_file(file)["metrics"]["val/pixel_acc"]
    assert larger == pytest.approx(
        evaluate_file(saved(file, DESCRIPTION.as_metadata()))["metrics"]["val/pixel_acc"], abs=0.05
    )


def test_a_file_for_one_size_sees_images_at_that_size_alone(tmp_path, miou):
    """Those of 48x48 are what it takes, whatever short side the run was evaluated at."""
    config = compose(
        [*TINY, f"data.mean={MEAN}", f"data.std={STD}", "data.eval_short_side=16", "data.long_side_max=16"]
    )
    described = dataclasses.replace(DESCRIPTION, size=(48, 48), config=to_yaml(config))
    file = saved(tmp_path / "model.onnx", described.as_metadata())
    assert evaluate_file(file)["metrics"]["val/miou"] == pytest.approx(miou, abs=1e-4)


@pytest.mark.parametrize(("override", "key"), [("conv=standard", "conv.kind"), ("model.width=32", "model.width")])
def test_settings_of_a_network_that_is_written_are_refused(override, key, file):
    with pytest.raises(UsageError, match=rf"model\.onnx is as it was exported: leave out {key}, or give it to"):
        evaluate_file(file, [override])


def test_outputs_that_are_no_scores(tmp_path):
    few = saved(tmp_path / "few.onnx", DESCRIPTION.as_metadata(), channels=5)
    with pytest.raises(
        DataError, match=r"few\.onnx: .*shape \(2, 5, 48, 48\); expected .*\(2, 8, 48, 48\), .*background"
    ):
        evaluate_file(few)
    labels = [
        onnx.helper.make_node("Conv", ["pixels", "weight"], ["scores"]),
        onnx.helper.make_node("ArgMax", ["scores"], ["classes"], axis=1, keepdims=0),
        onnx.helper.make_node("Cast", ["classes"], ["logits"], to=onnx.TensorProto.FLOAT),
    ]
    with pytest.raises(DataError, match=r"labels\.onnx: .* of shape \(2, 48, 48\)"):
        evaluate_file(saved(tmp_path / "labels.onnx", DESCRIPTION.as_metadata(), labels))


def test_files_that_are_no_networks(tmp_path, monkeypatch):
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(DcnrunError, match="can't run the network"):
        evaluate_file(tmp_path / "text.onnx")
    with pytest.raises(UsageError, match="exported files end with"):
        evaluate_file(tmp_path / "network.tflite")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        DcnrunError, match=r"ONNX files need onnxruntime, not installed here: pip install 'dcnrun\[onnx\]'"
    ):
        evaluate_file(tmp_path / "text.onnx")


class Touch:
    """Its pickle makes a file where it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_is_not_run_unasked(tmp_path):
    pickled = tmp_path / "network.pt2"
    pickled.write_bytes(pickle.dumps(Touch(tmp_path / "touched")))
    with pytest.raises(UsageError, match=r"network\.pt2: a \.pt2 file can run any code .* load it with --trust"):
        evaluate_file(pickled)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("!!python/object/apply:os.system [ls]", "can't be read as YAML"),
        ("a: 1", "is not the config of a run"),
        (to_yaml(CONFIG).replace("seed: 0", "seed: none"), "seed"),
        (to_yaml(CONFIG).replace("data:", "data:\n  nothing: 1", 1), "nothing"),
    ],
)
def test_settings_in_a_file_are_checked(config, said, tmp_path):
    described = dataclasses.replace(DESCRIPTION, config=config)
    file = saved(tmp_path / "model.onnx", described.as_metadata())
    with pytest.raises(ConfigError, match=rf"model\.onnx\[config\].*{said}"):
        evaluate_file(file)


def test_settings_in_a_file_are_texts_and_fetch_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "value")
    monkeypatch.chdir(tmp_path)
    other = to_yaml(compose([*PREPARED, "data=voc2012", "data.root=here", "data.download=true"]))
    described = dataclasses.replace(DESCRIPTION, config=other.replace("root: here", "root: ${oc.env:SECRET}"))
    file = saved(tmp_path / "model.onnx", described.as_metadata())
    with pytest.raises(DcnrunError, match=r"\$\{oc\.env:SECRET\}.*data\.download=true fetches it"):
        evaluate_file(file)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
