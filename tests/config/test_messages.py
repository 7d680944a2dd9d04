import pytest

from dcnrun.config.groups import GROUPS
from dcnrun.config.messages import did_you_mean, nearest
from dcnrun.config.settings import all_settings


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lr", "optim.lr"),
        ("trainer.lr", "optim.lr"),
        ("optimlr", "optim.lr"),
        ("optm.lr", "optim.lr"),
        ("dilatoin", "conv.dilation"),
        ("batchsize", "data.batch_size"),
        ("modle", "model"),
        ("experimnet", "experiment"),
    ],
)
def test_the_first_suggestion_is_what_was_meant(word, meant):
    assert nearest(word, [*all_settings(), *GROUPS])[0] == meant


def test_two_swapped_letters_still_find_every_setting():
    for key in all_settings():
        section, dot, last = key.rpartition(".")
        if len(last) < 4:
            continue
        middle = len(last) // 2
        typo = last[: middle - 1] + last[middle] + last[middle - 1] + last[middle + 1 :]
        assert key in nearest(section + dot + typo, all_settings()), typo


def test_nothing_is_suggested_for_a_word_unlike_all_others():
    assert nearest("qqqqqqq", all_settings()) == []
    assert nearest("optim.zzz", all_settings()) == []
    assert nearest("anything", []) == []


def test_the_message_lists_at_most_three():
    assert did_you_mean("abz", ["aba", "abc", "abd", "abe"]).count(" or ") == 2
    assert did_you_mean("qq", ["ab"]) == ""
