"""Objects' sizes against the effective dilation of their filters."""

from types import SimpleNamespace

import numpy as np

from dcnrun.statistics import Interval
from dcnrun.visualize.pictures.sizes import plot_sizes
from tests.visualize.pictures.factories import rendered


def measured(dilation):
    """A run of one layer, with three objects."""
    objects = SimpleNamespace(area=np.array([100.0, 400.0, 900.0]), dilation=np.array(dilation))
    correlation = SimpleNamespace(value=0.5, interval=Interval(0.25, 0.75))
    layer = SimpleNamespace(name="backbone.$a", per_object=objects, correlation=correlation, plain=1.0)
    return SimpleNamespace(layers=[layer])


def test_the_names_of_runs_hide_no_object():
    runs = {name: measured([1.0, 10.0, 50.0]) for name in ("one", "two", "three")}
    figure = plot_sizes(runs)
    rendered(figure)  # which lays it out
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend.get_window_extent().y0 >= axes.get_window_extent().y1
    assert legend.get_window_extent().y1 < figure.bbox.y1
    assert legend.get_title().get_text() == "$a"
    assert [text.get_text().partition(":")[0] for text in legend.get_texts()] == list(runs)
    assert axes.get_ylim()[0] == 0  # no distance is less
    assert axes.get_ylim()[1] > 50
    (axes,) = plot_sizes({"one": measured([4.0, 4.0, 4.000001])}).axes
    assert axes.get_ylim()[1] > 4.1  # a row of dots is not cut in half
