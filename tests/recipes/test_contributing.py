"""CONTRIBUTING.md: its recipes are all followed by a test here, and name files that are there."""

import re
from pathlib import Path

from tests.recipes.factories import CODE


def test_every_recipe_is_followed_by_a_test(recipes):
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(re.findall(r'recipes\["(.+?)"\]', tests)) == set(recipes)
    assert len(recipes) == 8


def test_the_files_to_edit_are_there_and_those_to_add_are_not(recipes):
    for recipe in recipes.values():
        for file in recipe.files:
            assert (CODE / file).exists() == ("NAME" not in file), f"{recipe.title}: {file}"
