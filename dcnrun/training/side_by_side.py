"""Draw a few validation images with what several runs find in them: `python -m dcnrun.training.side_by_side REQUEST FILE`.

A process that comparisons start at their end, since they themselves know runs by their files alone, without PyTorch. REQUEST is
JSON: `images`, their names; `runs`, each with its `folder` and a `title`. FILE becomes JSON: the request, for each image its
pictures, and in words what is not there.
"""

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from dcnrun.drawing.found import Canvas, painted
from dcnrun.drawing.side_by_side import difference, legend_of_all, panels
from dcnrun.errors import DcnrunError, UsageError
from dcnrun.runs import CheckpointChoice, write_json
from dcnrun.training.evaluate import inference_of
from dcnrun.training.pictures import Look, look_at
from dcnrun.training.trained_run import load_trained_run

MOST_BYTES = 40_000
"""Of one picture: with 6 images, 8 runs and the three other pictures of an image that is 2.7 MB at most, and often a third of it."""
_SIDE = 512  # pixels of a picture's longer side, about
_QUALITIES = (85, 70, 50, 30, 10)  # of JPEG, until a picture is small enough


def draw_side_by_side(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pictures of each image: itself, the truth, what each run's last checkpoint finds, and where these differ.

    One network is in memory at a time. A run that can't be predicted with is left out, with a line.
    """
    left_out: list[str] = []
    looks: dict[str, list[Look]] = {}
    classes: tuple[str, ...] = ()
    for run in request["runs"]:
        try:
            of_run, own_classes = _looks(Path(run["folder"]), request["images"])
            if looks and own_classes != classes:
                raise UsageError(f"its classes are {', '.join(own_classes)}, others have {', '.join(classes)}.")
        except DcnrunError as error:
            left_out.append(f"{run['title']}: {error}")
            continue
        looks[run["title"]], classes = of_run, own_classes
    of_images = zip(request["images"], *looks.values(), strict=True) if len(looks) > 1 else ()
    drawn = [draw_image(name, [*looks], of_image, classes) for name, *of_image in of_images]
    return {"request": request, "images": drawn, "left_out": left_out}


def _looks(folder: Path, names: Sequence[str]) -> tuple[list[Look], tuple[str, ...]]:
    """Return what a run finds in the images of these names, and its classes."""
    inference = inference_of(load_trained_run(folder, CheckpointChoice.last))  # what the scores of a comparison are of
    places = {inference.val_set.name(index): index for index in range(len(inference.val_set))}
    if missing := [name for name in names if name not in places]:
        raise UsageError(f"{missing[0]} is no longer among its validation images.")
    return [look_at(inference, places[name]) for name in names], tuple(inference.val_set.classes)


def draw_image(name: str, titles: Sequence[str], looks: Sequence[Look], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the pictures of an image as JSON holds them."""
    truth, found = looks[0].truth, [look.found for look in looks]
    canvas = Canvas.of(looks[0].picture, _SIDE)
    differs = difference([look.where_there_is_truth(len(classes)) for look in looks])
    image, *of_runs, where = panels(canvas, titles, found, differs, classes)
    titled = [image, ("truth", painted(canvas, truth, classes)), where, *of_runs]
    return {
        "name": name,
        "pictures": [{"title": title, "jpeg": base64.b64encode(small_jpeg(each)).decode()} for title, each in titled],
        "legend": [
            {"colour": "#{:02x}{:02x}{:02x}".format(*rgb), "name": text}
            for rgb, text in legend_of_all([truth, *found], classes)
        ],
    }


def small_jpeg(picture: Image.Image) -> bytes:
    """Return a JPEG file of at most MOST_BYTES, as good as fits; one that never fits is made smaller."""
    for quality in _QUALITIES:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST_BYTES:
            return file.getvalue()
    return small_jpeg(picture.reduce(2))


if __name__ == "__main__":
    write_json(Path(sys.argv[2]), draw_side_by_side(json.loads(sys.argv[1])))
