"""`migrate_memories`: the replaced script's function, on top of the command."""

import json
import os
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
)
from urllib.parse import urlsplit

from . import _program
from ._errors import MigrationFailed
from ._report import Progress, Report
from ._run import run
from ._words import in_python

if TYPE_CHECKING:
    from typing_extensions import Unpack
else:
    try:
        from typing import Unpack
    except ImportError:  # before Python 3.11: typing.get_type_hints shows the options alone

        class Unpack:
            def __class_getitem__(cls, options):
                return options

#: A store's folder, a server's URL, or the parts: {"path": …} or {"host": …, "port": …}.
Config = Union[str, "os.PathLike[str]", Mapping[str, Any]]

Kind = Literal["local", "remote"]

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
    """What `migrate_memories` takes beside source and target. Each may be left out.

    collections
        Names or patterns with *; or a dict from these to names in the target. Default: every collection.
    exclude
        Patterns of collections to leave out.
    databases
        Databases of the source's tenant, names or patterns. Default: the one of each configuration.
    batch_size
        Records in one write, 1 to 41666. Default: 10.
    delay
        Seconds between two writes, or a text as "500ms". Default: 1.
    pacing
        "fixed" (default) or "adaptive", which ignores batch_size and delay.
    max_slowdown
        With "adaptive": how much slower other clients' reads may get, as a factor; or "none". Default: 2.
    on_conflict
        "skip" (default), "overwrite" or "fail": for an id that the target has with other content.
    duplicates
        "by-id" (default) or "by-content".
    verification
        "full" (default) or "counts", which proves less.
    extras
        "allow" (default) or "fail": for records that only the target has.
    search
        "report" (default), "require" or "off": whether searches in the target are checked.
    allow_empty
        Succeed although the source has no record. Default: False.
    one_store
        "yes", "no" or "unknown": whether source and target are one store. Default: found out.
    dry_run
        Make every check, show the plan, write nothing. Default: False.
    fill
        "engine" (default) or "files": who writes a new local target. "files" is faster, and for Chroma 1.0.20 and 1.5.9.
    chroma_bin
        The program that writes a local target. Default: the chroma of this Python's environment, else the one on PATH.
    source_credentials, target_credentials
        How to log in to the source, and to the target.
    on_progress
        Called with the progress, about every two seconds. An exception in it ends the migration.
    """

    collections: Union[Sequence[str], Mapping[str, str]]
    exclude: Sequence[str]
    databases: Sequence[str]
    batch_size: int
    delay: Union[float, str]
    pacing: Literal["fixed", "adaptive"]
    max_slowdown: Union[float, Literal["none"]]
    on_conflict: Literal["skip", "overwrite", "fail"]
    duplicates: Literal["by-id", "by-content"]
    verification: Literal["full", "counts"]
    extras: Literal["allow", "fail"]
    search: Literal["report", "require", "off"]
    allow_empty: bool
    one_store: Literal["yes", "no", "unknown"]
    dry_run: bool
    fill: Literal["engine", "files"]
    chroma_bin: Union[str, "os.PathLike[str]"]
    source_credentials: Credentials
    target_credentials: Credentials
    on_progress: Callable[[Progress], None]


def migrate_memories(
    source_type: Optional[Kind],
    source_config: Config,
    target_type: Optional[Kind],
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
        All are in help(memory_migration.Options).

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
    try:
        return run([_program.program(), "migrate", *flags], configurations, environment, on_progress)
    except MigrationFailed as failure:
        said = in_python(failure.message, Options.__annotations__.keys())
        raise MigrationFailed(said, failure.exit_code, failure.report) from None


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
            raise TypeError(f"{name} is not True or False: memory_migration.Options says what it takes")
        elif name in ("collections", "exclude", "databases"):
            flag = flag.rstrip("s") if name != "exclude" else flag
            # joined: what begins with a dash is a name here, and no flag
            flags += [f"{flag}={pair}" for pair in _pairs(name, value)]
        elif isinstance(value, (str, int, float)) or (name == "chroma_bin" and isinstance(value, os.PathLike)):
            flags += [f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}"]
        else:
            raise TypeError(f"{name} cannot be {value!r}: memory_migration.Options says what it takes")
    return flags


def _pairs(name: str, value: Any) -> List[str]:
    """Names as the command takes them, NAME or NAME=TARGET."""
    if isinstance(value, str):
        raise TypeError(f"{name} is a list: write [{value!r}]")
    if isinstance(value, Mapping) and name != "collections":
        raise TypeError(f"{name} is a list of names or patterns, and no dict")
    if not isinstance(value, (Mapping, Iterable)) or isinstance(value, (bytes, bytearray)):
        raise TypeError(f"{name} is a list of names or patterns, not {type(value).__name__}")
    names = list(value)
    if not names and name != "exclude":
        # no flag would mean all of them
        raise ValueError(f"{name} is empty: name what to migrate, or leave {name} out for the default")
    for each in [*names, *(value.values() if isinstance(value, Mapping) else [])]:
        # str(None) is a name, too
        if not isinstance(each, str):
            raise TypeError(f"{name} has {each!r}: names and patterns are text")
    return [f"{key}={target}" for key, target in value.items()] if isinstance(value, Mapping) else names


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
            f"the host of {side}_config is an address: write its name or IP address alone, as in "
            f"{{'host': 'chroma.example.com', 'port': 443, 'ssl': True}}, or pass the whole URL as {side}_config"
        )
    plain = {key: _plain(side, key, value) for key, value in inner.items()}
    return json.dumps({**config, "config": plain} if "type" in config else plain)


#: What a key of a configuration may hold, and how that is said.
_KINDS: Dict[str, Tuple[Tuple[type, ...], str]] = {"port": ((int,), "a number"), "ssl": ((bool,), "True or False")}


def _plain(side: str, key: str, value: Any) -> Any:
    if key == "path" and isinstance(value, os.PathLike):
        value = os.fspath(value)
    kinds, words = _KINDS.get(key, ((str,), "text"))
    # True is an int, and no port
    if value is None and key in ("tenant", "database"):
        raise TypeError(f"{key!r} of {side}_config is None: leave it out for the default")
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{key!r} of {side}_config is {words}, not {type(value).__name__}")
    return value


def _text(side: str, config: Union[str, "os.PathLike[str]"]) -> str:
    """The text as the command takes it, if no secret is in it."""
    text = os.fspath(config) if isinstance(config, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise TypeError(f"{side}_config is a folder, a URL or a dict, not {type(config if text is None else text).__name__}")
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
