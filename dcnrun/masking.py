"""Hides what must not be read by others in every URL and variable that is shown or written.

Where a text can be read in two ways, the one that hides more is taken: a password may hold any character.
"""

import re

HIDDEN = "***"

_SECRET_NAME = re.compile(r"STORAGE|PASS|SECRET|TOKEN|KEY", re.IGNORECASE)
_SECRET_PAIR = re.compile(r"\b(password|passwd|secret|token)(\s*=\s*)('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE)
_ONE_HOST = r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::\d*)?"
_HOSTS = re.compile(rf"{_ONE_HOST}(?:,{_ONE_HOST})*")
_FILES = ("sqlite", "file")


def masked(text: str) -> str:
    """Return a text with what its URL may hold of secrets hidden: user, password, query and fragment.

    A text without `://` loses the values of pairs such as `password=...`, and what stands as `USER:PASSWORD` before an @.
    """
    scheme, is_url, rest = text.partition("://")
    if not is_url:
        user, at, host = text.rpartition("@")
        return f"{HIDDEN}@{host}" if at and ":" in user else _SECRET_PAIR.sub(rf"\1\2{HIDDEN}", text)
    place, *query = re.split(r"[?#]", rest, maxsplit=1)
    hidden_query = f"?{HIDDEN}" if query else ""
    if rest.startswith("/") and scheme.lower().endswith(_FILES):
        return f"{scheme}://{place}{hidden_query}"
    user, at, host = place.rpartition("@")
    if "@" in "".join(query) or not _HOSTS.fullmatch(host.partition("/")[0]):
        return f"{scheme}://{HIDDEN}"  # the query may be the end of a password, and the port a password
    return f"{scheme}://{HIDDEN + at if at else ''}{host}{hidden_query}"


def masked_urls(text: str) -> str:
    """Return a sentence with the secrets of every URL in it hidden."""
    return re.sub(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+", lambda url: masked(url[0]), text)


def masked_variable(name: str, value: str) -> str:
    """Return the value of an environment variable for people: nothing of one that is a secret by its name and is no URL."""
    return HIDDEN if value and "://" not in value and _SECRET_NAME.search(name) else masked(value)


def masked_words(text: str, *secrets: str | None) -> str:
    """Return a message of others with every secret in it hidden: short ones where they are words of their own."""
    for secret in sorted({secret for secret in secrets if secret}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)" if len(secret) < 8 else re.escape(secret), HIDDEN, text)
    return text
