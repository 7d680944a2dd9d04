import itertools

import numpy as np
import pytest
from matplotlib.text import Text

from dcnrun.compare.figure import plot_comparison
from dcnrun.compare.results import VariantResult, compare, read_finished
from dcnrun.compare.variants import variant_names
from dcnrun.plotting import save_png
from tests.compare.factories import write_run

CHOICES = [
    ["conv=standard"],
    ["conv=deformable", "optim.offset_lr_mult=0.1", "conv.layers=6"],
    ["conv=dilated", "conv.dilation=2"],
    ["conv=dilated", "conv.dilation=4"],
    ["conv=modulated", "optim.offset_lr_mult=0.1"],
    ["conv=modulated", "optim.offset_lr_mult=0.1", "conv.mask_start=0.5"],
    ["conv=dilated", "conv.dilation=6"],
    ["conv=modulated"],
    ["conv=deformable", "optim.offset_lr_mult=0.2", "conv.offset_groups=4"],
    ["conv=deformable"],
]


def comparison(tmp_path, count, seeds=2, step=1 / 9):
    """Scores and speeds that all but coincide, the hardest case for labels, or speeds that are `step` images a second apart."""
    runs = [
        tuple(
            read_finished(
                write_run(tmp_path / f"{i}-{seed}", overrides, seed, 0.7, inference_images_per_second=99 + i * step)
            )
            for seed in range(seeds)
        )
        for i, overrides in enumerate(CHOICES[:count])
    ]
    names = variant_names([group[0].settings for group in runs])
    return compare([VariantResult(name, group[0].settings, group) for name, group in zip(names, runs, strict=True)])


@pytest.mark.parametrize("count", [2, 6, 10])
def test_no_texts_overlap(tmp_path, count):
    figure = plot_comparison(comparison(tmp_path, count))
    figure.draw_without_rendering()
    texts = [text for axes in figure.axes for text in [*axes.texts, axes._left_title]]
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        texts += [axis.label, *(label for place, label in ticks if low <= place <= high)]
    # not the text's own method: that of an annotation includes its line
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts if text.get_text()]
    assert len(boxes) > 2 * count
    overlapping = [(a, b) for (a, first), (b, second) in itertools.combinations(boxes, 2) if first.overlaps(second)]
    assert overlapping == []
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for _, box in boxes)


@pytest.mark.parametrize("step", [-8, 1 / 9, 8])
def test_no_two_lines_to_labels_cross(tmp_path, step):
    figure = plot_comparison(comparison(tmp_path, 6, seeds=1, step=step))
    figure.draw_without_rendering()
    axes = figure.axes[1]
    lines = [(axes.transData.transform(label.xy), axes.transAxes.transform(label.xyann)) for label in axes.texts]
    assert len(lines) == 6

    def side(a, b, point):
        return np.sign(np.linalg.det([b - a, point - a]))

    for (a, b), (c, d) in itertools.combinations(lines, 2):
        assert side(a, b, c) == side(a, b, d) or side(c, d, a) == side(c, d, b)


def test_variants_without_runs_or_speed_and_odd_names_are_drawn(tmp_path):
    (standard,) = comparison(tmp_path, 1, seeds=1).variants
    slow = read_finished(write_run(tmp_path / "slow", ["conv=dilated"], inference_images_per_second=None))
    variants = [
        VariantResult("not_run $x$ _{", standard.settings, ()),
        VariantResult("a $ and \\alpha ^ {", slow.settings, (slow,)),
        standard,
    ]
    save_png(plot_comparison(compare(variants)), tmp_path / "figure")
    assert (tmp_path / "figure").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "seeds", [((0, 1, 2), (0, 1, 2)), ((0, 1, 2), (0, 1)), ((0, 1), (1, 2, 3)), ((0, 1, 2), (2,)), ((0,), (0, 1, 2))]
)
@pytest.mark.parametrize("skill", [0.7, 0.705, 0.8])
def test_a_bar_misses_the_line_where_the_verdict_tells_apart(tmp_path, seeds, skill):
    """Also where the two have not the same seeds, as in the reports while a comparison runs."""
    reference, variant = (
        tuple(read_finished(write_run(tmp_path / f"{kind}-{seed}", [f"conv={kind}"], seed, of)) for seed in own)
        for kind, own, of in zip(("standard", "dilated"), seeds, (0.7, skill), strict=True)
    )
    comparison = compare(
        [VariantResult("a", reference[0].settings, reference), VariantResult("b", variant[0].settings, variant)]
    )
    line, *bars = plot_comparison(comparison).axes[0].lines
    verdict = comparison.differences[1].verdict
    if verdict == "one seed: not judged":
        assert bars == []
    else:
        ((low, high), (dashed, _)) = bars[0].get_xdata(), line.get_xdata()
        assert verdict == ("higher" if low > dashed else "lower" if high < dashed else "not significant")
