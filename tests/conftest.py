"""How the tests run: hypothesis without chance, slow tests on request, and a count of the faults that were survived."""

import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings
from object_server import BUCKET, ObjectServer, serving

# examples come in a fixed order, so that a run can be repeated; `nightly` looks further
settings.register_profile(
    "ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", parent=settings.get_profile("ci"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

SURVIVED = pytest.StashKey[Counter[str]]()
"""Kinds of faults, and how often each was survived."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow, too")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # or what is started here would never be interrupted
    config.stash[SURVIVED] = Counter()
    config.pluginmanager.register(Tallying(config.stash[SURVIVED]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--runslow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --runslow"))


@pytest.fixture
def survived(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """To be called once a test has seen that a fault of some kind did no harm: it is counted."""

    def count(kind: str) -> None:
        pytestconfig.stash[SURVIVED][kind] += 1

    return count


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A server that speaks S3; the environment names it, as long as it runs."""
    if find_spec("obstore") is None or find_spec("moto") is None:
        pytest.skip("needs the dependency group `objects`: obstore, and moto's server")
    from dgmmis.dataset.object_store import client  # not before the shapes of what is imported are checked

    with pytest.MonkeyPatch.context() as patch, serving(tmp_path_factory.mktemp("objects")) as server:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        client.cache_clear()  # of who asked for a bucket before there was a server
        yield server
        client.cache_clear()


@pytest.fixture
def bucket(object_server: ObjectServer) -> str:
    """The URL of a place in a bucket where nothing is yet."""
    del object_server
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes says what it has counted (pytest-xdist)."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["survived"] = dict(session.config.stash[SURVIVED])


class Tallying:
    """Adds up what the processes have counted; for the one that started them."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        self._counts.update(getattr(node, "workeroutput", {}).get("survived", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counts = config.stash[SURVIVED]
    if counts:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(counts.items()))
        terminalreporter.write_line(f"survived {counts.total()} faults: {kinds}")
