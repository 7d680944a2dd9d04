"""From the text of a W&B sweep file to a SweepFile; everything that is wrong with it is said at once.

What is read here is what Weights & Biases takes (its `sweeps` package 0.3.0), and what its search and stop rule then can work
with. Whether the local engine can honour it too is asked of `engines.local_problems`.
"""

from collections.abc import Mapping
from pathlib import Path

from dcnrun.config.messages import did_you_mean
from dcnrun.errors import ConfigError, UsageError
from dcnrun.sweep.spec.command import MACROS, read_command, unknown_macros
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, Uniform
from dcnrun.sweep.spec.document import Document, Where, read_document
from dcnrun.sweep.spec.fields import check_keys, read_choice, read_count, read_section, read_text
from dcnrun.sweep.spec.parameters import read_parameters
from dcnrun.sweep.spec.sections import check_other_sections, read_early_terminate, read_metric
from dcnrun.sweep.spec.sweep_file import Method, Parameter, SweepFile

_TEXTS = ("name", "description", "project", "entity", "program", "job", "image_uri", "apiVersion")
_SECTIONS = ("parameters", "metric", "metrics", "early_terminate", "controller", "scheduler")
_KEYS = ("method", *_SECTIONS, "run_cap", "command", "kind", *_TEXTS)


def read_sweep(path: Path) -> SweepFile:
    """Read a sweep file.

    Raises ConfigError with every problem, each with its line; UsageError where there is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = " The sweep file comes first, overrides after it." if "=" in str(path) else ""
        raise UsageError(f"{path} can't be read: {error.strerror}.{hint}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} can't be read: {error}.") from error
    return parse_sweep(text, path)


def parse_sweep(text: str, path: Path) -> SweepFile:
    """Read the text of a sweep file; `path` is what messages call it.

    Raises ConfigError with every problem, each with its line.
    """
    document = read_document(text, path)
    data = document.data
    check_keys(document, (), data, _KEYS)
    for key in _TEXTS:
        read_text(document, (key,), data)
    method = _method(document)
    parameters = read_parameters(document) if "parameters" in data else {}
    metric = read_section(document, "metric", read_metric)
    early_terminate = read_section(document, "early_terminate", read_early_terminate)
    run_cap = read_count(document, ("run_cap",), data)
    command = _command_items(document)
    check_other_sections(document, method)
    _check_together(document, method, parameters)
    if document.problems or method is None:
        raise ConfigError(document.problems)
    read = read_command(command, data.get("program")) if command else None
    return SweepFile(
        path=path,
        text=text,
        name=data.get("name", path.stem),
        method=method,
        parameters=tuple(parameters.values()),
        metric=metric,
        early_terminate=early_terminate,
        run_cap=run_cap,
        fixed=read.fixed if read else (),
        raw=data,
        notes=tuple(document.mended),
        lines=_lines(document, parameters),
    )


def _method(document: Document) -> Method | None:
    if "method" not in document.data:
        document.problem((), f"`method` is missing: one of {', '.join(Method)}.")
        return None
    return read_choice(document, ("method",), document.data, Method)


def _command_items(document: Document) -> list[str]:
    """The items of `command` as an agent writes them; none where it is missing or wrong."""
    if "command" not in document.data:
        return []
    items = document.data["command"]
    if not isinstance(items, list) or not items or any(isinstance(item, dict | list) or item is None for item in items):
        example = 'command: ["${env}", dcnrun, train, "${args_no_hyphens}"]'
        document.problem(("command",), f"must be a list of words, one for each argument, such as {example}.")
        return []
    command = [str(item) for item in items]
    for name in unknown_macros(command):
        hint = did_you_mean(name, MACROS) or f"; there are {', '.join(MACROS)} and envvar:NAME."
        document.problem(("command",), f"${{{name}}} is nothing that an agent replaces{hint}")
    return command


def _check_together(document: Document, method: Method | None, parameters: Mapping[Where, Parameter]) -> None:
    """What one key needs of another."""
    data = document.data
    scheduler = data.get("scheduler")
    if "parameters" not in data and not (isinstance(scheduler, dict) and scheduler.get("search_space")):
        document.problem((), "`parameters` is missing: what is to be varied.")
    if "early_terminate" in data and "metric" not in data:
        document.problem(("early_terminate",), "needs `metric`: what runs are judged by.")
    if method is Method.bayes and "metric" not in data:
        document.problem(("method",), "bayes needs `metric`: what to search by.")
    if method is Method.bayes and parameters and all(isinstance(p.distribution, Constant) for p in parameters.values()):
        document.problem(("parameters",), "every parameter has one value: method bayes has nothing to search.")
    if method is Method.grid:
        _check_grid(document, parameters)


def _check_grid(document: Document, parameters: Mapping[Where, Parameter]) -> None:
    """A grid is over what can be counted."""
    for where, parameter in parameters.items():
        match parameter.distribution:
            case Constant() | Categorical(probabilities=None) | IntUniform():
                continue
            case Uniform(q=q) if q is not None:
                continue
            case Categorical():
                document.problem((*where, "probabilities"), "mean nothing in a grid, which runs every value once.")
            case _:
                document.problem(where, "a grid can't be over all numbers between two: give values, or min, max and q.")


def _lines(document: Document, parameters: Mapping[Where, Parameter]) -> dict[str, int]:
    top = {key: document.line((key,)) for key in document.data}
    return top | {f"parameters.{parameter.name}": document.line(where) for where, parameter in parameters.items()}
