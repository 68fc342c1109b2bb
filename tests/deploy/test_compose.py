"""compose.yaml: as the specification allows, naming what exists, giving no more than needed."""

import hashlib
import json
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import jsonschema
import pytest

from messenger.reading import COMMIT
from messenger.settings import Settings
from tests.architecture.tree import ROOT
from tests.deploy.files import Json, compose, services

VENDOR = Path(__file__).parent / "vendor"
SCHEMA = VENDOR / "compose-spec.json"
SCHEMA_SHA256 = "d549057ebc2925f39f62799eab0db7b9e2c18b35b6c00595199116da3ed10e64"
OWN = {
    name: service
    for name, service in services().items()
    if str(service["image"]).startswith("peyk:")
}
ONCE = {"migrate", "redis-cluster"}


def test_given_the_specification_when_the_file_is_checked_then_nothing_is_wrong() -> None:
    text = SCHEMA.read_bytes()
    assert hashlib.sha256(text).hexdigest() == SCHEMA_SHA256

    validator = jsonschema.Draft202012Validator(json.loads(text))

    assert [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(compose())] == []


def test_given_the_specification_when_a_name_is_mistyped_then_the_check_says_so() -> None:
    whole = compose()
    whole["services"]["gateway"]["heathcheck"] = {}

    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_bytes()))

    assert "heathcheck" in next(validator.iter_errors(whole)).message


def test_given_the_topology_when_listed_then_every_part_is_there() -> None:
    names = set(services())

    assert {"balancer", "gateway", "worker", "migrate", "postgres", "turn"} <= names
    assert {"prometheus", "grafana", "redis-cluster"} <= names
    assert len([name for name in names if re.fullmatch(r"redis-\d", name)]) == 6
    assert "PEYK_GATEWAYS:-2" in services()["gateway"]["deploy"]["replicas"]
    assert services()["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", services())
def test_given_a_service_when_it_runs_then_it_has_no_more_rights_than_it_needs(name: str) -> None:
    service = services()[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "turn" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert not service.get("privileged")


@pytest.mark.parametrize("name", services())
def test_given_a_service_when_it_runs_then_it_is_bounded_watched_and_of_one_version(
    name: str,
) -> None:
    service = services()[name]

    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert re.fullmatch(r"[a-z/]+:v?(\d+\.\d+[a-z0-9.-]*|\$\{PEYK_VERSION:-.*\})", service["image"])
    assert service.get("healthcheck") == {"disable": True} if name in ONCE else True
    assert "healthcheck" in service or name in OWN  # the image of a node brings its own


@pytest.mark.parametrize("name", OWN)
def test_given_a_node_when_its_environment_is_read_then_every_name_is_a_setting(name: str) -> None:
    for variable in OWN[name]["environment"]:
        setting = variable.removeprefix("PEYK_").removesuffix("_FILE").lower()
        assert setting in Settings.__struct_fields__ or variable == COMMIT, variable


@pytest.mark.parametrize("name", OWN)
def test_given_a_node_when_it_reads_a_secret_then_compose_mounts_it(name: str) -> None:
    service = OWN[name]
    read = {
        Path(value).name
        for variable, value in service["environment"].items()
        if variable.endswith("_FILE")
    }

    assert read == set(service["secrets"])


def test_given_names_when_they_point_elsewhere_then_that_is_declared_and_used() -> None:
    whole = compose()

    def used(kind: str) -> set[str]:
        found: set[str] = set()
        for service in whole["services"].values():
            for one in service.get(kind, ()):
                found.add(one["source"] if isinstance(one, dict) else one.partition(":")[0])
        return found

    assert used("secrets") == set(whole["secrets"])
    assert used("configs") == set(whole["configs"])
    assert used("volumes") == set(whole["volumes"])
    for config in whole["configs"].values():
        assert (ROOT / config["file"]).is_file(), config


def test_given_the_file_when_read_then_it_holds_no_secret() -> None:
    for service in services().values():
        environment = service.get("environment") or {}
        telling = [
            name
            for name in environment
            if re.search("PASSWORD|SECRET|KEY|PEPPER|_URL", name) and not name.endswith("_FILE")
        ]
        assert telling == []


def test_given_fixed_addresses_when_compared_then_they_lie_in_their_networks() -> None:
    networks = {
        name: ip_network(network["ipam"]["config"][0]["subnet"])
        for name, network in compose()["networks"].items()
    }
    taken: list[str] = []
    for service in services().values():
        joined: Json | list[str] = service["networks"]
        for network, options in joined.items() if isinstance(joined, dict) else ():
            assert ip_address(options["ipv4_address"]) in networks[network]
            taken.append(options["ipv4_address"])

    assert len(taken) == len(set(taken))
    [proxy] = services()["balancer"]["networks"].values()
    assert OWN["gateway"]["environment"]["PEYK_TRUSTED_PROXIES"] == f"{proxy['ipv4_address']}/32"


def test_given_stores_when_reached_then_only_from_inside() -> None:
    assert compose()["networks"]["stores"]["internal"] is True
    for name, service in services().items():
        if name == "postgres" or name.startswith("redis"):
            assert set(service["networks"]) == {"stores"}
            assert "ports" not in service


def test_given_a_node_that_leaves_when_stopped_then_it_has_time_to_drain() -> None:
    for service in OWN.values():
        assert service["stop_grace_period"] == "40s"
        assert service["stop_signal"] == "SIGTERM"
