"""The part of a comparison's page that shows single images."""

import re

from dcnrun.compare.image_scores import image_scores
from dcnrun.compare.images_page import images_section
from dcnrun.compare.pictures import Pictures
from dcnrun.compare.results import compare
from tests.compare.factories import matches, variant


def rows_of(text, label):
    """The cells of the table of this label."""
    table = re.search(rf'aria-label="{label}"><table>.*?<tbody>(.*?)</tbody>', text)[1]
    return [re.findall(r"<(?:td|th)[^>]*>(?:<bdi>)?(.*?)(?:</bdi>)?</t", row) for row in table.split("</tr>")[:-1]]


def test_tables_have_the_images_by_score_and_by_difference(comparison):
    text, scores = images_section(comparison, Pictures()), image_scores(comparison)
    for label, chosen in (
        ("The worst images", scores.lowest(15)),
        ("Images that differ most", scores.furthest_apart(15)),
    ):
        expected = [[scores.names[i], *(f"{100 * score:.1f}" for score in scores.scores[:, i])] for i in chosen]
        assert rows_of(text, label) == expected
    assert "<img" not in text


def test_pictures_stand_with_names_scores_and_what_is_left_out(comparison):
    scores = image_scores(comparison)
    name, of_image = scores.names[3], 100 * scores.scores[:, 3]
    image = {
        "name": name,
        "pictures": [{"title": f"<{i}>", "jpeg": "AAAA"} for i in range(3)],
        "legend": [{"colour": "#123456", "name": "<b>road"}],
    }
    text = images_section(comparison, Pictures([image], ["2. dilated: <gone>"]))
    assert f"{name}</bdi>: val/miou {of_image.min():.1f} to {of_image.max():.1f} %</h4>" in text
    assert text.count('<img src="data:image/jpeg;base64,AAAA" alt="&lt;') == 3
    assert 'fill="#123456"' in text
    assert "&lt;b&gt;road" in text
    assert "Left out: 2. dilated: &lt;gone&gt;" in text


def test_objects_are_said_to_be_the_surer_ones(tmp_path):
    boxes = ["conv=standard", "model=faster_rcnn"]
    variants = [variant(tmp_path, f"{i}", boxes, (0,), images=matches(i), metric="val/map_50") for i in range(2)]
    image = {"name": "val-003", "pictures": [], "legend": []}
    assert "those that score 0.5 or more" in images_section(compare(variants), Pictures([image]))


def test_without_scores_of_images_the_page_says_why(tmp_path):
    alone = compare([variant(tmp_path, "standard", ["conv=standard"], (0,), with_images=False)])
    assert "Left out: no run has results per image" in images_section(alone, Pictures())
