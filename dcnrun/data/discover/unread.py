"""Formats that are not read: how they are told, and what to do with them."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dcnrun.data.discover.listing import BEGINNING, MOST_READ, Listing, first_files, has_images
from dcnrun.data.files import IMAGE_SUFFIXES
from dcnrun.runs import require_regular

_SUPERVISELY = "an annotation of Supervisely"
_PANOPTIC = "COCO's panoptic JSON"
_HUGGING_FACE = "a table of Hugging Face's datasets"
_ARRAYS = "a file of arrays"
_ARCHIVE = "an archive"
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")
_TURNED = "Label Studio's own JSON, with turned rectangles"
_UNREAD = (
    (".xml", rb"<annotations>\s*<(version|meta)>|<image [^>]*\bname=", "CVAT's own XML"),
    (".xml", rb"<polygon>\s*(<username>[^<]*</username>\s*)?<pt>", "an annotation of the LabelMe of MIT"),
    (".json", rb'"dm_format_version"|"media_type": *\d+, *"items"', "datumaro's own JSON"),
    (".json", rb'"_via_img_metadata"|"region_attributes"', "a project of the VGG Image Annotator"),
    (".json", rb'"original_width":[^{}]*\{[^{}]*"rotation": *-?[\d.]*[1-9]', _TURNED),
    (".json", rb'"from_name":|"original_width":', "Label Studio's own JSON"),
    (".json", rb'"classTitle":', _SUPERVISELY),
    (".json", rb'"segments_info":', _PANOPTIC),
    (".json", rb'"coordinates": *\{', "CreateML's JSON"),
    (".json", rb'"predicted_iou":', "Segment Anything's JSON"),
    (".json", rb'"box2d":', "BDD100K's JSON"),
    (".json", rb'"bounding_box": *\[', "DeepFashion2's JSON"),
    (".json", rb'"ispano":', "JSON of Mapillary's traffic signs"),
    (".odgt", rb'"gtboxes":', "CrowdHuman's list"),
    (".xml", rb"<HRSC_Image>", "HRSC2016's XML"),
    (".xml", rb"<target_list>", "UA-DETRAC's XML"),
    (".csv", rb"\AImageID,", "a table of Open Images"),
    (".csv", rb"(?m)\A[^\n]*\bBoxesString\b", "the table of Global Wheat"),
    (".csv", rb"(?m)\A[^,\n]+\.jpe?g(,\d+){4},[^,\n]+,\d+,\d+\r?$", "a table of SKU-110K"),
    (".csv", rb"(?i)\A.*\bxmin\b", "a table of boxes"),
    (".txt", rb"(?m)^[A-Za-z][\w-]*( -?\d+(\.\d+)?){14,15}\r?$", "a label file of KITTI"),
    (".txt", rb"(?m)^(-?\d+,){7}-?\d+,?\r?$", "a label file of VisDrone"),
    (".txt", rb"(?m)^\d+,-?\d+(,-?\d+(\.\d+)?){5,8}\r?$", "a table of the MOT Challenge"),
    (".txt", rb"(?m)^\(\d+, *\d+\),\(\d+, *\d+\), *\d+ *\r?$", "a label file of NWPU VHR-10"),
    (".txt", rb"\A% bbGt version", "a label file of Piotr's toolbox"),
    (".txt", rb"(?m)^\S+\.jpg\r?\n\d+ *\r?\n(-?\d+ ){4}", "a list of WIDER FACE"),
    (".txt", rb"(?m)^\S+\.ppm(;\d+){5}\r?$", "a table of the German traffic sign benchmark"),
    (".txt", rb"(?m)^(-?\d+(\.\d+)? ){8}[A-Za-z][\w-]*( [012])?\r?$", "a label file of DOTA, of rotated boxes"),
    (".jsonl", rb'"file_name":', _HUGGING_FACE),
    (".parquet", b"", _HUGGING_FACE),
    (".tfrecord", b"", "a file of TensorFlow's records"),
    *(
        (ending, b"", _ARRAYS)
        for ending in (".nii", ".nii.gz", ".mha", ".nrrd", ".dcm", ".npy", ".npz", ".h5", ".hdf5", ".mat")
    ),
    *((ending, b"", _ARCHIVE) for ending in ARCHIVES),
)
"""Endings of files, what they hold, nothing where the ending tells all, and the format that this is of."""
_TABLES = (".json", ".jsonl", ".ndjson", ".manifest", ".geojson", ".csv", ".tsv", ".xml", ".txt")
"""Endings of files that annotations may be in."""
_LISTS = (".txt",)
"""Endings of files that may name images and say nothing of them."""
_LEAST_LETTERS = 5
"""Of an image's name without its ending that is no word by chance."""
_EXPORT = (
    "export it as COCO, YOLO or Pascal VOC, or as masks, from the tool that it is of, or write COCO's JSON of it"
    " (docs/data.md, Boxes in other files)"
)
_REMEDIES = {
    _SUPERVISELY: "a project is read where meta.json is above its folders img and ann",
    _PANOPTIC: "for that its pictures of segments must be there: `dcnrun data check data=panoptic data.root=...` says what is missing",
    _TURNED: "export it as YOLOv8 OBB, the only one of its formats whose boxes are right then, from there",
    _HUGGING_FACE: "save its images, with masks or COCO's JSON beside them (docs/data.md shows how)",
    _ARRAYS: "save its slices or pictures as TIFF or PNG, with masks beside them",
    _ARCHIVE: "unpack it",
}
"""What to do instead, where it is not to export what all tools have."""


def why_not_read(folder: Path, listing: Listing) -> str | None:
    """Return which file of a folder is in a format that is not read, and what to do with it; None where there is none."""
    if found := next(_unread(folder, listing), None):
        file, tool = found
        return f"{file} is {tool}, which is not read; {_REMEDIES.get(tool, _EXPORT)}"
    if about := next(_about_images(folder, listing), None):
        return f"{about} names images, in a format that is not read; if it has their labels, {_EXPORT}"
    return None


def is_panoptic(folder: Path, listing: Listing) -> bool:
    """Whether pictures in a folder are COCO's panoptic ones."""
    return any(tool == _PANOPTIC for _, tool in _unread(folder, listing))


def _unread(folder: Path, listing: Listing) -> Iterator[tuple[str, str]]:
    """Yield files in tools' own formats, and which these are; those that only their ending tells where there are no images."""
    is_of_images = any(map(has_images, listing.values()))
    for suffix, mark, tool in (row for row in _UNREAD if row[1] or not is_of_images):
        for file in first_files(listing, suffix)[:MOST_READ]:
            with suppress(OSError):
                require_regular(folder / file)
                with (folder / file).open("rb") as opened:
                    if re.search(mark, opened.read(BEGINNING)):
                        yield file, tool


def _about_images(folder: Path, listing: Listing) -> Iterator[str]:
    """Yield files in formats that nobody knows here which name images, or are called as one is."""
    images = [Path(file) for suffix in IMAGE_SUFFIXES for file in first_files(listing, suffix)[:MOST_READ]]
    names = {image.name for image in images} | {image.stem for image in images if len(image.stem) >= _LEAST_LETTERS}
    if not names:
        return
    is_named = re.compile(
        rb"(?<![a-zA-Z0-9])(" + b"|".join(re.escape(name.encode()) for name in sorted(names)) + rb")(?![a-zA-Z0-9])"
    )
    for file in (file for suffix in _TABLES for file in first_files(listing, suffix)):
        if is_named.search(Path(file).name.encode()):
            yield file
        elif not file.lower().endswith(_LISTS):
            with suppress(OSError):
                require_regular(folder / file)
                with (folder / file).open("rb") as opened:
                    if is_named.search(opened.read(BEGINNING)):
                        yield file
