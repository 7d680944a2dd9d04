import pytest

from dcnrun.compare.grid import build_grid, idle_controls
from dcnrun.errors import ConfigError, UsageError


def names(*overrides):
    return [variant.name for variant in build_grid(overrides).variants]


def test_each_kind_and_seed():
    grid = build_grid(["conv=standard,dilated,deformable,modulated", "seed=0,1,2"])
    assert [variant.name for variant in grid.variants] == ["standard", "dilated 4", "deformable", "modulated"]
    assert [variant.overrides for variant in grid.variants] == [
        ("conv=standard",),
        ("conv=dilated",),
        ("conv=deformable",),
        ("conv=modulated",),
    ]
    assert grid.seeds == (0, 1, 2)


def test_without_seeds_there_is_the_configured_one(tmp_path):
    assert build_grid(["conv=standard"]).seeds == (0,)
    assert build_grid(["conv=standard", "seed=5"]).seeds == (5,)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 3\n")
    assert build_grid(["experiment=mine"], tmp_path).seeds == (3,)


def test_dilation_is_of_the_dilated_control():
    expected = ["standard", "dilated 2", "dilated 4", "dilated 6", "deformable"]
    assert names("conv=standard,dilated,deformable", "conv.dilation=2,4,6") == expected
    grid = build_grid(["conv=standard,dilated,deformable", "conv.dilation=2,4,6"])
    assert [v.config.conv.dilation for v in grid.variants] == [None, 2, 4, 6, None]
    assert grid.left_out == ("conv.dilation (conv=standard, conv=deformable)",)


def test_a_control_that_is_the_standard_network_is_named():
    """Of output stride 8 the last stage is dilated by 4, unless it is not to be; detectors stride, and have no dilation."""
    choices = ["conv=standard,dilated", "conv.dilation=2,4"]
    (line,) = idle_controls(build_grid(choices))
    assert line.startswith(
        "dilated 4 is the standard network: the layers of conv.layers=3 are dilated by 4 as they are."
    )
    assert [each.split()[1] for each in idle_controls(build_grid([*choices, "model.output_stride=16"]))] == ["2"]
    for others in (["model.atrous=false"], ["data=treecrowns", "model=faster_rcnn"], ["conv.layers=9"]):
        assert idle_controls(build_grid([*choices, *others])) == []
    assert idle_controls(build_grid(["conv=deformable,dilated", "conv.dilation=4"])) == []


def test_without_a_dilated_control_dilation_is_of_every_kind_that_has_it():
    assert names("conv=standard,deformable", "conv.dilation=2,4") == [
        "standard",
        "deformable dilation=2",
        "deformable dilation=4",
    ]


def test_settings_of_offsets_are_left_out_elsewhere():
    grid = build_grid(
        ["conv=standard,dilated,deformable,modulated", "optim.offset_lr_mult=0.1,1", "conv.mask_start=0.5,1"]
    )
    assert [variant.name for variant in grid.variants] == [
        "standard",
        "dilated 4",
        "deformable offset_lr_mult=0.1",
        "deformable offset_lr_mult=1.0",
        "modulated mask_start=0.5 offset_lr_mult=0.1",
        "modulated mask_start=1.0 offset_lr_mult=0.1",
        "modulated mask_start=0.5 offset_lr_mult=1.0",
        "modulated mask_start=1.0 offset_lr_mult=1.0",
    ]
    assert all(v.config.optim.offset_lr_mult is None for v in grid.variants[:2])


def test_layers_change_a_plain_convolution_only_with_groups():
    assert names("conv=standard,deformable", "conv.layers=3,6") == [
        "standard",
        "deformable layers=3",
        "deformable layers=6",
    ]
    assert names("conv=standard", "conv.layers=3,6", "conv.groups=2") == ["standard layers=3", "standard layers=6"]


def test_stages_are_one_value():
    assert names("conv=deformable", "conv.layers=c3,c4,c5") == ["deformable"]


def test_what_an_experiment_sets_is_undone_where_it_has_no_effect(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\noptim: {offset_lr_mult: 0.1}\nconv: {dilation: 2, offset_groups: 4}\n"
    )
    grid = build_grid(["experiment=mine", "conv=standard,deformable"], tmp_path)
    standard, deformable = (variant.config for variant in grid.variants)
    assert (standard.conv.dilation, standard.conv.offset_groups, standard.optim.offset_lr_mult) == (None, 1, None)
    assert (deformable.conv.dilation, deformable.conv.offset_groups, deformable.optim.offset_lr_mult) == (2, 4, 0.1)
    assert "conv.dilation=null" in grid.variants[0].overrides


def test_the_first_value_is_the_reference():
    assert names("conv=deformable,standard")[0] == "deformable"


def test_the_hash_is_of_the_variants():
    one = build_grid(["conv=standard,deformable", "seed=0"])
    assert one.digest == build_grid(["conv=standard,deformable", "seed=0,1", "name=x", "logger=csv"]).digest
    assert one.digest != build_grid(["conv=standard,deformable", "optim.lr=0.5"]).digest
    assert one.digest != build_grid(["conv=standard,modulated"]).digest


def test_all_problems_are_reported_together():
    with pytest.raises(ConfigError) as error:
        build_grid(["conv=standard,deformble", "optim.lr=a,b", "seed=0,x"])
    text = str(error.value)
    assert "deformable?" in text
    assert all(wrong in text for wrong in ("optim.lr=a:", "optim.lr=b:", "seed=x:"))
    assert len(error.value.problems) == 4
    with pytest.raises(ConfigError) as error:
        build_grid(["conv", "+optim.foo=1"])
    assert len(error.value.problems) == 2


def test_rules_across_settings_are_checked_for_each_variant_before_anything_starts():
    with pytest.raises(ConfigError) as error:
        build_grid(["conv=standard,deformable", "conv.offset_groups=1,7"])
    (problem,) = error.value.problems
    assert problem.startswith("deformable offset_groups=7: ")


@pytest.mark.parametrize("override", ["data.warp=0,0.3", "trainer.steps=10,20", "data=shapes,nuclei"])
def test_variants_on_other_data_or_of_other_length_are_refused(override):
    with pytest.raises(UsageError, match="one comparison for each"):
        build_grid(["conv=standard,deformable", override])


def test_settings_of_learnt_pooling_are_left_out_elsewhere():
    grid = build_grid(
        ["model=faster_rcnn", "data=treecrowns", "model.roi_pool=align,deformable", "optim.roi_offset_lr_mult=0.01,0.1"]
    )
    assert [variant.config.optim.roi_offset_lr_mult for variant in grid.variants] == [None, 0.01, 0.1]
    assert grid.left_out == ("optim.roi_offset_lr_mult (model.roi_pool=align)",)


def test_settings_of_resnets_are_left_out_of_detectors_on_other_encoders():
    grid = build_grid(["model=retinanet", "data=treecrowns", "model.encoder=null,resnet18", "model.width=16,32"])
    assert [(variant.config.model.encoder, variant.config.model.width) for variant in grid.variants] == [
        *((None, 16), (None, 32), ("resnet18", 64)),
    ]
    assert {variant.config.model.output_stride for variant in grid.variants} == {32}  # detectors' own default
    assert grid.left_out == ("model.width (model.encoder=resnet18)",)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_no_run_would_take(seed):
    with pytest.raises(ConfigError, match=f"seed={seed} must be from 0 to 4294967295"):
        build_grid(["conv=standard,deformable", f"seed=0,{seed}"])


def test_without_replaced_layers_settings_of_offsets_are_left_out():
    """The columns of DCNv1's Table 1, with a multiplier for those that have offsets."""
    grid = build_grid(["conv=deformable", "conv.layers=0,1,3", "optim.offset_lr_mult=0.1"])
    assert [variant.config.optim.offset_lr_mult for variant in grid.variants] == [None, 0.1, 0.1]
    assert grid.left_out == ("optim.offset_lr_mult (conv.layers=0)",)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["optim=adamw", "optim.momentum=0.5,0.9"],
            r"optim\.momentum=0\.5,0\.9 does nothing with optim\.optimizer=adamw",
        ),
        (["conv=standard", "conv.layers=1,3"], r"conv\.layers=1,3 does nothing with conv=standard"),
        (["conv=standard,deformable", "name=a,b"], "name=a,b makes no variants, since runs are the same with each"),
    ],
)
def test_what_is_in_no_variant_is_refused(overrides, says):
    """Else it would seem to have been compared."""
    with pytest.raises(ConfigError, match=says):
        build_grid(overrides)


def test_a_setting_of_another_optimizer_makes_no_variants():
    assert names("conv=deformable", "optim=sgd,adamw", "optim.momentum=0.5,0.9") == [
        "deformable optimizer=sgd lr=0.01 momentum=0.5 weight_decay=0.0001 schedule=poly",
        "deformable optimizer=sgd lr=0.01 momentum=0.9 weight_decay=0.0001 schedule=poly",
        "deformable optimizer=adamw lr=0.001 weight_decay=0.01 schedule=cosine",
    ]


def test_variants_that_find_something_else_are_refused():
    with pytest.raises(UsageError, match=r"what is found is masks for .* but boxes for"):
        build_grid(["model=deeplab,faster_rcnn"])


def test_epochs_are_the_steps_that_the_runs_will_have():
    """20 training images, 8 to a step: five steps see them twice."""
    data = ["data=shapes", "data.image_size=32", "data.train_images=20", "data.batch_size=4", "trainer.accumulate=2"]
    grid = build_grid([*data, "conv=standard,deformable", "trainer.epochs=2"])
    assert [variant.config.trainer.steps for variant in grid.variants] == [5, 5]
    assert all("trainer.epochs=2" in variant.overrides for variant in grid.variants)
