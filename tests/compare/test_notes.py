"""What a reader is told beside the numbers."""

from dcnrun.compare.notes import footnotes, warnings
from dcnrun.compare.results import compare
from dcnrun.compare.tables import markdown
from dcnrun.runs import RunFolder, write_json
from tests.compare.factories import confusions, per_image, shown, variant, without_runs


def test_footnotes_say_what_is_equal(comparison):
    text = " ".join(footnotes(comparison))
    assert "1000 steps of 8 images" in text
    assert "12 validation images" in text
    assert "95 % interval" in text


def test_a_single_seed_is_warned_of(tmp_path):
    one = compare([variant(tmp_path, "a", ["conv=standard"], seeds=(0,))])
    assert any("single seed" in warning for warning in warnings(one))
    two = compare([variant(tmp_path, "a", ["conv=standard"], seeds=(0, 1))])
    assert warnings(two) == []


def test_a_variant_that_changes_nothing_is_warned_of(tmp_path):
    plain, same = (variant(tmp_path, name, [f"conv={name}"]) for name in ("standard", "dilated"))
    assert warnings(compare([plain, same])) == [
        "dilated scored exactly as standard did: the settings changed nothing, or neither learned."
    ]


def test_an_untuned_dilated_control_is_warned_of(tmp_path):
    plain = variant(tmp_path, "standard", ["conv=standard"], skill=0.6)
    four, six = (variant(tmp_path, f"d{d}", ["conv=dilated", f"conv.dilation={d}"]) for d in (4, 6))
    deformable = variant(tmp_path, "deformable", ["conv=deformable"])
    assert any("no dilated control" in w for w in warnings(compare([plain, deformable])))
    assert any("Only one dilation" in w for w in warnings(compare([plain, four, deformable])))
    assert warnings(compare([plain, four, six, deformable])) == []
    assert warnings(compare([plain, four])) == []


def test_a_class_that_no_image_has_is_warned_of(tmp_path):
    """As where the masks hold 0 and 255, which is ignored."""
    images = confusions(0)
    images[:, 2] = 0
    runs = [variant(tmp_path, kind, [f"conv={kind}"], images=per_image(images)) for kind in ("standard", "dilated")]
    assert any("No validation image has star:" in warning for warning in warnings(compare(runs)))
    assert not any("No validation image" in warning for warning in warnings(compare([variant(tmp_path, "a", [])])))


def test_scores_of_other_images_are_said_not_to_be_comparable(tmp_path):
    other = confusions(0)
    other[3] = other[3].T
    runs = [variant(tmp_path, "standard", ["conv=standard"], images=per_image(other)), variant(tmp_path, "dilated", [])]
    comparison = compare(runs)
    (said,) = [warning for warning in warnings(comparison) if "can't be compared" in warning]
    assert said.startswith("The scores of dilated and standard can't be compared: images of the same name")
    assert not any("knows of seeds only" in warning for warning in warnings(comparison))
    assert "other images: not judged" in markdown(comparison)


def test_runs_of_different_versions_are_named(tmp_path):
    variants = []
    for kind, versions in (("standard", ["2.5.0", "2.5.0"]), ("dilated", ["2.5.0", "2.9.1"])):
        for seed, version in enumerate(versions):
            environment = RunFolder(tmp_path / f"{kind}-{seed}").environment_file
            write_json(environment, {"dcnrun": "0.1.0", "torch": version, "seed": seed})
        variants.append(variant(tmp_path, kind, [f"conv={kind}"], (0, 1)))
    assert any(
        "(dcnrun 0.1.0 and torch 2.5.0: standard, dilated; dcnrun 0.1.0 and torch 2.9.1: dilated)" in warning
        for warning in warnings(compare(variants))
    )
    alike = variant(tmp_path, "standard", ["conv=standard"], (0, 1))
    assert not any("versions" in warning for warning in warnings(compare([alike])))


def test_runs_of_different_training_images_are_named(tmp_path):
    for kind, images in (("standard", 100), ("dilated", 120)):
        environment = {"train_images": f"{images} images, names 0123abcd"}
        write_json(RunFolder(tmp_path / f"{kind}-0").environment_file, environment)
    variants = [variant(tmp_path, kind, [f"conv={kind}"], (0,)) for kind in ("standard", "dilated")]
    (line,) = (warning for warning in warnings(compare(variants)) if "on different images" in warning)
    assert "(100 images, names 0123abcd: standard; 120 images, names 0123abcd: dilated)" in line


def test_runs_of_different_labels_are_named(tmp_path):
    for kind, hashed in (("standard", "0123abcd"), ("dilated", "4567abcd")):
        environment = {"train_labels": "89abcdef", "val_labels": hashed}
        write_json(RunFolder(tmp_path / f"{kind}-0").environment_file, environment)
    variants = [variant(tmp_path, kind, [f"conv={kind}"], (0,)) for kind in ("standard", "dilated")]
    (line,) = (warning for warning in warnings(compare(variants)) if "with different labels" in warning)
    assert "(train_labels 89abcdef and val_labels 0123abcd: standard; train_labels 89abcdef" in line


def test_one_shared_seed_has_no_interval_and_is_named(tmp_path):
    """Its bootstrap knows of the images alone."""
    variants = [
        variant(tmp_path, "a", ["conv=standard"], (0, 1, 2)),
        variant(tmp_path, "b", ["conv=dilated"], (0, 1)),
        variant(tmp_path, "c", ["conv=deformable"], (2, 3)),
    ]
    comparison = compare(variants)
    rows = dict(line.strip("| ").split(" | ", 1) for line in markdown(comparison).splitlines() if line.startswith("| "))
    assert ["[" in rows[name] for name in "abc"] == [False, True, False]
    assert any("differences of c are not judged" in warning for warning in warnings(comparison))


def test_without_the_reference_no_variant_is_named_as_not_judged(tmp_path):
    variants = [without_runs(tmp_path, "a", ["conv=standard"]), variant(tmp_path, "b", ["conv=dilated"], (0,))]
    assert any("chance: differences are not judged" in warning for warning in warnings(compare(variants)))


def test_training_that_still_rose_is_warned_of(tmp_path):
    rising = variant(tmp_path, "rising", ["conv=standard"], skill=0.6, curve=(0.1, 0.2))
    flat = variant(tmp_path, "flat", ["conv=dilated"], curve=(0.1, 0.9))
    (warning,) = warnings(compare([rising, flat]))
    assert "converged for rising:" in warning


def test_runs_that_ended_after_different_numbers_of_steps_are_warned_of(tmp_path):
    """A mean curve over runs of different lengths ends where the shortest does: that tells nothing of convergence."""
    patient = ["trainer.patience=2"]
    plain = variant(tmp_path, "plain", ["conv=standard", *patient], skill=0.6, step=500, curve=(0.1, 0.2))
    whole = variant(tmp_path, "whole", ["conv=dilated", *patient], curve=(0.1, 0.9))
    (warning,) = warnings(compare([plain, whole]))
    assert "trainer.patience=2 ended runs after different numbers of steps (plain 500, whole 1000)" in warning
    assert (
        "at most 1000 steps of 8 images for every run, which trainer.patience=2 may end"
        in footnotes(compare([plain, whole]))[0]
    )
    assert warnings(compare([whole])) == []
    assert "at most" not in footnotes(compare([variant(tmp_path, "a", ["conv=standard"])]))[0]


def test_a_reference_without_runs_and_missing_images_are_warned_of(tmp_path):
    nothing = without_runs(tmp_path, "standard", ["conv=standard"])
    dilated = variant(tmp_path, "dilated", ["conv=dilated"])
    comparison = compare([nothing, dilated])
    assert "standard, the reference, has no completed run" in warnings(comparison)[0]
    assert " - " in shown(comparison)
    plain = variant(tmp_path, "plain", ["conv=standard"], with_images=False)
    assert any("seeds only" in warning for warning in warnings(compare([plain, dilated])))


def test_speed_on_different_devices_is_warned_of(tmp_path):
    comparison = compare(
        [variant(tmp_path, "a", ["conv=standard"]), variant(tmp_path, "b", ["conv=dilated"], device="gpu")]
    )
    assert any("different devices" in warning for warning in warnings(comparison))


def test_what_layers_without_a_kernel_are_matched_by(tmp_path):
    """Never without a word: they have far fewer parameters."""
    plain = variant(tmp_path, "standard", ["conv=standard"])
    four = variant(tmp_path, "dcnv4", ["conv=dcnv4"])
    wide = variant(tmp_path, "wide", ["conv=dcnv4", "conv.match=parameters"])
    text = " ".join(footnotes(compare([plain, four, wide])))
    assert "dcnv4 is layers, one layer for one convolution, with fewer parameters and FLOPs" in text
    assert "wide is parameters, so wide that it has the convolution's parameters" in text
    assert "conv.match" not in " ".join(footnotes(compare([plain, variant(tmp_path, "v2", ["conv=modulated"])])))
