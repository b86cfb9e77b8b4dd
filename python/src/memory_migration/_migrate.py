"""`migrate_memories`: the replaced script's function, on top of the command."""

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, TypedDict, Union
from urllib.parse import urlsplit

from . import _program
from ._report import Progress, Report
from ._run import run

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: A store's folder, a server's URL, or the parts: {"path": …} or {"host": …, "port": …}.
Config = Union[str, "os.PathLike[str]", Mapping[str, Any]]

_KEYS = ("path", "host", "port", "ssl", "tenant", "database")

#: Options that are True or False. All others are a text, a number, or as `Options` says.
_SWITCHES = ("allow_empty", "dry_run")


@dataclass(frozen=True)
class Credentials:
    """How to log in to a server. It goes to the program by its environment, never by its arguments.

    token
        A bearer token; with username a password, with header that header's value.
    username
        The user of basic authentication.
    header
        The name of the header to send the token in, as X-Chroma-Token.
    ca_file
        A PEM file with the certificate authority to trust.
    """

    token: Optional[str] = field(default=None, repr=False)
    username: Optional[str] = None
    header: Optional[str] = None
    ca_file: Optional[Union[str, "os.PathLike[str]"]] = None

    def __post_init__(self) -> None:
        if self.token is None and (self.username is not None or self.header is not None):
            raise ValueError("Credentials with a username or a header need a token")
        if self.username is not None and self.header is not None:
            raise ValueError("Credentials have a username or a header, not both: leave one of them out")


class Options(TypedDict, total=False):
    """What `migrate_memories` takes beside source and target. Each is a flag of `memory-migration migrate`."""

    #: Names or patterns with *; or a dict from these to names in the target. Default: every collection.
    collections: Union[Sequence[str], Mapping[str, str]]
    #: Patterns of collections to leave out.
    exclude: Sequence[str]
    #: Databases of the source's tenant, names or patterns. Default: the one of each configuration.
    databases: Sequence[str]
    #: Records in one write, 1 to 41666. Default: 10.
    batch_size: int
    #: Seconds between two writes, or a text as "500ms". Default: 1.
    delay: Union[float, str]
    #: "fixed" (default) or "adaptive", which ignores batch_size and delay.
    pacing: str
    #: With "adaptive": how much slower other clients' reads may get, as a factor; or "none". Default: 2.
    max_slowdown: Union[float, str]
    #: "skip" (default), "overwrite" or "fail": for an id that the target has with other content.
    on_conflict: str
    #: "by-id" (default) or "by-content".
    duplicates: str
    #: "full" (default) or "counts", which proves less.
    verification: str
    #: "allow" (default) or "fail": for records that only the target has.
    extras: str
    #: "report" (default), "require" or "off": whether searches in the target are checked.
    search: str
    #: Succeed although the source has no record. Default: False.
    allow_empty: bool
    #: "yes", "no" or "unknown": whether source and target are one store. Default: found out.
    one_store: str
    #: Make every check, show the plan, write nothing. Default: False.
    dry_run: bool
    #: The program that writes a local target. Default: the chroma of this Python's environment, else the one on PATH.
    chroma_bin: Union[str, "os.PathLike[str]"]
    #: How to log in to the source, and to the target.
    source_credentials: Credentials
    target_credentials: Credentials
    #: Called with the progress, about every two seconds. An exception in it ends the migration.
    on_progress: Callable[[Progress], None]


def migrate_memories(
    source_type: Optional[str],
    source_config: Config,
    target_type: Optional[str],
    target_config: Config,
    **options: "Unpack[Options]",
) -> Report:
    """Copies every record of the source into the target, compares every one, and returns the report.

    source_type, target_type
        "local" for a folder that Chroma wrote, "remote" for a Chroma server; None if the configuration says it.
    source_config, target_config
        A store's folder, a server's URL, or a dict: {"path": …}, or {"host": …, "port": 8000, "ssl": False}; both may
        have "tenant" and "database". {"type": …, "config": {…}} is right, too.
    options
        See `Options`.

    It never writes to the source. By default it writes 10 records a second, as the replaced script did; for a target that
    nobody else uses pass batch_size=1000, delay=0.

    Raises MigrationFailed unless everything that was asked for was done and proved. Raises ValueError or TypeError for
    arguments that cannot be passed on. What happens meanwhile is logged to the logger "memory_migration".
    """
    given: Dict[str, Any] = dict(options)
    on_progress = given.pop("on_progress", None)
    if on_progress is not None and not callable(on_progress):
        raise TypeError(f"on_progress is a function, not {on_progress!r}")
    environment = {
        **_environment("source", source_type, given.pop("source_credentials", None)),
        **_environment("target", target_type, given.pop("target_credentials", None)),
    }
    flags = _flags(given)
    if "chroma_bin" not in options:
        chroma = _program.chroma()
        flags += ["--chroma-bin", chroma] if chroma else []
    configurations: Dict[str, str] = {}
    for side, kind, config in (("source", source_type, source_config), ("target", target_type, target_config)):
        if kind not in ("local", "remote", None):
            raise ValueError(f"{side}_type is {kind!r}: write 'local' or 'remote', or None if {side}_config says it")
        flags += [f"--{side}-type", kind] if kind is not None else []
        if isinstance(config, Mapping):
            configurations[f"--{side}-config"] = _json(side, config)
        else:
            flags += [f"--{side}-config={_text(side, config)}"]
    return run([_program.program(), "migrate", *flags], configurations, environment, on_progress)


def _flags(options: Dict[str, Any]) -> List[str]:
    """The flags of everything that is text or a number on the command line."""
    known = Options.__annotations__
    flags: List[str] = []
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"migrate_memories() has no option {name!r}; it has {', '.join(known)}")
        flag = "--" + name.replace("_", "-")
        if value is None:
            continue
        if name in _SWITCHES:
            if not isinstance(value, bool):
                raise TypeError(f"{name} is True or False, not {value!r}")
            flags += [flag] if value else []
        elif isinstance(value, bool):
            # for example search=False: there is a word for it, and no flag would mean the default
            raise TypeError(f"{name} is not True or False: {flag} in memory-migration migrate --help says what it takes")
        elif name in ("collections", "exclude", "databases"):
            if isinstance(value, str):
                raise TypeError(f"{name} is a list: write [{value!r}]")
            if not value and name != "exclude":
                # no flag would mean all of them
                raise ValueError(f"{name} is empty: name what to migrate, or leave {name} out for the default")
            pairs = [f"{key}={target}" for key, target in value.items()] if isinstance(value, Mapping) else value
            flag = flag.rstrip("s") if name != "exclude" else flag
            # joined: what begins with a dash is a name here, and no flag
            flags += [f"{flag}={pair}" for pair in pairs]
        else:
            flags += [f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]
    return flags


def _json(side: str, config: Mapping[str, Any]) -> str:
    inner = config.get("config", {}) if "type" in config else config
    if not isinstance(inner, Mapping):
        raise TypeError(f"{side}_config['config'] is a dict, as {{'path': …}} or {{'host': …}}")
    for key in inner:
        if key not in _KEYS:
            raise ValueError(
                f"{side}_config has no key {key!r}; it has {', '.join(_KEYS)}. "
                f"A token belongs in {side}_credentials=Credentials(token=…)"
            )
    host = inner.get("host")
    if isinstance(host, str) and any(mark in host for mark in "/@?#\\"):
        # not shown: an address may hold a password
        raise ValueError(
            f"the host of {side}_config is an address: write its name alone, as in {{'host': 'chroma.example.com', "
            f"'port': 443, 'ssl': True}}, or pass the whole URL as {side}_config"
        )
    return json.dumps(config, default=os.fspath)


def _text(side: str, config: Union[str, "os.PathLike[str]"]) -> str:
    """The text as the command takes it, if no secret is in it."""
    text = os.fspath(config)
    if text.lstrip().startswith("{"):
        raise ValueError(f"{side}_config is JSON as text: pass the dict itself")
    if "://" in text and "@" in urlsplit(text).netloc:
        raise ValueError(
            f"the URL of {side}_config has a user or a password: leave them out, and write "
            f"{side}_credentials=Credentials(username=…, token=…)"
        )
    return text


def _environment(side: str, kind: Optional[str], credentials: Optional[Credentials]) -> Dict[str, str]:
    """All of the side's variables, also those that are not given: none of this process's may get between them."""
    if credentials is None:
        return {}
    if not isinstance(credentials, Credentials):
        raise TypeError(f"{side}_credentials is Credentials(token=…), not {type(credentials).__name__}")
    if kind == "local":
        raise ValueError(f"{side}_credentials are for a server, and {side}_type is 'local': leave them out")
    given = {
        "TOKEN": credentials.token,
        "TOKEN_FILE": None,
        "USERNAME": credentials.username,
        "HEADER": credentials.header,
        "CA_FILE": credentials.ca_file,
    }
    # the program takes an empty one as one that is not there
    return {f"MEMORY_MIGRATION_{side.upper()}_{name}": os.fspath(value or "") for name, value in given.items()}
