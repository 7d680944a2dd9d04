"""Images that a file lists by the paths and addresses of a labelling server are found by their names, below the root alone."""

import pytest

from dcnrun.data.image_names import find_images
from dcnrun.errors import DataError


def tree(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / "images").mkdir(parents=True, exist_ok=True)


def find(root, *names, may_leave=False):
    found, notes = find_images(names, root / "images", root, root / "a.json", may_leave)
    return [(name, path.relative_to(root).as_posix()) for name, path in found], notes


@pytest.mark.parametrize(
    "name",
    [
        "/data/upload/3/a b.jpg",
        "/data/local-files/?d=set%2Fone%2Fa%20b.jpg",
        "http://host:8080/data/local-files/?d=set/one/a b.jpg",
        "s3://bucket/one/a b.jpg",
        "https://host/one/a%20b.jpg?X-Amz-Date=1&X-Amz-Expires=2",
        "images\\a b.jpg",
        "C:\\Users\\me\\a b.jpg",
        "../../label-studio/data/media/upload/1/a b.jpg",
        "one/a b.jpg",
        "/data/upload/3/0a1b2c3d-a b.jpg",
    ],
)
@pytest.mark.parametrize("may_leave", [False, True])
@pytest.mark.parametrize("place", ["images", "images/below"])
def test_by_the_name_alone(tmp_path, name, may_leave, place):
    tree(tmp_path, f"{place}/a b.jpg", "other/a b.jpg", "images/b.jpg")
    found, (note,) = find(tmp_path, name, "b.jpg", may_leave=may_leave)
    inside = f"{place}/a b.jpg"
    assert found == [(inside.removeprefix("images/"), inside), ("b.jpg", "images/b.jpg")]
    assert note.startswith(
        f"1 of 2 images are not where the file says and were found by their name alone, such as {name!r}"
    )
    assert inside in note


def test_what_is_where_the_file_says_stays(tmp_path):
    tree(tmp_path, "images/a.jpg", "images/b/a.jpg", "images/0a1b2c3d-a.jpg", "more/a.jpg")
    names = ["a.jpg", "b/a.jpg", "0a1b2c3d-a.jpg", "../more/a.jpg"]
    found, notes = find(tmp_path, *names)
    assert [name for name, _ in found] == names
    assert not notes


def test_a_path_leads_elsewhere_below_the_root_and_a_name_does_not(tmp_path):
    tree(tmp_path, "pictures/a.jpg")
    assert find(tmp_path, "/srv/a.jpg")[0] == [("pictures/a.jpg", "pictures/a.jpg")]
    assert find(tmp_path, "a.jpg") == ([("a.jpg", "images/a.jpg")], [])  # said to be missing


def test_several_files_of_a_name(tmp_path):
    tree(tmp_path, "images/one/a.jpg", "images/two/a.jpg")
    with pytest.raises(
        DataError, match=r"a.json: the image '/srv/a.jpg' .* called a.jpg: .*one/a.jpg, .*two/a.jpg; expected"
    ):
        find(tmp_path, "/srv/a.jpg")


def test_several_paths_of_a_name(tmp_path):
    tree(tmp_path, "images/a.jpg")
    with pytest.raises(DataError, match=r"the images '/1/a.jpg' and '/2/a.jpg' would both be .*images/a.jpg"):
        find(tmp_path, "/1/a.jpg", "/2/a.jpg")


@pytest.fixture
def guarded(tmp_path):
    root = tmp_path / "root"
    tree(root)
    (tmp_path / "secret.jpg").touch()
    (root / "link").symlink_to(tmp_path)
    return root


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.jpg", "/data/local-files/?d=../..", "../.."])
def test_never_outside_the_root(guarded, name):
    with pytest.raises(DataError, match=r"is outside data.root"):
        find(guarded, name)


@pytest.mark.parametrize(
    "name", ["http://[/a.jpg", "s3://bucket/../../../secret.jpg", "C:\\secret.jpg", "a\0.jpg", "."]
)
def test_what_is_nowhere_is_left_for_the_message(guarded, name):
    assert find(guarded, name)[1] == []


def test_letters_may_be_large_or_small(tmp_path):
    tree(tmp_path, "images/x/A.JPG", "images/x/b.jpg", "images/x/B.jpg")
    found, (note,) = find(tmp_path, "a.jpg", "b.jpg")
    assert [place for _, place in found] == ["images/x/A.JPG", "images/x/b.jpg"]
    assert note.startswith("2 of 2 images are not where the file says")
    with pytest.raises(DataError, match=r"several files are called B\.JPG"):
        find(tmp_path, "B.JPG")
