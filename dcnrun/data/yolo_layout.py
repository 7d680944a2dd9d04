"""Where a data set in the layout of YOLO has its class names, images and label files.

What is read: the .yaml of ultralytics, Roboflow, CVAT and others, or darknet's obj.data; without one, folders named as the splits
and a file of class names. Paths in these files are often those of the machine that wrote them: what is not there is looked for by the
end of its path below data.root.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcnrun.config.schema import YoloConfig
from dcnrun.config.yaml_files import read_texts
from dcnrun.data.files import IMAGE_SUFFIXES, first_few, read_names, require_below, root_folder, walk
from dcnrun.data.sample import Split
from dcnrun.data.splits import SPLIT_NAMES, named_split
from dcnrun.errors import ConfigError, DataError, UsageError

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_CLASS_FILES = (
    "classes.txt",
    "data/obj.names",
    "obj.names",
    "labels.txt",
    "labels/classes.txt",
    "images/classes.txt",
    "train/classes.txt",
    "labels/train/classes.txt",
    "train/_darknet.labels",
)
_DARKNET = ".data"
_LINE = re.compile(r"\s*(\d{1,4})(?:\s+[-+.\de]+){4,}\s*$", re.IGNORECASE)
_NOTHING = ("", "~", "null", "Null", "NULL")
"""How YAML writes that a key has no value."""


@dataclass
class Layout:
    """What a data set's folder says before any label is read."""

    root: Path
    yaml: Path | None
    """Or darknet's obj.data."""
    content: dict[str, Any]
    """Of the .yaml: its keys, with texts, lists and mappings of texts."""
    classes: list[str]
    key_points: int
    """Numbers that follow the box in each line."""
    notes: list[str] = field(default_factory=list)

    def relative(self, path: Path) -> str:
        """Name a path as messages and results do: from the data set's folder, where it lies in it."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()


def read_layout(config: YoloConfig) -> Layout:
    """Read the .yaml and the class names; UsageError or DataError where they are not there or not as expected."""
    root = Path(os.path.normpath(root_folder(config, "the images and labels, or the .yaml itself").absolute()))
    if root.is_dir():
        yaml = _find_yaml(root, config.yaml)
    elif root.is_file():
        root, yaml = root.parent, root
    else:
        raise UsageError(f"data.root={root} is not there; expected the folder of the images and labels, or its .yaml")
    content = {} if yaml is None else _read_mapping(yaml)
    layout = Layout(root, yaml, content, [], _key_points(content, yaml))
    layout.classes = config.classes or _class_names(layout)
    return layout


def find_images(layout: Layout, config: YoloConfig, split: Split) -> list[Path]:
    """Return the images of a split in order; UsageError where there are none. What was assumed is added to the notes."""
    setting = named_split(split, config)
    part = config.train if setting == "train" else config.val
    keys = _names_of(part)
    key = next((key for key in keys if _is_given(layout.content.get(key))), None)
    if key is not None:
        places = list(_places_in_yaml(layout, config, setting, key))
    else:
        places = [_place_by_convention(layout, config, setting, keys)]
    images = [image for place in places for image in _images_of(layout, config, place)]
    if not images:
        raise UsageError(
            f"data.{setting}={part} has no images in {', '.join(map(str, places))}; expected files ending in"
            f" {' '.join(IMAGE_SUFFIXES)}"
        )
    return list(dict.fromkeys(images))


def _names_of(part: str) -> list[str]:
    """Return what the keys and folders of a part may be called: where it is a split, by other names and in capitals too."""
    others = next((names for names in SPLIT_NAMES.values() if part in names), ())
    names = dict.fromkeys([part, *others])
    return [*names, *(name.capitalize() for name in names if others)]


def label_places(layout: Layout, image: Path) -> Iterator[Path]:
    """Yield where the labels of an image may be, the usual place first.

    That is its own path, below data.root, with the last folder called images as labels (Images as Labels); then beside the image, and in a
    folder labels beside it or beside the folder of the split.
    """
    base = layout.root if image.is_relative_to(layout.root) else Path(image.anchor)
    folders = image.relative_to(base).parts[:-1]
    name = f"{image.stem}.txt"
    last = max((number for number, folder in enumerate(folders) if folder.lower() == "images"), default=None)
    if last is not None:
        called = "labels" if folders[last] == "images" else "Labels"
        yield base.joinpath(*folders[:last], called, *folders[last + 1 :], name)
    yield image.with_name(name)
    yield image.parent / "labels" / name
    if folders:
        yield image.parent.parent / "labels" / name
    yield base.joinpath("labels", *folders, name)


def class_numbers(file: Path) -> list[int]:
    """Return the classes of a file's objects; none unless each of its lines is one."""
    try:
        lines = read_names(file)
    except DataError:
        return []
    found = [_LINE.match(line) for line in lines]
    return [int(match[1]) for match in found if match] if all(found) else []


def labels_without_image(layout: Layout, images: Iterable[Path], labels: Iterable[Path]) -> list[Path]:
    """Return the label files beside those that are used whose name no image below data.root has, in order."""
    stems = {file.stem for file in images}
    beside = [
        file for folder in {file.parent for file in labels} for file in folder.glob("*.txt") if file.stem not in stems
    ]
    if beside:
        found = (Path(name) for _, names in walk(layout.root, must_read=False) for name in names)
        stems |= {file.stem for file in found if file.suffix.lower() in IMAGE_SUFFIXES}
    return sorted(file for file in beside if file.stem not in stems and class_numbers(file))


def _find_yaml(root: Path, name: str) -> Path | None:
    if name:
        file = require_below(root, root, name, Path("data.yaml"), may_leave=False)
        if not file.is_file():
            raise UsageError(f"data.yaml={name}: {file} is not there; expected the data set's .yaml")
        return file
    for usual in YAML_NAMES:
        if (root / usual).is_file():
            return root / usual
    others = [file for file in sorted(root.glob("*.y*ml")) if file.suffix in (".yaml", ".yml") and _has_names(file)]
    if len(others) > 1:
        raise UsageError(
            f"data.root={root}: {first_few([file.name for file in others])} could all be the data set's; say which it is"
            f" with data.yaml={others[0].name}"
        )
    darknet = [root / f"obj{_DARKNET}", *sorted(root.glob(f"*{_DARKNET}"))]
    return next((file for file in [*others, *darknet] if file.is_file()), None)


def _has_names(file: Path) -> bool:
    try:
        content = read_texts(file)
    except ConfigError:
        return False
    return isinstance(content, dict) and ("names" in content or "nc" in content)


def _read_mapping(yaml: Path) -> dict[str, Any]:
    if yaml.suffix == _DARKNET:
        pairs = [line.partition("=") for line in read_names(yaml) if not line.startswith("#")]
        return {"nc" if key.strip() == "classes" else key.strip(): value.strip() for key, _, value in pairs}
    content = read_texts(yaml)
    if not isinstance(content, dict):
        raise DataError(f"{yaml}: it has no keys; expected names, train and val, as YOLO's data.yaml has")
    return content


def _is_given(value: Any) -> bool:
    return value not in (None, [], {}) and value not in _NOTHING


def _class_names(layout: Layout) -> list[str]:
    count = _count(layout)
    if _is_given(names := layout.content.get("names")):
        classes = _in_order(names, layout)
        if count is not None and count != len(classes):
            raise DataError(
                f"{layout.yaml}: nc is {count} but names has {len(classes)}; correct one, or give data.classes"
            )
        source: Path | None = layout.yaml
    elif source := next((layout.root / name for name in _CLASS_FILES if (layout.root / name).is_file()), None):
        classes = read_names(source)
        layout.notes.append(
            f"{len(classes)} class names are those of {layout.relative(source)} (data.classes gives others)"
        )
    elif count:
        classes = [f"class_{number}" for number in range(count)]
        layout.notes.append(
            f"{count} classes without names (nc in {layout.yaml}): called class_0 and so on (data.classes)"
        )
    else:
        raise UsageError(
            f"data.root={layout.root} has no class names: expected data.yaml with names, or classes.txt, or obj.names;"
            " or give data.classes in the order of their numbers"
        )
    if repeated := sorted({name for name in classes if classes.count(name) > 1}):
        raise DataError(f"{source}: the class name {repeated[0]!r} is there more than once; expected every name once")
    if not classes or not all(classes):
        raise DataError(
            f"{source}: expected a name for each class, but {'one is empty' if classes else 'there is none'}"
        )
    return classes


def _count(layout: Layout) -> int | None:
    text = layout.content.get("nc")
    if not _is_given(text):
        return None
    if not isinstance(text, str) or not text.isdecimal():
        raise DataError(f"{layout.yaml}: nc is {text!r}; expected the number of classes")
    return int(text)


def _in_order(names: Any, layout: Layout) -> list[str]:
    """Return the class names, given as a list, by their numbers, or, in darknet's file, by the path of a list."""
    yaml = layout.yaml
    if yaml is not None and yaml.suffix == _DARKNET:
        file, _ = _locate(str(names), [layout.root], layout.root, may_leave=False)
        if file is None or not file.is_file():
            raise UsageError(f"{yaml}: names: {names} is not there; expected a list of class names, or data.classes")
        return read_names(file)
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    if isinstance(names, dict) and all(isinstance(name, str) for name in names.values()):
        numbers = {int(key): name for key, name in names.items() if isinstance(key, str) and key.isdecimal()}
        if len(numbers) == len(names) and sorted(numbers) == list(range(len(names))):
            return [numbers[number] for number in range(len(names))]
        raise DataError(
            f"{yaml}: names has the keys {first_few([str(key) for key in names], 10)}; expected 0 to {len(names) - 1}"
        )
    raise DataError(f"{yaml}: names is neither a list of class names nor a mapping from numbers to names")


def _key_points(content: dict[str, Any], yaml: Path | None) -> int:
    shape = content.get("kpt_shape")
    if not _is_given(shape):
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(str(number).isdecimal() for number in shape):
        raise DataError(f"{yaml}: kpt_shape is {shape!r}; expected [number of key points, 2 or 3]")
    return int(shape[0]) * int(shape[1])


def _places_in_yaml(layout: Layout, config: YoloConfig, setting: Split, key: str) -> Iterator[Path]:
    """Yield the folders and lists that a key of the .yaml names."""
    assert layout.yaml is not None
    entry = layout.content[key]
    entries = entry if isinstance(entry, list) else [entry]
    if not all(isinstance(item, str) for item in entries):
        raise DataError(
            f"{layout.yaml}: {key} is {entry!r}; expected a folder of images, a .txt file of paths, or a list of them"
        )
    bases = [layout.yaml.parent]
    unused = ""
    if _is_given(path := layout.content.get("path")):
        stated = Path(os.path.normpath(layout.yaml.parent / str(path)))
        if stated.is_dir() and (config.allow_outside or stated.is_relative_to(layout.root)):
            bases.insert(0, stated)
        else:
            why = "is outside data.root (data.allow_outside=true follows it)" if stated.is_dir() else "is not there"
            unused = f"path: {path} of {layout.yaml.name} {why}"
            layout.notes.append(f"{unused}: {key} is taken from the folder of {layout.yaml.name}")
    for item in entries:
        found, is_assumed = _locate(item, bases, layout.root, config.allow_outside)
        if found is None and unused:  # the end of `path` may be a folder here
            found, is_assumed = _locate(f"{path}/{item}", (), layout.root, config.allow_outside)
        if found is None:
            raise UsageError(
                f"{layout.yaml}: {key}: {item} is not there, and no end of this path below {layout.root} is; expected a folder"
                f" of images or a .txt file of paths, or data.{setting}=FOLDER below data.root{unused and f' ({unused})'}"
            )
        if is_assumed:
            layout.notes.append(
                f"{key}: {item} of {layout.yaml.name} is taken for {layout.relative(found)} (data.{setting}=FOLDER names"
                " another)"
            )
        yield found


def _place_by_convention(layout: Layout, config: YoloConfig, setting: Split, keys: Iterable[str]) -> Path:
    """Return the folder or list of a split without a word of it in a .yaml."""
    looked_for = [place for key in keys for place in (f"images/{key}", f"{key}/images", key, f"{key}.txt")]
    for name in looked_for:
        place = layout.root / name
        if place.is_dir() or (place.suffix == ".txt" and place.is_file()):
            return require_below(layout.root, layout.root, name, Path(f"data.{setting}"), config.allow_outside)
    if config.val_share and config.train == "train":
        whole = next(place for name in ("images", "images.txt", ".") if (place := layout.root / name).exists())
        layout.notes.append(f"{layout.relative(whole)} is shared between both splits (data.train=FOLDER names another)")
        return whole
    there = [key for key in ("train", "val", "valid", "validation", "test") if key in layout.content]
    stated = f"{layout.yaml.name} has {' and '.join(there) or 'no split'}, and " if layout.yaml else ""
    raise UsageError(
        f"data.root={layout.root} with data.{setting}={getattr(config, setting)}: {stated}there is no"
        f" {' or '.join(looked_for[:4])}; expected a key of the .yaml, a folder or a .txt"
        " file of paths below data.root; or, if the data set has no split, data.val_share=0.2"
    )


def _images_of(layout: Layout, config: YoloConfig, place: Path) -> list[Path]:
    """Return the images in a folder and all folders below it, or those that a .txt file lists."""
    if place.is_dir():
        files = (folder / name for folder, names in walk(place) for name in names)
        return sorted(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
    images, assumed = [], []
    bases = list(dict.fromkeys([place.parent, layout.root]))
    for name in read_names(place):
        found, is_assumed = _locate(name, bases, layout.root, config.allow_outside)
        images.append(found or require_below(layout.root, place.parent, name, place, config.allow_outside))
        assumed += [name] if is_assumed else []
    if assumed:
        layout.notes.append(
            f"{len(assumed)} of {len(images)} images in {layout.relative(place)} are not where it says, such as {assumed[0]}:"
            " found by the end of their paths below data.root"
        )
    return images


def _locate(text: str, bases: Iterable[Path], root: Path, may_leave: bool) -> tuple[Path | None, bool]:
    """Return what a path of another machine, perhaps of Windows, stands for here; and whether only its end does."""
    for base in bases:
        path = Path(os.path.normpath(base / text))
        if (may_leave or path.is_relative_to(root)) and path.exists():
            return path, False
    parts = [part for part in re.split(r"[\\/]+", text) if part not in ("", ".", "..")]
    for start in range(len(parts)):
        path = root.joinpath(*parts[start:])
        if path.exists():
            return path, True
    return None, False
