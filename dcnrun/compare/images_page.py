"""The single images of a comparison, as a part of its page: pictures of those on which the variants differ most, and tables of scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from dcnrun.compare.image_scores import ImageScores, image_scores
from dcnrun.compare.pictures import Pictures, task_of, title_of
from dcnrun.compare.results import Comparison
from dcnrun.pages.page import Html, element, joined, jpeg_image, left_out, section, table
from dcnrun.scores import in_percent
from dcnrun.tasks.found import DEFAULT_SCORE

_MOST_IMAGES = 15  # of a table


def images_section(comparison: Comparison, pictures: Pictures) -> Html:
    """Return the section, or a line about why there is none."""
    scores = image_scores(comparison)
    if isinstance(scores, str):
        return section("Images", left_out(scores))
    header = ("image", *(title_of(comparison, index) for index in scores.variants))
    parts = []
    if len(scores.variants) > 1:
        apart = scores.furthest_apart(_MOST_IMAGES)
        listed = _table_of("Images that differ most", header, scores, apart)
        parts += [element("h3", "The largest differences"), *_pictures(pictures, comparison, scores), listed]
    lowest = _table_of("The worst images", header, scores, scores.lowest(_MOST_IMAGES))
    note = f"{comparison.metric} of each image alone in percent, mean over seeds; images with nothing to score are left out."
    return section("Images", *parts, element("h3", "The lowest scores"), lowest, element("p", note, class_="note"))


def _pictures(pictures: Pictures, comparison: Comparison, scores: ImageScores) -> list[Html]:
    drawn = [_of_image(image, comparison.metric, scores) for image in pictures.images]
    surer = f", of objects those that score {DEFAULT_SCORE:g} or more" if task_of(comparison).saves_predictions else ""
    said = f"What one run of each variant finds by its last checkpoint, whose scores the table has{surer}; a click makes a picture larger."
    return [
        *([element("p", said, class_="note")] if drawn else []),
        *drawn,
        *map(left_out, pictures.left_out),
    ]


def _of_image(image: Mapping[str, Any], metric: str, scores: ImageScores) -> Html:
    """Return an image's pictures with its name, its scores and what the colours stand for."""
    name = image["name"]
    of_image = scores.scores[:, scores.names.index(name)]
    said = f": {metric} {in_percent(of_image.min())} to {in_percent(of_image.max())} %"
    pictures = (_picture(name, each["title"], each["jpeg"]) for each in image["pictures"])
    legend = (joined(_swatch(each["colour"]), element("bdi", each["name"])) for each in image["legend"])
    return element(
        "div",
        element("h4", element("bdi", name), said),
        element("div", *pictures, class_="pictures"),
        element("p", *(element("span", each) for each in legend), class_="legend"),
        class_="sheet",
    )


def _picture(name: str, title: str, jpeg: str) -> Html:
    button = element("button", jpeg_image(jpeg, f"{title}: {name}"), type="button", aria_pressed="false")
    return element("figure", button, element("figcaption", element("bdi", title)))


def _swatch(colour: str) -> Html:
    return element(
        "svg", element("rect", width="12", height="12", fill=colour), viewBox="0 0 12 12", aria_hidden="true"
    )


def _table_of(label: str, header: Sequence[str], scores: ImageScores, chosen: Sequence[int]) -> Html:
    rows = [(scores.names[i], *map(in_percent, scores.scores[:, i].tolist())) for i in chosen]
    return table(label, header, rows)
