"""Settings come from the environment, keep their secrets, and say in one line what is wrong."""

import base64
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.settings import ServiceSettings, explain, load_settings

SECRET = base64.b64encode(bytes(range(32))).decode()
COMPLETE = {
    "BANGFU_SERVICE": "intake",
    "BANGFU_WORKER_URL": "postgresql://worker:pw-worker@localhost/bangfu",
    "BANGFU_API_URL": "postgresql://api:pw-api@localhost/bangfu",
    "BANGFU_KEYS_URL": "postgresql://keys:pw-keys@localhost/keys",
    "BANGFU_MASTER_KEY": SECRET,
    "BANGFU_KAFKA_BOOTSTRAP": "localhost:9092",
    "BANGFU_ISSUER": "http://127.0.0.1:9000",
    "BANGFU_JWKS_URL": "http://127.0.0.1:9000/jwks",
    "BANGFU_INSTALLATION": "sample-city",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BANGFU_")]:
        monkeypatch.delenv(name)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def test_everything_comes_from_the_environment() -> None:
    settings = load_settings(ServiceSettings)
    assert settings.service == "intake"
    assert settings.source == "sample-city/intake"
    assert settings.master_key_bytes == bytes(range(32))
    assert (settings.partitions, settings.audience, settings.instance) == (12, "bangfu", "0")
    assert (settings.mode, settings.lease_seconds) == ("production", 5)


def test_no_secret_is_shown() -> None:
    shown = repr(load_settings(ServiceSettings)) + str(load_settings(ServiceSettings))
    for secret in ("pw-worker", "pw-api", "pw-keys", SECRET):
        assert secret not in shown


def test_a_simulated_clock_is_refused_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BANGFU_CLOCK_FILE", "/somewhere/clock")
    with pytest.raises(SystemExit) as ended:
        load_settings(ServiceSettings)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(
        "BANGFU_CLOCK_FILE: 生产模式不得模拟业务时间 business time may not be simulated"
    )

    monkeypatch.setenv("BANGFU_MODE", "sandbox")
    assert load_settings(ServiceSettings).clock_file == Path("/somewhere/clock")


def test_a_misspelt_mode_does_not_let_a_simulated_clock_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BANGFU_MODE", "sandobx")
    monkeypatch.setenv("BANGFU_CLOCK_FILE", "/somewhere/clock")
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings)
    assert "BANGFU_MODE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BANGFU_MASTER_KEY", "not-base64-at-all!"),
        ("BANGFU_MASTER_KEY", base64.b64encode(b"only-these-bytes").decode()),
        ("BANGFU_PORT", "port-of-hamburg"),
        ("BANGFU_MODE", "nearly-production"),
        ("BANGFU_WORKER_URL", "mysql://here"),
        ("BANGFU_API_URL", "postgresql://u:p@/db?host=one&port=99999"),
        ("BANGFU_KEYS_URL", "postgresql://u:p@/db?host=one,two&port=5432,abc"),
        ("BANGFU_KAFKA_BOOTSTRAP", "in a town"),
        ("BANGFU_PARTITIONS", "none"),
        ("BANGFU_LEASE_SECONDS", "nan"),
        ("BANGFU_LEASE_SECONDS", "soon"),
        ("BANGFU_GATHER_MS", "1001"),
        ("BANGFU_PORT", "70000"),
        ("BANGFU_STANDBY", "perhaps"),
        ("BANGFU_SERVICE", "In Take"),
        ("BANGFU_LOG_LEVEL", "loud"),
        ("BANGFU_TOPIC_PREFIX", "bad/prefix "),
        ("BANGFU_TOPIC_PREFIX", "x" * 151),
        ("BANGFU_INSTANCE", "the first one"),
        ("BANGFU_JWKS_URL", "http://[issuer"),
        ("BANGFU_SESSION_TIMEOUT_MS", "7"),
        ("BANGFU_LEASE_SECONDS", "inf"),
    ],
)
def test_a_wrong_value_is_named_by_its_variable_and_not_repeated(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load_settings(ServiceSettings)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.count("\n") == 1
    assert told.startswith(f"{name}: ")
    assert re.search("[一-鿿].*[a-z]{2}", told.partition(": ")[2]), told
    assert value not in told


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANGFU_MASTER_KEY")
    monkeypatch.setenv("BANGFU_WORKER_URL", "")
    with pytest.raises(ValidationError) as failed:
        ServiceSettings()
    told = explain(failed.value)
    assert "BANGFU_MASTER_KEY: 未设置 is not set" in told
    assert "BANGFU_WORKER_URL: 未设置 is not set" in told
    assert "pw-api" not in str(failed.value)
