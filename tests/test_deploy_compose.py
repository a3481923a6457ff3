"""deploy/compose: a file that the specification allows, commands that the programs take, and what is open."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.commands import parsed

TEXT = (Path(__file__).parents[1] / "deploy" / "compose" / "compose.yaml").read_text()


def interpolated(text: str, **variables: str) -> str:
    """With the values of variables, or their defaults, as compose does it."""
    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", lambda m: variables.get(m[1], m[3] if m[2] == "-" else "/srv"), text)


def services() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(interpolated(TEXT))
    return {name: {**document["x-dgmmis"], **service} for name, service in document["services"].items()}


def validated(text: str) -> list[str]:
    """The names of the services.

    Raises:
        ValueError: the specification does not allow it.
    """
    compose_spec = pytest.importorskip("compose_spec", reason="no compose-spec, which ships the specification")
    options = compose_spec.PyOptions()
    options.apply_merge = True
    compose = options.from_yaml(interpolated(text))
    compose.validate()
    return list(compose.service_names())


def test_the_specification_allows_it() -> None:
    assert validated(TEXT) == ["scheduler", "worker", "fit"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "read_olny: true"),
        ("networks: [cluster]", "networks: [clutser]"),
        ("mem_limit: 2g", "mem_limit: lots"),
        ("condition: service_healthy", "condition: service_helthy"),
        ("replicas: 2", "replicas: two"),
    ],
)
def test_a_planted_error_is_found(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=r"\w"):
        validated(TEXT.replace(right, wrong))


def test_the_programs_take_the_commands() -> None:
    of = {name: service["entrypoint"] for name, service in services().items()}
    assert parsed(of["scheduler"])["port"] == "8786"
    worker = parsed(of["worker"])
    assert (worker["scheduler"], worker["nthreads"]) == ("tcp://scheduler:8786", 1)
    assert str(parsed([*of["fit"], "survey.toml"])["job"]) == "survey.toml"


def test_nothing_but_the_dashboard_is_published_and_that_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"scheduler": ["127.0.0.1:8787:8787"]}


def test_no_service_is_root_or_writes_elsewhere() -> None:
    for name, service in services().items():
        assert service["user"] == "1000:1000", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in service, name
        assert not {"privileged", "cap_add", "devices", "network_mode", "pid"} & service.keys(), name
