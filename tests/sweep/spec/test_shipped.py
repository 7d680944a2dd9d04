from dcnrun.config.compose import compose
from dcnrun.resources import resource_dir
from dcnrun.sweep.spec.reading import read_sweep

SWEEPS = resource_dir("sweeps")


def budget(name):
    """What makes results of two sweeps comparable."""
    sweep = read_sweep(SWEEPS / name)
    trainer = compose(sweep.fixed).trainer
    return sweep.method, sweep.metric, sweep.early_terminate, sweep.run_cap, trainer.steps, trainer.eval_every


def test_the_control_has_the_same_budget():
    assert budget("offset_lr_bayes.yaml") == budget("dilation_control.yaml")
    assert budget("offset_lr_bayes_detection.yaml") == budget("dilation_control_detection.yaml")


def test_runs_are_judged_before_they_end():
    for path in SWEEPS.glob("*.yaml"):
        sweep = read_sweep(path)
        trainer = compose(sweep.fixed).trainer
        if sweep.early_terminate is not None:
            assert sweep.early_terminate.min_iter * sweep.early_terminate.eta < trainer.steps / trainer.eval_every


def test_every_file_is_told_of():
    readme = (SWEEPS / "README.md").read_text()
    names = {path.name for path in SWEEPS.glob("*.yaml")}
    assert names == {
        f"{name}{twin}.yaml"
        for name in ("offset_lr_bayes", "dilation_control", "groups_grid")
        for twin in ("", "_detection")
    }
    assert all(f"`{name}`" in readme for name in names if "detection" not in name)
