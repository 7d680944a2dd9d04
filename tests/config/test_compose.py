import contextlib
import random
import time
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st

from dcnrun.config import store
from dcnrun.config.compose import compose, load, to_yaml, with_steps
from dcnrun.config.groups import GROUPS, choices
from dcnrun.config.schema import (
    Architecture,
    BadBoxes,
    Config,
    ConvConfig,
    ConvKind,
    FolderConfig,
    LoggerConfig,
    OptimConfig,
    Optimizer,
    SegmentationModelConfig,
    ShapesConfig,
    Source,
    TrainerConfig,
)
from dcnrun.errors import ConfigError
from dcnrun.resources import resource_dir

SETS_OF_A_READER = ("nuclei", "nuclei_boxes", "treecrowns", "voc2007", "voc0712", "coco2017")
EVERY_CHOICE = [f"{group}={choice}" for group in GROUPS for choice in choices(group)]


def problems_of(overrides, config_dir=None):
    with pytest.raises(ConfigError) as refused:
        compose(overrides, config_dir)
    assert refused.value.exit_code == 2
    return refused.value.problems


def test_the_defaults():
    config = compose([])
    assert isinstance(config, Config)
    assert config.conv.kind is ConvKind.deformable
    assert type(config.data) is ShapesConfig
    assert config.name == "deformable-shapes"


def test_every_group_has_its_choices():
    assert choices("conv") == sorted(ConvKind)
    assert set(choices("data")) == {*Source, *SETS_OF_A_READER}
    assert choices("model") == sorted(Architecture)


@pytest.mark.parametrize("choice", EVERY_CHOICE)
def test_every_choice_composes_and_survives_saving(choice, tmp_path):
    config = compose([choice])
    saved = tmp_path / "config.yaml"
    saved.write_text(to_yaml(config))
    same = load(saved)
    assert same == config
    assert type(same.data) is type(config.data)


def test_values_and_choices_in_any_order():
    before = compose(["optim.lr=0.3", "conv.dilation=2", "conv=dilated", "data=nuclei", "data.flip=0"])
    after = compose(["data=nuclei", "conv=dilated", "data.flip=0", "conv.dilation=2", "optim.lr=0.3"])
    assert before == after
    assert (before.optim.lr, before.conv.dilation, before.data.flip) == (0.3, 2, 0.0)


def test_the_last_of_two_wins():
    assert compose(["seed=1", "seed=2", "conv=dilated", "conv=standard"]).seed == 2
    assert compose(["conv=dilated", "conv=standard"]).conv.kind is ConvKind.standard


def test_presets():
    assert compose(["conv=dilated"]).conv.dilation == 4
    nuclei = compose(["data=nuclei"]).data
    assert isinstance(nuclei, FolderConfig)
    assert (nuclei.classes, nuclei.flip, nuclei.vertical_flip) == (["background", "nucleus"], 0.5, 0.5)
    assert Path(nuclei.root) == resource_dir("samples") / "nuclei"
    assert (Path(nuclei.root) / nuclei.images / nuclei.train).is_dir()
    voc = compose(["data=voc2012"]).data
    assert (voc.crop_size, voc.scale_min, voc.scale_max, voc.eval_batch_size) == (513, 0.5, 2.0, 1)


def test_the_command_line_beats_an_experiment():
    assert compose(["experiment=quick"]).model.width == 16
    assert compose(["experiment=quick", "model.width=32", "trainer=debug"]).model.width == 32
    assert compose(["trainer=debug", "experiment=quick"]).trainer.steps == compose(["trainer=debug"]).trainer.steps
    assert compose(["experiment=null"]) == compose([])


def test_values_of_a_section_at_once():
    optim = compose(["optim={lr: 0.5, step_at: [0.2, 0.4]}"]).optim
    assert (optim.lr, optim.step_at, optim.momentum) == (0.5, [0.2, 0.4], 0.9)


def test_interpolation_to_another_setting():
    assert compose(["name=${conv.kind}-lr${optim.lr}", "optim.lr=0.5"]).name == "deformable-lr0.5"


@pytest.mark.parametrize("layers", ["c3,c4,c5", "[c3,c4,c5]", "'c3,c4,c5'"])
def test_stages_are_one_setting(layers):
    assert compose([f"conv.layers={layers}"]).conv.layers == "c3,c4,c5"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("lr=0.1", ["no setting lr", "optim.lr?"]),
        ("optim.lrr=0.1", ["no setting optim.lrr", "optim.lr?"]),
        ("modle=fcn", ["no setting modle", "mean model"]),
        ("optim.qqqq=1", ["no setting optim.qqqq", "--list"]),
        ("conv=deformabel", ["standard", "did you mean deformable?"]),
        ("conv=null", ["conv is one of"]),
        ("conv=[standard]", ["conv is one of"]),
        ("logger=[csv,tensorbord]", ["logger is one of", "tensorboard"]),
        ("experiment={a: 1}", ["experiment is one of"]),
        ("schema/data=folder", ["no setting schema/data"]),
        ("trainer.steps=many", ["trainer.steps is an integer", "training steps"]),
        ("trainer.steps=1.5", ["trainer.steps is an integer"]),
        ("optim.lr=high", ["optim.lr is a number", "base learning rate"]),
        ("optim.clip_norm=x", ["a number, above 0, or null"]),
        ("seed=null", ["seed is an integer"]),
        ("trainer.channels_last=maybe", ["true or false"]),
        ("model.backbone=resnet19", ["one of resnet18, resnet34, resnet50, resnet101"]),
        ("data.mean=[a,b,c]", ["a list of numbers"]),
        ("data.mean=0.5", ["a list of numbers"]),
        ("optim={lr: x}", ["optim.lr is a number"]),
        ("optim={foo: 1}", ["no setting optim.foo"]),
        ("optim.lr.foo=1", ["no setting optim.lr.foo"]),
        ("+optim.foo=1", ["can't be added"]),
        ("++optim.lr=1", ["can't be added"]),
        ("~seed", ["can't be deleted"]),
        ("conv@model=fcn", ["@"]),
        ("hydra.job.name=x", ["Hydra"]),
        ("conv=[a", ["can't be read"]),
        ("conv=standard,dilated", ["dcnrun compare"]),
        ("conv.layers=1,2", ["dcnrun compare"]),
        ("data.classes=[a,b]", ["data=folder or voc or yolo or labelme or supervisely or instance_masks only"]),
        ("model.roi_pool=deformable", ["model=faster_rcnn or mask_rcnn only"]),
        ("model.head=retinanet", ["needs other settings", "choose model=retinanet"]),
        ("data.source=folder", ["data=folder"]),
    ],
)
def test_what_is_wrong_in_one_line(override, parts):
    (problem,) = problems_of([override])
    assert problem.startswith(override)
    assert "\n" not in problem
    for part in parts:
        assert part in problem


@pytest.mark.parametrize(
    "override", ["name=${nowhere}", "name=${nothing:x}", "name=${oc.env:DCNRUN_UNSET}", "optim.lr=${name}"]
)
def test_an_interpolation_that_fails_names_the_setting(override):
    (problem,) = problems_of([override])
    assert problem.startswith(override.partition("=")[0])
    assert "\n" not in problem


def test_all_problems_are_reported_together():
    wrong = ["lr=0.1", "conv=deformabel", "trainer.steps=x", "+a=1", "conv=[a", "seed=1,2", "data.flp=1"]
    problems = problems_of(["optim.lr=0.1", *wrong, "model=fcn"])
    assert sorted(problem.split(":")[0] for problem in problems) == sorted(wrong)


def test_a_misspelt_data_set_is_one_mistake_not_two():
    assert len(problems_of(["data=foldr", "data.classes=[a,b]"])) == 1
    assert len(problems_of(["data=foldr", "data.classes=[a,b]", "data.clases=[a]", "data.flip=x"])) == 3


def test_composing_is_quick_and_leaves_hydra_as_it_was():
    compose([])
    started = time.perf_counter()
    compose(["data=nuclei", "conv=dilated", "optim.lr=0.1"])
    assert time.perf_counter() - started < 1.0
    assert not GlobalHydra.instance().is_initialized()


def test_from_any_folder(tmp_path, monkeypatch):
    expected = compose(["data=nuclei"])
    monkeypatch.chdir(tmp_path)
    assert compose(["data=nuclei"]) == expected


def test_what_was_read_once_is_not_read_again_and_stays_as_it_was(monkeypatch):
    before = compose(["conv=dilated", "data=shapes"])
    monkeypatch.setattr(store, "compose", None)
    assert compose(["data=shapes", "conv=dilated", "conv.dilation=7", "data={mean: [0.1, 0.2, 0.3]}"]) != before
    assert compose(["data=shapes", "conv=dilated"]) == before


# A user's own folder.


@pytest.fixture
def own(tmp_path):
    def write(text, name="data/cells.yaml"):
        file = tmp_path / "it's mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path / "it's mine"

    return write


def test_own_choices_stand_beside_ours(own):
    folder = own("defaults: [folder, _self_]\nroot: /cells\nclasses: [background, cell]\n")
    config = compose(["data=cells", "conv=dilated", "data.flip=0"], folder)
    assert isinstance(config.data, FolderConfig)
    assert (config.data.root, config.data.classes) == ("/cells", ["background", "cell"])
    assert choices("data", folder) == sorted([*choices("data"), "cells"])
    assert "did you mean cells?" in problems_of(["data=cels"], folder)[0]


def test_an_own_file_may_change_meanwhile(own):
    for root in ("/cells", "/others"):
        folder = own(f"defaults: [folder, _self_]\nroot: {root}\nclasses: [background, cell]\n")
        assert compose(["data=cells"], folder).data.root == root


def test_own_experiment(own):
    folder = own(
        "# @package _global_\ndefaults:\n  - override /conv: dilated\noptim:\n  lr: 0.5\n", "experiment/mine.yaml"
    )
    config = compose(["experiment=mine"], folder)
    assert (config.conv.kind, config.optim.lr) == (ConvKind.dilated, 0.5)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("defaults: [folder, _self_]\nclases: [a]\n", ["data/cells", "no setting data.clases", "data.classes?"]),
        ("defaults: [folder, _self_]\nbatch_size: many\n", ["data/cells", "data.batch_size is an integer"]),
        ("defaults: [foldr, _self_]\n", ["data/cells", "data/foldr"]),
        ("defaults: [folder, _self_]\nclasses: [a\n", ["cells.yaml", "line 2"]),
        ("source: folder\nclasses: [a]\n", ["data/cells", "defaults: [folder, _self_]"]),
        ("source: folder\n", ["defaults: [folder, _self_]"]),
        ("root: /x\n", ["data.source is not set"]),
        ("- 1\n", ["data/cells"]),
        ("\x00", ["cells.yaml"]),
        ("defaults: [folder, _self_]\nroot: ${nothing:x}\n", ["data.root"]),
        ("# @package _global_\nfoo: 1\n", ["data/cells", "no setting foo"]),
    ],
)
def test_what_is_wrong_in_an_own_file(own, text, parts):
    (problem,) = problems_of(["data=cells"], own(text))
    assert "\n" not in problem
    for part in parts:
        assert part in problem


def test_problems_of_the_command_line_are_told_with_those_of_the_file(own):
    problems = problems_of(["data=cells", "conv=x"], own("defaults: [folder, _self_]\nclases: [a]\n"))
    assert ["conv=x" in problems[0], "clases" in problems[1]] == [True, True]


def test_an_own_folder_that_is_missing_or_hides_ours(own, tmp_path):
    assert "no such folder" in problems_of([], tmp_path / "nowhere")[0]
    (problem,) = problems_of([], own("source: shapes\n", "data/shapes.yaml"))
    assert "data/shapes.yaml" in problem
    assert "rename" in problem


# A run's config.yaml.


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(compose(["optim.lr=0.25", "conv=modulated", "conv.layers=c4,c5"])))
    return path


@given(
    lr=st.floats(allow_nan=False),
    name=st.text(st.characters(codec="utf-8", exclude_characters="$\n\r\x85\u2028\u2029")),
    mean=st.lists(st.floats(allow_nan=False)),
    dilation=st.none() | st.integers(),
)
@settings(deadline=None, max_examples=30)
def test_any_value_survives_saving(tmp_path_factory, lr, name, mean, dilation):
    config = Config(
        conv=ConvConfig(kind=ConvKind.dilated, dilation=dilation),
        model=SegmentationModelConfig(head=Architecture.fcn),
        data=ShapesConfig(mean=mean),
        optim=OptimConfig(optimizer=Optimizer.sgd, lr=lr),
        trainer=TrainerConfig(),
        logger=LoggerConfig(),
        name=name,
    )
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load(path) == config


@pytest.mark.parametrize("character", ["\n", "\r", "\x85", "\u2028", "\u2029"])
def test_a_line_break_is_refused_since_a_file_may_lose_it(character):
    (problem,) = problems_of([f"name='a{character}b'"])
    assert "name has a line break" in problem


def test_saved_values_are_plain(saved):
    text = saved.read_text()
    assert "kind: modulated\n" in text
    assert "${" not in text
    assert "!!" not in text


def test_overrides_on_a_saved_config(saved):
    config = load(saved, ["optim.momentum=0.5", "data.flip=0"])
    assert (config.optim.lr, config.optim.momentum, config.data.flip) == (0.25, 0.5, 0.0)
    assert config.conv == load(saved).conv


def test_a_choice_replaces_the_whole_section_of_a_saved_config(saved):
    config = load(saved, ["data=nuclei", "conv=dilated", "data.batch_size=2"])
    assert config.conv == compose(["conv=dilated"]).conv
    assert config.data == compose(["data=nuclei", "data.batch_size=2"]).data
    assert config.optim.lr == 0.25


def test_other_data_are_prepared_as_the_run_has_learnt(tmp_path):
    """Or else its network would be shown what it has never seen, and scored by that."""
    learnt = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "bands": [2, 1, 0], "eval_short_side": 64}
    overrides = [f"data.{key}={value}" for key, value in learnt.items()]
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(compose(["data=coco", *overrides, "data.short_sides=[48]", "data.long_side_max=90"])))
    data = load(path, ["data=coco2017", "data.std=[1,1,1]"]).data
    assert {key: getattr(data, key) for key in learnt} == learnt | {"std": [1.0, 1.0, 1.0]}
    assert (data.short_sides, data.long_side_max) == ([48], 90)  # 800 and 1333 of data=coco2017
    assert (data.root, data.bad_boxes) == ("data/coco", BadBoxes.warn)


def test_images_to_validate_on_that_are_asked_for_replace_the_share_of_a_run(tmp_path):
    """Or else a run would be scored by its own share, and not by the images that were named."""
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(compose(["data=folder", "data.classes=[a,b]", "data.val_share=0.2", "data.split_seed=5"])))
    shares = []
    for overrides in ([], ["data.val=test"], ["data={val: test}"], ["data.val=test", "data.val_share=0.2"]):
        data = load(path, overrides).data
        shares.append((data.val, data.val_share, data.split_seed))
    assert shares == [("val", 0.2, 5), ("test", 0.0, 0), ("test", 0.0, 0), ("test", 0.2, 5)]


def test_another_share_of_the_images_that_a_run_was_trained_on_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(compose(["data=folder", "data.classes=[a,b]", "data.val_share=0.2", "data.split_seed=5"])))
    for override in ("data.split_seed=0", "data.val_share=0.3"):
        with pytest.raises(
            ConfigError, match=rf"{override}: the run was trained on what data.val_share=0.2 and data.split"
        ):
            load(path, [override])
    with pytest.warns(UserWarning, match=r"data.val_share=0.2 of the images in data.root are validated on"):
        assert load(path, ["data.split_seed=0", "data.root=elsewhere"]).data.split_seed == 0
    assert load(path, ["data.val_share=0.3", "data.root=elsewhere"]).data.val_share == 0.3
    assert load(path, ["data.val=.", "data.root=elsewhere"]).data.val_share == 0
    assert load(path, ["data.split_seed=5", "data.val_share=0.2"]) == load(path)
    assert load(path, ["data.val_share=0", "data.split_seed=0"]).data.split_seed == 0


def test_overrides_on_a_saved_config_are_checked_alike(saved):
    wrong = ["lr=0.1", "conv=deformabel", "trainer.steps=x", "+a=1", "data.classes=[a]"]
    with pytest.raises(ConfigError) as refused:
        load(saved, [*wrong, "experiment=quick"])
    problems = refused.value.problems
    assert len(problems) == 6
    assert any("experiment can't be applied" in problem for problem in problems)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda text: "- 1\n", "not the config of a run"),
        (lambda text: "", "not the config of a run"),
        (lambda text: text[: text.index("trainer:")], "not the config of a run"),
        (lambda text: text.replace("lr: 0.25", "lr: fast"), "optim.lr is a number"),
        (lambda text: text.replace("lr: 0.25", "rl: 0.25"), "no setting optim.rl"),
        (lambda text: text.replace("source: shapes", "source: moon"), "data.source is moon"),
        (lambda text: text.replace("source: shapes", "source: [shapes]"), "data.source"),
        (lambda text: text.replace("source: shapes", "source: folder"), "data=shapes only"),
        (lambda text: text.replace("seed: 0", "seed: [0"), "can't be read"),
        (lambda text: text.replace("lr: 0.25", "lr: !!python/object/apply:os.getcwd []"), "can't be read"),
        (lambda text: text.replace("\n  kind: modulated", ""), "conv.kind is not set"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(saved, change, part):
    changed = change(saved.read_text())
    assert changed != saved.read_text()
    saved.write_text(changed)
    with pytest.raises(ConfigError) as refused:
        load(saved)
    (problem,) = refused.value.problems
    assert part in problem
    assert str(saved) in problem


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match="picture"):
        load(tmp_path / "picture")


def test_no_damage_gets_past_as_another_error(saved):
    whole = saved.read_bytes()
    chance = random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.choice(b"\x00\n :[]{}#&*!|>%@'\"x9-,\xff")
        saved.write_bytes(damaged[: chance.randint(1, len(damaged))] if chance.random() < 0.3 else damaged)
        with contextlib.suppress(ConfigError):
            load(saved)


def test_steps_or_epochs_whichever_was_asked_for(tmp_path):
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("# @package _global_\ntrainer: {epochs: 3}\n")
    assert compose(["trainer=quick", "trainer.epochs=2"]).trainer.epochs == 2
    assert compose(["experiment=mine"], tmp_path).trainer.epochs == 3
    steps = compose(["experiment=mine", "trainer.steps=7"], tmp_path).trainer
    assert (steps.epochs, steps.steps) == (None, 7)
    for both in (["trainer.steps=7", "trainer.epochs=1"], ["trainer={steps: 7, epochs: 1}"]):
        assert problems_of(both) == ["trainer.steps and trainer.epochs both say how long to train: give one of them."]
    assert compose(["trainer.steps=7", "trainer.epochs=null"]).trainer.steps == 7


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ("experiment=mine", "# @package _global_\ntrainer: {steps: 50, epochs: 3}\n"),
        ("trainer=mine", "defaults: [default]\nsteps: 50\nepochs: 3\n"),
    ],
)
def test_a_file_that_says_twice_how_long_is_refused_by_name(tmp_path, choice, text):
    file = tmp_path / choice.replace("=", "/")
    file.parent.mkdir()
    file.with_suffix(".yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml: trainer\.steps and trainer\.epochs both say"):
        compose([choice], tmp_path)
    file.with_suffix(".yaml").write_text(text.replace("epochs: 3", "epochs: null"))
    assert compose([choice], tmp_path).trainer.steps == 50


@pytest.mark.parametrize(("epochs", "images", "wanted"), [(1, 17, 3), (2.5, 16, 5), (0.1, 16, 1), (None, 16, 1000)])
def test_epochs_become_steps(epochs, images, wanted):
    asked = [] if epochs is None else [f"trainer.epochs={epochs}"]
    config = compose([*asked, "data.batch_size=4", "trainer.accumulate=2"])
    assert with_steps(config, images).trainer.steps == wanted
