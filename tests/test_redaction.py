"""What is withheld: by the words of a name, by its looks, wherever it stands; and what is not."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog import facts, redaction
from grace_site import logs

SECRET = "hunter22"
GITHUB = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"

WITHHELD = """
    password db_password passwords passwd pwd pass db_pass passwordHash pass1 password2 dbpassword1 PGPASSWORD MYSQL_PWD
    passphrase pin userPIN otp totp_code recovery_codes one_time_code secret secrets clientSecret secret_id SECRET_KEY
    token tokens access_token session_token refreshTokens oauth2Token csrfmiddlewaretoken x-auth-token jwt id_jwt
    apiKey APIKey apikey X-Api-Key signing_key ssh_key encryption_key private_key_pem privateKeyPem AccountKey
    aws_secret_access_key github_pat githubPat PAT credentials creds Authorization Proxy-Authorization cookie Set-Cookie
    sessionid JSESSIONID basic_auth auth connection_string connectionString dsn SENTRY_DSN database_url
    env.DB_PASSWORD headers[Authorization]
"""

SHOWN = """
    author authors authorized passed passing compass passport bypass tokenizer tokenized max_tokens maxTokens
    max_output_tokens tokens_used prompt_tokens token_count token_type token_url fencing_token key keys primary_key
    keyboard cache_key idempotency_key public_key ssh_public_key access_key_id pinned pins spinning path pattern patient
    code status_code secretary secret_name password_policy password_changed_at credits connection target url monkey
"""


def spellings(name: str) -> Iterator[str]:
    words = name.lower().split("_")
    yield from ("_".join(words), "-".join(words), ".".join(words), "_".join(words).upper(), "my_" + name, name + "_2")
    yield words[0] + "".join(word.capitalize() for word in words[1:])
    yield "".join(word.capitalize() for word in words)


# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITHHELD.split())
def test_secrets_are_known_by_the_words_of_their_names(name: str) -> None:
    assert redaction.is_secret(name)
    for said in (SECRET, 12.5, uuid4(), {"a": SECRET}, b"x"):
        assert redaction.scrub({name: said}) == {name: redaction.REDACTED}
    assert redaction.scrub({name: [SECRET, None, 5]}) == {name: [redaction.REDACTED, None, redaction.REDACTED]}
    # A number of tokens is how many there are.
    assert redaction.scrub({name: 1234}) == {name: 1234 if name.lower().endswith("tokens") else redaction.REDACTED}


@pytest.mark.parametrize(
    "name",
    ["pwd", "db_pass", "password_hash", "otp", "signing_key", "private_key_pem", "github_pat", "connection_string"],
)
def test_however_they_are_spelled(name: str) -> None:
    assert [each for each in spellings(name) if not redaction.is_secret(each)] == []


@pytest.mark.parametrize("name", SHOWN.split())
def test_names_that_only_look_like_it_are_shown(name: str) -> None:
    assert redaction.scrub({name: "value"}) == {name: "value"}
    assert redaction.scrub(f"{name}=value, {name}: value") == f"{name}=value, {name}: value"


def test_that_there_is_no_secret_is_shown_and_how_many_tokens_were_used() -> None:
    said = {"password": None, "secret": "", "pass": True, "tokens": 512, "max_tokens": "4096"}
    assert redaction.scrub(said) == said
    assert redaction.scrub("password=None, pass: true; tokens: 512") == "password=None, pass: true; tokens: 512"


def test_no_member_of_a_fact_of_ours_is_withheld_by_its_name() -> None:
    def members(schema: Any) -> Iterator[str]:
        if isinstance(schema, Mapping):
            yield from schema.get("properties", {})
            for each in schema.values():
                yield from members(each)

    facts.load_all()
    ours = {
        name for fact in facts.registered().values() if "test" not in fact.name_ for name in members(facts.schema(fact))
    }
    assert "action_type" in ours
    assert {name for name in ours if redaction.is_secret(name)} == set()


def test_names_registered_later_are_withheld_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_names", dict(redaction._names))
    monkeypatch.setattr(redaction, "_name_signs", list(redaction._name_signs))
    long = "a_shoe_size_" * 20
    said = {"shoe_size": 44, long: 44, "text": "shoeSize=44"}
    assert redaction.scrub(said) == said
    redaction.register_names("shoes", "shoe_size")
    assert redaction.scrub(said) == {"shoe_size": "[redacted]", long: "[redacted]", "text": "shoeSize=[redacted]"}
    redaction._forget()


# --- looks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgres://u:pa/ss@host/db", "postgres://u:[redacted]@host/db"),
        ("postgres://u:p@ss@host/db", "postgres://u:[redacted]@host/db"),
        ("HTTPS://u:secret@host", "HTTPS://u:[redacted]@host"),
        ("redis://:secret@host:6379/0", "redis://:[redacted]@host:6379/0"),
        ("amqp://a:b@h,amqp://c:d@h2/x", "amqp://a:[redacted]@h2/x"),
        (f"https://{GITHUB}@github.com/x", "https://[redacted]@github.com/x"),
        ("https://0123456789abcdef0123456789abcdef@sentry.io/1", "https://[redacted]@sentry.io/1"),
        ("curl -H 'authorization: bearer abcdefghijkl'", "curl -H 'authorization: bearer [redacted]"),
        ("it said bearer abcdefghijkl there", "it said bearer [redacted] there"),
        ("Basic dXNlcjpwYXNz", "Basic [redacted]"),
        (f"pushed with {GITHUB}.", "pushed with [redacted]."),
        ("gho_" + "a" * 36, "[redacted]"),
        ("github_pat_11ABCDEFG_" + "b" * 40, "[redacted]"),
        ("id AKIAIOSFODNN7EXAMPLE", "id [redacted]"),
        ("xoxb-1234567890-abcdef", "[redacted]"),
        ("xoxp-1234567890-abcdef", "[redacted]"),
        ("sk-" + "a" * 30, "[redacted]"),
        ("sk-proj-A1_b2-" + "c" * 30, "[redacted]"),
        ("whsec_" + "Aa1+" * 8, "[redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_x", "[redacted]"),
        ("x -----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- y", "x [redacted] y"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "[redacted]"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc\n-----END PGP PRIVATE KEY BLOCK-----", "[redacted]"),
        ("password=hunter22", "password=[redacted]"),
        ("DB_PASS='hunter 22' ./run", "DB_PASS='[redacted]' ./run"),
        ("./run --password hunter22 --verbose", "./run --password [redacted] --verbose"),
        ("GET /x?access_token=hunter22&page=2", "GET /x?access_token=[redacted]&page=2"),
        ("Server=db;Password=hunter22;Database=x", "Server=db;Password=[redacted];Database=x"),
        ("pin: 1234", "pin: [redacted]"),
        ("Cookie: a=b; c=d\nHost: h", "Cookie: [redacted]\nHost: h"),
        ("Authorization: Digest username=ada, response=f00", "Authorization: Digest [redacted]"),
        ('he sent {"password": "hunter 22", "a": 1}', 'he sent {"password": "[redacted]", "a": 1}'),
        ('{\\"password\\":\\"hunter22\\"}', '{\\"password\\":\\"[redacted]\\"}'),
    ],
)
def test_secrets_are_known_by_their_looks(text: str, kept: str) -> None:
    assert redaction.scrub(text) == kept
    assert redaction.scrub([{"a": text}]) == [{"a": kept}]


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:8080/a?m=ada@example.org",
        "https://unpkg.com:443/@scope/pkg@1.0",
        "https://ada@example.org/x",
        "ada@example.org",
        "Basic Authentication is off; Basic information about settings",
        "Bearer authentication",
        "a task-1234567890123456789 of risk-assessment",
        "author: Ada; passed: 3; compass=n; key=1",
        "secret:billing",
        "arn:aws:secretsmanager:eu-west-1:1:secret:billing",
        "Token::new",
        "config.update config:/srv/app/settings.toml",
        "2026-11-28T10:00:00.000000Z",
        '{"tokenizer": 1.50, "key": [1, 2]}',
    ],
)
def test_texts_that_only_look_like_it_are_shown(text: str) -> None:
    assert redaction.scrub(text) == text


def test_json_within_a_text_is_looked_into() -> None:
    inner = json.dumps({"jwt": SECRET, "n": 1.0, "list": ["é"]})
    assert redaction.scrub(inner) == '{"jwt":"[redacted]","n":1.0,"list":["\\u00e9"]}'
    assert SECRET not in redaction.scrub(json.dumps({"a": json.dumps([inner])}))
    assert SECRET not in redaction.scrub(f'{{"secrets": ["{SECRET}", "{SECRET}"]}}')
    # What a reader of JSON would take is the last; the first stands there all the same.
    assert SECRET not in redaction.scrub(f'{{"password": "{SECRET}", "password": true}}')
    assert redaction.scrub("[" * 100_000 + "password=x") == "[" * 100_000 + "password=[redacted]"


def test_listed_names_and_values_belong_together() -> None:
    assert redaction.scrub([{"name": "DB_PASSWORD", "value": SECRET}, {"key": "Authorization", "value": SECRET}]) == [
        {"name": "DB_PASSWORD", "value": "[redacted]"},
        {"key": "Authorization", "value": "[redacted]"},
    ]
    assert redaction.scrub({GITHUB: 1}) == {"[redacted]": 1}


# --- of anything -----------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
LEAVES |= st.sampled_from(["password=x y", "://u:p@h", "token: 5", "Bearer abcdefgh1", '{"pin":1}', GITHUB])
NAMES = st.text(max_size=8) | st.sampled_from(["password", "name", "value", "tokens", "maxTokens", "data"])
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=12)


@settings(deadline=None)
@given(ANYTHING)
def test_what_was_scrubbed_stays_as_it_is(value: object) -> None:
    once = redaction.scrub(value)
    assert redaction.scrub(once) == once
    # And JSON within a text is read like JSON.
    assert json.loads(redaction.scrub(json.dumps([value]))) == redaction.scrub([value])


@settings(deadline=None)
@given(ANYTHING, st.sampled_from(WITHHELD.split()))
def test_nothing_below_a_secret_name_is_left(value: object, name: str) -> None:
    marked = {
        "a": [{name: {"b": [value, SECRET]}}, {name: SECRET}, {name: [[SECRET]]}],
        "c": json.dumps({name: [SECRET]}),
    }
    assert SECRET not in json.dumps(redaction.scrub(marked))


@settings(deadline=None)
@given(st.text(st.characters(blacklist_categories=("Z", "C")), max_size=20), st.text("abc", max_size=5))
def test_nothing_of_a_password_in_an_address_is_left(password: str, before: str) -> None:
    said = redaction.scrub(f"{before} postgres://u:{password}{SECRET}{password}@host:5432/db {before}")
    assert SECRET not in said
    assert said == f"{before} postgres://u:[redacted]@host:5432/db {before}"


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a",
            "a-",
            "a.",
            " ",
            "=",
            ":",
            '"',
            "\\",
            "[",
            "@",
            "://",
            "://a",
            "://a:",
            "://u:p@",
            "eyJ",
            "eyJ-",
            "eyJa.",
        ),
        *(
            "sk-",
            "ghp_",
            "xoxb-",
            "AKIA",
            "basic a",
            "bearer ",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----",
            "-----END ",
        ),
        *(
            "password",
            "password ",
            "password=",
            'password="',
            'password=\\"\\',
            "--password ",
            "cookie:\n",
            '{"a":',
            "pass=a;",
        ),
    ],
)
def test_no_text_takes_long(unit: str) -> None:
    """Twenty times a quadratic search of this text would take minutes."""
    began = time.process_time()
    for around in ("{}", "key= {}", "{}://x:y@z", "{} private key ghp_ key="):
        redaction.scrub(around.format(unit * (200_000 // len(unit))))
    assert time.process_time() - began < 20


# --- log lines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structured", [True, False], ids=["JSON", "a terminal"])
def test_log_lines_are_without_secrets(structured: bool) -> None:
    options = logs.configuration(structured=structured, level="INFO")["formatters"]["line"]
    handler = logging.StreamHandler(written := io.StringIO())
    handler.setFormatter(options.pop("()")(**options))
    plain = logging.Logger("plain")
    plain.addHandler(handler)
    ours = structlog.wrap_logger(plain, processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter])
    fault = ValueError(f"cannot reach postgres://u:{SECRET}@h/db")
    plain.warning("no entry with %s", f"password={SECRET}", exc_info=fault)
    first = written.getvalue()
    ours.warning("not_started", error=fault, also=[fault], db_pass=SECRET, fencing_token=7, exc_info=fault)
    second = written.getvalue()[len(first) :]
    assert SECRET not in first + second
    assert "password=[redacted]" in first
    assert first.count("ValueError: cannot reach postgres://u:[redacted]@h/db") == 1
    assert second.count("cannot reach postgres://u:[redacted]@h/db") == 3
    assert ('"fencing_token": 7' if structured else "fencing_token=7") in second
