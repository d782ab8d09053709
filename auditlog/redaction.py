"""Secrets never enter: what is withheld from the log and from log lines, by the words of its name or by its looks.

Entries (and with them webhooks and the stream) and log lines share what is registered here. Reviewers are not shown
what the log holds but the contract itself, which is whole.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

REDACTED = "[redacted]"

# Names are remembered, and short texts without a secret, for they come again and again; not so many or so long that
# what comes from outside could fill the memory.
MANY = 4096
LONG = 100

_names: dict[str, re.Pattern[str]] = {}
_name_signs: list[str] = []
_values: list[tuple[str, Callable[[str], str]]] = []
_harmless: set[str] = set()


# --- names -----------------------------------------------------------------------------------------------------


# `password_policy` says something about passwords: there is none in it.
_SAID_ABOUT = (
    "count|total|limit|length|size|used|usage|at|age|days|hours|minutes|seconds|ms|ttl|lifetime|expiry|expires"
    "|policy|type|kind|name|id|version|path|file|required|enabled|changed|rotated|status"
)


class _Name(NamedTuple):
    is_secret: bool
    written: str  # the name, without what looks like a secret itself


def register_names(field_class: str, pattern: str, *, signs: tuple[str, ...] = ("",)) -> None:
    """Members are withheld in whose name `pattern` stands as whole words; words are in lower case and joined by `_`.

    `dbPassword2` is read as `db_password_2` and as `dbpassword_2`. A text that holds none of the `signs` (in lower
    case) is not searched for such names: finding a sign is far quicker than finding a pattern.
    """
    _names[field_class] = re.compile(rf"_(?:{pattern})_(?!(?:(?:{_SAID_ABOUT})_)+\Z)")
    _name_signs.extend(signs)
    _forget()


def is_secret(name: str) -> bool:
    """Whether a member of this name is withheld."""
    return _named(name).is_secret


def _named(name: str) -> _Name:
    return _known(name) if len(name) <= LONG else _read(name)


@functools.lru_cache(maxsize=MANY)
def _known(name: str) -> _Name:
    return _read(name)


def _read(name: str) -> _Name:
    return _Name(_matches(name), text(name))


def _forget() -> None:
    _harmless.clear()
    _known.cache_clear()


def _matches(name: str) -> bool:
    spellings = [f"_{'_'.join(words)}_".lower() for words in (_WORD.findall(name), _WORD.findall(name.lower()))]
    found = any(pattern.search(each) for pattern in _names.values() for each in spellings)
    return found and not any(_NO_SECRET.search(each) for each in spellings)


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# `max_tokens` counts something else.
_NO_SECRET = re.compile(
    r"_(?:(?:max|min|total|prompt|completion|input|output|cached|reasoning|context|used|remaining)_?tokens"
    r"|tokens_per_[a-z]+|fencing_token|(?:token|authorization)_(?:url|uri|endpoint))_\Z"
)

register_names(
    "password",
    r"[a-z]*(?:password|passwd|passphrase|passcode|pwd)s?|pass_(?:word|phrase|code)s?|(?:pass|pw|pin)(?=_(?:[0-9]+_)?\Z)"
    r"|(?:admin|db|my|root|smtp|ssh|user)pass|pin_(?:code|hash|number)|[ht]?otps?"
    r"|(?:backup|mfa|one_time|otp|recovery|verification)_codes?|seed_phrase|mnemonic",
    signs=("pass", "pw", "pin", "otp", "code", "seed", "mnemonic"),
)
register_names(
    "token",
    r"[a-z]*(?:secret|token|cookie|sess(?:ion)?id)s?|secret_id|jwts?|cred(?:ential)?s?|bearer|authorization|pat(?=_(?:[0-9]+_)?\Z)"
    r"|(?:basic|cli|http|proxy|redis|registry|x)_auth|(?<=\A_)auth(?=_\Z)",
    signs=("secret", "token", "cookie", "sess", "jwt", "cred", "bearer", "auth", "_pat", "pat=", "pat:", 'pat"'),
)
register_names(
    "key",
    r"(?:access|account|api|app|auth|client|consumer|decryption|deploy|encryption|fernet|gpg|hmac|jwt|license|master|pgp"
    r"|private|rsa|secret|session|shared|signing|ssh|ssl|symmetric|tls|webhook)_?keys?",
    signs=("key",),
)
register_names(
    "connection",
    r"dsn|conn(?:ection)?_?str(?:ing)?s?|(?:amqp|broker|cache|database|db|mongo(?:db)?|mysql|postgres(?:ql)?|redis)_ur[li]",
    signs=("dsn", "conn", "_ur"),
)


# --- looks -----------------------------------------------------------------------------------------------------


def register_values(pattern: str, *, signs: tuple[str, ...] = ("",)) -> None:
    """Text matching `pattern` is withheld wherever it stands; a group called `keep` survives.

    Text that holds none of the `signs` (in lower case) is not looked at.
    """
    withhold = functools.partial(re.compile(pattern).sub, _kept)
    _values.extend((sign, withhold) for sign in signs)
    _forget()


def _kept(match: re.Match[str]) -> str:
    return (match.groupdict().get("keep") or "") + REDACTED


# Repetitions that could begin anew at every character are bounded, so that any text takes as long as it is.
register_values(
    r"(?P<keep>\b(?:(?i:bearer)\s{1,8}(?!authenti|authori)|(?i:basic)\s{1,8}(?=\S[a-z]{0,64}[A-Z0-9=])))"
    r"[A-Za-z0-9._~+/=-]{8,}",
    signs=("bearer", "basic"),
)
register_values(
    r"(?s)-{4,5} ?BEGIN [A-Z0-9 ]{0,64}PRIVATE KEY[A-Z ]{0,64}-{4,5}"
    r".*?(?:-{4,5} ?END [A-Z0-9 ]{0,64}PRIVATE KEY[A-Z ]{0,64}-{4,5}|\Z)",
    signs=("private key",),
)
register_values(r"gh[pousr]_\w{10,}", signs=("gh",))
register_values(r"github_pat_\w{10,}", signs=("github_pat_",))
register_values(r"(?:glpat|xox[a-z])-[\w-]{8,}", signs=("glpat-", "xox"))
register_values(r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{30,})", signs=("akia", "asia", "aiza"))
register_values(r"(?<![A-Za-z0-9])sk-[\w-]{0,40}?[A-Za-z0-9]{16}[\w-]*", signs=("sk-",))
register_values(r"(?:[sr]k_(?:live|test)|npm|whsec)_[\w+/=-]{16,}", signs=("k_live_", "k_test_", "npm_", "whsec_"))
register_values(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*){0,3}", signs=("eyj",))

_ADDRESS = re.compile(r"://\S+")
# What begins like a port is one, even if an @ follows somewhere in the path.
_USER = re.compile(r"://(?P<user>[^\s/:@?#\[]*+)(?:(?P<colon>:)(?!\d{1,5}[/?#])|(?=@))")
# A user as long as this is a token.
_LONG_USER = 20


def _without_credentials(text: str) -> str:
    return _ADDRESS.sub(_anonymous, text)


def _anonymous(match: re.Match[str]) -> str:
    """An address without its password, up to the last @: a password may hold anything."""
    address, done, parts = match[0], 0, list[str]()
    last = address.rfind("@")
    for found in _USER.finditer(address, 0, last + 1):
        user = found["user"] if len(found["user"]) < _LONG_USER else REDACTED
        parts += [address[done : found.start()], "://", user]
        done = found.end()
        if found["colon"]:
            parts += [":", REDACTED]
            done = last
            break
    return "".join([*parts, address[done:]])


_values.append(("://", _without_credentials))


# --- structures ------------------------------------------------------------------------------------------------

Spoken = Callable[[Any], str] | None


def scrub(value: Any) -> Any:
    """`value` (text, or JSON as Python has it) without its secrets, as a new structure."""
    return _scrubbed(value, None)


def structlog_processor(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The same redaction for log lines; put it last before rendering. Objects become the text they would be there."""
    for key, value in event.items():
        event[key] = _member(_named(key), value, repr)
    return event


def _scrubbed(value: Any, spoken: Spoken) -> Any:
    """A value under a name that says nothing; `spoken` makes text of what is neither text nor JSON."""
    kind = type(value)
    if kind is str:
        return text(value)
    if value is None or kind is int or kind is bool or kind is float:
        return value
    if isinstance(value, Mapping):
        return _object(value, spoken)
    if isinstance(value, list | tuple):
        return [_scrubbed(item, spoken) for item in value]
    if isinstance(value, str):
        return _looked_at(value)
    return value if spoken is None else text(spoken(value))


def _object(value: Mapping[Any, Any], spoken: Spoken) -> dict[Any, Any]:
    found = {}
    for key, item in value.items():
        name = _named(str(key))
        found[name.written] = _member(name, item, spoken)
    # Environments and headers are often listed like this.
    if "value" in found and any(is_secret(str(found[each])) for each in ("name", "key") if each in found):
        found["value"] = _withheld(found["value"])
    return found


def _member(name: _Name, value: Any, spoken: Spoken) -> Any:
    if not name.is_secret or (isinstance(value, int) and _counts(name.written)):
        return _scrubbed(value, spoken)
    return _withheld(value)


def _counts(name: str) -> bool:
    return name.lower().endswith("tokens")


def _withheld(value: Any) -> Any:
    """What stands for a secret; it shows whether there is one, and how many."""
    if value is None or value == "" or isinstance(value, bool):
        return value
    return [_withheld(item) for item in value] if isinstance(value, list | tuple) else REDACTED


# --- texts -----------------------------------------------------------------------------------------------------

# Ids, digests, times and names of facts and states, of which entries are full: no secret is spelled like this.
_PLAIN = re.compile(r"[0-9a-fTZ:.-]*|(?!gh|npm|whsec|[sr]k_)[a-z._]*")
# Nor is one as short as this without a colon or an equals sign.
_SHORT = 12
_NAMED = re.compile(
    r"""(?<![\w.-])(?:(?P<name>[\w.-]++)["'\\]{0,8}[ \t]{0,8}(?:=>|:=|={1,3}|:(?!:))[ \t]{0,8}"""
    r"""|(?P<flag>--[\w-]++)[ \t]{1,8}(?!-))"""
)
_SCHEME = r"(?P<keep>(?:(?i:bearer|basic|digest|token)[ \t]{1,8})?"
# What a name says: what stands in quotation marks, or all up to a space or the next pair of a query.
_SAID = re.compile(
    _SCHEME + r"""(?P<open>\\*["'])?)(?(open)(?:(?!(?P=open))(?:\\.|[^\\]))++"""
    r"""|(?!(?:true|false|null|none)(?![^\s,;&)}\]]))[^\s;&]++)""",
    re.DOTALL | re.IGNORECASE,
)
_SAID_IN_A_HEADER = re.compile(_SCHEME + r")[^\r\n]+")
_HEADERS = ("authorization", "cookie")
# `secret:billing` is how targets are written, and tells which secret without telling it.
_KINDS = ("secret:", "secrets:", "token:", "tokens:", "key:", "keys:", "credential:", "credentials:")


def text(said: str) -> str:
    """A text without what looks like a secret in it, and without what it says of a secret name."""
    if said in _harmless or _PLAIN.fullmatch(said):
        return said
    found = _looked_at(said)
    if found == said and len(said) <= LONG:
        if len(_harmless) >= MANY:
            _harmless.clear()
        _harmless.add(said)
    return found


def _looked_at(text: str) -> str:
    named = ":" in text or "=" in text or "--" in text
    if len(text) < _SHORT and not named:
        return text
    lowered = text.lower()
    looks = [withhold for sign, withhold in _values if sign in lowered]
    named = named and _has_sign(lowered)
    if text.lstrip()[:1] in ("{", "[") and (looks or named or "\\" in text) and (found := _json(text)) is not None:
        return found
    for withhold in looks:
        text = withhold(text)
    return _without_said(text) if named else text


def _has_sign(lowered: str) -> bool:
    for sign in _name_signs:  # noqa: SIM110 - twice as quick as any()
        if sign in lowered:
            return True
    return False


def _json(text: str) -> str | None:
    """JSON in a text: word for word when there is no secret in it; None when it is no JSON."""
    try:
        value = json.loads(text, object_pairs_hook=_unambiguous)
        clean = _scrubbed(value, None)
        same: bool = clean == value
        return text if same else json.dumps(clean, separators=(",", ":"), ensure_ascii=text.isascii())
    except (ValueError, RecursionError):
        return None


def _unambiguous(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a name stands here twice, and what it said first would not be looked at")
    return found


def _without_said(text: str) -> str:
    parts, done = [], 0
    for match in _NAMED.finditer(text):
        name = match["name"] or match["flag"]
        if match.start() < done or not _has_sign(match[0].lower()) or not is_secret(name):
            continue
        if said := _said(match, name, text):
            parts += [text[done : match.end()], said["keep"], REDACTED]
            done = said.end()
    return "".join([*parts, text[done:]])


def _said(named: re.Match[str], name: str, text: str) -> re.Match[str] | None:
    """What is said of a secret name, if that is a secret."""
    said = _SAID.match(text, named.end())
    if said is None or said["open"]:
        return said
    if named[0].lower().endswith(_KINDS) or (_counts(name) and said[0].rstrip(",.)]}").isdigit()):
        return None
    return (_SAID_IN_A_HEADER.match(text, named.end()) if name.lower().endswith(_HEADERS) else None) or said
