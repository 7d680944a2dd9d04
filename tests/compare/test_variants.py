import pytest

from dcnrun.compare.variants import difference_of_tasks, identity, slugs, variant_names
from dcnrun.config.compose import compose
from dcnrun.config.inactive import settings_of


def settings(*overrides):
    return settings_of(compose(overrides))


def names(*all_overrides):
    return variant_names([settings(*overrides) for overrides in all_overrides])


def test_settings_are_flat_and_plain():
    flat = settings("conv=dilated", "optim.step_at=[0.5,0.8]")
    assert flat["conv.kind"] == "dilated"
    assert type(flat["conv.kind"]) is str
    assert flat["optim.step_at"] == [0.5, 0.8]
    assert flat["seed"] == 0


def test_names_tell_only_the_difference():
    assert names(["conv=standard"], ["conv=dilated"], ["conv=deformable"]) == ["standard", "dilated 4", "deformable"]
    assert names(["conv=deformable", "optim.lr=0.1"], ["conv=deformable", "optim.lr=0.2"]) == [
        "deformable lr=0.1",
        "deformable lr=0.2",
    ]
    assert names(["conv=standard", "optim.lr=0.1"], ["conv=deformable", "optim.lr=0.2"]) == [
        "standard lr=0.1",
        "deformable lr=0.2",
    ]


def test_a_setting_inactive_settings_is_no_difference():
    assert names(["conv=standard", "conv.layers=6"], ["conv=deformable", "conv.layers=3"]) == ["standard", "deformable"]
    assert names(["conv=deformable"], ["conv=modulated", "conv.mask_start=0.5"]) == ["deformable", "modulated"]
    assert identity(settings("conv=standard", "conv.layers=6")) == identity(
        settings("conv=standard", "seed=4", "name=x")
    )
    assert identity(settings("conv=standard", "conv.layers=6", "conv.groups=2")) != identity(
        settings("conv=standard", "conv.groups=2")
    )
    # a plain convolution that somebody dilated is another network
    assert identity(settings("conv=standard", "conv.dilation=2")) != identity(settings("conv=standard"))


def test_where_the_run_is_and_who_logs_it_is_no_difference():
    assert identity(settings("runs_dir=a", "logger=csv", "seed=1")) == identity(settings("runs_dir=b", "seed=2"))
    assert identity(settings("trainer.pictures=3")) == identity(settings())  # runs that began without are found again


@pytest.mark.parametrize("override", ["data.warp=0.1", "data.batch_size=4", "trainer.steps=7"])
def test_other_data_or_steps_are_another_task(override):
    (problem,) = difference_of_tasks(["one", "two", "three"], [settings(), settings(override), settings(override)])
    key, value = override.split("=")
    default = settings()[key]
    assert problem == f"{key} is {default} for one but {value} for two"


def test_what_ends_a_run_early_must_be_equal():
    """And, beside it, how often a run validates, which says what a patience of 3 is."""
    none, three, five = settings(), settings("trainer.patience=3"), settings("trainer.patience=5")
    often = settings("trainer.patience=3", "trainer.eval_every=10")
    assert difference_of_tasks(["one", "two", "three"], [none, often, five]) == [
        "trainer.patience is null for one but 3 for two"
    ]
    assert difference_of_tasks(["one", "two"], [three, often]) == ["trainer.eval_every is 250 for one but 10 for two"]
    assert difference_of_tasks(["one", "two"], [three, three]) == []
    assert difference_of_tasks(["one", "two"], [none, settings("trainer.eval_every=10")]) == []


def test_another_metric_or_result_is_another_task():
    masks, boxes = settings("trainer.metric=val/pixel_acc"), settings("model=faster_rcnn")
    assert difference_of_tasks(["one", "two"], [settings(), masks]) == [
        "trainer.metric is null for one but val/pixel_acc for two"
    ]
    assert difference_of_tasks(["one", "two"], [settings(), boxes]) == [
        "what is found is masks for one but boxes for two"
    ]
    assert difference_of_tasks(["one", "two"], [boxes, settings("model=retinanet")]) == []


def test_settings_of_learnt_pooling_are_none_of_plain_pooling():
    plain, deformable = ["model=faster_rcnn"], ["model=faster_rcnn", "model.roi_pool=deformable"]
    mult = "optim.roi_offset_lr_mult=0.1"
    assert identity(settings(*plain, mult, "model.roi_gamma=0.2")) == identity(settings(*plain))
    assert identity(settings(*deformable, mult)) != identity(settings(*deformable))
    assert identity(settings(mult)) == identity(settings())
    assert names(plain, deformable, [*deformable, mult]) == [
        "deformable roi_pool=align",
        "deformable roi_pool=deformable",
        "deformable roi_pool=deformable roi_offset_lr_mult=0.1",
    ]


def test_how_fast_data_come_is_no_other_task():
    assert not difference_of_tasks(
        ["one", "two"], [settings("data.workers=0"), settings("data.workers=1", "data.cache=true")]
    )


def test_images_of_other_sizes_are_padded_to_their_batch_so_that_its_size_counts():
    assert difference_of_tasks(["one", "two"], [settings("data.eval_batch_size=4"), settings("data.eval_batch_size=1")])


def test_slugs_are_distinct_file_names():
    long = "deformable " + "weights=" + "x" * 300
    found = slugs(["dilated 4", "deformable lr=0.1", "a/b", "a b", "../..", long, long + "y"])
    assert found[:2] == ["dilated-4", "deformable-lr-0.1"]
    assert len(set(found)) == 7
    for slug in found:
        assert "/" not in slug
        assert " " not in slug
        assert len(slug) < 100
        assert not slug.startswith(".")
