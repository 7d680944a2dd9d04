"""The folder of predictions: whose it is, what is done, and the files of each image.

`predict.json` says what all files in it are made of; `predict.jsonl` has a line for each image, written once the image's files
are in place. So whatever ends a call, the next one goes on, and no file is ever half written.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO, Any

from dcnrun.drawing.found import Picture, overlay
from dcnrun.errors import RunError, UsageError
from dcnrun.predict.formats import class_list, mask_png, write_coco, yolo_labels
from dcnrun.runs import json_ready, locked, read_bytes, remove_leftovers, write_bytes, write_json, write_text
from dcnrun.tasks.found import Found, PredictionFormat

DESCRIPTION, JOURNAL, LOCK = "predict.json", "predict.jsonl", ".lock"
COCO_FILE, CLASSES_FILE = "coco.json", "classes.txt"
SIDE_BY_SIDE, DIFFERENCES_FILE = "side-by-side", "differences.csv"
FILES = {
    PredictionFormat.png: ("masks", ".png"),
    PredictionFormat.overlay: ("overlays", ".jpg"),
    PredictionFormat.yolo: ("labels", ".txt"),
}
"""Of the formats with a file for each image: their folder, and the ending."""

Record = dict[str, Any]
"""What the journal has of an image: `image`, its key; `file_name`, what other tools call it; `stamp`, of its file; `result`, the name of
its files here; `size`, height and width; `objects`, for each run what COCO's annotations have;
`differs`, how far several runs differ."""

Stamp = list[int]
"""Bytes of a file and when it was changed last, in nanoseconds: another image in its place has others."""

_QUALITY = 92


class ResultFolder:
    """The folder of the predictions of one or more runs; with several, each has a folder of its own in it."""

    def __init__(self, path: Path, runs: Sequence[str], formats: Sequence[PredictionFormat]) -> None:
        self.path = path
        self.formats = tuple(formats)
        self.of_run = {name: path if len(runs) == 1 else path / name for name in runs}
        self.done: dict[str, int] = {}
        """Where in the journal the line of each image that is done begins."""
        self._stamps: dict[str, Stamp | None] = {}
        self._journal: IO[bytes] | None = None

    @contextmanager
    def opened(self, description: Mapping[str, Any], classes: Sequence[str]) -> Iterator[None]:
        """Hold the folder for this process, with what earlier calls did known; it is made if it is missing.

        UsageError where it can't be written to, holds other files, or predictions that were made otherwise than `description` says.
        """
        self._require_own(json_ready(dict(description)))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / LOCK).touch()
        except OSError as error:
            raise UsageError(f"--out {self.path} can't be written to: {error.strerror}.") from error
        busy = f"--out {self.path} is being written to by another process."
        with locked(self.path / LOCK, busy):
            for folder, _, _ in os.walk(self.path):
                remove_leftovers(Path(folder))
            write_json(self.path / DESCRIPTION, description)
            for of_run in self.of_run.values():
                write_text(of_run / CLASSES_FILE, class_list(classes))
            self._read_journal()
            try:
                with (self.path / JOURNAL).open("ab") as self._journal:
                    yield
            finally:
                self._journal = None

    def _require_own(self, description: dict[str, Any]) -> None:
        try:
            there = sorted(self.path.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"--out {self.path} can't be written to: {error.strerror}.") from error
        if all(file.name.startswith(".") for file in there):  # a call was killed before it began
            return
        try:
            held = json.loads(read_bytes(self.path / DESCRIPTION).decode())
            changed = [key for key in description if held.get(key, description[key]) != description[key]]
        except FileNotFoundError:
            raise UsageError(
                f"--out {self.path} holds other files, {there[0].name} among them: give a folder that is empty or not there yet."
            ) from None
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{self.path / DESCRIPTION} is damaged ({error}): delete {self.path}, or give another --out."
            ) from None
        if changed:
            key = changed[0]
            raise UsageError(
                f"--out {self.path} holds predictions that were made otherwise: {key} was {json.dumps(held.get(key))} and is"
                f" {json.dumps(description[key])}. Give another folder, or delete it."
            )

    def _read_journal(self) -> None:
        """Find what is done, and drop a last line that a killed process left half written."""
        file, start, end = self.path / JOURNAL, 0, 0
        self.done = {}
        if not file.is_file():
            return
        with file.open("rb") as journal:
            for line in journal:
                start, end = end, end + len(line)
                record = _record(line)
                if not line.endswith(b"\n"):
                    os.truncate(file, start)
                elif record is not None and all(map(Path.is_file, self.files_of(record["result"]))):
                    self.done[record["image"]] = start
                    self._stamps[record["image"]] = record.get("stamp")

    def forget_changed(self, stamps: Mapping[str, Stamp | None]) -> int:
        """Take images for not done whose files are others than they were, by what `stamps` has of them now; return how many."""
        changed = [image for image in self.done if image in stamps and self._stamps[image] not in (None, stamps[image])]
        for image in changed:
            del self.done[image]
        return len(changed)

    def files_of(self, result: str) -> list[Path]:
        """Return all files that an image has of its own."""
        own = [FILES[each] for each in self.formats if each in FILES]
        files = [run / folder / f"{result}{ending}" for run in self.of_run.values() for folder, ending in own]
        return files + ([self.path / SIDE_BY_SIDE / f"{result}.jpg"] if len(self.of_run) > 1 else [])

    def write(self, run: str, result: str, found: Found, picture: Picture, classes: Sequence[str]) -> None:
        """Write the files of what a run found in an image; RunError where that can't be done."""
        for each in self.formats:
            if each not in FILES:
                continue
            folder, ending = FILES[each]
            if each is PredictionFormat.png:
                content = mask_png(found)
            elif each is PredictionFormat.yolo:
                content = yolo_labels(found).encode()
            else:
                content = jpeg(overlay(picture, found, classes))
            write_bytes(self.of_run[run] / folder / f"{result}{ending}", content)

    def finish_image(self, record: Record) -> None:
        """Note an image whose files are in place."""
        assert self._journal is not None
        try:
            start = self._journal.seek(0, os.SEEK_END)
            self._journal.write(json.dumps(record).encode() + b"\n")
            self._journal.flush()
        except OSError as error:
            raise RunError(f"Can't write {self.path / JOURNAL}: {error.strerror}.") from error
        self.done[record["image"]] = start

    def records(self) -> Iterator[Record]:
        """Yield what the journal has of each image, in the order of their names, one at a time."""
        with (self.path / JOURNAL).open("rb") as journal:
            for image in sorted(self.done):
                journal.seek(self.done[image])
                record = _record(journal.readline())
                if record is not None:
                    yield record

    def write_sheet(self, result: str, picture: Any) -> None:
        """Write the sheet of an image on which several runs are side by side."""
        write_bytes(self.path / SIDE_BY_SIDE / f"{result}.jpg", jpeg(picture))

    def write_differences(self) -> list[tuple[str, float]]:
        """Write how far the runs differ on each image, as a CSV file, and return it; most of all first."""
        rows = sorted(((record["image"], record["differs"]) for record in self.records()), key=lambda row: -row[1])
        table = StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["image", "differs"])
        writer.writerows((image, f"{share:.6f}") for image, share in rows)
        write_bytes(self.path / DIFFERENCES_FILE, table.getvalue().encode(errors="surrogateescape"))
        return rows

    def write_coco(self, categories: Mapping[int, str], ids: Mapping[str, int]) -> list[Path]:
        """Write COCO's file of each run, of all images that are done.

        Args:
            categories: the classes' names by id.
            ids: of the images of a data set, as it has them now: with images added to it, those of the journal may be others'. What it
                no longer has is left out. Without any, images are counted from 1.
        """
        written = []
        for number, folder in enumerate(self.of_run.values()):
            write_coco(folder / COCO_FILE, categories, partial(self._coco_images, number, ids))
            written.append(folder / COCO_FILE)
        return written

    def _coco_images(self, run: int, ids: Mapping[str, int]) -> Iterator[Record]:
        for rank, record in enumerate(self.records(), start=1):
            image_id = ids.get(record["image"]) if ids else rank
            if image_id is not None:
                yield {
                    "id": image_id,
                    "file_name": record.get("file_name", record["image"]),
                    "size": record["size"],
                    "objects": record["objects"][run],
                }


def jpeg(picture: Any) -> bytes:
    """Return a picture of Pillow's as a JPEG file."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _record(line: bytes) -> Record | None:
    """Return the record of a line of the journal; None where it holds none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_whole = isinstance(record, dict) and {"image", "result", "size", "objects"} <= record.keys()
    return record if is_whole and isinstance(record["result"], str) else None
