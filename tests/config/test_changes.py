"""What a resumed run may change, and what it is told of the rest."""

import pytest

from dcnrun.config.changes import require_same_numbers
from dcnrun.config.compose import compose
from dcnrun.config.settings import all_settings
from dcnrun.errors import ConfigError

BEGUN = ["data=folder", "data.classes=[a,b]", "data.root=data", "trainer.steps=10"]


def refusal(begun, changes):
    with pytest.raises(ConfigError) as refused:
        require_same_numbers(compose(begun), compose([*begun, *changes]))
    *problems, accepted = refused.value.problems
    assert accepted.startswith("--resume accepts data.root, ")
    return problems


@pytest.mark.parametrize(
    "changes",
    [
        ["data.root=elsewhere", "data.workers=3", "data.cache=true", "data.download=true"],
        ["trainer.accelerator=cpu", "trainer.threads=2", "trainer.save_every=3"],
        ["logger=wandb", "logger.csv=true", "logger.wandb_project=other"],
        ["trainer.nodes=2", "trainer.devices=1"],
        ["optim.lr=0.001"],  # as it is
    ],
)
def test_what_decides_no_number_may_change(changes):
    require_same_numbers(compose([*BEGUN, "trainer.devices=2"]), compose([*BEGUN, "trainer.devices=2", *changes]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("optim.lr=0.1", "optim.lr can't change when a run is resumed: it is 0.001 in the run, and 0.1 would give other numbers."),
        ("data.batch_size=4", "it is 8 in the run, and 4"),
        ("conv=standard", "conv.kind can't change"),
        ("data.classes=[a,c]", "it is [a,b] in the run, and [a,c]"),
        ("trainer.eval_every=5", "trainer.eval_every can't change"),
        ("trainer.devices=2", "make 2 processes, but the run was begun by 1"),
        ("trainer.steps=20", "with optim.schedule=cosine they set the learning rate of every step, also of the 10"),
    ],
)  # fmt: skip
def test_what_does_is_refused_by_name(change, why):
    (problem,) = refusal(BEGUN, [change])
    assert why in problem


def test_another_kind_of_data_is_one_problem():
    assert [problem.split()[0] for problem in refusal(["data=voc"], ["data=coco"])] == [
        "data.source",
        "data.train",
        "data.val",
    ]


@pytest.mark.parametrize(
    ("length", "longer", "why"),
    [
        ("trainer.steps=10", "trainer.steps=20", None),
        ("trainer.epochs=2", "trainer.epochs=3", None),
        ("trainer.steps=10", "trainer.steps=9", "trainer.steps=9 is less than the 10 that the run was begun for."),
        ("trainer.epochs=2", "trainer.epochs=1.5", "trainer.epochs=1.5 is less than the 2.0"),
        ("trainer.steps=10", "trainer.epochs=2", "begun with trainer.steps=10"),
    ],
)
def test_a_constant_rate_allows_a_longer_run(length, longer, why):
    constant = ["data=folder", "data.classes=[a,b]", "optim.schedule=constant"]
    begun, resumed = compose([*constant, length]), compose([*constant, longer])
    begun.trainer.steps = resumed.trainer.steps if why is None else 10
    if why is None:
        require_same_numbers(begun, resumed)
    else:
        with pytest.raises(ConfigError) as refused:
            require_same_numbers(begun, resumed)
        assert why in refused.value.problems[0]


def test_no_setting_of_a_network_or_its_optimizer_changes_no_number():
    free = {key for key, setting in all_settings().items() if not setting.changes_numbers}
    assert {key.split(".")[0] for key in free} == {"data", "trainer", "logger", "name", "runs_dir"}
