"""How to read a folder, as a command line and as --json has it."""

import shlex

from dcnrun.data.discover.reading import Reading, in_words


def test_a_command_is_quoted_for_the_shell():
    overrides = ["data=folder", "data.root=it's mine", "data.classes=[a,b]"]
    reading = Reading("folders", "names", overrides, ["a", "b"], in_words("train", None))
    assert shlex.split(reading.command) == ["dcnrun", "train", *overrides]
    assert reading.report() == {
        "format": "folders",
        "because": "names",
        "overrides": overrides,
        "classes": ["a", "b"],
        "split": "a fifth of train is drawn to validate on",
        "command": reading.command,
    }
