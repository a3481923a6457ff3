"""Display: what a driver tells of its run, to be shown on the scheduler that it works with."""

import logging
from collections.abc import Mapping
from typing import Any

from distributed.protocol.pickle import dumps

from dgmmis.dashboard.plugin import FORMAT, HANDLER, NAME, Dashboard
from dgmmis.execution.watch import Watch

logger = logging.getLogger(__name__)

MOST_SECONDS = 10.0
"""That showing something may take; it is done without from then on."""


class Display:
    """What one client shows on its scheduler. One that cannot have it, since it lacks this package or takes no plugins
    of others, goes without; so does one that is out of reach: whoever works on it says so.

    Args:
        watch: over the cluster.
        executor: the name of who works on it, with which its tasks' keys begin.
    """

    def __init__(self, watch: Watch, executor: str) -> None:
        self._watch, self._executor = watch, executor
        self._was_opened = self._is_there = False
        self._page = ""

    @property
    def is_there(self) -> bool:
        """Whether what is told is taken."""
        if not self._was_opened:
            self._was_opened = self._is_there = True
            try:
                self._install()
            except Exception as error:  # whatever the scheduler lacks, the fit does not need it
                self._do_without(f"the scheduler takes no plugin of this package ({error!r})")
        return self._is_there

    @property
    def page(self) -> str:
        """The path of the page on the dashboard; empty where there is none."""
        return self._page if self.is_there else ""

    def show(self, news: Mapping[str, Any]) -> None:
        """Tell of a run."""
        if self.is_there and not self._watch.lost and self._watch.client.status == "running":
            try:
                self._ask(HANDLER, news={**news, "client": self._watch.client.id, "executor": self._executor})
            except Exception as error:  # whatever it is, the fit does not need it
                self._do_without(f"the scheduler does not take what is told ({error!r})")

    def _install(self) -> None:
        said = self._ask("events", topic=NAME)
        if not said:
            plugin = dumps(Dashboard())
            self._ask("register_scheduler_plugin", plugin=plugin, name=NAME, idempotent=True)
            said = self._ask("events", topic=NAME)
        about = said[-1][1]
        if about["format"] != FORMAT:
            self._do_without("the scheduler has another version of this package")
            return
        self._page = about["page"]
        if about["lacking"]:
            logger.warning("no page of this fit on the dashboard: %s", about["lacking"])

    def _do_without(self, why: str) -> None:
        self._is_there, self._page = False, ""
        logger.warning("nothing of this fit on the dashboard: %s", why)

    def _ask(self, what: str, **arguments: Any) -> Any:
        """As `Watch.ask` does, but whatever goes wrong says nothing of the cluster."""
        client = self._watch.client
        return client.sync(getattr(client.scheduler, what), callback_timeout=MOST_SECONDS, **arguments)
