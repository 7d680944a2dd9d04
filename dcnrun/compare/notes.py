"""Footnotes and warnings that a reader of a comparison needs beside its numbers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dcnrun.compare.published import published_figures
from dcnrun.compare.results import Comparison, VariantResult
from dcnrun.config.inactive import DILATION, traits_of
from dcnrun.config.schema import Dilation, Match
from dcnrun.statistics import LEVEL
from dcnrun.tasks.registry import metric_title

# From benchmarks/results/interval_coverage.json.
COVERAGE = (
    "In simulated experiments of segmentation with 3 seeds it held the true difference in 95 to 97 % of cases, the bootstrap alone in "
    "76 to 95 %, t alone in 66 to 95 %."
)
VERSIONS = ("dcnrun", "torch")
"""Of what a run's env.json holds, the versions that its scores may depend on."""
# With one seed there is no deviation to measure the last improvement by: one point.
_STILL_RISING_WITHOUT_STD = 0.01


def footnotes(comparison: Comparison) -> list[str]:
    """Return how the numbers were made."""
    runs = [run for variant in comparison.variants for run in variant.runs]
    settings = comparison.variants[0].settings
    images_per_step = settings["data.batch_size"] * settings["trainer.accumulate"]
    images = {len(run.images.names) for run in runs if run.images is not None}
    validated = f"{images.pop()} validation images" if len(images) == 1 else "the validation images"
    steps, patience = settings["trainer.steps"], settings["trainer.patience"]
    budget, last = f"{steps} steps of {images_per_step} images for every run", "the last step"
    if patience is not None:
        budget, last = f"at most {budget}, which trainer.patience={patience} may end earlier", "its last step"
    notes = [
        f"Equal budget: {budget}, scored at {last} on {validated}. {metric_title(comparison.metric)} in percent, "
        "± the standard deviation over seeds (n - 1).",
    ]
    if len(comparison.variants) > 1:
        notes.append(
            f"Difference: to {comparison.variants[0].name}, in points, mean over the seeds that both have, with its "
            f"{100 * LEVEL:.0f} % interval: the span of a bootstrap over seeds and validation images and of Student's t "
            f"over seeds. Higher or lower is said only where it excludes 0. {COVERAGE}"
        )
    if len(comparison.variants) > 2:
        notes.append("Each interval stands for itself: among many variants, some exclude 0 by chance.")
    if any(not traits_of(variant.settings).has_kernel for variant in comparison.variants):
        notes.append(_what_is_matched(comparison.variants))
    sources = dict.fromkeys(figure.source for figure in published_figures(comparison).values())
    if sources:
        notes.append(
            f"Published: {'; '.join(sources)}. The kind of network, the replaced layers, the validation images, their size and the "
            "metric are the same; implementation, weights, training images and schedule may not be."
        )
    devices = sorted({str(run.summary.get("device")) for run in runs})
    notes.append(f"Speed and memory: means over the runs, on {' and '.join(devices)}.")
    return notes


def _what_is_matched(variants: Sequence[VariantResult]) -> str:
    """Return what the layers that have no weights of a kernel have as much of as the convolutions in whose place they stand."""
    words = {
        Match.layers: "one layer for one convolution, with fewer parameters and FLOPs",
        Match.parameters: "so wide that it has the convolution's parameters",
        Match.flops: "so wide that it has the convolution's FLOPs",
    }
    without = [variant for variant in variants if not traits_of(variant.settings).has_kernel]
    matches = {variant.name: Match(variant.settings.get("conv.match", Match.layers)) for variant in without}
    return "conv.match: " + "; ".join(f"{name} is {match}, {words[match]}" for name, match in matches.items()) + "."


def warnings(comparison: Comparison) -> list[str]:
    """Return what keeps the numbers from meaning what they seem to."""
    return [
        *(problem for variant in comparison.variants for run in variant.runs for problem in run.problems),
        *_few_seeds(comparison),
        *_missing_reference(comparison),
        *_same_as_reference(comparison),
        *_dilated_control(comparison.variants),
        *_other_images(comparison),
        *_without_images(comparison),
        *_absent_classes(comparison),
        *_still_rising(comparison.variants),
        *_different_lengths(comparison.variants),
        *_different_beginnings(comparison),
        *_different_devices(comparison),
    ]


def _few_seeds(comparison: Comparison) -> list[str]:
    differences = zip(comparison.variants, comparison.differences, strict=True)
    alone = [variant.name for variant, difference in differences if difference is not None and not difference.is_judged]
    if not alone and max(len(variant.runs) for variant in comparison.variants) > 1:
        return []
    whose = f" of {', '.join(alone)}" if 0 < len(alone) < len(comparison.variants) - 1 else ""
    return [
        f"A single seed shows nothing about chance: differences{whose} are not judged. Give more, as in seed=0,1,2."
    ]


def _missing_reference(comparison: Comparison) -> list[str]:
    reference = comparison.variants[0]
    if reference.runs:
        return []
    return [f"{reference.name}, the reference, has no completed run: there are no differences."]


def _same_as_reference(comparison: Comparison) -> list[str]:
    return [
        f"{variant.name} scored exactly as {comparison.variants[0].name} did: the settings changed nothing, or neither learned."
        for variant, difference in zip(comparison.variants, comparison.differences, strict=True)
        if difference is not None and not any(difference.per_seed.values())
    ]


def _dilated_control(variants: Sequence[VariantResult]) -> list[str]:
    if not any(traits_of(variant.settings).learns_offsets for variant in variants):
        return []
    controls = [v.settings for v in variants if traits_of(v.settings).dilation is Dilation.required]
    dilations = {settings[DILATION] for settings in controls}
    if not dilations:
        return [
            "There is no dilated control: part of what offsets gain, a larger dilation may gain too. Add conv=dilated."
        ]
    if len(dilations) == 1:
        return [
            "Only one dilation was tried, and an untuned dilated control misleads. Add some, as in conv.dilation=2,4,6."
        ]
    return []


def _other_images(comparison: Comparison) -> list[str]:
    reference = comparison.variants[0].name
    return [
        f"The scores of {variant.name} and {reference} can't be compared: {difference.without_images}, so the data have changed between them. "
        "Move the runs of the older data away, and train them again."
        for variant, difference in zip(comparison.variants, comparison.differences, strict=True)
        if difference is not None and not difference.is_of_same_images
    ]


def _without_images(comparison: Comparison) -> list[str]:
    return [
        f"{variant.name}: {difference.without_images}, so its interval knows of seeds only."
        for variant, difference in zip(comparison.variants, comparison.differences, strict=True)
        if difference is not None and difference.is_of_same_images and difference.without_images is not None
    ]


def _absent_classes(comparison: Comparison) -> list[str]:
    runs = [run.images for variant in comparison.variants for run in variant.runs if run.images is not None]
    absent = runs[0].absent_classes if runs else ()
    if not absent:
        return []
    return [f"No validation image has {', '.join(absent)}: the scores say nothing of that. See `dcnrun data check`."]


def _still_rising(variants: Sequence[VariantResult]) -> list[str]:
    rising = [variant.name for variant in variants if _is_rising(variant)]
    if not rising:
        return []
    which = ", ".join(rising) if len(rising) < len(variants) else "any variant"
    return [
        f"Training had not converged for {which}: the last validation was the best, by more than seeds differ. "
        "The order may change with more trainer.steps."
    ]


def _is_rising(variant: VariantResult) -> bool:
    """Whether the mean curve over seeds still rose at the last validation by more than the deviation over seeds."""
    whole = [run for run in variant.runs if run.steps >= variant.settings["trainer.steps"]]  # others had stopped rising
    curves = [dict(run.curve) for run in whole]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    if len(steps) < 2:
        return False
    means = [sum(curve[step] for curve in curves) / len(curves) for step in steps]
    threshold = variant.std if variant.std is not None else _STILL_RISING_WITHOUT_STD
    return means[-1] - max(means[:-1]) > threshold


def _different_lengths(variants: Sequence[VariantResult]) -> list[str]:
    patience = variants[0].settings["trainer.patience"]
    steps = {variant.name: sorted({run.steps for run in variant.runs}) for variant in variants if variant.runs}
    if patience is None or len(set().union(*steps.values())) < 2:
        return []
    lengths = [f"{name} {own[0]}" + (f" to {own[-1]}" if len(own) > 1 else "") for name, own in steps.items()]
    return [
        f"trainer.patience={patience} ended runs after different numbers of steps ({', '.join(lengths)}): part of a difference may "
        "be that of the length of training."
    ]


def _different_beginnings(comparison: Comparison) -> Iterator[str]:
    """Name versions and data where runs differ in them: runs are found again long after, when both may have changed."""
    runs = [(variant.name, run.environment) for variant in comparison.variants for run in variant.runs]
    for what, beginnings in different_beginnings(runs):
        trained = "; ".join(f"{begun}: {', '.join(dict.fromkeys(names))}" for begun, names in beginnings.items())
        yield (
            f"The runs were trained {what} ({trained}): part of a difference may be theirs. Move the older runs away, and train them again."
        )


def different_beginnings(runs: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield in words what runs differ in from their beginning on, each with the names of the runs by how they began.

    Args:
        runs: names, and what the runs' env.json holds; what it does not say is no difference.
    """
    began = list(runs)
    for what, described in (
        ("by different versions", _versions),
        ("on different images", _train_images),
        ("with different labels", _labels),
    ):
        names: dict[str, list[str]] = {}
        for name, environment in began:
            if beginning := described(environment):
                names.setdefault(beginning, []).append(name)
        if len(names) > 1:
            yield what, names


def _versions(environment: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} {environment[name]}" for name in VERSIONS if name in environment)


def _train_images(environment: Mapping[str, Any]) -> str:
    return str(environment.get("train_images", ""))


def _labels(environment: Mapping[str, Any]) -> str:
    return " and ".join(f"{key} {environment[key]}" for key in ("train_labels", "val_labels") if key in environment)


def _different_devices(comparison: Comparison) -> list[str]:
    devices = {str(run.summary.get("device")) for variant in comparison.variants for run in variant.runs}
    return ["The runs were on different devices: don't compare their speeds."] if len(devices) > 1 else []
