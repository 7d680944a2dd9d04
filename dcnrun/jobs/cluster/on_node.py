"""What a node of the cluster runs first. Ray sends it as code, since dcnrun may be another there, or none: it imports the
standard library alone until that is known.
"""

import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Wanted = tuple[str, Mapping[str, str], tuple[str, str] | None]
"""The version of dcnrun; paths that must exist, each with what names it; a file of the shared folder and what it holds."""


def problems_here(wanted: Wanted) -> list[str]:
    """Return what keeps runs from this node, each as what may follow `The node NAME`."""
    version, paths, mark = wanted
    try:
        import dcnrun
    except ImportError:
        return [f"has no dcnrun ({sys.executable}): install version {version} there"]
    if dcnrun.__version__ != version:
        return [f"has dcnrun {dcnrun.__version__}, and the command {version}: install the same there"]
    problems = [
        f"has no {path}: {name} must lead to the same files on every node"
        for path, name in paths.items()
        if not Path(path).exists()
    ]
    if mark is not None and not _holds(*mark):
        problems.append(
            f"does not see {Path(mark[0]).parent}: give an --out that all nodes share, or --runs copied, by which each keeps its own"
        )
    return problems


def run_agent(wanted: Wanted, number: int, actor: Any, work: bytes) -> tuple[str, list[str], str | None]:
    """Be an agent, and return the node, what keeps agents from it, and why this one gave up, if it did.

    `work` is a pickled `Work`: to read it, Ray would import dcnrun.
    """
    import ray

    node: str = ray.get_runtime_context().get_node_id()
    if problems := problems_here(wanted):
        return node, problems, None
    from dcnrun.jobs.cluster.agents import take_jobs

    return node, [], take_jobs(pickle.loads(work), number, actor)


def run_pickled(wanted: Wanted, directory: str, variables: Mapping[str, str], call: bytes) -> tuple[int, Any]:
    """Run a pickled function on the head node, as if in this folder, and return 0 and its result, or its exit code and what is wrong."""
    if problems := problems_here(wanted):
        return 2, "\n".join(f"The head node {problem}." for problem in problems)
    from dcnrun.errors import DcnrunError

    os.environ.update(variables)
    if Path(directory).is_dir():
        os.chdir(directory)
    try:
        return 0, pickle.loads(call)()
    except DcnrunError as error:
        return error.exit_code, str(error)


def _holds(file: str, text: str) -> bool:
    try:
        next(Path(file).parent.iterdir(), None)  # has a network file system look again
        return Path(file).read_text() == text
    except OSError:
        return False
