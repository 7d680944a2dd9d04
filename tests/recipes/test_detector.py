"""The recipe "Add a detector", followed to the letter: FCOS, which torchvision has."""

import json

from tests.recipes.factories import TINY_DETECTOR, TINY_SHAPES


def add_detector(package):
    package.insert_after(
        "dcnrun/config/schema.py",
        '    retinanet = "retinanet"\n',
        '    fcos = "fcos"\n',
    )
    package.insert_before(
        "dcnrun/config/schema.py",
        "\n\nMODEL_SCHEMAS: dict[Architecture, type[ModelConfig]] = {\n",
        '''

@dataclass
class FcosConfig(DetectionModelConfig):
    """FCOS: one stage, no anchors; a pixel of the pyramid is in an object or not."""

    head: Architecture = setting(Architecture.fcos, "the network")
    center_radius: float = setting(1.5, "pixels learn from an object within this many strides of its centre", gt=0)
''',
    )
    package.insert_after(
        "dcnrun/config/schema.py",
        "    Architecture.retinanet: RetinaNetConfig,\n",
        "    Architecture.fcos: FcosConfig,\n",
    )
    package.write(
        "dcnrun/tasks/detection/fcos.py",
        '''\
"""FCOS (Tian et al. 2019, "FCOS: fully convolutional one-stage object detection") of torchvision, on our backbones."""

import torch
import torchvision.models.detection
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from dcnrun.config.schema import FcosConfig
from dcnrun.models.backbones import StagedBackbone
from dcnrun.tasks.detection.detector import DetectionNetwork, Detections, Target
from dcnrun.tasks.detection.neck import Anchors, retinanet_pyramid


class Fcos(DetectionNetwork, torchvision.models.detection.FCOS):  # type: ignore[misc]
    """One stage: classes, boxes and centredness at every pixel of every level."""

    anchor_generator: Anchors

    def __init__(self, model: FcosConfig, backbone: StagedBackbone, num_classes: int) -> None:
        neck = retinanet_pyramid(backbone, model.fpn_channels, model.fpn_norm)
        super().__init__(
            backbone,
            num_classes,
            anchor_generator=Anchors([[size] for size in model.anchor_sizes], [1.0], list(neck.strides.values())),
            head=torchvision.models.detection.fcos.FCOSHead(model.fpn_channels, 1, num_classes),
            center_sampling_radius=model.center_radius,
            score_thresh=model.score_threshold,
            nms_thresh=model.nms_threshold,
            detections_per_img=model.detections_per_image,
        )
        self.neck = neck
        del self.transform  # the data has resized and normalised

    def losses(self, images: ImageList, maps: dict[str, Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Focal loss of the classes, GIoU loss of the boxes, cross-entropy of the centredness."""
        anchors = self.anchor_generator(images, list(maps.values()))
        losses = self.compute_loss(targets, self._outputs(maps), anchors, _pixels(maps))  # type: ignore[operator]
        return {
            "loss_classifier": losses["classification"],
            "loss_box_reg": losses["bbox_regression"],
            "loss_centredness": losses["bbox_ctrness"],
        }

    def detect(self, images: ImageList, maps: dict[str, Tensor]) -> list[Detections]:
        """The surest of each level, then of all, without overlaps."""
        counts = _pixels(maps)
        outputs = {name: list(torch.split(output, counts, dim=1)) for name, output in self._outputs(maps).items()}
        anchors = [list(torch.split(each, counts)) for each in self.anchor_generator(images, list(maps.values()))]
        found: list[Detections] = self.postprocess_detections(outputs, anchors, images.image_sizes)  # type: ignore[operator]
        return found

    def dense_forward(self, image: Tensor) -> None:
        """All but the choice among pixels."""
        self._outputs(self.maps(image))

    def _outputs(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: output.float() for name, output in self.head(list(maps.values())).items()}


def _pixels(maps: dict[str, Tensor]) -> list[int]:
    return [each.shape[-2] * each.shape[-1] for each in maps.values()]
''',
    )
    package.insert_before("dcnrun/tasks/registry.py", "    ModelConfig,\n", "    FcosConfig,\n")
    package.insert_before(
        "dcnrun/tasks/registry.py",
        "ARCHITECTURES: dict[Architecture, Entry[Any]] = {\n",
        """\
def _fcos(model: FcosConfig, backbone: "StagedBackbone", num_classes: int) -> "nn.Module":
    from dcnrun.tasks.detection.fcos import Fcos

    return Fcos(model, backbone, num_classes)


""",
    )
    package.insert_after(
        "dcnrun/tasks/registry.py",
        "    Architecture.retinanet: ArchitectureEntry(RetinaNetConfig, DETECTION, _retinanet),\n",
        "    Architecture.fcos: ArchitectureEntry(FcosConfig, DETECTION, _fcos),\n",
    )
    package.write(
        "conf/model/fcos.yaml",
        """\
defaults:
  - /schema/model@_here_: fcos
  - _self_
head: fcos
""",
    )
    package.write(
        "tests/tasks/detection/test_fcos.py",
        '''\
"""FCOS: what it learns from, what it finds, and that it is torchvision's."""

import torch
from torch.testing import assert_close

from dcnrun.config.schema import Backbone, FcosConfig
from dcnrun.tasks.registry import ARCHITECTURES


def test_an_object_is_learnt_and_found():
    torch.manual_seed(0)
    model = FcosConfig(backbone=Backbone.resnet18, width=16, fpn_channels=32, anchor_sizes=[8, 16, 32, 64, 128])
    network = ARCHITECTURES[model.head].build(model, num_classes=2, bands=3).train()
    image, sizes = torch.zeros(2, 3, 64, 64), [(64, 64)] * 2
    box = torch.tensor([[16.0, 8.0, 48.0, 40.0]])
    targets = [{"boxes": box, "labels": torch.tensor([1])}] * 2
    image[:, :, 8:40, 16:48] = 1
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(30):
        parts = network(image, sizes, targets)
        assert set(parts) == {"loss_classifier", "loss_box_reg", "loss_centredness"}
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    found = network.eval()(image, sizes)
    assert found[0]["labels"][0] == 1
    assert_close(found[0]["boxes"][0], box[0], atol=6, rtol=0)
''',
    )


def test_a_detector_is_trained_compared_and_drawn(package, recipes):
    add_detector(package)
    assert package.touched("fcos") == recipes["Add a detector"].files
    tiny = [*TINY_SHAPES, *TINY_DETECTOR, "conv.layers=1", "model=fcos"]
    listed, plan, *_ = package.run(
        ("config", "--list", "model=fcos"),
        ("train", *tiny, "--dry-run"),
        ("train", *tiny, "conv=deformable", "--run-dir", "deformable"),
        ("train", *tiny, "conv=standard", "--run-dir", "standard"),
        ("compare", "standard", "deformable", "--out", "compared"),
        ("evaluate", "deformable", "--save-predictions", "found.json"),
        ("visualize-offsets", "deformable", "val-000000", "--out", "offsets", "--limit", "1"),
        ("pytest", "tests/tasks/detection/test_fcos.py", "tests/tasks/test_architectures.py", "-k", "fcos"),
    )
    assert "model.center_radius=1.5" in listed
    assert "head: fcos" in plan
    folder = package.folder
    comparison = json.loads((folder / "compared" / "compare.json").read_text())
    assert comparison["metric"] == "val/map"
    assert [variant["settings"]["model.center_radius"] for variant in comparison["variants"]] == [1.5, 1.5]
    assert (folder / "compared" / "compare.png").stat().st_size > 10_000
    assert isinstance(json.loads((folder / "found.json").read_text()), list)
    assert (folder / "offsets" / "offsets.html").is_file()
    assert "loss_centredness" in (folder / "deformable" / "metrics.jsonl").read_text()
