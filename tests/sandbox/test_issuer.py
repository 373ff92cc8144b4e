"""The development issuer gives tokens for known people, to who knows its secret, on loopback."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.issuer import loopback_address, read_people
from shared.identity import TokenVerifier
from shared.listening_address import bound

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET = "sandbox-secret"


def start(*arguments: str, secret: str = SECRET) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.issuer", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"BANGFU_SANDBOX_SECRET": secret},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.json"
    file.write_text(json.dumps(["wang", {"subject": "bank", "client": True}]))
    return file


@pytest.fixture
def issuer(people: Path) -> Iterator[str]:
    """The address of a running issuer."""
    process = start("--port", "0", "--people", str(people))
    assert process.stdout is not None
    ready = process.stdout.readline().split()
    assert ready[:1] == ["ready"], process.communicate()
    yield ready[1]
    process.terminate()
    process.communicate(timeout=10)


def ask(issuer: str, **form: str) -> httpx.Response:
    return httpx.post(f"{issuer}/token", data={"secret": SECRET} | form, timeout=5)


async def test_a_token_of_the_process_is_accepted(issuer: str) -> None:
    async with httpx.AsyncClient(base_url=issuer, timeout=5) as client:
        configuration = (await client.get("/.well-known/openid-configuration")).json()
        answer = (await client.post("/token", data={"secret": SECRET, "subject": "wang"})).json()
        bank = (await client.post("/token", json={"secret": SECRET, "subject": "bank"})).json()
    assert configuration["issuer"] == issuer
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    verifier = TokenVerifier(issuer, "bangfu", configuration["jwks_uri"])
    claims = await verifier.from_header(f"Bearer {answer['access_token']}")
    assert (claims.subject, claims.client) == ("wang", False)
    assert (await verifier.verify(bank["access_token"])).client
    await verifier.aclose()


def test_neither_strangers_nor_a_wrong_secret_get_one(issuer: str, people: Path) -> None:
    assert ask(issuer, subject="li").json() == {"error": "invalid_grant"}
    assert ask(issuer, subject="wang", secret="guess").status_code == 401
    assert ask(issuer, subject="wang", secret="").status_code == 401
    assert httpx.post(f"{issuer}/token", content=b"\xff").status_code in (400, 401)
    assert httpx.post(f"{issuer}/token", content=b"a" * 5000).status_code == 413
    assert httpx.post(f"{issuer}/token", json=["wang"]).status_code == 400
    people.write_text(json.dumps(["wang", "li"]))
    assert ask(issuer, subject="li").status_code == 200


def test_the_keys_published_are_public(issuer: str) -> None:
    (key,) = httpx.get(f"{issuer}/jwks").json()["keys"]
    assert key["kty"] == "OKP"
    assert "d" not in key


def test_people_may_come_by_standard_input() -> None:
    process = start("--port", "0", "--people", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('["zhao"]')
    process.stdin.close()
    process.stdin = None
    address = process.stdout.readline().split()[1]
    assert ask(address, subject="zhao").status_code == 200
    process.terminate()
    process.communicate(timeout=10)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "bank.example", ""])
def test_it_serves_no_other_machine(host: str) -> None:
    with pytest.raises(ValueError, match="loopback address"):
        loopback_address(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_serves_this_machine(host: str) -> None:
    with bound(loopback_address(host), 0) as [listening]:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_a_wrong_start_is_one_line_and_status_2(people: Path, tmp_path: Path) -> None:
    for arguments, secret in (
        (["--port", "0", "--people", str(people), "--host", "0.0.0.0"], SECRET),
        (["--port", "0", "--people", str(tmp_path / "nobody.json")], SECRET),
        (["--port", "0", "--people", str(people)], ""),
    ):
        _, complaint = (process := start(*arguments, secret=secret)).communicate(timeout=20)
        assert process.returncode == 2
        assert complaint.count("\n") == 1


def test_a_port_that_is_taken_is_named(people: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        process = start("--port", port, "--people", str(people))
        _, complaint = process.communicate(timeout=20)
    assert process.returncode == 2
    [line] = complaint.splitlines()
    assert line.startswith(f"--port: 端口 {port} 已被占用 port {port} is taken")


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"name": "wang"}]', "nonsense", '"wang"'])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_people(text)
