"""Settings: where values come from, and every refusal as one line that names the setting."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from messenger.home import complete, ready_settings
from messenger.settings import LimitRule, Settings, SettingsError, load_settings

STORES = {"DATABASE_URL": "postgresql://peyk@db/peyk", "REDIS_URL": "redis://cache"}
LONG = "k" * 32
PRODUCTION = {
    **STORES,
    "PEYK_ENV": "production",
    "PEYK_TOKEN_KEYS": LONG,
    "PEYK_PEPPER": LONG,
    "PEYK_BADGE_KEY": LONG,
    "PEYK_CODE_SENDER": "none",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "peyk.toml"


def load(file: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ or {}, {})


def refusal(environ: Mapping[str, str], **overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, environ, overrides)
    return str(caught.value)


def test_given_nothing_when_loaded_then_the_platform_is_embedded_on_the_loopback() -> None:
    settings = load_settings(None, {}, {})

    assert settings.embedded
    assert (settings.host, settings.port, settings.env) == ("127.0.0.1", 8000, "development")
    assert set(settings.topics.ns) == {"user", "eph", "chat"}
    assert settings.limits["msg.account"] == LimitRule(60, 1)


def test_given_all_sources_when_loaded_then_the_later_one_wins(file: Path) -> None:
    file.write_text("port = 1001\nping = 5\nmax_subscriptions = 7\n", encoding="utf-8")
    environ = {"PEYK_PORT": "1002", "PEYK_PING": "6"}

    settings = load_settings(file, environ, {"port": 1003, "host": None})

    assert (settings.port, settings.ping, settings.max_subscriptions) == (1003, 6.0, 7)


def test_given_the_file_named_by_the_environment_when_loaded_then_it_is_read(file: Path) -> None:
    file.write_text("port = 1001\n", encoding="utf-8")

    assert load_settings(None, {"PEYK_CONFIG": str(file)}, {}).port == 1001


def test_given_a_list_in_the_environment_when_loaded_then_commas_separate_it() -> None:
    settings = load_settings(None, {"PEYK_ALLOWED_ORIGINS": "https://a.ir, https://b.ir"}, {})

    assert settings.allowed_origins == ("https://a.ir", "https://b.ir")


def test_given_a_secret_in_a_file_of_its_own_when_loaded_then_the_file_counts(
    tmp_path: Path,
) -> None:
    (tmp_path / "keys").write_text("new,old\n", encoding="utf-8")

    settings = load_settings(None, {"PEYK_TOKEN_KEYS_FILE": str(tmp_path / "keys")}, {})

    assert settings.token_keys == ("new", "old")


def test_given_an_empty_database_url_when_loaded_then_it_counts_as_none() -> None:
    assert load_settings(None, {"DATABASE_URL": "", "REDIS_URL": ""}, {}).embedded


def test_given_a_plain_postgres_address_when_loaded_then_it_is_spelled_for_the_driver() -> None:
    assert load_settings(None, STORES, {}).database_url == "postgresql+asyncpg://peyk@db/peyk"


def test_given_keys_in_the_section_when_loaded_then_setting_and_section_agree(file: Path) -> None:
    settings = load(
        file,
        '[client]\ntoken = { hs256_secret = "one", audience = "a" }\n[api]\nkey = "two"\n',
    )

    assert settings.token_keys == ("one",)
    assert settings.client.sub_token is not None
    assert settings.client.sub_token.keys == ("one",)
    assert (settings.api_key, settings.api.key) == ("two", "two")


def test_given_a_sub_token_of_its_own_when_loaded_then_it_has_its_own_key(file: Path) -> None:
    settings = load(
        file, '[client]\ntoken={hs256_secret="one"}\nsub_token={hs256_secret=["two","old"]}\n'
    )

    assert settings.client.sub_token is not None
    assert settings.client.sub_token.keys == ("two", "old")


def test_given_rpc_off_when_a_product_namespace_is_configured_then_it_replaces_ours(
    file: Path,
) -> None:
    settings = load(file, "[rpc]\nenabled = false\n[topics.ns.user]\npresence = true\n")

    assert settings.topics.ns["user"].source == "stream"
    assert settings.topics.ns["eph"].is_product


def test_given_limits_in_the_file_when_loaded_then_the_others_keep_their_figures(
    file: Path,
) -> None:
    settings = load(file, '[limits]\n"msg.account" = { burst = 1000, per_s = 100 }\n')

    assert settings.limits["msg.account"].burst == 1000
    assert settings.limits["msg.chat"] == LimitRule(20, 0.5)


def test_given_all_that_production_needs_when_loaded_then_it_is_accepted() -> None:
    assert load_settings(None, PRODUCTION, {"host": "0.0.0.0"}).env == "production"  # noqa: S104


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prt = 1", "unknown setting prt"),
        ('port = "8000"', "port: Expected `int`, got `str`"),
        ("port = 0", "port: Expected `int` >= 1"),
        ("home = 3", "home: Expected a path"),
        ('roles = ["gate"]', "roles: Invalid enum value 'gate'"),
        ("roles = []", "roles: Expected `array` of length >= 1"),
        ("write_low = 99999999", "write_low: above write_high"),
        ('trusted_proxies = ["everyone"]', "trusted_proxies: everyone is not a network"),
        ("port =", "not TOML"),
        ("[client]\ninsecur = true", "client: Object contains unknown field `insecur`"),
        ("[client]\ninsecure = 1", "client: Expected `bool`, got `int`"),
        ('host = "0.0.0.0"\n[client]\ninsecure = true', "client.insecure: only with a loopback"),
        ('host = "peyk.ir"\n[api]\ninsecure = true', "api.insecure: only with a loopback"),
        ('host = "0.0.0.0"\npepper = "short"', "pepper: shorter than 32 bytes"),
        ('api_key = "a"\n[api]\nkey = "b"', "api_key: api.key says something else"),
        ("[topics.ns.room]\nforce_recovery = true", "topics.ns.room: recovery and positioning"),
        ('[topics.ns.x]\nsource = "live"\nhistory_size = 1', 'topics.ns.x: source "live" keeps no'),
        ("[topics.default]\nallow_positioning = true", "topics.default: recovery and positioning"),
        ("[topics.ns.user]\npresence = true", "topics.ns.user: the product's own"),
        ("[topics.ns.room]\nhistory_size = -1", "topics: Expected `int` >= 0"),
        ('[limits]\n"msg.person" = { burst = 1, per_s = 1 }', 'limits."msg.person": unknown rule'),
        ('[limits]\n"msg.account" = { burst = 0, per_s = 1 }', "limits: Expected `float` > 0.0"),
    ],
)
def test_given_a_bad_file_when_loaded_then_one_line_names_the_setting(
    file: Path, text: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(file, text)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PEYK_PRT": "1"}, "PEYK_PRT: unknown setting"),
        ({"PEYK_PORT": "many"}, "environment PEYK_PORT: port: Expected `int`"),
        ({"PEYK_PORT_FILE": "x"}, "PEYK_PORT_FILE: unknown setting"),
        ({"PEYK_LIMITS": "{}"}, "PEYK_LIMITS: unknown setting"),
        ({"PEYK_CLIENT": "{}"}, "PEYK_CLIENT: unknown setting"),
        ({"PEYK_PEPPER_FILE": "/nowhere"}, "PEYK_PEPPER_FILE: cannot read /nowhere"),
        ({"PEYK_PEPPER_FILE": "x", "PEYK_PEPPER": "y"}, "PEYK_PEPPER is set too"),
        ({"PEYK_CONFIG": "/nowhere"}, "/nowhere: No such file"),
        ({"DATABASE_URL": STORES["DATABASE_URL"]}, "REDIS_URL: missing"),
        ({"REDIS_URL": STORES["REDIS_URL"]}, "DATABASE_URL: missing"),
        ({**STORES, "DATABASE_URL": "mysql://db"}, "DATABASE_URL: not of the form"),
        ({**STORES, "DATABASE_URL": "postgresql://db:port/x"}, "DATABASE_URL: not of the form"),
        ({**STORES, "REDIS_URL": "http://cache"}, "REDIS_URL: not of the form"),
        ({**STORES, "REDIS_URL": "redis://cache:port"}, "REDIS_URL: not of the form"),
        ({**STORES, "REDIS_URL": "redis+cluster://a:1,b:x"}, "REDIS_URL: not of the form"),
        ({**STORES, "REDIS_URL": "redis://a,b"}, "REDIS_URL: several hosts"),
    ],
)
def test_given_a_bad_environment_when_loaded_then_one_line_names_the_variable(
    environ: Mapping[str, str], expected: str
) -> None:
    assert expected in refusal(environ)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"DATABASE_URL": "", "REDIS_URL": ""}, "embedded servers are refused"),
        ({"PEYK_TOKEN_KEYS": ""}, "token_keys: production needs it"),
        ({"PEYK_PEPPER": ""}, "pepper: production needs it"),
        ({"PEYK_BADGE_KEY": ""}, "badge_key: production needs it"),
        ({"PEYK_CODE_SENDER": "file"}, "code_sender: file is refused"),
        ({"PEYK_CODE_SENDER": "console"}, "code_sender: console is refused"),
    ],
)
def test_given_production_when_something_is_missing_then_it_is_refused(
    change: Mapping[str, str], expected: str
) -> None:
    assert expected in refusal({**PRODUCTION, **change})


@pytest.mark.parametrize(
    "text",
    [
        "[client]\ninsecure = true",
        "[client]\nallow_anonymous = true",
        "[topics.ns.room]\nallow_subscribe_for_anonymous = true",
        "[topics.default]\nallow_publish_for_anonymous = true",
    ],
)
def test_given_production_when_strangers_are_let_in_then_it_is_refused(
    file: Path, text: str
) -> None:
    with pytest.raises(SettingsError, match="refused in production"):
        load(file, text, PRODUCTION)


def test_given_no_secrets_when_completed_then_they_are_made_once_and_for_the_owner_alone(
    tmp_path: Path,
) -> None:
    first = ready_settings(None, {}, {"home": str(tmp_path / "peyk")})
    again = ready_settings(None, {}, {"home": str(tmp_path / "peyk")})

    assert len(first.token_keys[0].encode()) >= 32
    assert first.client.token.keys == first.token_keys
    assert first.client.sub_token is not None
    assert first.client.sub_token.keys == first.token_keys
    assert (first.token_keys, first.pepper) == (again.token_keys, again.pepper)
    for path in (tmp_path / "peyk" / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "peyk").stat().st_mode & 0o777 == 0o700


def test_given_secrets_when_completed_then_they_stay(tmp_path: Path) -> None:
    environ = {"PEYK_TOKEN_KEYS": LONG, "PEYK_PEPPER": LONG, "PEYK_BADGE_KEY": LONG}

    settings = complete(load_settings(None, environ, {"home": str(tmp_path)}))

    assert (settings.token_keys, settings.pepper) == ((LONG,), LONG)
    assert not (tmp_path / "secrets").exists()


def test_given_a_home_that_cannot_be_made_when_completed_then_one_line_says_so() -> None:
    settings = load_settings(None, {}, {"home": "/dev/null/peyk"})

    with pytest.raises(SettingsError, match="home: cannot write to /dev/null/peyk: Not a dir"):
        complete(settings)
