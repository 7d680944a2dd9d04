import pytest

from dcnrun.errors import ConfigError, UsageError
from dcnrun.resources import resource_dir
from dcnrun.sweep.engines.engine import Options
from dcnrun.sweep.engines.local import LocalEngine
from dcnrun.sweep.engines.wandb import WandbEngine
from dcnrun.sweep.spec.reading import read_sweep
from tests.sweep.factories import WANDB_COMMAND, parsed


def test_a_file_for_both():
    assert LocalEngine().problems(parsed(WANDB_COMMAND)) == []
    assert WandbEngine().problems(parsed(WANDB_COMMAND)) == []


@pytest.mark.parametrize("path", sorted(resource_dir("sweeps").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_are_for_both(path):
    assert LocalEngine().problems(read_sweep(path)) == []
    assert WandbEngine().problems(read_sweep(path)) == []


def test_what_the_file_gets_wrong_is_said_before_the_first_trial(tmp_path):
    file = tmp_path / "lr.yaml"
    file.write_text("method: random\nparameters: {optim.offset_lr_mul: {values: [1, 2]}}\nrun_cap: 2\n")
    with pytest.raises(ConfigError, match=r"optim\.offset_lr_mult"):
        LocalEngine().run(file, [], Options(out=tmp_path / "out"))
    file.write_text("method: random\nparameters: {optim.lr: {values: [1, 2]}}\n")
    with pytest.raises(UsageError, match="one machine"):
        LocalEngine().run(file, ["trainer.nodes=2"], Options(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
