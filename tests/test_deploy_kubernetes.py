"""deploy/kubernetes: manifests that the schemas allow, commands that the programs take, and pods without rights.

The schemas of Kubernetes come with the package kubernetes-validate, those of dask's operator with dask-kubernetes.
"""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.commands import parsed

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
VERSION = "1.31"
CRDS = Path("operator", "deployment", "helm", "dask-kubernetes-operator", "crds")

TEXTS = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.yaml"))}


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


EVERY = [document for text in TEXTS.values() for document in documents(text)]


@cache
def operator_schemas() -> dict[str, Any]:
    """Of the kinds of dask's operator, strictly; its package is not imported, which would want all of its clients."""
    spec = find_spec("dask_kubernetes")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no dask-kubernetes, which ships the schemas of the operator")
    files = (Path(spec.submodule_search_locations[0]) / CRDS).glob("*.yaml")
    crds = [crd for file in files for crd in documents(file.read_text())]
    schemas = {crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in crds}
    for kind, schema in schemas.items():
        schemas[kind] = strict(schema)
        schemas[kind]["properties"].update(apiVersion={}, kind={}, metadata={"required": ["name"]})
    return schemas


def strict(schema: Any) -> Any:
    """A schema in which unknown fields are errors: the server drops them without a word."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if found.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    open_to_all = found.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in found
    if found.get("type") == "object" and "properties" in found and not open_to_all:
        found["additionalProperties"] = False
    return found


def validate(document: dict[str, Any]) -> None:
    """Raise an error of some kind unless the schemas allow it."""
    if document["apiVersion"].startswith("kubernetes.dask.org/"):
        jsonschema = pytest.importorskip("jsonschema", reason="no jsonschema")
        jsonschema.Draft202012Validator(operator_schemas()[document["kind"]]).validate(document)
    else:
        kubernetes = pytest.importorskip(
            "kubernetes_validate", reason="no kubernetes-validate, which ships the schemas"
        )
        kubernetes.validate(document, VERSION, strict=True)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every specification of a pod, at whatever depth, with the name of its only container."""

    def within(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "containers" in value:
                yield value
            for one in value.values():
                yield from within(one)
        elif isinstance(value, list):
            for one in value:
                yield from within(one)

    for document in EVERY:
        for pod in within(document):
            (container,) = pod["containers"]
            yield container["name"], pod


def test_the_schemas_allow_every_manifest() -> None:
    assert {document["kind"] for document in EVERY} == {
        "PersistentVolumeClaim",
        "NetworkPolicy",
        "DaskCluster",
        "Job",
        "CronJob",
    }
    for document in EVERY:
        validate(document)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("fit.yaml", "replicas: 4", "replcias: 4"),
        ("fit.yaml", "replicas: 4", "replicas: four"),
        ("fit.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
        ("fit.yaml", "  scheduler:\n    metadata", "  schedulr:\n    metadata"),
        ("fit.yaml", "backoffLimit: 20", "backOffLimit: 20"),
        ("fit.yaml", "operator: NotIn", "operater: NotIn"),
        ("reprocess.yaml", "concurrencyPolicy: Forbid", "concurencyPolicy: Forbid"),
        ("reprocess.yaml", "runAsNonRoot: true", "runAsNonRoot: 'yes'"),
        ("reprocess.yaml", "values: [75]", "values: 75"),
        ("reprocess.yaml", "claimName: surveys", "claim: surveys"),
        ("surveys.yaml", "accessModes: [ReadWriteMany]", "accessMode: [ReadWriteMany]"),
        ("surveys.yaml", "podSelector:\n    matchLabels", "podSelector:\n    matchLabel"),
    ],
)
def test_a_planted_error_is_found(name: str, right: str, wrong: str) -> None:
    assert right in TEXTS[name]
    found = documents(TEXTS[name].replace(right, wrong))
    changed = next(one for one, other in zip(found, documents(TEXTS[name]), strict=True) if one != other)
    with pytest.raises(Exception, match=r"\w") as caught:
        validate(changed)
    assert type(caught.value).__name__ == "ValidationError", caught.value


COMMANDS = {name: pod["containers"][0]["command"] for name, pod in pods()}


def test_the_programs_take_the_commands() -> None:
    assert sorted(COMMANDS) == ["fit", "reprocess", "scheduler", "worker"]
    assert parsed(COMMANDS["scheduler"])["port"] == "8786"
    assert parsed(COMMANDS["worker"])["nthreads"] == 1
    assert str(parsed(COMMANDS["fit"])["job"]) == "survey.toml"


def test_the_program_takes_the_command_of_the_cron_job() -> None:
    assert str(parsed(COMMANDS["reprocess"])["job"]) == "survey.toml"


def test_no_pod_has_rights() -> None:
    for name, pod in pods():
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        mounted = {volume["name"] for volume in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, name


def test_a_job_goes_on_after_75_and_gives_up_after_others() -> None:
    """Exit codes as the policy reads them: the first rule that fits; none: it counts, and the pod is replaced."""
    batch = (document for document in EVERY if document["apiVersion"] == "batch/v1")
    jobs = {document["metadata"]["name"]: document["spec"] for document in batch}
    assert jobs["dgmmis-reprocess"]["concurrencyPolicy"] == "Forbid"
    for name, again in (("dgmmis-fit", {69, 75}), ("dgmmis-reprocess", {75})):
        job = jobs[name].get("jobTemplate", {"spec": jobs[name]})["spec"]
        assert job["template"]["spec"]["restartPolicy"] == "Never"  # else the policy is refused
        disrupted, failed = job["podFailurePolicy"]["rules"]
        assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        assert failed["action"] == "FailJob"
        assert failed["onExitCodes"]["operator"] == "NotIn"
        assert set(failed["onExitCodes"]["values"]) == again
        assert failed["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
        assert job["backoffLimit"] > 0
