"""How a count of runs is split over agents."""


def shares(count: int | None, agents: int) -> list[int | None]:
    """What each agent takes at most: as even as whole numbers allow, and `count` together; None is no limit.

    Where there are more agents than runs, those that would take none are left out.
    """
    if count is None:
        return [None] * agents
    agents = min(agents, count)
    return [count // agents + (i < count % agents) for i in range(agents)]
