"""Where the images and masks of a user's own folder are: in which folders, or in which list."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from dcnrun.config.schema import PairedFilesConfig
from dcnrun.data.files import (
    IMAGE_SUFFIXES,
    LOSSY_SUFFIXES,
    MASK_SUFFIXES,
    Pair,
    existing_root,
    first_few,
    is_folder,
    read_names,
    require_below,
    walk,
)
from dcnrun.data.mask_names import IMAGE_ENDS, files_in, further_names, masks_beside, masks_of, others_beside
from dcnrun.data.sample import Rule, Split
from dcnrun.data.splits import SPLIT_NAMES
from dcnrun.errors import DataError, UsageError

IMAGE_FOLDERS = (
    *("images", "image", "imgs", "img", "img_dir", "images_png", "jpegimages", "pngimages", "rawimages", "data"),
)
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annot", "ann_dir", "gt", "segmentationclass"),
    *("groundtruth", "ground_truth", "masks_png", "masks_machine", "pedmasks"),
)
_LONGEST_PAIR = 2 * 4096  # letters: a polygon in a line of YOLO's can have a million, and be split at any
ANY = "*"
"""Stands for any text within a folder's name; the first, the second ... for the same in the folders of images and of their masks."""
_SEPARATORS = "\t,; "
"""Between the two files of a line, the first that makes two files of it."""


class Layout(NamedTuple):
    """The folders of images and masks below a root, as data.images and data.masks name them; one where masks are beside images.

    SPLIT stands for the part of the data set, and each `*` for any text within a folder's name, the same in both.
    """

    images: str
    masks: str

    def filled(self, texts: Sequence[str]) -> "Layout":
        """Put texts in place of each `*`."""
        pieces = (place.split(ANY) for place in self)
        return Layout(*("".join(map(str.__add__, parts, [*texts, ""])) for parts in pieces))


def pair_rules(config: PairedFilesConfig) -> Iterator[Rule]:
    """Yield the rules that the settings of images and masks must keep."""
    is_ending = (config.mask_suffix or "").lower().endswith((*MASK_SUFFIXES, *LOSSY_SUFFIXES))
    yield "mask_suffix", not is_ending, "what follows an image's name, without the ending of the file"
    yield "masks", config.masks.count(ANY) == config.images.count(ANY), "as many * as in data.images"


def pairs_of(config: PairedFilesConfig, split: Split) -> tuple[list[Pair], list[str]]:
    """Return the images and masks that data.train or data.val names, and notes of where they were found.

    UsageError if they are not there; DataError where names don't fit together.
    """
    root = existing_root(config, f"{config.images} and {config.masks}")
    part = config.train if split == "train" else config.val
    layout, notes = Layout(config.images, config.masks), list[str]()
    if not part.endswith(".txt") and not _is_there(root, layout, part):
        layout, part, notes = _found(config, root, split, part)
    if part.endswith(".txt"):
        pairs, more = _listed(config, root, split, part)
        return pairs, [*notes, *more]
    places, without_masks = _with_mask_folders(root, layout, part)
    found, others = _images_of(config, places)
    if not found:
        images = folders_of(root, layout, part)[0]
        raise UsageError(
            f"data.{split}={part} has no images in {images}; expected files ending in {' '.join(IMAGE_SUFFIXES)}"
        )
    pairs, more = _with_masks(config, sorted(found), found, {place: masks for place, (_, masks) in places.items()})
    pairs, beside = _without_others(pairs)
    return pairs, [*notes, *without_masks, *more, *others, *beside, *_notes_of_others(pairs, places.values())]


def _without_others(pairs: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    """Leave out files without a mask that have another word after the name of an image with one, such as superpixels of ISIC; and a note of them."""
    having = {pair.name for pair in pairs if pair.mask.is_file()}
    others = further_names({pair.name for pair in pairs} - having, having)
    kept = [pair for pair in pairs if pair.name not in others]
    return kept, _note_of_others(sorted(pair.image for pair in pairs if pair.name in others))


def _note_of_others(files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    return [
        f"{_counted(files, 'file')} beside images and masks with another word in their names, such as {files[0].name}: not read"
    ]


def places_of(root: Path, layout: Layout, part: str) -> dict[str, tuple[Path, Path]]:
    """Return the folders of images and of their masks, which may not be there, by what `*` stands for, "." where there is none."""
    if ANY not in layout.images:
        return {".": folders_of(root, layout, part)}
    found = list(_texts(root, _folder(Path(), layout.images, part).parts))
    return {"/".join(texts): folders_of(root, layout.filled(texts), part) for texts in found}


def _with_mask_folders(root: Path, layout: Layout, part: str) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Return the folders of images and of their masks as `places_of` does, of `*` those that have masks; and a note of those without."""
    places = places_of(root, layout, part)
    if ANY not in layout.images:
        return places, []
    bare = [images for images, masks in places.values() if not masks.is_dir()]
    notes = (
        [f"{_counted(bare, 'folder')} of images without a folder of masks, such as {bare[0]}: not read"] if bare else []
    )
    return {value: (images, masks) for value, (images, masks) in places.items() if masks.is_dir()}, notes


def _images_of(config: PairedFilesConfig, places: Mapping[str, tuple[Path, Path]]) -> tuple[dict[str, Path], list[str]]:
    """Return the images in some folders by their names, and a note of what is beside them and their masks."""
    found: dict[str, Path] = {}
    others: list[Path] = []
    for place, (images, masks) in places.items():
        beside = masks_beside(images, config.mask_suffix) if images == masks else set()
        neither = others_beside(images, beside, config.mask_suffix)
        found |= {
            str(Path(place, name)): file for name, file in images_by_name(images, {"."}, beside | neither).items()
        }
        others += sorted(neither)
    return found, _note_of_others(others)


def _counted(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) > 1)}"


def find_layouts(root: Path, part: str) -> list[tuple[Layout, str]]:
    """Return the layouts in which a part of a data set, such as train, is there, with the name that the part has; ".": all of it."""
    images, masks = [], []
    for place in _places(root):
        for template, name, rest in _split_off(place, part):
            template = template.removesuffix("/SPLIT")  # where it is by itself
            if rest in ("", *IMAGE_FOLDERS) and _has(root / place, IMAGE_SUFFIXES):
                images.append((template, name))
            if rest in MASK_FOLDERS and _has(root / place, (*MASK_SUFFIXES, *LOSSY_SUFFIXES)):
                masks.append((template, name))
    apart = [(Layout(one, two), name) for one, name in images for two, other in masks if name == other]
    together = [
        (Layout(template, template), name)
        for template, name in images
        if masks_beside(_folder(root, template, name)) and all(layout.images != template for layout, _ in apart)
    ]
    return apart + together


def _found(config: PairedFilesConfig, root: Path, split: Split, part: str) -> tuple[Layout, str, list[str]]:
    """Return the one other layout, or list, that is there in place of the folders that the settings name, and a note."""
    default, setting = PairedFilesConfig(), f"data.{split}={part}"
    layout = Layout(config.images, config.masks)
    if layout == (default.images, default.masks) and root.is_dir():
        names = SPLIT_NAMES[split] if part == split else (part,)
        layouts = [found for name in names for found in find_layouts(root, name)]
        if not layouts and config.val_share and part == split:
            layouts = find_layouts(root, ".")
        if len(layouts) > 1:
            ways = " or ".join(_overrides(found, split, name) for found, name in layouts[:3])
            raise UsageError(f"data.root={root} with {setting} can be read in several ways; choose one: {ways}")
        if layouts:
            (found, name), (images, masks) = layouts[0], folders_of(root, *layouts[0])
            where = f"{images} with the masks in {masks}" if images != masks else f"{images}, masks beside images"
            return found, name, [f"data.{split} is read from {where} ({_overrides(found, split, name)} forces it)"]
        for file in (f"{name}.txt" for name in names if (root / f"{name}.txt").is_file()):
            return layout, file, [f"data.{split} is read from the list {root / file} (data.{split}={file} forces it)"]
    _require_layout(root, setting, list(folders_of(root, layout, part)))
    return layout, part, []


def _notes_of_others(pairs: Sequence[Pair], places: Collection[tuple[Path, Path]]) -> Iterator[str]:
    """Yield notes of what else is in the folders of images and of masks, so that nothing is missing without a word."""
    apart = [(images, masks) for images, masks in places if images != masks]
    deeper = [
        (images, place / name)
        for images, masks in apart
        for place, names in walk(images, must_read=False)
        if place != images and not place.is_relative_to(masks)
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES)
    ]
    if deeper:
        images, file = deeper[0]
        yield (
            f"{len(deeper)} image{'s' * (len(deeper) > 1)} in folders below {images}, such as {file.relative_to(images)}: not read (a list"
            " names images in folders: data.train=train.txt)"
        )
    read = {pair.mask for pair in pairs}
    shared = (_beginnings(pair.image.stem) & _beginnings(pair.mask.stem) for pair in pairs)
    known = {max(names, key=len) for names in shared if names}
    others = (file for _, masks in apart for file in files_in(masks, MASK_SUFFIXES) if file not in read)
    bare = [file.name for file in others if known.isdisjoint(_beginnings(file.stem))]
    if bare:
        yield f"{len(bare)} mask{'s have' if len(bare) > 1 else ' has'} no image, such as {bare[0]}: not read"


def _beginnings(stem: str) -> set[str]:
    """Return a name and what is before each joint of it: the longest that an image and its mask share is their own."""
    return {stem, *(stem[: joint.start()] for joint in re.finditer("[_-]", stem))}


def _overrides(layout: Layout, split: Split, part: str) -> str:
    return f"data.images={layout.images} data.masks={layout.masks} data.{split}={part}"


def folders_of(root: Path, layout: Layout, part: str) -> tuple[Path, Path]:
    """Return the folder of the images of a part of a data set, and that of their masks."""
    return _folder(root, layout.images, part), _folder(root, layout.masks, part)


def _is_there(root: Path, layout: Layout, part: str) -> bool:
    if ANY in layout.images:
        return any(_texts(root, _folder(Path(), layout.images, part).parts))
    return all(path.is_dir() for path in folders_of(root, layout, part))


def _texts(root: Path, parts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield what each `*` in the parts of a path can stand for, so that the folder is there."""
    if not parts:
        yield ()
    elif ANY not in parts[0]:
        yield from _texts(root / parts[0], parts[1:]) if (root / parts[0]).is_dir() else ()
    else:
        pattern = "(.+)".join(map(re.escape, parts[0].split(ANY)))
        for name in _subfolders(root):
            if match := re.fullmatch(pattern, name):
                yield from ((*match.groups(), *more) for more in _texts(root / name, parts[1:]))


def _folder(root: Path, template: str, part: str) -> Path:
    return root / template.replace("SPLIT", part) if "SPLIT" in template else root / template / part


def _places(root: Path) -> Iterator[str]:
    """Yield the folders below a root to a depth of two, the root itself as "."."""
    yield "."
    for folder in _subfolders(root):
        yield folder
        yield from (f"{folder}/{below}" for below in _subfolders(root / folder))


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.name[0] != "." and is_folder(entry))
    except OSError:
        return []


def _split_off(place: str, part: str) -> Iterator[tuple[str, str, str]]:
    """Yield a place with SPLIT for the name of a part, that name as it is written, and the rest in small letters."""
    words = [] if place == "." else place.split("/")
    if part == ".":
        if len(words) < 2:
            yield place, ".", "".join(words).lower()
        return
    for index, word in enumerate(words):
        others = [*words[:index], *words[index + 1 :]]
        if word.lower() == part.lower():
            yield "/".join([*words[:index], "SPLIT", *words[index + 1 :]]), word, "".join(others).lower()
        elif not others and word.lower().startswith(part.lower()):
            name, rest = word[: len(part)], word[len(part) :]
            yield f"SPLIT{rest}", name, rest.lower().lstrip("_-")
        elif not others and word.lower().endswith(part.lower()):
            name, rest = word[-len(part) :], word[: -len(part)]
            yield f"{rest}SPLIT", name, rest.lower().rstrip("_-")


def _has(folder: Path, suffixes: tuple[str, ...]) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.lower().endswith(suffixes) for entry in entries)
    except OSError:
        return False


def _with_masks(
    config: PairedFilesConfig, names: list[str], images: dict[str, Path], masks: Mapping[str, Path]
) -> tuple[list[Pair], list[str]]:
    """Return the pairs of some images, each by its name, and a note of what their masks are called; `masks`: the folders of masks by those in names."""
    files, naming = masks_of({name: images[name] for name in names}, masks, config.mask_suffix)
    pairs = [Pair(name, images[name], files[name]) for name in names]
    return pairs, [naming.remark] if naming.remark and config.mask_suffix is None else []


def _listed(config: PairedFilesConfig, root: Path, split: Split, part: str) -> tuple[list[Pair], list[str]]:
    """Return the pairs of a text file: a line names an image, with or without its ending, or an image and its mask."""
    file, images, masks = root / part, root / config.images, root / config.masks
    _require_layout(root, f"data.{split}={part}", [file])
    lines = read_names(file)
    pairs = [_pair_in(config, root, file, line) for line in lines]
    if lines and all(pairs):
        return [pair for pair in pairs if pair is not None], []
    if not lines:
        raise UsageError(f"data.{split}={part} has no images in {images}; expected a line for each")
    shorter = [name.removeprefix(f"{config.images}/") for name in lines]
    if ANY in config.images:
        places, _ = _with_mask_folders(root, Layout(config.images, config.masks), ".")
        found, folders = _images_of(config, places)[0], {place: of_masks for place, (_, of_masks) in places.items()}
        known = _named_otherwise(found)
    else:
        _require_layout(root, f"data.{split}={part}", [images, masks])
        for name in lines:
            require_below(root, images, name, file, config.allow_outside)
        found = images_by_name(images, {str(Path(name).parent) for name in (*lines, *shorter)}, set())
        folders = {str(Path(name).parent): masks / Path(name).parent for name in found}
        known = _named_otherwise(found)
    known |= {f"{name}{path.suffix}": name for name, path in found.items()} | {name: name for name in found}
    names = [known.get(line, known.get(short)) for line, short in zip(lines, shorter, strict=True)]
    if absent := [line for line, name in zip(lines, names, strict=True) if name is None]:
        raise DataError(
            f"{len(absent)} of {len(names)} names in {file} have no image: {first_few(absent)};"
            f" expected {images}/NAME with one of the endings {' '.join(IMAGE_SUFFIXES)}, one NAME a line, or an image and its mask"
        )
    return _with_masks(config, [name for name in names if name is not None], found, folders)


def _named_otherwise(images: Mapping[str, Path]) -> dict[str, str]:
    """Return images' names by what else a list may call one: without its folder, or without what images' names have where masks' have another word."""
    called: dict[str, list[str]] = {}
    for name, path in images.items():
        for text in {path.name, *(path.stem.removesuffix(end) for end in IMAGE_ENDS)}:
            called.setdefault(text, []).append(name)
    return {text: names[0] for text, names in called.items() if len(names) == 1}


def _pair_in(config: PairedFilesConfig, root: Path, file: Path, line: str) -> Pair | None:
    """Return the image and mask that a line names, below root or below their folders; None where it names no two files."""
    if len(line) > _LONGEST_PAIR:
        return None
    for separator in _SEPARATORS:
        for place in (index for index, letter in enumerate(line) if letter == separator):
            names = line[:place].strip(), line[place + 1 :].strip()
            if all(name.lower().endswith(IMAGE_SUFFIXES + MASK_SUFFIXES) for name in names):
                folders = (config.images, config.masks)
                image, mask = (_file_below(config, root, *both, file) for both in zip(folders, names, strict=True))
                if image.is_file():
                    return Pair(str(Path(names[0]).with_suffix("")), image, mask)
    return None


def _file_below(config: PairedFilesConfig, root: Path, folder: str, name: str, file: Path) -> Path:
    path = require_below(root, root, name, file, config.allow_outside)
    return path if path.is_file() or not (root / folder / name).is_file() else root / folder / name


def _require_layout(root: Path, setting: str, paths: list[Path]) -> None:
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise UsageError(
            f"data.root={root} with {setting} lacks {', '.join(absent)}; expected either sub-folders"
            " (images/train/NAME.jpg and masks/train/NAME.png with data.train=train) or a split file"
            " (images/NAME.jpg, masks/NAME.png and NAMEs in train.txt with data.train=train.txt)"
        )


def images_by_name(images: Path, folders: set[str], masks: Set[Path]) -> dict[str, Path]:
    """Return the image files in `folders` below `images`, but the masks among them, by their path without the ending."""
    found: dict[str, Path] = {}
    for folder in sorted(folders):
        for file in files_in(images / folder, IMAGE_SUFFIXES):
            if file not in masks:
                name = str(file.relative_to(images).with_suffix(""))
                if name in found:
                    raise DataError(f"{file}: another image has the same name, {found[name]}; expected one of them")
                found[name] = file
    return found
