from pathlib import Path

from dcnrun.export.targets import Precision, Settings, Target
from dcnrun.predict.options import Options as PredictOptions
from dcnrun.runs import CheckpointChoice
from dcnrun.tasks.found import PredictionFormat
from dcnrun.visualize.options import Options as OffsetOptions
from tests.cli.fakes import run


def test_evaluate(replaced, tmp_path):
    calls = replaced("dcnrun.training.evaluate", "evaluate")
    assert run("evaluate", str(tmp_path)).exit_code == 0
    more = ["--checkpoint", "last", "--save-predictions", "a.json", "--errors", "wrong"]
    assert run("evaluate", str(tmp_path), "data.flip=0", *more, "seed=1").exit_code == 0
    assert calls == [
        (tmp_path, "best", [], None, None),
        (tmp_path, "last", ["data.flip=0", "seed=1"], Path("a.json"), Path("wrong")),
    ]


def test_evaluate_only_what_can_be_written(replaced, tmp_path):
    calls = replaced("dcnrun.training.evaluate", "evaluate")
    (tmp_path / "file").touch()
    for option, place in (("--errors", "file/a/b"), ("--errors", "file"), ("--save-predictions", "file/a.json")):
        result = run("evaluate", str(tmp_path), option, str(tmp_path / place))
        assert result.exit_code == 2
        assert f"{tmp_path / place} can't be written: {tmp_path / 'file'} is no folder." in " ".join(
            result.output.split()
        )
    assert not calls


def test_evaluate_a_file(replaced, tmp_path):
    calls = replaced("dcnrun.export.evaluate", "evaluate_file")
    assert run("evaluate", "--model", "a.onnx").exit_code == 0
    more = ["--errors", "wrong", "--trust"]
    assert run("evaluate", "data.root=x", "data.flip=0", "--model", "a.pt2", *more).exit_code == 0
    assert calls == [
        (Path("a.onnx"), [], None, None, False),
        (Path("a.pt2"), ["data.root=x", "data.flip=0"], None, Path("wrong"), True),
    ]
    for words in (
        [],
        [str(tmp_path), "--model", "a.onnx"],
        ["--model", "a.onnx", "--checkpoint", "last"],
        ["a", "--trust"],
    ):
        assert run("evaluate", *words).exit_code == 2
    assert len(calls) == 2


def test_predict(replaced):
    calls = replaced("dcnrun.predict.command", "predict")
    assert run("predict", "runs/a", "photos", "--out", "found").exit_code == 0
    more = ["--format", "coco", "--format", "png", "--split", "train", "--checkpoint", "last"]
    more += ["--min-score", "0.25", "--batch", "4", "--device", "cpu", "--tile", "512", "--overlap", "64"]
    assert run("predict", "runs/a", "runs/b", "data", "data.root=x", "--out", "found", *more).exit_code == 0
    formats = (PredictionFormat.coco, PredictionFormat.png)
    assert calls == [
        (["runs/a", "photos"], [], PredictOptions(Path("found"))),
        (
            ["runs/a", "runs/b", "data"],
            ["data.root=x"],
            PredictOptions(Path("found"), formats, "train", CheckpointChoice.last, 0.25, 4, "cpu", 512, 64),
        ),
    ]
    assert run("predict", "runs/a", "photos", "--out", "found", "--min-score", "1.5").exit_code == 2
    assert run("predict", "runs/a", "photos").exit_code == 2


def test_export(replaced):
    calls = replaced("dcnrun.export.run", "export_run")
    assert run("export", "runs/a", "--out", "a.onnx").exit_code == 0
    more = ["--checkpoint", "last", "--opset", "22", "--size", "64x96", "--limit", "5", "--licence", "MIT"]
    assert run("export", "runs/a", "data.root=x", "--out", "b/a.onnx", *more).exit_code == 0
    assert run("export", "runs/a", "--out", "a.pt2", "--to", "aoti", "--with-preprocessing").exit_code == 0
    in_8_bits = ["--precision", "int8", "--quantize-deformable", "--calibration-images", "7", "--max-drop", "2.5"]
    assert run("export", "runs/a", "--out", "a.xml", *in_8_bits, "--no-decompose").exit_code == 0
    set_otherwise, normalising = Settings(opset=22, size=(64, 96)), Settings(with_preprocessing=True)
    quantized = Settings(precision=Precision.int8, decompose=False, quantize_deformable=True)
    assert calls == [
        (Path("runs/a"), Path("a.onnx"), "best", Target.onnx, Settings(), [], 100, "unknown", 100, 1.0),
        (Path("runs/a"), Path("b/a.onnx"), "last", Target.onnx, set_otherwise, ["data.root=x"], 5, "MIT", 100, 1.0),
        (Path("runs/a"), Path("a.pt2"), "best", Target.aoti, normalising, [], 100, "unknown", 100, 1.0),
        (Path("runs/a"), Path("a.xml"), "best", Target.openvino, quantized, [], 100, "unknown", 7, 2.5),
    ]
    assert run("export", "runs/a", "--out", "a.pt2", "--opset", "22").exit_code == 2


def test_visualize_offsets(replaced, tmp_path):
    calls = replaced("dcnrun.visualize.command", "visualize_offsets")
    assert run("visualize-offsets", "runs/a").exit_code == 0
    file = tmp_path / "a=b.png"
    file.touch()
    more = ["--at", "1,2", "--at", "3,4", "--layer", "x", "--layer", "y", "--limit", "0", "--no-page"]
    words = ["runs/a", "runs/b", str(file)]
    assert run("visualize-offsets", *words, "data.root=x", "--out", "c", "--checkpoint", "last", *more).exit_code == 0
    assert calls == [
        (["runs/a"], [], OffsetOptions()),
        (words, ["data.root=x"], OffsetOptions(Path("c"), ((1, 2), (3, 4)), ("x", "y"), "last", 0, False)),
    ]
