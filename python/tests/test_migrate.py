"""The installed module against real Chroma. `make python-test` runs it with every Python from 3.9 on."""

import contextlib
import http.server
import io
import logging
import os
import pathlib
import pickle
import pydoc
import re
import subprocess
import sys
import tempfile
import threading
import typing
import unittest
from typing import Any, ClassVar, Iterator, List

import chroma
import memory_migration
from memory_migration import Credentials, MigrationFailed, Progress, Report, migrate_memories
from memory_migration import _migrate, _program, _words

TOKEN = "a-secret-that-nobody-may-print"
MEMORIES = chroma.expected()
FAST: Any = {"batch_size": 1000, "delay": 0, "chroma_bin": chroma.CHROMA}


def setUpModule() -> None:
    WithChroma.scratch = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(WithChroma.scratch.cleanup)
    WithChroma.source = os.path.join(WithChroma.scratch.name, "chroma_db")
    chroma.new_store(WithChroma.source)


class WithChroma(unittest.TestCase):
    """One store with memories for all tests, which only read it, and an empty folder for each."""

    scratch: ClassVar["tempfile.TemporaryDirectory[str]"]
    source: ClassVar[str]
    folder: str

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)


class TheReplacedScriptsExamples(WithChroma):
    """Its two calls, word for word but for names and places: at its own pace, and there and back."""

    def test_local_to_remote_and_back(self) -> None:
        with chroma.server(self.path("server")) as port:
            report = migrate_memories(
                source_type="local",
                source_config=self.source,
                target_type="remote",
                target_config={"host": "localhost", "port": port},
            )
            self.assertEqual(report["reason"], "Verified")
            self.assertEqual(report["counts"]["verified"], chroma.COUNT)
            self.assertEqual(chroma.held(port), MEMORIES)
            report = migrate_memories(
                source_type="remote",
                source_config={"host": "localhost", "port": port},
                target_type="local",
                target_config=self.path("restored"),
                chroma_bin=chroma.CHROMA,
            )
            self.assertEqual(report["direction"], "remote-to-local")
            self.assertTrue(report["verification"]["identical"])
        with chroma.server(self.path("restored")) as port:
            self.assertEqual(chroma.held(port), MEMORIES)


    def test_a_new_store_is_filled_by_its_files(self) -> None:
        filled = self.path("filled")
        report = migrate_memories("local", self.source, "local", filled, fill="files", **FAST)
        said = [check["message"] for check in report["preflight"] if check["check"] == "fill"]
        self.assertTrue(said and said[0].startswith("this program writes the records"), said)
        self.assertTrue(report["verification"]["identical"])
        with chroma.server(filled) as port:
            self.assertEqual(chroma.held(port), MEMORIES)


class TheReadme(WithChroma):
    def test_its_example_works(self) -> None:
        with open(os.path.join(chroma.ROOT, "python", "README.md"), encoding="utf-8") as file:
            example = file.read().split("```python\n")[1].split("```")[0]
        with chroma.server(self.path("server")) as port, contextlib.redirect_stdout(io.StringIO()) as said:
            exec(example.replace("./chroma_db", self.source).replace("8000", str(port)), {})
        self.assertEqual(said.getvalue(), f"Verified {chroma.COUNT}\n")


class Outcomes(WithChroma):
    def test_the_report_is_what_its_types_say(self) -> None:
        with chroma.server(self.path("server")) as port:
            report = migrate_memories("local", self.source, "remote", f"http://localhost:{port}", **FAST)
        self.assertEqual(list(_wrong(report, Report, "report")), [])

    def test_a_failure_carries_the_report(self) -> None:
        with chroma.server(self.path("server")) as port:
            target = {"host": "localhost", "port": port}
            migrate_memories("local", pathlib.Path(self.source), "remote", target, **FAST)
            key = next(iter(MEMORIES))
            chroma.edit(port, key, "another text")
            with self.assertRaises(MigrationFailed) as failed:
                migrate_memories("local", self.source, "remote", target, on_conflict="fail", **FAST)
        failure = failed.exception
        self.assertEqual((failure.exit_code, failure.resumable), (6, False))
        assert failure.report is not None
        self.assertEqual(failure.report["reason"], "RecordConflict")
        self.assertIn("RecordConflict", str(failure))
        again = pickle.loads(pickle.dumps(failure))
        self.assertEqual((str(again), again.report, again.exit_code), (str(failure), failure.report, 6))

    def test_what_is_not_there_yet_can_be_tried_again(self) -> None:
        with chroma.server(self.path("server")) as port, self.assertRaises(MigrationFailed) as failed:
            migrate_memories("local", self.path("nothing"), "remote", f"http://localhost:{port}", **FAST)
        self.assertTrue(failed.exception.resumable)
        assert failed.exception.report is not None
        self.assertEqual(failed.exception.report["reason"], "SourceNotFound")

    def test_the_programs_own_words_say_which_argument_is_wrong(self) -> None:
        wrong: Any = "ask"
        with self.assertRaises(MigrationFailed) as failed:
            migrate_memories("local", self.source, "remote", "http://localhost:1", on_conflict=wrong)
        self.assertEqual((failed.exception.exit_code, failed.exception.report), (2, None))
        self.assertIn("on_conflict", str(failed.exception))
        self.assertIn("skip, overwrite, fail", str(failed.exception))

    def test_its_words_are_those_of_python(self) -> None:
        remote: Any = {"host": "localhost", "port": 1}
        wrong: List[Any] = [
            (self.source, {"host": "h:8000"}, {}, "target_config has a host with a port"),
            (self.source, {"host": "a b"}, {}, "target_config has a wrong host"),
            (self.source, {"type": "cloud", "config": {}}, {}, "target_config has type"),
            (self.source, remote, {"max_slowdown": 0.5}, "max_slowdown"),
            (self.source, remote, {"exclude": ["*"]}, "exclude .* leaves nothing"),
            (self.source, {"host": "localhost", "database": "d"}, {"databases": ["*"]}, "leave one of them out"),
            (self.source, self.path("new"), {"chroma_bin": "/nowhere/chroma"}, "name the program with chroma_bin"),
        ]
        for source, target, options, expected in wrong:
            with self.subTest(expected), self.assertRaisesRegex(MigrationFailed, expected) as failed:
                migrate_memories(None, source, None, target, **options)
            self.assertNotRegex(str(failed.exception), r"--|in file|memory-migration-|configuration\b")

    def test_what_only_looks_like_a_flag_stays(self) -> None:
        options = memory_migration.Options.__annotations__.keys()
        for text in ("id \"a --b\" differs", "x--search", "--no-such-flag", "a file /x/source-config:"):
            self.assertEqual(_words.in_python(text, options), text)
        self.assertEqual(_words.in_python("say --one-store no", options), "say one_store no")

    def test_an_ipv6_address_is_a_host(self) -> None:
        with self.assertRaises(MigrationFailed) as failed:
            migrate_memories(None, {"host": "::1", "port": 1}, None, self.path("new"), **FAST)
        self.assertIn("http://[::1]:1", str(failed.exception))

    def test_progress_and_log_come_while_it_runs(self) -> None:
        seen: List[Progress] = []
        with chroma.server(self.path("server")) as port, self.assertLogs("memory_migration", logging.INFO):
            options: Any = {"collections": {"memory_*": "prod_*"}, "on_progress": seen.append, **FAST}
            migrate_memories(None, self.source, None, {"host": "localhost", "port": port}, **options)
            self.assertEqual(chroma.held(port, "prod_collection"), MEMORIES)
        self.assertEqual([word for each in seen for word in _wrong(each, Progress, "progress")], [])
        self.assertIn("Verifying", [each["stage"] for each in seen])

    def test_an_interrupt_ends_the_program_and_the_next_call_resumes(self) -> None:
        def interrupt(progress: Progress) -> None:
            if progress["stage"] == "Copying" and progress["records"] > 0:
                raise KeyboardInterrupt

        with chroma.server(self.path("server")) as port:
            target = f"http://localhost:{port}"
            with self.assertRaises(KeyboardInterrupt):
                migrate_memories("local", self.source, "remote", target, batch_size=1, delay=0.5, on_progress=interrupt)
            self.assertEqual(_children(), [])
            report = migrate_memories("local", self.source, "remote", target, **FAST)
        self.assertGreater(report["counts"]["present"], 0)
        self.assertEqual(report["counts"]["verified"], chroma.COUNT)

    def test_a_killed_program_is_said_to_be_killed(self) -> None:
        def kill(_: Progress) -> None:
            for child in _children():
                os.kill(child, 9)

        with chroma.server(self.path("server")) as port, self.assertRaises(MigrationFailed) as failed:
            migrate_memories("local", self.source, "remote", f"http://localhost:{port}", on_progress=kill)
        self.assertEqual((failed.exception.exit_code, failed.exception.report), (-9, None))
        self.assertTrue(failed.exception.resumable)


class Secrets(WithChroma):
    def test_a_token_goes_by_the_environment_alone(self) -> None:
        with _guarded() as guard:
            os.environ["MEMORY_MIGRATION_TARGET_HEADER"] = "X-Of-Another-Server"
            self.addCleanup(os.environ.pop, "MEMORY_MIGRATION_TARGET_HEADER")
            credentials = Credentials(token=TOKEN)
            with self.assertRaises(MigrationFailed) as failed, self.assertLogs("memory_migration") as logged:
                url = f"http://127.0.0.1:{guard.server_port}"
                migrate_memories("local", self.source, "remote", url, target_credentials=credentials, **FAST)
        self.assertEqual(set(guard.authorizations), {f"Bearer {TOKEN}"})
        self.assertEqual(guard.arguments_with_token, [])
        for text in (str(failed.exception), repr(failed.exception.report), repr(credentials), "".join(logged.output)):
            self.assertNotIn(TOKEN, text)

    def test_a_token_in_the_wrong_place_is_refused_before_anything_starts(self) -> None:
        wrong: List[Any] = [
            {"host": "localhost", "token": TOKEN},
            {"type": "remote", "config": {"host": "localhost", "headers": {"Authorization": TOKEN}}},
            f"http://me:{TOKEN}@localhost:8000",
            f'{{"host": "localhost", "token": "{TOKEN}"}}',
        ]
        for config in wrong:
            with self.subTest(type(config)), self.assertRaises(ValueError) as refused:
                migrate_memories("local", self.source, "remote", config)
            self.assertNotIn(TOKEN, str(refused.exception))


class Arguments(unittest.TestCase):
    def test_every_flag_is_an_option_and_the_other_way_round(self) -> None:
        text = subprocess.run([_program.program(), "migrate", "--help"], stdout=subprocess.PIPE, check=True).stdout.decode()
        flags = set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.MULTILINE))
        ours = {"source-type", "source-config", "target-type", "target-config", "report", "log-format", "help", "version"}
        options = set(_migrate.Options.__annotations__) - {"source_credentials", "target_credentials", "on_progress"}
        names = {"collections": "collection", "databases": "database"}
        self.assertEqual(flags - ours, {names.get(option, option.replace("_", "-")) for option in options})

    def test_the_words_of_an_option_are_those_of_its_flag(self) -> None:
        text = subprocess.run([_program.program(), "migrate", "--help"], stdout=subprocess.PIPE, check=True).stdout.decode()
        parts = re.split(r"^ +(?:-\w, )?--([a-z-]+).*", text, flags=re.MULTILINE)
        words = {flag: re.findall(r"^ +- ([a-z-]+): ", part, re.MULTILINE) for flag, part in zip(parts[1::2], parts[2::2])}
        of_types = typing.get_type_hints(migrate_memories)["source_type"].__args__[0]
        self.assertEqual(words.pop("source-type"), list(typing.get_args(of_types)))
        kinds = typing.get_type_hints(memory_migration.Options)
        given = {name: typing.get_args(kind) for name, kind in kinds.items() if typing.get_origin(kind) is typing.Literal}
        expected = {flag: tuple(found) for flag, found in words.items() if found and flag not in ("target-type", "log-format")}
        self.assertEqual({name.replace("_", "-"): found for name, found in given.items()}, expected)

    def test_the_types_can_be_read_while_it_runs(self) -> None:
        for name in memory_migration.__all__:
            self.assertIsInstance(typing.get_type_hints(getattr(memory_migration, name)), dict)

    def test_a_wrong_option_is_named(self) -> None:
        wrong: Any = {"batchsize": 5}
        with self.assertRaisesRegex(TypeError, "batchsize.*batch_size"):
            migrate_memories("local", "x", "remote", "y", **wrong)
        wrong = {"collections": "memories"}
        with self.assertRaisesRegex(TypeError, r"write \['memories'\]"):
            migrate_memories("local", "x", "remote", "y", **wrong)

    def test_an_option_works_or_is_refused_by_name_before_anything_starts(self) -> None:
        switches: List[str] = []
        for name in _migrate.Options.__annotations__:
            for value in (True, False):
                wrong: Any = {name: value}
                if name in ("allow_empty", "dry_run"):
                    switches += _migrate._flags(wrong)
                    wrong = {name: "no"}
                with self.subTest(name), self.assertRaisesRegex(TypeError, name):
                    migrate_memories("local", "x", "remote", "y", **wrong)
        self.assertEqual(switches, ["--allow-empty", "--dry-run"])

    def test_what_is_no_name_is_refused_by_name(self) -> None:
        wrong: List[Any] = [
            ("collections", {"memory_collection": None}),
            ("collections", {None: "x"}),
            ("collections", [None]),
            ("collections", [b"x"]),
            ("collections", 5),
            ("databases", [None]),
            ("databases", {"a": "b"}),
            ("exclude", [None]),
            ("exclude", {"a": "b"}),
            ("exclude", b"x"),
            ("batch_size", [1]),
            ("on_conflict", b"skip"),
            ("chroma_bin", b"/x"),
        ]
        for name, value in wrong:
            options: Any = {name: value}
            with self.subTest(name=name, value=value), self.assertRaisesRegex(TypeError, name):
                migrate_memories("local", "x", "remote", "http://localhost:1", **options)
        self.assertEqual(_migrate._flags({"exclude": []}), [])
        self.assertEqual(_migrate._flags({"collections": (name for name in "ab")}), ["--collection=a", "--collection=b"])

    def test_a_configuration_has_text_and_numbers(self) -> None:
        wrong: List[Any] = [
            b"/x",
            None,
            5,
            {"path": b"/x"},
            {"path": None},
            {"type": "local", "config": {"path": b"/x"}},
            {"host": 5},
            {"host": "h", "port": "8000"},
            {"host": "h", "port": True},
            {"host": "h", "ssl": "yes"},
            {"host": "h", "tenant": None},
        ]
        for config in wrong:
            with self.subTest(config=config), self.assertRaisesRegex(TypeError, "source_config is|of source_config"):
                migrate_memories(None, config, "local", "x")

    def test_help_lists_every_option(self) -> None:
        text = pydoc.plain(pydoc.render_doc(memory_migration.Options))
        described = (memory_migration.Options.__doc__ or "").split("\n")
        for name in memory_migration.Options.__annotations__:
            self.assertTrue(any(re.match(rf" *(\w+, )*{name}(, \w+)*$", line) for line in described), name)
            self.assertIn(name, text)
        with open(os.path.join(chroma.ROOT, "python", "README.md"), encoding="utf-8") as file:
            self.assertIn("help(memory_migration.Options)", file.read())

    def test_a_host_is_a_name_and_no_address(self) -> None:
        hosts = ["http://localhost", "https://chroma.example.com/api", "me:%s@localhost" % TOKEN, "localhost/x"]
        for host in hosts:
            for config in ({"host": host, "port": 8000}, {"type": "remote", "config": {"host": host}}):
                with self.subTest(host), self.assertRaisesRegex(ValueError, "source_config is an address") as refused:
                    migrate_memories(None, config, "local", "x")
                self.assertNotIn(TOKEN, str(refused.exception))

    def test_credentials_that_nothing_would_use_are_refused(self) -> None:
        for fields in ({"username": "me"}, {"header": "X-Chroma-Token"}, {"token": "t", "username": "me", "header": "h"}):
            with self.subTest(fields), self.assertRaisesRegex(ValueError, "username"):
                Credentials(**fields)
        with self.assertRaisesRegex(ValueError, "source_credentials are for a server"):
            migrate_memories("local", "x", "remote", "y", source_credentials=Credentials(token="t"))
        kind: Any = "cloud"
        with self.assertRaisesRegex(ValueError, "target_type is 'cloud'"):
            migrate_memories("local", "x", kind, "y")

    def test_an_empty_choice_is_refused_and_never_all(self) -> None:
        empty: Any
        for empty in ({"collections": []}, {"collections": {}}, {"databases": []}):
            with self.assertRaisesRegex(ValueError, "is empty"):
                migrate_memories("local", "x", "remote", "y", **empty)

    def test_the_command_is_that_of_this_package(self) -> None:
        self.assertTrue(_program.program().startswith(sys.prefix))
        command = [sys.executable, "-m", "memory_migration", "--version"]
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
        self.assertRegex(said, r"^memory-migration \d+\.\d+\.\d+")

    def test_what_is_exported_is_there(self) -> None:
        for name in memory_migration.__all__:
            self.assertTrue(hasattr(memory_migration, name), name)


def _wrong(value: Any, kind: Any, place: str) -> Iterator[str]:
    """Where a value is not what a type says. A key that no type has is one that nobody may use."""
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            yield f"{place} is {value!r}"
    elif typing.get_origin(kind) is list:
        for each in value:
            yield from _wrong(each, typing.get_args(kind)[0], f"{place}[]")
    elif hasattr(kind, "__required_keys__"):
        kinds = typing.get_type_hints(kind)
        for key in value.keys() - kinds.keys():
            yield f"{place}.{key} has no type"
        for key in kind.__required_keys__ - value.keys():
            yield f"{place}.{key} is absent"
        for key in kinds.keys() & value.keys():
            yield from _wrong(value[key], kinds[key], f"{place}.{key}")
    elif not isinstance(value, (int, float) if kind is float else kind):
        yield f"{place} is {value!r}"


def _children() -> List[int]:
    """The programs of this package that this process started."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], stdout=subprocess.PIPE, check=True).stdout.decode()
    rows = [line.split(None, 2) for line in listed.splitlines()]
    program = _program.program()
    return [int(pid) for pid, parent, *text in rows if int(parent) == os.getpid() and "".join(text).startswith(program)]


class _Guarded(http.server.ThreadingHTTPServer):
    authorizations: List[str]
    arguments_with_token: List[str]


class _Guard(http.server.BaseHTTPRequestHandler):
    """Lets nobody in; keeps what was sent, and who shows the token in its arguments meanwhile."""

    server: _Guarded

    def do_GET(self) -> None:
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        listed = subprocess.run(["ps", "-A", "-o", "args="], stdout=subprocess.PIPE, check=True).stdout.decode()
        self.server.arguments_with_token += [line for line in listed.splitlines() if TOKEN in line]
        self.send_response(401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _guarded() -> Iterator[_Guarded]:
    with _Guarded(("127.0.0.1", 0), _Guard) as guarded:
        guarded.authorizations, guarded.arguments_with_token = [], []
        threading.Thread(target=guarded.serve_forever, daemon=True).start()
        yield guarded
        guarded.shutdown()


if __name__ == "__main__":
    unittest.main()
