"""The sections of a sweep file that are mappings of their own, besides `parameters`."""

from collections.abc import Mapping
from typing import Any

from dcnrun.sweep.spec.document import Document, Where
from dcnrun.sweep.spec.fields import check_keys, read_choice, read_count, read_number, read_section, read_text
from dcnrun.sweep.spec.sweep_file import EarlyTerminate, Goal, Impute, Method, Metric

_METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running")
_EARLY_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_SCHEDULER_KEYS = ("engine", "source", "optimizer", "search_space")
_ENGINES = {"wandb": ("grid", "bayes", "random"), "optuna": ("custom",), "ax": ("custom",)}


def read_metric(document: Document, section: Mapping[str, Any]) -> Metric | None:
    """What the sweep goes by."""
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
    """W&B has the text "false" for what everybody writes as false."""
    key, where = "impute_while_running", ("metric", "impute_while_running")
    if section.get(key) is False:
        line = document.line(where)
        document.mended.append(f'{document.path}:{line}: {key}: false is the text "false" to W&B. Write it in quotes.')
        document.data["metric"][key] = "false"
    return None if section.get(key) == "false" else read_choice(document, where, section, Impute)


def read_early_terminate(document: Document, section: Mapping[str, Any]) -> EarlyTerminate | None:
    """The stop rule."""
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
    """There must be a band at which runs are judged."""
    where = ("early_terminate",)
    if "max_iter" in section and "s" not in section:
        document.problem((*where, "max_iter"), "needs `s`, the number of bands below it.")
    elif "max_iter" not in section and "min_iter" not in section:
        document.problem(where, "needs `min_iter`, the first band (in reports of the metric), or `max_iter` and `s`.")
    if max_iter is not None and max_iter < eta:
        document.problem((*where, "max_iter"), f"{max_iter} is less than eta {eta:g}: there would be no band at all.")


def check_other_sections(document: Document, method: Method | None) -> None:
    """Check what only Weights & Biases can honour: whether they would take it."""
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
    if engine not in list(_ENGINES):  # of any type, also one that has no hash
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
