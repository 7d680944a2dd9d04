"""Weights of a name or a file, and what of them fits a network."""

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision.models
from torch import Tensor, nn

from dcnrun.config.schema import (
    IMAGENET_STD,
    Backbone,
    ModelConfig,
    ResNetModelConfig,
    ResNetStem,
    ResNetStyle,
    encoder_of,
)
from dcnrun.console import printable
from dcnrun.errors import UsageError
from dcnrun.models.checkpoints import (
    LibraryNetwork,
    Origin,
    Translation,
    classes_of,
    conv_settings,
    library_network,
    notes_on,
    output_stride_of,
    stem_of,
    style_of,
    translate,
    undilated_settings,
)
from dcnrun.models.conv import ModulatedDeformConv2d
from dcnrun.models.encoders import TIMM, published_weights
from dcnrun.models.sampling import sampling_layers
from dcnrun.models.torch_files import NotTensorsError, is_plain, read_torch_file
from dcnrun.runs import RunFolder, read_bytes

FOREIGN_TO_BLOCKS = re.compile(r"layer[1-4]\.\d+\.(?!(?:conv\d|bn\d|downsample\.[01])\.)")
"""How the names begin of what is in a ResNet's blocks, and in none of ours: attention, say."""
_COUNTER = "num_batches_tracked"  # of batch normalisation, which files may lack
# What a backbone's names begin with in our networks, and an encoder's in the library's.
_BACKBONES = (
    "backbone.",
    "encoder.",
)
_PROJECTION = "value_proj.weight"  # in a layer without weights of a kernel, such as those of DCNv3 and DCNv4
_CONTAINERS = ("network.", "state_dict.", "model.", "")  # of several networks in a file, which is meant
_DEEPEST = 8
_STEMS = {ResNetStem.plain: "a 7x7 convolution", ResNetStem.deep: "three 3x3 convolutions"}
_OF_HUB = "model.safetensors"
_DESCRIPTION = "config.json"
"""What timm and segmentation_models.pytorch name the files of a folder for the hub."""
RGB = 3
"""The bands of images that published weights are for."""
_MOST_LISTED = 40
SIGMOID = 0.5
"""The `mask_start` of masks that are sigmoids, as those of other projects."""


def misfit(network: nn.Module, state: Mapping[str, Any]) -> str | None:
    """Return the first thing that keeps a state dict from being the network's, in words, or None."""
    wanted = network.state_dict()
    for names, words in (
        (wanted.keys() - state.keys(), "lacks"),
        (state.keys() - wanted.keys(), "has, as this network has not,"),
    ):
        if names:
            return f"it {words} {printable(min(names))}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    problems = (f"{name} {problem}" for name in wanted if (problem := _problem(state[name], wanted[name])))
    return next(problems, None)


@dataclass
class Weights:
    """The tensors that `model.weights` names, by their names there, and which of them a network took."""

    source: str
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] = ()
    """What the outputs of a network of ours stand for, where the file says so."""
    prefix: str = ""
    """What stands before the names of the backbone's tensors."""
    used: set[str] = field(default_factory=set)
    adapted_to: int | None = None
    """The bands of images that the first convolution was adapted to, where these are not RGB."""
    translation: Translation | None = None
    """How a file became tensors of our names; None of runs of ours and of published weights."""
    style: ResNetStyle | None = None
    """Which convolutions of a ResNet stride, as far as it is known."""
    takes_style: bool = False
    """Whether model.style chooses which convolutions of the backbone stride; not of encoders."""
    output_stride: int | None = None
    """Of a ResNet, as far as the file says."""
    notes: tuple[str, ...] = ()
    """What its network computes that none of ours does, unless it is set."""
    undilated_settings: tuple[str, ...] = ()
    """Those with which a ResNet here is dilated where the file's is, and nowhere else."""
    library: LibraryNetwork | None = None
    """Which library's network it is of, where the file or the description beside it says so."""
    turned_to_rgb: str | None = None
    """The first convolution, where it was for BGR from 0 to 255, as that of networks from Caffe."""
    of: str | None = None
    """Where there are several networks, a text in what the names of the one begin with that is meant."""

    def load_into_backbone(
        self,
        backbone: nn.Module,
        name: str,
        settings: str = "model.backbone and model.width",
        style: ResNetStyle = ResNetStyle.pytorch,
        stem: ResNetStem | None = None,
    ) -> None:
        """Load a backbone; UsageError unless there is a tensor of the right shape for each of its own.

        Args:
            backbone: of random weights.
            name: the backbone's, for messages.
            settings: those that choose it, for messages.
            style: of a ResNet; with caffe, weights of others are for images in BGR from 0 to 255.
            stem: what a ResNet begins with; None of encoders, of which no setting says it.
        """
        wanted = backbone.state_dict()
        self.takes_style = stem is not None
        self._require_style(style)
        if stem and (found := stem_of(self.tensors)) not in (None, stem):
            raise UsageError(
                f"model.weights={self.source} are of a ResNet that begins with {_STEMS[found]}: set model.stem={found}, with model.backbone."
            )
        self.tensors = _renamed(self.tensors, wanted)
        self.prefix = self._prefix_of(wanted)
        absent = [key for key in wanted if self.prefix + key not in self.tensors and not key.endswith(_COUNTER)]
        if missing := [key for key in absent if not self._has_layer_without_kernel(key)]:
            there = listed(self.tensors) if self.tensors else "nothing"
            raise UsageError(
                f"model.weights={self.source} lacks {len(missing)} of the {len(wanted)} tensors of {name}, "
                f"{min(missing)} for one: it is not a state dict of this backbone. It holds {there}."
            )
        if style is ResNetStyle.caffe and self.translation:
            self._turn_to_rgb(wanted)
        self._adapt_first(wanted)
        names = {key: self.prefix + key for key in wanted if self.prefix + key in self.tensors}
        for key, own in names.items():
            if self._shape(own, wanted[key]) != tuple(wanted[key].shape):
                raise UsageError(
                    f"model.weights={self.source}: {key} has shape {self._shape(own, wanted[key])}, but {name} "
                    f"needs {tuple(wanted[key].shape)}. Set {settings} to what the weights were made for."
                )
        self._load(backbone, names)

    def _has_layer_without_kernel(self, key: str) -> bool:
        """Return whether a network of ours has such a layer in the place of a convolution: `load_into_network` loads that."""
        layer = self.prefix + key.removesuffix("weight")
        return self.prefix.endswith(_BACKBONES) and layer + _PROJECTION in self.tensors

    def _require_style(self, style: ResNetStyle) -> None:
        if self.style not in (None, style):
            raise UsageError(
                f"model.weights={self.source} are of a ResNet whose strides are in the other convolutions: set model.style={self.style}, "
                f"with model.backbone, since with model.style={style}, as encoders have it, the network would compute something else."
            )

    def _turn_to_rgb(self, wanted: Mapping[str, Tensor]) -> None:
        """Let the first convolution see what our data gives: RGB from 0 to 1, normalised with ImageNet's mean and deviation.

        Caffe's networks see BGR from 0 to 255, of which that mean alone is subtracted.
        """
        key = self.prefix + _kernels(wanted)[0]
        weight = self.tensors[key]
        if is_plain(weight) and weight.dim() == 4 and weight.shape[1] == RGB:
            deviation = 255 * torch.tensor(IMAGENET_STD, dtype=weight.dtype)
            self.tensors = {**self.tensors, key: weight.flip(1) * deviation[:, None, None]}
            self.turned_to_rgb = key

    def _adapt_first(self, wanted: Mapping[str, Tensor]) -> None:
        """Fit the first convolution to the bands of the images, as timm does (`adapt_input_conv`); from RGB alone.

        For one band its filters are summed over RGB; for n they are repeated in turn, and scaled by 3 / n. So are those of
        convolutions beside the first, in encoders that begin with several.
        """
        first, *others = _kernels(wanted)
        bands = wanted[first].shape[1]
        for key in (first, *(key for key in others if wanted[key].shape[1] == bands)):
            weight = self.tensors.get(self.prefix + key)
            if weight is None or not is_plain(weight) or weight.dim() != 4 or weight.shape[1] == bands:
                continue
            if weight.shape[1] != RGB:
                raise UsageError(
                    f"model.weights={self.source}: {key} has shape {tuple(weight.shape)}, for images of other bands than these, which "
                    f"need {tuple(wanted[key].shape)}. Only weights for RGB are adapted; data.bands chooses as many bands as the weights need."
                )
            if bands == 1:
                weight = weight.sum(1, keepdim=True)
            else:
                weight = weight.repeat(1, -(-bands // RGB), 1, 1)[:, :bands] * (RGB / bands)
            self.tensors = {**self.tensors, self.prefix + key: weight}
            self.adapted_to = bands

    def load_into_network(self, network: nn.Module, backbone: str = "backbone.") -> str:
        """Load what the network has beside the plain backbone, where the file is of such a network, and say what was loaded.

        `backbone` is what the names of the backbone's tensors begin with in the network. Tensors of another shape are left out: those of the head, where the number of classes is another.
        """
        wanted = network.state_dict()
        names = {key: self.prefix + key.removeprefix(backbone) for key in wanted if key.startswith(backbone)}
        is_whole = self.prefix.endswith(backbone)
        if is_whole:
            root = self.prefix.removesuffix(backbone)
            names |= {key: root + key for key in wanted if not key.startswith(backbone)}
        names = {key: name for key, name in names.items() if name not in self.used}
        there = {key: name for key, name in names.items() if name in self.tensors}
        left_out = {
            key: name for key, name in there.items() if self._shape(name, wanted[key]) != tuple(wanted[key].shape)
        }
        self._load(network, {key: name for key, name in there.items() if key not in left_out})
        self._require_sigmoid_masks(network, there)
        said = [f"model.weights={self.source}: {len(self.used)} of its {len(self.tensors)} tensors are loaded"]
        if self.turned_to_rgb:
            said.append("the first convolution, of BGR from 0 to 255, is turned to RGB and scaled")
        if self.adapted_to:
            said.append(
                f"the first convolution, of RGB, is adapted to {self.adapted_to} band{'s'[: self.adapted_to > 1]}"
            )
        table = self._table(set(left_out.values()), backbone)
        unused = self.tensors.keys() - self.used - set(left_out.values())
        if left_out and not table:
            said.append(f"of another shape in this network, and left out: {listed(left_out)}")
        if unused and not table:
            said.append(f"not used: {listed(unused)}")
        fresh = [key for key in names if key not in there and not key.endswith(_COUNTER)]
        if fresh and is_whole:
            said.append(f"not in it, and as before training: {listed(fresh)}")
        if not is_whole:
            parts = dict.fromkeys(key.partition(".")[0] for key in wanted if not key.startswith(backbone))
            if parts:
                said.append(f"not in it, and as before training: all of {', '.join(parts)}")
        said += self.notes
        if self.classes:
            said.append(f"it learnt the classes {printable(', '.join(self.classes))}")
        return "\n".join(["; ".join([*said, *self._advice(unused | set(left_out.values()))]) + ".", *table])

    def _require_sigmoid_masks(self, network: nn.Module, there: Mapping[str, str]) -> None:
        """Raise UsageError where the masks of other projects, which are sigmoids, would be doubled."""
        for name, layer in sampling_layers(network).items():
            ours = there.get(f"{name}.offset_branch.weight")
            if ours is None or not isinstance(layer, ModulatedDeformConv2d) or layer.mask_start == SIGMOID:
                continue
            if self._origin(ours).name != ours:
                raise UsageError(
                    f"model.weights={self.source}: the masks of {printable(self._origin(ours).name)} are sigmoids, from 0 to 1: set "
                    f"conv.mask_start=0.5, since with {layer.mask_start:g} the layer would give {2 * layer.mask_start:g} times what it learnt."
                )

    def _advice(self, missed: Collection[str]) -> list[str]:
        """Return what should be set otherwise, as far as the file tells."""
        advice = []
        if any(".offset_branch." in name and self._origin(name).name != name for name in missed):
            settings = " ".join(conv_settings(self.tensors, self.prefix))
            advice.append(f"its deformable layers learnt where to look, which {settings} takes over")
        foreign = [name for name in missed if FOREIGN_TO_BLOCKS.match(name.removeprefix(self.prefix))]
        if foreign:
            encoder = self.library.encoder if self.library else f"{TIMM}NAME, of a network of timm,"
            advice.append(
                f"its blocks compute {listed(foreign)} too, which those of this backbone have not, so that their features differ: "
                f"model.encoder={encoder} takes all of it"
            )
        is_of_project = self.translation is not None and self.translation.project is not None
        if is_of_project and self.takes_style and not self.style and not self.turned_to_rgb:
            advice.append("it does not say which convolutions stride: networks from Caffe need model.style=caffe")
        return advice

    def _origin(self, name: str) -> Origin:
        """Return what a tensor was in the file."""
        return (self.translation.origins if self.translation else {}).get(name, Origin(name))

    def _table(self, left_out: set[str], backbone: str) -> list[str]:
        """Return what became of the tensors of a file with names of other projects, in lines; none for other files."""
        if all(self._origin(name) == Origin(name) for name in self.tensors):
            return []
        root = self.prefix.removesuffix(backbone)
        rows: dict[tuple[str, str, str], int] = {}
        for name in self.tensors:
            origin = self._origin(name)
            if name == self.turned_to_rgb:
                fate = "BGR to RGB"
            elif name in left_out:
                fate = "left out: of another shape in this network"
            elif name not in self.used:
                fate = "not used"
            else:
                fate = origin.change.said if origin.change else "renamed" if origin.name != name else "as it is"
            ours = name if name in self.used or name in left_out else ""
            row = _pattern(origin.name.removeprefix(root)), _pattern(ours.removeprefix(root)), fate
            rows[row] = rows.get(row, 0) + 1
        counted = [(f"{theirs} ({count})" if count > 1 else theirs, *rest) for (theirs, *rest), count in rows.items()]
        widths = [max(len(row[column]) for row in counted) for column in (0, 1)]
        return [f"  {theirs:{widths[0]}}  {ours:{widths[1]}}  {fate}" for theirs, ours, fate in counted]

    def _prefix_of(self, wanted: Mapping[str, Tensor]) -> str:
        """Return the prefix with which the file has most of these names; UsageError where several have."""
        first = _kernels(wanted)[0]
        norms = [key for key, tensor in wanted.items() if tensor.dim() == 1 and key.endswith("weight")]
        second = norms[1] if len(norms) > 1 else first  # whatever kind of convolution is where
        found = {name.removesuffix(first) for name in self.tensors if f".{name}".endswith(f".{first}")}
        found = {prefix for prefix in found if prefix + second in self.tensors}
        if self.of is not None:
            of_it = {prefix for prefix in found if self.of in prefix}
            if not of_it:
                names = printable(" and ".join(sorted(found)[:5])) or "those of no network"
                raise UsageError(
                    f"model.weights_of={self.of}: in {self.source} no names begin with it, but with {names}."
                )
            found = of_it
        matches = {prefix: sum(prefix + key in self.tensors for key in wanted) for prefix in sorted(found)[:100]}
        best = [prefix for prefix, count in matches.items() if count == max(matches.values())]
        for container in _CONTAINERS:
            if inside := [prefix for prefix in best if prefix.startswith(container)]:
                if len(inside) > 1:
                    names = printable(" and ".join(inside[:5]))
                    raise UsageError(
                        f"model.weights={self.source} holds several networks, whose names begin with {names}: say by model.weights_of which is meant."
                    )
                return inside[0]
        return ""

    def _shape(self, name: str, wanted: Tensor) -> tuple[int, ...]:
        """Return the shape of a tensor of the file; UsageError where it holds no numbers for `wanted`."""
        value = self.tensors[name]
        problem = _problem(value, wanted)
        if problem and not (is_plain(value) and value.shape != wanted.shape):
            raise UsageError(f"model.weights={self.source}: {printable(self._origin(name).name)} {problem}.")
        return tuple(value.shape)

    def _load(self, module: nn.Module, names: Mapping[str, str]) -> None:
        """Load tensors of the file: `names` has theirs by those of the module."""
        state = {key: self.tensors[name] for key, name in names.items()}
        for key, wanted in module.state_dict().items():
            if key in state and not state[key].to(wanted.dtype).isfinite().all():
                raise UsageError(
                    f"model.weights={self.source}: {printable(self._origin(names[key]).name)} has numbers that are not finite."
                )
        module.load_state_dict(state, strict=False)
        self.used |= set(names.values())


def names_file(weights: str) -> bool:
    """Return whether `model.weights` is a path, and not the name of published weights."""
    return bool(Path(weights).suffix) or _exists(Path(weights))


def read_weights(model: ModelConfig) -> Weights | None:
    """Read what `model.weights` names: a file, the best weights of a run's folder, or published ones; None for null.

    UsageError says what is wrong with it.
    """
    if model.weights is None:
        return None
    if not names_file(model.weights):
        return Weights(model.weights, _published(model, model.weights), style=ResNetStyle.pytorch)
    weights = read_weights_file(Path(model.weights))
    weights.of = model.weights_of
    return weights


def read_weights_file(path: Path) -> Weights:
    """Read a file of weights, or the best ones of a run's folder; UsageError says what is wrong with it."""
    given = path
    if _exists(path) and RunFolder(path).config_file.is_file():
        path = RunFolder(path).best_checkpoint
    elif _exists(path / _OF_HUB):
        path = path / _OF_HUB
    try:
        content = read_torch_file(path)
    except NotTensorsError as error:
        if not _exists(path):
            raise UsageError(f"model.weights={given}: no such file as {path}.") from None
        raise UsageError(f"model.weights={path} can't be read as a file of tensors: it {error}.") from error
    is_ours = isinstance(content, dict) and "step" in content and isinstance(content.get("network"), dict)
    tensors: dict[str, Tensor] = {}
    _collect(content["network"] if is_ours else content, "", tensors, set())  # the rest is the state of training
    if not tensors:
        raise UsageError(f"model.weights={path} holds no state dict (names to tensors).")
    if is_ours:
        return Weights(str(path), tensors, classes_of(content))
    found = translate(tensors, content)
    return Weights(
        str(path),
        found.tensors,
        classes_of(content),
        translation=found,
        style=style_of(content, found),
        output_stride=output_stride_of(content),
        notes=notes_on(content, found),
        undilated_settings=tuple(undilated_settings(content, found)),
        library=library_network(content, _description(path.with_name(_DESCRIPTION))),
    )


def _description(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds; an empty one where it holds none."""
    try:
        found = json.loads(read_bytes(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _kernels(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the convolutions' weights."""
    return [name for name, tensor in state.items() if tensor.dim() == 4]


def _renamed(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors of a whole timm network by the names that they have in its encoder: `model.stages_0.` for `stages.0.`.

    Behind whatever prefix, such as that of a training's checkpoint.
    """
    names = {key.removeprefix("model.").replace(".", "_"): key for key in wanted if key.startswith("model.")}
    if not names:
        return tensors
    kernels = [name for name, key in names.items() if wanted[key].dim() == 4]
    flat = {key: key.replace(".", "_") for key in tensors}
    there = set(flat.values())
    roots = {
        key[: -len(kernels[0])].removesuffix("model.")
        for key, name in flat.items()
        if name.endswith(kernels[0]) and name.removesuffix(kernels[0]) + kernels[-1] in there
    }
    renamed = {}
    for key, tensor in tensors.items():
        root = max((root for root in roots if key.startswith(root)), key=len, default="")
        leaf = key.removeprefix(root).removeprefix("model.").replace(".", "_")
        renamed[root + names[leaf] if leaf in names else key] = tensor
    return renamed


def _exists(path: Path) -> bool:
    """Return whether there is such a path; no name is an error, however long."""
    return os.path.exists(path)  # noqa: PTH110  Path.exists raises OSError for long ones


def _collect(value: Any, name: str, found: dict[str, Tensor], seen: set[int], depth: int = 0) -> None:
    """Collect the tensors in dictionaries and lists by their keys, joined with dots; each container once."""
    if isinstance(value, Tensor):
        found[name] = value
    elif isinstance(value, dict | list | tuple) and id(value) not in seen and depth < _DEEPEST:
        seen.add(id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _collect(item, f"{name}.{key}" if name else str(key), found, seen, depth + 1)


def _problem(value: Any, wanted: Tensor) -> str | None:
    """Return what keeps a value from taking the place of a tensor, in words, or None."""
    if not is_plain(value):
        return "is not a plain tensor, but sparse, quantized, without its data or something else"
    if value.shape != wanted.shape:
        return f"has shape {tuple(value.shape)}, and {tuple(wanted.shape)} in this network"
    if value.dtype.is_floating_point != wanted.dtype.is_floating_point or value.dtype.is_complex:
        return f"holds {str(value.dtype).removeprefix('torch.')}, not {str(wanted.dtype).removeprefix('torch.')}"
    return None


def listed(names: Iterable[str]) -> str:
    """Return names, those that differ by their numbers alone as one: `layer*.*.conv2.conv_offset.weight (13)`."""
    by_pattern: dict[str, list[str]] = {}
    for name in sorted(names):
        by_pattern.setdefault(re.sub(r"\d+", "*", name), []).append(name)
    words = [f"{pattern} ({len(own)})" if len(own) > 1 else own[0] for pattern, own in by_pattern.items()]
    more = f" and {len(words) - _MOST_LISTED} more kinds" if len(words) > _MOST_LISTED else ""
    return printable(", ".join(words[:_MOST_LISTED])) + more


def _pattern(name: str) -> str:
    """Return the module that a tensor is in, its numbers as *: `layer*.*.bn*`."""
    return printable(re.sub(r"\d+", "*", name.rpartition(".")[0] or name))


def _published(model: ModelConfig, weights: str) -> dict[str, Tensor]:
    if (encoder := encoder_of(model)) is not None:
        return published_weights(encoder, weights)
    assert isinstance(model, ResNetModelConfig)
    return _download(model.backbone, weights)


def _download(name: Backbone, weights: str) -> dict[str, Tensor]:
    try:
        offered = torchvision.models.get_model_weights(name.value)
    except ValueError:
        raise UsageError(
            f"model.weights={weights}: torchvision has no weights of {name.value}; give a file or null."
        ) from None
    if weights not in offered.__members__:
        raise UsageError(
            f"model.weights={weights} is neither a file nor one of {name.value}'s weights: {', '.join(offered.__members__)}"
        )
    try:
        return offered[weights].get_state_dict(progress=False, check_hash=True)  # type: ignore[no-any-return]
    except (URLError, OSError, RuntimeError) as error:
        raise UsageError(
            f"model.weights={weights} can't be downloaded ({error}). Fetch {offered[weights].url} elsewhere and give the file."
        ) from error
