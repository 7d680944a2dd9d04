"""Whether networks of ours compute what mmdetection's own do, from the checkpoints that mmdetection's published configs lead to.

    pip install --no-deps --target DIR mmdet==3.3.0 mmcv-lite==2.1.0 mmengine==0.10.7 addict yapf termcolor terminaltables six
    python -m benchmarks.mmdet_checkpoints DIR benchmarks/results/mmdet_checkpoints.json [PART ...]

Each network is built by mmdetection from its config, at full size and with random weights; its checkpoint is inspected, and a network
of ours built from the settings that `dcnrun weights inspect` suggests. Then both see the same images. Only mmcv's compiled kernels are
torchvision's here: mmcv-lite has none. Both compute in fp64. PARTs of names choose among the configs. It takes a minute.
"""

import importlib
import importlib.abc
import importlib.machinery
import json
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from dcnrun.config.compose import compose
from dcnrun.config.schema import IMAGENET_MEAN, IMAGENET_STD
from dcnrun.tasks.build import build_model
from dcnrun.tasks.inspect_weights import inspect_weights

CONFIGS = (
    "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
    "dcn/mask-rcnn_r101-dconv-c3-c5_fpn_1x_coco.py",
    "dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco.py",
    "dcnv2/mask-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py",
    "mask_rcnn/mask-rcnn_r50-caffe_fpn_1x_coco.py",
    "retinanet/retinanet_r50_fpn_1x_coco.py",
    "retinanet/retinanet_r50-caffe_fpn_1x_coco.py",
)


class _Absent(types.ModuleType):
    """A module that is not installed and that nothing here computes with: it has whatever is asked for."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **kwargs: None})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds those modules that mmdetection imports and that it needs for data and compiled kernels alone."""

    absent = ("cv2", "pycocotools", "shapely", "mmcv._ext")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        is_absent = any(name == each or name.startswith(f"{each}.") for each in self.absent)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_absent else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def kernels_of_torchvision() -> None:
    """Let mmcv's layers call torchvision's operator in the place of their own, which mmcv-lite leaves out."""

    def plain(x: Tensor, offset: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, *_: Any) -> Tensor:
        return deform_conv2d(x, offset, weight, None, stride, padding, dilation)  # type: ignore[no-any-return]

    def modulated(
        x: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        *_: Any,
    ) -> Tensor:
        return deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)  # type: ignore[no-any-return]

    importlib.import_module("mmcv.ops.deform_conv").deform_conv2d = plain  # type: ignore[attr-defined]
    importlib.import_module("mmcv.ops.modulated_deform_conv").modulated_deform_conv2d = modulated  # type: ignore[attr-defined]


def randomized(network: nn.Module) -> nn.Module:
    """Draw every tensor so that what the network computes neither grows nor fades."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
        elif tensor.dtype.is_floating_point:
            tensor.uniform_(0.5, 1.5) if name.endswith(("running_var", "weight")) else tensor.normal_(0, 0.25)
    return network.eval()


def compare(config: Any, folder: Path) -> dict[str, Any]:
    """Build mmdetection's network and ours, and return how far apart what they compute is, relative to the largest number."""
    registry = importlib.import_module("mmdet.registry")
    config.model.backbone.init_cfg = None
    theirs: Any = randomized(registry.MODELS.build(config.model))
    path = folder / "checkpoint.pth"
    torch.save({"meta": {"cfg": config.pretty_text}, "state_dict": theirs.state_dict()}, path)
    report = inspect_weights(path)
    model = build_model(compose([*report["settings"], f"model.weights={path}"]), report["classes"])
    ours: Any = model.network.eval().double()
    theirs.double()  # a hundred layers that sample at random points multiply what fp32 rounds off

    rgb = 255 * torch.rand(1, 3, 128, 160, dtype=torch.float64)
    preprocessor = config.model.data_preprocessor
    mean, std = (torch.tensor(preprocessor[key], dtype=torch.float64)[:, None, None] for key in ("mean", "std"))
    their_levels = theirs.extract_feat(((rgb if preprocessor.bgr_to_rgb else rgb.flip(1)) - mean) / std)
    mean, std = (torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    maps = ours.maps((rgb / 255 - mean) / std)
    pairs = {}
    if hasattr(theirs, "rpn_head"):
        levels = list(maps.values())
        pairs["proposals"] = zip(_flat(ours.rpn.head(levels)), _flat(theirs.rpn_head(their_levels)), strict=True)
        pooled = torch.randn(3, 256, 7, 7, dtype=torch.float64)
        (scores, boxes), (their_scores, their_boxes) = (
            ours.roi_heads.box_predictor(ours.roi_heads.box_head(pooled)),
            theirs.roi_head.bbox_head(pooled),
        )
        pairs["boxes"] = [(scores.roll(-1, 1), their_scores), (boxes[:, 4:], their_boxes)]
        if theirs.roi_head.with_mask:
            pooled = torch.randn(2, 256, 14, 14, dtype=torch.float64)
            masks = ours.roi_heads.mask_predictor(ours.roi_heads.mask_head(pooled))
            pairs["masks"] = [(masks[:, 1:], theirs.roi_head.mask_head(pooled))]
    else:
        their_levels, levels = their_levels[:3], [maps[name] for name in ("p3", "p4", "p5")]  # p6 is of c5 there
        of_classes, of_boxes = theirs.bbox_head(their_levels)
        head = ours.head(levels)
        pairs["head"] = [
            (head[name], torch.cat([each.permute(0, 2, 3, 1).reshape(1, -1, values) for each in outputs], 1))
            for name, outputs, values in (("cls_logits", of_classes, 80), ("bbox_regression", of_boxes, 4))
        ]
    pairs["pyramid"] = zip(levels, their_levels, strict=True)
    differences = {
        part: max(float((own - other).abs().max() / other.abs().max()) for own, other in both)
        for part, both in pairs.items()
    }
    assert model.loaded is not None
    said, *table = model.loaded.splitlines()
    return {
        "settings": report["settings"],
        "tensors": said.partition(": ")[2],
        "not used": [line.split()[0] for line in table if line.endswith("not used")],
        "differences": differences,
    }


def _flat(outputs: Any) -> list[Tensor]:
    return [each for kind in outputs for each in kind]


@torch.no_grad()
def main(packages: str, out: str, parts: Sequence[str]) -> None:
    """Compare every config and write what was found."""
    sys.path.append(packages)
    sys.meta_path.insert(0, _Finder())
    mmdet = importlib.import_module("mmdet")
    kernels_of_torchvision()
    from_file = importlib.import_module("mmengine.config").Config.fromfile
    importlib.import_module("mmdet.utils").register_all_modules()
    found = {}
    for name in CONFIGS:
        if not parts or any(part in name for part in parts):
            with tempfile.TemporaryDirectory() as folder:
                found[name] = compare(from_file(Path(packages) / "mmdet/.mim/configs" / name), Path(folder))
    versions = {"mmdet": mmdet.__version__, "torch": torch.__version__}
    Path(out).write_text(json.dumps({"versions": versions, "networks": found}, indent=1) + "\n")
    for name, result in found.items():
        print(name, {part: f"{difference:.1e}" for part, difference in result["differences"].items()})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
