"""YAML as plain values: of a bounded size, no key twice, nothing resolved and nothing run. Every YAML file is read here."""

from collections.abc import Hashable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from dcnrun.errors import ConfigError
from dcnrun.runs import read_bytes

_LONGEST = 2**18  # characters; PyYAML reads some 50,000 a second
_MOST_REPEATED = 10_000  # values that aliases may add to those that are written out
_MERGE = "tag:yaml.org,2002:merge"


class UnboundedError(ConfigError):
    """Something that nobody should read: no file, one too large, or one that grows by its aliases."""


def read_yaml(path: Path) -> Any:
    """Read a file; ConfigError says what is wrong with it."""
    return construct(parse(read_text(path), path), path)


def read_texts(path: Path) -> Any:
    """Read a file with every key and value as the text that is written: a name such as no, 007 or 1.10 is itself."""
    return construct(parse(read_text(path), path), path, yaml.BaseLoader)


def read_text(path: Path) -> str:
    """Return what a file holds; ConfigError where it is no file or not UTF-8."""
    try:
        return read_bytes(path).decode()
    except OSError as error:
        raise UnboundedError([f"{path} can't be read: {error.strerror}."]) from error
    except UnicodeDecodeError:
        raise ConfigError([f"{path} can't be read: it is not UTF-8."]) from None


def require_bounded(path: Path) -> None:
    """Raise UnboundedError for a file that another reader would hang on; what else is wrong with it, that reader says."""
    try:
        parse(read_text(path), path)
    except UnboundedError:
        raise
    except ConfigError:
        pass


def parse(text: str, path: Path) -> yaml.Node | None:
    """Return the nodes of a text, None of an empty one; ConfigError if it is no YAML, has a key twice or grows by aliases."""
    if len(text) > _LONGEST:
        raise UnboundedError([f"{path} has {len(text):,} characters; at most {_LONGEST:,} are read."])
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        sizes: dict[int, int | None] = {}
        grown = 0 if root is None else _size(root, sizes) - len(sizes)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([_explain(error, path)]) from error
    if grown > _MOST_REPEATED:
        raise UnboundedError([f"{path}: its aliases (*name) repeat more than {_MOST_REPEATED:,} values: use fewer."])
    if repeated := [problem for node in nodes(root) for problem in _repeated_keys(node, path)]:
        raise ConfigError(repeated)
    return root


def construct(root: yaml.Node | None, path: Path, loader: type[Any] = yaml.SafeLoader) -> Any:
    """Return the plain values of nodes; ConfigError where one has a tag that it can't have."""
    try:
        return None if root is None else loader("").construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([_explain(error, path)]) from error
    except Exception as error:  # PyYAML raises almost anything
        raise ConfigError([f"{path}: can't be read as YAML: a value is not what its tag (!!) says."]) from error


def nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Yield every node once, however many aliases refer to it."""
    seen: set[int] = set()
    waiting = [] if root is None else [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += reversed(_children(node))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return list(chain.from_iterable(node.value))
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """Return how many values a node stands for, those behind an alias each time; ValueError where it holds itself."""
    size = sizes.get(id(node), 0)
    if size is None:
        raise ValueError(f"line {node.start_mark.line + 1}: what & names holds itself")
    if not size:
        sizes[id(node)] = None  # as long as its children are counted
        sizes[id(node)] = size = 1 + sum(_size(child, sizes) for child in _children(node))
    return size


def _repeated_keys(node: yaml.Node, path: Path) -> list[str]:
    """Return a problem for each repeated key: PyYAML silently keeps the last."""
    if not isinstance(node, yaml.MappingNode):
        return []
    first: dict[Hashable, int] = {}
    problems = []
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        line = key.start_mark.line + 1
        if key.value in first:
            before = first[key.value]
            problems.append(f"{path}:{line}: {key.value} is there twice, in line {before} too: leave one out.")
        first.setdefault(key.value, line)
    return problems


def _explain(error: Exception, path: Path) -> str:
    if isinstance(error, RecursionError):
        return f"{path}: can't be read as YAML: it is nested too deeply."
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    said = getattr(error, "problem", None) or str(error)
    return f"{path}{line}: can't be read as YAML: {' '.join(said.split())}."
