"""Balancer and relay: what their files promise, and what the programs say of them where present."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from messenger.settings import Settings
from tests.deploy.files import DEPLOY, made_secrets, services

HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"
COTURN = DEPLOY / "coturn" / "turnserver.conf"


def sections() -> dict[str, list[str]]:
    """Lines of each section, without comments."""
    found: dict[str, list[str]] = {}
    for line in HAPROXY.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if line[:1].isalpha():
            found[text] = []
        elif text:
            found[list(found)[-1]].append(text)
    return found


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def timeouts() -> dict[str, float]:
    lines = [line.split() for line in sections()["defaults"] if line.startswith("timeout ")]
    return {name: seconds(value) for _, name, value in lines}


def test_given_an_upgraded_connection_when_quiet_then_the_balancer_leaves_it_to_the_node() -> None:
    defaults = Settings()

    assert timeouts()["tunnel"] > 10 * (defaults.ping + defaults.pong)
    assert timeouts()["http-request"] >= 10  # a slow phone's 64 KiB, as http/security.py waits
    assert timeouts()["server"] > 15  # an rpc answers within 15 s


def test_given_nodes_when_chosen_then_the_emptiest_that_is_ready_gets_the_socket() -> None:
    lines = sections()["backend nodes"]

    assert "balance leastconn" in lines
    assert "http-check send meth GET uri /health/ready" in lines
    assert "http-check expect status 200" in lines
    assert not [line for line in lines if line.startswith(("stick", "cookie"))]


def test_given_a_node_that_drains_when_probed_then_it_is_out_before_its_listener_closes() -> None:
    [server] = [line for line in sections()["backend nodes"] if line.startswith("default-server")]
    words = server.split()
    inter, fall = words[words.index("inter") + 1], words[words.index("fall") + 1]
    notice = float(services()["gateway"]["environment"]["PEYK_DRAIN_NOTICE"])

    assert "shutdown-sessions" not in words  # the node itself sends its sessions away, paced
    assert seconds(inter) * (int(fall) + 1) < notice


def test_given_a_client_that_names_an_address_when_forwarded_then_it_is_not_believed() -> None:
    lines = sections()["frontend public"]

    assert lines.index("http-request del-header X-Forwarded-For") < lines.index("option forwardfor")
    assert [line for line in lines if "deny" in line and "/metrics" in line]


def test_given_the_program_when_it_checks_its_file_then_the_file_is_valid(tmp_path: Path) -> None:
    """By HAProxy where it is installed; the lines it would refuse first are checked everywhere."""
    assert {"global", "defaults", "frontend public", "backend nodes"} <= set(sections())
    program = shutil.which("haproxy", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
    certificate = made_secrets(tmp_path) / "tls"
    if program and certificate.exists():
        checked = subprocess.run(  # noqa: S603 - ours
            [program, "-c", "-f", str(HAPROXY)],
            env={"PEYK_CERTIFICATE": str(certificate)},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert checked.returncode == 0, checked.stderr
        assert "warning" not in checked.stderr.lower()


@pytest.mark.parametrize(
    "network",
    [
        *("10.0.0.0-", "127.0.0.0-", "169.254.0.0-", "172.16.0.0-", "192.168.0.0-", "100.64.0.0-"),
        *("0.0.0.0-", "240.0.0.0-", "::1", "fc00::-", "fe80::-", "::ffff:0.0.0.0-"),
    ],
)
def test_given_a_private_network_when_asked_for_then_the_relay_does_not_lead_there(
    network: str,
) -> None:
    assert f"\ndenied-peer-ip={network}" in COTURN.read_text(encoding="utf-8")


def test_given_the_relay_when_its_file_is_made_then_it_shares_the_secret_of_the_nodes(
    tmp_path: Path,
) -> None:
    folder = made_secrets(tmp_path)
    lines = (folder / "turnserver_conf").read_text(encoding="utf-8").splitlines()
    secret = (folder / "turn_secrets").read_text(encoding="utf-8")

    assert f"static-auth-secret={secret}" in lines
    assert "use-auth-secret" in lines
    assert not [line for line in lines if line.startswith("allow-loopback-peers")]
    [relay] = services()["turn"]["networks"].values()
    allowed = [line for line in lines if line.startswith("allowed-peer-ip=")]
    assert allowed == [f"allowed-peer-ip={relay['ipv4_address']}"]


def test_given_the_relay_when_published_then_ports_are_those_of_its_file() -> None:
    text = COTURN.read_text(encoding="utf-8")
    options = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[a-z-]+=", line))
    ports = services()["turn"]["ports"]

    spread = f"{options['min-port']}-{options['max-port']}"
    assert f"{spread}:{spread}/udp" in ports
    assert {
        f"{options['listening-port']}:{options['listening-port']}/{p}" for p in ("udp", "tcp")
    } < set(ports)
