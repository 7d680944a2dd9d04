"""No part of a secret is left in any text that is shown, in whatever place of a URL it stands."""

import itertools

import pytest

from dcnrun.masking import masked, masked_urls, masked_variable, masked_words

SECRETS = [f"QQQ{one}WWW{other}EEE" for one, other in itertools.product("@/?#:=& ", repeat=2)] + [
    "QQQ",
    "%40QQQ",
    "QQQ@",
]
PLACES = [
    "postgresql://me:{0}@db.example.org/sweeps",
    "postgresql://{0}@db.example.org/sweeps",
    "postgresql://:{0}@db.example.org:5432/sweeps",
    "postgresql://me:{0}@[::1]:5432/sweeps?sslmode=require",
    "postgresql://db.example.org/sweeps?password={0}",
    "postgresql://me:{0}@db.example.org/sweeps?password={0}&user={0}",
    "postgresql+psycopg://db.example.org/sweeps?user=me&password={0}&sslmode=require",
    "sqlite://me:{0}@host/x.db",
    "sqlite:///x.db?key={0}",
    "https://me:{0}@wandb.example.org",
    "mysql://me:{0}@h/d#{0}",
    "postgresql:me:{0}@host/db",
]


@pytest.mark.parametrize("place", PLACES)
def test_no_part_of_a_secret_is_shown(place: str) -> None:
    for secret in SECRETS:
        shown = masked(place.format(secret)) + masked_variable("DCNRUN_STORAGE", place.format(secret))
        assert not [part for part in ("QQQ", "WWW", "EEE") if part in shown], (secret, shown)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@db.example.org:5432/sweeps", "postgresql://***@db.example.org:5432/sweeps"),
        ("postgresql://me:p@w@host/sweeps", "postgresql://***@host/sweeps"),
        ("postgresql://pw@host/sweeps", "postgresql://***@host/sweeps"),
        ("postgresql://me:pw@a:1,b:2/sweeps", "postgresql://***@a:1,b:2/sweeps"),
        ("postgresql://me:pw@[::1]:5432/sweeps", "postgresql://***@[::1]:5432/sweeps"),
        ("postgresql://host/sweeps?password=pw", "postgresql://host/sweeps?***"),
        ("postgresql://host/sweeps?password=p@w", "postgresql://***"),
        ("postgresql://me:pw/sweeps", "postgresql://***"),
        ("sqlite:////home/me@work/a.db", "sqlite:////home/me@work/a.db"),
        ("sqlite://me:pw@host/a.db", "sqlite://***@host/a.db"),
        ("--storage=postgresql://me:pw@host/a", "--storage=postgresql://***@host/a"),
        ("me:pw@host/sweeps", "***@host/sweeps"),
        ("host=h password='p w' dbname=d", "host=h password=*** dbname=d"),
        ("/data/me@work", "/data/me@work"),
        ("optim.lr=0.1", "optim.lr=0.1"),
    ],
)
def test_the_rest_stays(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_sentences_keep_their_words() -> None:
    said = "can't reach https://me:pw@api.example.org: refused, 'http://b.org/x?token=1' too"
    assert masked_urls(said) == "can't reach https://***@api.example.org: refused, 'http://b.org/x?***' too"


def test_variables_that_are_secrets_by_name() -> None:
    assert masked_variable("DCNRUN_STORAGE", "hunter2") == "***"
    assert masked_variable("WANDB_API_KEY", "feedface") == "***"
    assert masked_variable("DCNRUN_STORAGE", "") == ""
    assert masked_variable("DCNRUN_CACHE", "/tmp/a") == "/tmp/a"


def test_messages_of_others() -> None:
    said = 'authentication failed for user "me" (name: me, home, a-long-password)'
    assert masked_words(said, "me", "a-long-password", None, "") == (
        'authentication failed for user "***" (name: ***, home, ***)'
    )
