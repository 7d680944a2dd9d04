import pytest

from dcnrun.errors import UsageError
from dcnrun.jobs.cluster.options import Resources, read_resources


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("CPU=4", Resources(4.0)),
        ("CPU=4,memory=8GiB", Resources(4.0, memory=8 * 2**30)),
        ("GPU=0.5, memory=1.5GB", Resources(1.0, 0.5, 1_500_000_000)),
        ("CPU=0,GPU=2,a100=2", Resources(0.0, 2.0, others={"a100": 2.0})),
        ("memory=1000", Resources(memory=1000)),
    ],
)
def test_resources_that_a_trial_needs(text, resources):
    assert read_resources(text) == resources


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give each resource once"),
        ("CPU", "give each resource once"),
        ("CPU=1,CPU=2", "give each resource once"),
        ("CPU=four", "CPU=four must be a number, as in CPU=4,GPU=1,memory=8GiB"),
        ("CPU=-1", "CPU=-1 must be a number"),
        ("CPU=4GiB", "CPU=4GiB must be a number"),
        ("memory=8Gb", "memory=8Gb must be a number, or one of KiB"),
        ("CPU=1.5", "CPU=1.5 must be an integer, or a share of one below 1"),
        ("gpu=1", "gpu is written as in CPU=4,GPU=1"),
    ],
)
def test_what_is_wrong_with_resources_is_said(text, message):
    with pytest.raises(UsageError, match=message):
        read_resources(text)


def test_resources_by_rays_names():
    resources = Resources(4.0, 0.0, 2**30, {"a100": 1.0})
    assert resources.as_ray() == {"CPU": 4.0, "memory": 2.0**30, "a100": 1.0}
    assert resources.in_words() == "CPU=4,memory=1.07374e+09,a100=1"
