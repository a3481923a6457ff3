"""The plugin of a scheduler that hears of fits and shows them: on a page, as JSON, under /metrics."""

import logging
from collections.abc import Mapping
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from dgmmis.dashboard.gauges import Gauges
from dgmmis.dashboard.shown import Shown

logger = logging.getLogger(__name__)

NAME = "dgmmis-dashboard"
"""Of the plugin, and the topic of the scheduler's events under which it says that it is there."""

HANDLER = "dgmmis_show"
"""Of the scheduler's protocol: not its events, which it keeps by the hundred thousand, and these are long."""

FORMAT = 1
"""Of what is told."""

PREFIX = "pass-"
"""How the keys of a pass's tasks begin: `pass-<executor>-<pass>-<task>`."""


class Dashboard(SchedulerPlugin):
    """Hears what drivers tell by HANDLER, and how the tasks of their passes went. What it says of itself under NAME:
    where the page is, or what it lacks."""

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self.shown, self.gauges = Shown(), Gauges()
        self.page = self.lacking = ""

    async def start(self, scheduler: Any) -> None:
        """Called once, on the scheduler."""
        scheduler.handlers[HANDLER] = self.show
        try:
            from dgmmis.dashboard.routes import open_routes

            self.page, self.lacking = open_routes(scheduler, self.shown)
        except Exception as error:  # another version of distributed or of bokeh, whose insides are others
            self.lacking = f"its dashboard has other insides ({error!r})"
        scheduler.log_event(NAME, {"format": FORMAT, "page": self.page, "lacking": self.lacking})

    async def show(self, news: Mapping[str, Any]) -> None:
        """What a driver tells of its run."""
        self.gauges.show(news["job"], news.get("gauges", ()))
        self.shown.hear(news)

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Called for every change of every task."""
        if finish != "memory" or not isinstance(key, str) or not key.startswith(PREFIX):
            return
        worker = kwargs.get("worker", "")
        for step in kwargs.get("startstops") or ():
            if step["action"] == "compute":
                executor, _, number = key.removeprefix(PREFIX).partition("-")
                self.shown.task(executor, (number, worker, step["start"], step["stop"]))

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Called where a client leaves."""
        self.shown.gone(client)
