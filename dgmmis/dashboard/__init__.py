"""A page about fits on the dashboard of their cluster, at /dgmmis: convergence, components over data, tasks, events.

A fit installs it by itself on the scheduler that it works on. Where schedulers take no plugins from clients, start
them with it: `dask scheduler --preload dgmmis.dashboard`. It is also what shows the numbers of jobs under /metrics.
"""

from typing import Any

__all__ = ["dask_setup"]


async def dask_setup(scheduler: Any) -> None:
    """What dask calls where this module is preloaded."""
    from dgmmis.dashboard.plugin import Dashboard, logger

    plugin = Dashboard()
    await plugin.start(scheduler)
    scheduler.add_plugin(plugin, name=plugin.name, idempotent=True)
    if plugin.lacking:
        logger.warning("no page /dgmmis: %s", plugin.lacking)
