"""A YAML file as plain values with their line numbers, so that an error names its line."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dcnrun.config.yaml_files import construct, nodes, parse
from dcnrun.errors import ConfigError

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
_FLOAT = "tag:yaml.org,2002:float"
_TEXT = "tag:yaml.org,2002:str"

Key = str | int
Where = tuple[Key, ...]  # a path of keys: `("metric", "goal")`


@dataclass
class Document:
    """A YAML file whose top level is a mapping, and what was found wrong with it so far."""

    path: Path
    root: yaml.MappingNode
    data: dict[str, Any]  # plain values; what PyYAML takes for text in spite of its exponent (`1e-5`) is a number
    mended: list[str]  # each number that was mended, in words
    problems: list[str] = field(default_factory=list)

    def problem(self, where: Where, message: str) -> None:
        """Note a problem at a path such as `("metric", "goal")`; the message gets the file, the line and the key."""
        key = ".".join(map(str, where))
        self.problems.append(f"{self.path}:{self.line(where)}: {key}: {message}" if key else f"{self.path}: {message}")

    def line(self, where: Where) -> int:
        """Return the line of a key, or of the last part of its path that exists; the first is 1."""
        node: yaml.Node = self.root
        line = node.start_mark.line
        for key in where:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return line + 1


def read_document(text: str, path: Path) -> Document:
    """Read YAML as plain values alone.

    Raises ConfigError where it is no mapping, or what `parse` refuses.
    """
    root = parse(text, path)
    mended = [_mend(node, path) for node in nodes(root) if _is_unread_number(node)]
    data = construct(root, path)
    if not isinstance(root, yaml.MappingNode) or not isinstance(data, dict):
        raise ConfigError([f"{path}: a sweep file is a mapping: method, metric, parameters, command, ..."])
    return Document(path, root, data, mended)


def _is_unread_number(node: yaml.Node) -> bool:
    """Whether a node is a number to everybody but YAML 1.1: `1e-5`, without a point or without a sign."""
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return plain and node.tag == _TEXT and _EXPONENT.fullmatch(node.value) is not None


def _mend(node: yaml.Node, path: Path) -> str:
    node.tag = _FLOAT
    digits, e, exponent = repr(float(node.value.replace("_", ""))).partition("e")
    point = "" if "." in digits else ".0"  # 1.0e-05 is a number to every reader
    return (
        f"{path}:{node.start_mark.line + 1}: {node.value} is text to YAML 1.1, which `wandb sweep` reads; taken as the number "
        f"it was meant to be. Write {digits}{point}{e}{exponent}."
    )


def _child(node: yaml.Node, key: Key) -> tuple[int, yaml.Node] | None:
    """Return the line and the node below a key of a mapping or at an index of a list.

    Keys that `<<` merges into a mapping come, once constructed, before its own keys, which win.
    """
    if isinstance(node, yaml.MappingNode):
        own = {name.value: (name.start_mark.line, value) for name, value in node.value if isinstance(name.value, str)}
        return own.get(str(key))
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line, node.value[key]
    return None
