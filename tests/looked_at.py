"""What a dashboard answers to those who look at it over HTTP and its websocket."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bokeh.client import pull_session
from bokeh.client.session import ClientSession

from dgmmis.execution.distributed import Distributed

PATIENCE = 60.0


def link_of(executor: Distributed) -> str:
    """Where a fit's page is."""
    return dict(executor.about())["dashboard"]


def answer(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert answer.status == 200
        return str(answer.read().decode())


def runs_at(link: str, query: str = "") -> list[dict[str, Any]]:
    """The runs that a page has, as JSON."""

    def no(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    runs: list[dict[str, Any]] = json.loads(answer(f"{link}.json{query}"), parse_constant=no)["runs"]
    return runs


def until(what: Callable[[], Any]) -> Any:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not (value := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return value


@contextmanager
def session(link: str) -> Iterator[ClientSession]:
    """A page as a browser has it, but for drawing it. What became of it one can ask once, by `pull`: its copy is the
    server's from then on."""
    pulled = pull_session(url=link)
    try:
        yield pulled
    finally:
        pulled.close()
