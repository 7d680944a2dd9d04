"""`--dry-run`: compose and build everything, say what would be done, train nothing."""

from typing import Any

from rich.table import Table

from dcnrun.config.compose import to_yaml
from dcnrun.config.schema import Config
from dcnrun.console import console
from dcnrun.tasks.build import forward_flops, parameter_count
from dcnrun.tasks.validate import check
from dcnrun.training.run import describe, prepare
from dcnrun.training.validation import image_size


def dry_run(config: Config) -> dict[str, Any]:
    """Print the resolved config, the replaced layers, parameters, FLOPs and steps; return them."""
    check(config)
    training, model = prepare(config)
    height, width = image_size(training)
    parameters, flops = parameter_count(model.network), forward_flops(model, height, width)
    epochs = config.trainer.steps * config.data.batch_size / len(training.train_set)
    result = {
        "config": to_yaml(config),
        "replaced": [vars(layer) for layer in model.replaced],
        "parameters": parameters,
        "flops": flops,
        "image_size": [height, width],
        "train_images": len(training.train_set),
        "val_images": len(training.val_set),
        "steps": config.trainer.steps,
        "epochs": epochs,
    }
    console.print(to_yaml(config), markup=False)
    describe(training, model, folder=None)
    table = Table("layer", "channels", "stride", "dilation", title=f"Layers that become {config.conv.kind.value}")
    for layer in model.replaced:
        table.add_row(
            layer.name, f"{layer.in_channels} -> {layer.out_channels}", str(layer.stride), str(layer.dilation)
        )
    console.print(table)
    console.print(f"{parameters:,} parameters")
    console.print(f"{flops / 1e9:.2f} GFLOPs for an image of {height}x{width}")
    console.print(
        f"{config.trainer.steps} steps of {config.data.batch_size} images: {epochs:.1f} epochs of "
        f"{len(training.train_set)} images; validation on {len(training.val_set)}"
    )
    return result
