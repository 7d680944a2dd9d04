"""Reads a W&B sweep file; an error has everything that is wrong with it.

It accepts what Weights & Biases accept (their `sweeps` package 0.3.0), and what their search and stop rule can then work with.
Whether an engine can honour it too is the question of `SweepEngine.problems`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcnrun.config.messages import did_you_mean
from dcnrun.errors import ConfigError, UsageError
from dcnrun.resources import resource_dir
from dcnrun.runs import read_bytes
from dcnrun.sweep.spec.command import MACROS, read_command, unknown_macros
from dcnrun.sweep.spec.distributions import Categorical, Constant, IntUniform, Uniform
from dcnrun.sweep.spec.document import Document, Where, read_document
from dcnrun.sweep.spec.fields import check_keys, read_choice, read_count, read_number, read_section, read_text
from dcnrun.sweep.spec.parameters import read_parameters
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal, Impute, Method, Metric, Parameter, SweepFile

_TEXTS = ("name", "description", "project", "entity", "program", "job", "image_uri", "apiVersion")
_SECTIONS = ("parameters", "metric", "metrics", "early_terminate", "controller", "scheduler")
_KEYS = ("method", *_SECTIONS, "run_cap", "command", "kind", *_TEXTS)
_METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running")
_EARLY_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_SCHEDULER_KEYS = ("engine", "source", "optimizer", "search_space")
_ENGINES = {"wandb": ("grid", "bayes", "random"), "optuna": ("custom",), "ax": ("custom",)}


def read_sweep(path: Path) -> SweepFile:
    """Read a sweep file, or one that ships with dcnrun, by its name, where there is no file of that name.

    Raises ConfigError with every problem, each with its line; UsageError where there is no such file.
    """
    shipped = {file.stem: file for file in sorted(resource_dir("sweeps").glob("*.yaml"))}
    if may_be_shipped := not path.is_file() and path.parent in (Path(), Path("sweeps")):
        path = shipped.get(path.name.removesuffix(".yaml"), path)
    try:
        text = read_bytes(path).decode()
    except OSError as error:
        hint = f" There are {', '.join(shipped)} that ship with dcnrun." if may_be_shipped else ""
        hint = " The sweep file comes first, overrides after it." if "=" in str(path) else hint
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
    method = read_choice(document, ("method",), data, Method)
    if "method" not in data:
        document.problem((), f"`method` is missing: one of {', '.join(Method)}.")
    parameters = read_parameters(document) if "parameters" in data else {}
    metric = read_section(document, "metric", _read_metric)
    early_terminate = read_section(document, "early_terminate", _read_early_terminate)
    run_cap = read_count(document, ("run_cap",), data)
    command = _command_items(document)
    _check_other_sections(document, method)
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
        lines={key: document.line((key,)) for key in data}
        | {f"parameters.{parameter.name}": document.line(where) for where, parameter in parameters.items()},
    )


def _command_items(document: Document) -> list[str]:
    """Return the items of `command` as an agent writes them; none where it is missing or wrong."""
    if "command" not in document.data:
        return []
    items = document.data["command"]
    if not isinstance(items, list) or not items or any(isinstance(item, dict | list) or item is None for item in items):
        example = 'command: ["${env}", dcnrun, train, "${args_no_hyphens}"]'
        document.problem(("command",), f"must be a list of words, one for each argument, such as {example}.")
        return []
    command = [str(item) for item in items]
    for name in unknown_macros(command):
        hint = (
            not name.startswith("envvar:") and did_you_mean(name, MACROS)
        ) or f"; there are {', '.join(MACROS)} and envvar:NAME, in capitals."
        document.problem(("command",), f"${{{name}}} is nothing that an agent replaces{hint}")
    return command


def _check_together(document: Document, method: Method | None, parameters: Mapping[Where, Parameter]) -> None:
    """Check what one key requires of another."""
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
    """Check that every parameter of a grid has finitely many values."""
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


def _read_metric(document: Document, section: Mapping[str, Any]) -> Metric | None:
    """Read the metric of the sweep."""
    where: Where = ("metric",)
    check_keys(document, where, section, _METRIC_KEYS)
    name = read_text(document, (*where, "name"), section)
    if "name" not in section:
        document.problem(where, "`name` is missing, such as name: val/miou.")
    goal = read_choice(document, (*where, "goal"), section, Goal)
    target = read_number(document, (*where, "target"), section)
    impute = read_choice(document, (*where, "impute"), section, Impute)
    running = _impute_while_running(document, section)
    return None if name is None else Metric(name, goal or Goal.minimize, target, impute, running)


def _impute_while_running(document: Document, section: Mapping[str, Any]) -> Impute | None:
    """Read `impute_while_running`, for which W&B have the text "false" where everybody writes false."""
    key, where = "impute_while_running", ("metric", "impute_while_running")
    if section.get(key) is False:
        line = document.line(where)
        document.mended.append(f'{document.path}:{line}: {key}: false is the text "false" to W&B. Write it in quotes.')
        document.data["metric"][key] = "false"
    return None if section.get(key) == "false" else read_choice(document, where, section, Impute)


def _read_early_terminate(document: Document, section: Mapping[str, Any]) -> EarlyTerminate | None:
    """Read the stop rule."""
    where: Where = ("early_terminate",)
    check_keys(document, where, section, _EARLY_KEYS)
    if section.get("type") != "hyperband":
        document.problem((*where, "type"), f"must be hyperband, but is {section.get('type', 'missing')}.")
    min_iter, max_iter, s = (read_count(document, (*where, key), section) for key in ("min_iter", "max_iter", "s"))
    eta = read_number(document, (*where, "eta"), section, above=1) or 3.0
    strict = section.get("strict", True)
    if not isinstance(strict, bool):
        document.problem((*where, "strict"), f"must be true or false, but is {strict!r}.")
    _check_bands(document, section, max_iter, eta)
    return EarlyTerminate(min_iter, max_iter, s, eta, bool(strict))


def _check_bands(document: Document, section: Mapping[str, Any], max_iter: int | None, eta: float) -> None:
    """Check that there is a band at which runs are judged."""
    where = ("early_terminate",)
    if "max_iter" in section and "s" not in section:
        document.problem((*where, "max_iter"), "needs `s`, the number of bands below it.")
    elif "max_iter" not in section and "min_iter" not in section:
        document.problem(where, "needs `min_iter`, the first band (in reports of the metric), or `max_iter` and `s`.")
    if max_iter is not None and max_iter < eta:
        document.problem((*where, "max_iter"), f"{max_iter} is less than eta {eta:g}: there would be no band at all.")


def _check_other_sections(document: Document, method: Method | None) -> None:
    """Check the sections that only Weights & Biases can honour: whether they would take them."""
    data = document.data
    if data.get("kind", "sweep") != "sweep":
        document.problem(("kind",), f"must be sweep, but is {data['kind']!r}.")
    read_section(document, "controller", _check_controller)
    read_section(document, "scheduler", lambda document, section: _check_scheduler(document, section, method))
    if "metrics" in data:
        _check_metrics(document, data["metrics"], method)


def _check_controller(document: Document, section: Mapping[str, Any]) -> None:
    if section.get("type") not in ("local", "cloud"):
        document.problem(("controller", "type"), f"must be local or cloud, but is {section.get('type', 'missing')}.")
    if section.get("type") == "local" and "scheduler" in document.data:
        document.problem(("controller",), "type: local can't stand beside `scheduler`: leave one out.")


def _check_scheduler(document: Document, section: Mapping[str, Any], method: Method | None) -> None:
    where = ("scheduler",)
    check_keys(document, where, section, _SCHEDULER_KEYS)
    engine = section.get("engine")
    if engine not in list(_ENGINES):  # a list, since it may be of any type, also one that has no hash
        document.problem((*where, "engine"), f"must be one of {', '.join(_ENGINES)}, but is {engine or 'missing'}.")
    elif method is not None and method not in _ENGINES[engine]:
        document.problem((*where, "engine"), f"{engine} needs method {' or '.join(_ENGINES[engine])}, not {method}.")
    for key in ("source", "optimizer", "search_space"):
        read_text(document, (*where, key), section)
    for key in ("optimizer", "search_space"):
        if key in section and "source" not in section:
            document.problem((*where, key), "names a function: say with `source` which file it is in.")
    if "early_terminate" in document.data:
        document.problem(("early_terminate",), "can't stand beside `scheduler`, which itself stops runs.")


def _check_metrics(document: Document, metrics: Any, method: Method | None) -> None:
    where = ("metrics",)
    if "metric" in document.data:
        document.problem(where, "can't stand beside `metric`: one for a single objective, the other for several.")
    if method not in (None, Method.custom):
        document.problem(where, f"several objectives need method custom, not {method}.")
    if not isinstance(metrics, list) or len(metrics) < 2 or not all(_is_named(metric) for metric in metrics):
        document.problem(where, "must be a list of two or more metrics, each with a name.")


def _is_named(metric: Any) -> bool:
    return isinstance(metric, dict) and isinstance(metric.get("name"), str) and metric.keys() <= {*_METRIC_KEYS}
