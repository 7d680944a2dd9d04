"""Every architecture of segmentation_models.pytorch, detectors, and encoders of thirty families, built, converted, trained, scored and exported.

    python benchmarks/networks.py benchmarks/results/networks.json             # the whole table; an hour on a core
    python benchmarks/networks.py networks.json --only unet:resnet18 retinanet:tu-regnety_002

For each pair: the layers that `conv.layers=2 conv.depthwise=true` replaces (with `conv.where=all` but in detectors), whether the fresh
network computes what the standard one does (a detector: the maps of its pyramid), two steps of training, the scores of two images, the
offsets of one, and, for segmentation, the ONNX file against onnxruntime. A pair that can't be built is listed with what is said of it.

Rows that the file has from the same versions of the libraries are kept, so that a table which was stopped is resumed.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dcnrun.config.compose import compose
from dcnrun.config.schema import Config
from dcnrun.data import eval_batches, train_batches
from dcnrun.export.onnx import export_onnx
from dcnrun.models.encoders import smp
from dcnrun.offsets.capture import capture
from dcnrun.runs import json_ready
from dcnrun.tasks.build import build_model
from dcnrun.tasks.detection.detector import DetectionNetwork
from dcnrun.tasks.registry import task_of
from dcnrun.tasks.validate import model_problems

ON_ONE_ENCODER = "resnet18"
ON_ONE_VIT = "tu-vit_tiny_patch16_224"  # DPT stands on these
ENCODERS = [
    *("resnet18", "resnext50_32x4d", "dpn68", "vgg11_bn", "se_resnet50", "densenet121", "inceptionv4", "inceptionresnetv2"),
    *("efficientnet-b0", "mobilenet_v2", "xception", "timm-skresnet18", "mit_b0", "mobileone_s0"),
    *("tu-convnext_atto", "tu-swin_tiny_patch4_window7_224", "tu-regnety_002", "tu-mobilenetv3_small_050", "tu-hrnet_w18_small"),
    *("tu-efficientvit_b0", "tu-pvt_v2_b0", "tu-mobilevit_xxs", "tu-edgenext_xx_small", "tu-fastvit_t8", "tu-ghostnet_050"),
    *("tu-res2net50_14w_8s", "tu-resnest14d", "tu-poolformer_s12", "tu-repvgg_a0", "tu-davit_tiny", "tu-nextvit_small"),
]  # fmt: skip
DETECTORS = ["faster_rcnn", "retinanet", "mask_rcnn"]
SETTINGS = [
    *("data=shapes", "data.train_images=4", "data.val_images=2", "data.batch_size=2"),
    *("data.workers=0", "conv.layers=2", "conv.depthwise=true"),
]
SEGMENTATION_SETTINGS = ["model=smp", "conv.where=all"]
DETECTION_SETTINGS = ["model.fpn_channels=32"]

SIDES = {"pan": 128}  # of an image in pixels: its attention halves the last feature map three times
SIDE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--only", nargs="+", metavar="ARCH:ENCODER", help="these pairs in place of all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    pairs = [tuple(pair.split(":")) for pair in arguments.only] if arguments.only else all_pairs()
    versions = {"torch": torch.__version__, "smp": smp().__version__, "timm": timm.__version__}
    rows = rows_of(arguments.result, versions)
    for arch, encoder in pairs:
        if (arch, encoder) not in rows:
            rows[arch, encoder] = {"arch": arch, "encoder": encoder} | outcome(arch, encoder)
        print(json.dumps(rows[arch, encoder]), flush=True)
        settings = {"all": SETTINGS, "segmentation": SEGMENTATION_SETTINGS, "detection": DETECTION_SETTINGS}
        result = versions | {"settings": settings, "rows": [rows[pair] for pair in pairs if pair in rows]}
        arguments.result.write_text(json.dumps(result, indent=1) + "\n")


def rows_of(path: Path, versions: dict[str, str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the rows of a file that was written with the same versions of the libraries, by architecture and encoder."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    same = all(found.get(name) == version for name, version in versions.items())
    return {(row["arch"], row["encoder"]): row for row in found["rows"] if same and "failed" not in row}


def all_pairs() -> list[tuple[str, ...]]:
    """Every architecture and detector on one encoder, then RetinaNet and U-Net on every encoder."""
    architectures = [
        (arch, ON_ONE_VIT if arch == "dpt" else ON_ONE_ENCODER) for arch in smp().MODEL_ARCHITECTURES_MAPPING
    ]
    return [
        *architectures,
        *((detector, ON_ONE_ENCODER) for detector in DETECTORS),
        *((arch, encoder) for arch in ("retinanet", "unet") for encoder in ENCODERS if encoder != ON_ONE_ENCODER),
    ]


def outcome(arch: str, encoder: str) -> dict[str, Any]:
    """Return what was done with a pair, or the error that ended it."""
    overrides = [*SETTINGS, f"model.encoder={encoder}"]
    if arch in DETECTORS:
        overrides += [f"model={arch}", *DETECTION_SETTINGS]
    else:
        overrides += [*SEGMENTATION_SETTINGS, f"model.arch={arch}"]
    overrides.append(f"data.image_size={SIDES.get(arch, SIDE)}")
    standard, modulated = (compose([*overrides, f"conv={kind}"]) for kind in ("standard", "modulated"))
    if problems := model_problems(modulated):
        return {"refused": problems}
    try:
        return walk(standard, modulated)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}


def walk(standard: Config, modulated: Config) -> dict[str, Any]:
    """Take a network through all that a run does with one."""
    task = task_of(modulated.model)
    train_set, val_set = task.dataset(modulated.data, "train"), task.dataset(modulated.data, "val")
    classes = len(val_set.classes)
    plain, model = build_model(standard, classes), build_model(modulated, classes)
    network = model.network
    height, width = val_set[0]["image"].shape[-2:]
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = zip(maps(plain.network.eval(), image), maps(network.eval(), image), strict=True)
        difference = max((one - other).abs().max().item() for one, other in outputs)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for batch in train_batches(train_set, modulated.data, seed=0, first_step=0, steps=2):
        loss = torch.stack([*task.losses(network.train(), batch, modulated, 1).values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    evaluator = task.evaluator(val_set)
    network.eval()
    with torch.inference_mode():
        for batch in eval_batches(val_set, modulated.data):
            evaluator.update(task.predict(network, batch), batch)
    names = [f"backbone.{layer.name}" for layer in model.replaced]
    captured = capture(network, image[0], names)
    found = {
        "replaced": [layer.name for layer in model.replaced],
        "difference_before_training": difference,
        "losses": losses,
        "metrics": json_ready(evaluator.result().metrics),
        "layers_with_offsets": len(captured.layers),
    }
    if not isinstance(network, DetectionNetwork):
        with tempfile.TemporaryDirectory() as folder:
            exported = export_onnx(network, image, Path(folder) / "network.onnx", any_size=False)
        found["largest_difference_of_onnx"] = max(each.largest_difference for each in exported.comparisons)
    return found


def maps(network: nn.Module, image: Tensor) -> list[Tensor]:
    """Return what a network makes of an image, a detector up to its pyramid."""
    return [*network.maps(image).values()] if isinstance(network, DetectionNetwork) else [network(image)]


if __name__ == "__main__":
    main()
