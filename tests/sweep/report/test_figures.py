import numpy as np
from matplotlib.figure import Figure

from dcnrun.sweep.report.content import Importance
from dcnrun.sweep.report.figures import best_so_far, draw_parallel, draw_slice, slice_of
from dcnrun.sweep.spec.distributions import Categorical, Constant, Uniform
from dcnrun.sweep.spec.sweep_file import Goal
from tests.sweep.factories import job
from tests.sweep.report.factories import parabola, progress, sweep_of, trials


def axes():
    return Figure().subplots()


def test_the_best_so_far_never_gets_worse():
    valued = [(job(number, {}), value) for number, value in [(3, 0.2), (0, 0.1), (1, 0.4), (2, 0.3)]]
    assert best_so_far(valued, Goal.maximize) == ([0, 1, 2, 3], [0.1, 0.4, 0.4, 0.4])
    assert best_so_far(valued, Goal.minimize) == ([0, 1, 2, 3], [0.1, 0.1, 0.1, 0.1])


def test_parallel_coordinates_are_logarithmic_where_the_search_is():
    sweep = sweep_of()
    names = ["optim.offset_lr_mult", "conv.offset_groups", "trainer.threads"]
    chosen = [each for each in sweep.parameters if each.name in names]
    rates, groups, threads, metric = draw_parallel(axes(), progress(trials(12, parabola)), "val/miou", chosen)
    assert [each.get_yscale() for each in (rates, groups, threads, metric)] == ["log", "linear", "linear", "linear"]
    assert [label.get_text() for label in groups.get_yticklabels()] == ["1", "2", "4"]
    assert list(groups.get_yticks()) == [0, 1, 2]


def test_lines_of_parallel_coordinates_meet_the_axes_where_the_values_are():
    host, jobs = axes(), trials(6, parabola)
    chosen = [each for each in sweep_of().parameters if each.name == "optim.offset_lr_mult"]
    rates, metric = draw_parallel(host, progress(jobs), "val/miou", chosen)

    def height(upright, value):
        return host.transAxes.inverted().transform(upright.transData.transform((0, value)))[1]

    expected = [
        (height(rates, own.parameters["optim.offset_lr_mult"]), height(metric, max(value for _, value in own.history)))
        for own in jobs
    ]
    lines = [patch.get_path().vertices for patch in host.patches]
    drawn_at = sorted((line[0][1], line[-1][1]) for line in lines)
    assert np.allclose(drawn_at, sorted(expected))


def test_a_slice_is_along_the_learning_rate_of_the_offsets_by_groups():
    sweep, host = sweep_of(), axes()
    along = slice_of(sweep.parameters, Importance())
    assert along.name == "optim.offset_lr_mult"
    draw_slice(host, progress(trials(30, parabola)), "val/miou", along, sweep.parameters)
    assert host.get_xscale() == "log"
    labels = [text.get_text() for text in host.get_legend().get_texts()]
    assert labels == ["conv.offset_groups", "1", "2", "4", "conv.groups", "1", "2"]
    colours = {tuple(points.get_edgecolor()[0]) for points in host.collections[:-1]}  # the last is the best's ring
    assert len(colours) == 3


def test_without_that_rate_a_slice_is_along_the_most_important_number():
    names = {"a__x": Uniform(0, 1), "b__y": Uniform(0, 1), "c__z": Categorical(("u", "v")), "d__w": Constant(1)}
    parameters = sweep_of(**names).parameters
    assert slice_of(parameters, Importance({"c.z": 0.6, "b.y": 0.3, "a.x": 0.1})).name == "b.y"
    assert slice_of(parameters, Importance(why_not="few")).name == "a.x"
    assert slice_of(parameters[2:], Importance()) is None


def test_a_rate_of_zero_has_no_logarithm_and_is_drawn():
    sweep, host = sweep_of(optim__offset_lr_mult=Categorical((0, 0.1, 1.0))), axes()
    jobs = [job(i, {"optim.offset_lr_mult": rate}, [0.5]) for i, rate in enumerate((0, 0.1, 1.0))]
    draw_slice(host, progress(jobs), "val/miou", sweep.parameters[0], sweep.parameters)
    assert host.get_xscale() == "linear"
    assert host.get_xlim()[0] < 0
