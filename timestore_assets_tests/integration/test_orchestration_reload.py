"""A code location asks to be loaded anew when declarations have changed, and never for a wrong one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import dagster as dg
import pytest

from timestore_assets.cli.dev_news import DevNews
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.orchestration.code_location import defs
from timestore_assets.orchestration.declared_state import DeclaredState, declared_state
from timestore_assets.orchestration.reload_sensor import reload_location
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dagster_deployment import DECLARATION, QUIET

pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore:Using variable_values and operation_name arguments")]  # Dagster's client


class Webserver:
    """Answers one mutation as Dagster's webserver does."""

    def __init__(self) -> None:
        self.asked: Queue[str] = Queue()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.answer: dict[str, object] = {
            "__typename": "WorkspaceLocationEntry",
            "locationOrLoadError": {"__typename": "RepositoryLocation"},
        }
        asked, this = self.asked, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.put(body["variables"]["repositoryLocationName"])
                assert this.may_answer.wait(20)
                text = json.dumps({"data": {"reloadRepositoryLocation": this.answer}}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webserver() -> Iterator[Webserver]:
    started = Webserver()
    yield started
    started.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webserver: Webserver) -> Path:
    monkeypatch.setenv("TIMESTORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIMESTORE_DAGSTER_RELOAD_URL", webserver.url)
    return tmp_path / "home"


def declare(home: Path, name: str, change: tuple[str, str] = ("", "")) -> Path:
    path = home / "defs" / name / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DECLARATION.replace("name: readings", f"name: {name}").replace(*change))
    return path


def tick(loaded: dg.Definitions) -> str:
    sensor = loaded.resolve_sensor_def("timestore_reload")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance, definitions=loaded) as context:
        return str(sensor.evaluate_tick(context).skip_message)


def test_the_webserver_is_asked_when_a_file_comes_changes_or_goes(home: Path, webserver: Webserver) -> None:
    loaded = defs()
    assert tick(loaded) == "everything is loaded as it is declared"
    declare(home, "tides")
    assert tick(loaded).startswith("declarations have changed")
    assert webserver.asked.get(timeout=20) == "timestore_assets"
    loaded = defs()
    assert tick(loaded) == "everything is loaded as it is declared"
    declare(home, "tides", ("window: day", "window: hour")).touch()
    assert tick(loaded).startswith("declarations have changed")
    loaded = defs()
    (home / "defs" / "tides" / "defs.yaml").unlink()
    assert tick(loaded).startswith("declarations have changed")


def test_what_is_declared_over_http_is_seen(home: Path, webserver: Webserver) -> None:
    loaded = defs()
    attributes = {"columns": {"at": {"type": "timestamp"}}, "time": "at", "start": "2024-01-01", "sources": [{"http": {}}]}
    with Warehouse.open() as warehouse:
        warehouse.declare("pushed", attributes, actor="test")
    assert tick(loaded).startswith("declarations have changed")
    assert webserver.asked.get(timeout=20) == "timestore_assets"
    assert tick(defs()) == "everything is loaded as it is declared"


def test_a_wrong_declaration_is_said_and_nothing_is_loaded(home: Path, webserver: Webserver) -> None:
    loaded = defs()
    path = declare(home, "tides", ("window: day", "window: fortnight"))
    with pytest.raises(InputError, match=r"defs.yaml:\d+: window: .* goes on until that is mended"):
        tick(loaded)
    assert "fortnight" in tick(loaded), "the tick fails once, and the words stay"
    assert webserver.asked.empty()
    path.write_text(DECLARATION)
    assert tick(loaded).startswith("declarations have changed")


def test_what_dagster_would_refuse_is_said_and_nothing_is_loaded(home: Path, webserver: Webserver) -> None:
    loaded = defs()
    declare(home, "tides", ('owners: ["team:sensors"]', "owners: [nobody]"))
    with pytest.raises(InputError, match=r"'tides' is declared in a way that Dagster refuses: Invalid owner 'nobody'"):
        tick(loaded)
    assert webserver.asked.empty()


def test_one_reload_goes_on_at_a_time(home: Path, webserver: Webserver) -> None:
    loaded = defs()
    declare(home, "tides")
    webserver.may_answer.clear()
    assert tick(loaded).endswith("was asked to load timestore_assets anew")
    assert webserver.asked.get(timeout=20) == "timestore_assets"
    assert tick(loaded).endswith("is still loading timestore_assets anew")
    webserver.may_answer.set()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "reload"]
    thread.join(20)
    assert webserver.asked.empty()
    assert tick(loaded).endswith("was asked to load timestore_assets anew"), "it is loaded no other way than before"
    assert webserver.asked.get(timeout=20) == "timestore_assets"


def test_without_a_webserver_there_is_no_such_sensor(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home
    monkeypatch.delenv("TIMESTORE_DAGSTER_RELOAD_URL")
    assert "timestore_reload" not in {sensor.name for sensor in defs().sensors or ()}


def test_what_the_webserver_answers_is_told(webserver: Webserver) -> None:
    reload_location(webserver.url, "here")
    webserver.answer["locationOrLoadError"] = {"__typename": "PythonError", "message": "Trace\nbad key\n"}
    with pytest.raises(InputError, match="could not load here: bad key"):
        reload_location(webserver.url, "here")
    webserver.answer = {"__typename": "RepositoryLocationNotFound", "message": "no location here"}
    with pytest.raises(UnavailableError, match="no location here"):
        reload_location(webserver.url, "here")
    webserver.close()
    with pytest.raises(UnavailableError, match="could not be asked"):
        reload_location(webserver.url, "here")


def test_dev_tells_of_declarations_when_two_looks_agree(home: Path) -> None:
    news = DevNews(None, Settings.load())
    assert list(news.lines()) == []
    path = declare(home, "tides")
    assert list(news.lines()) == [], "it may be half written"
    assert list(news.lines()) == ["declarations: tides is new; Dagster loads them in some seconds"]
    assert list(news.lines()) == []
    path.write_text("type: timestore_assets.Dataset\nattributes: {}\n")
    list(news.lines())
    (wrong,) = news.lines()
    assert "tides/defs.yaml" in wrong and wrong.endswith("Dagster goes on with what it had, until that is mended")
    path.unlink()
    list(news.lines())
    assert list(news.lines()) == ["declarations: tides is gone; Dagster loads them in some seconds"]


def test_a_catalog_that_can_not_be_asked_changes_nothing(home: Path) -> None:
    before = declared_state(Settings.load())
    home.mkdir(exist_ok=True)
    (home / "catalog.sqlite").write_text("this is no database")
    now = declared_state(Settings.load())
    assert now.over_http is None and not now.differs(before) and not before.differs(now)


def test_what_was_missing_while_the_catalog_could_not_be_asked_is_seen_when_it_can() -> None:
    unknown, nothing = DeclaredState(files=(), over_http=None), DeclaredState(files=(), over_http=())
    pushed = DeclaredState(files=(), over_http=(("pushed", 1),))
    assert pushed.differs(unknown) and pushed.differs(nothing)
    assert not nothing.differs(unknown) and not unknown.differs(pushed)


def test_dev_has_dagster_load_what_is_right_and_tells_what_it_could_not(home: Path, webserver: Webserver) -> None:
    news = DevNews(None, Settings.load(), reload=lambda: reload_location(webserver.url, "here"))
    path = declare(home, "tides", ("window: day", "window: fortnight"))
    lines = [*news.lines(), *news.lines()]
    assert len(lines) == 1 and webserver.asked.empty()
    webserver.answer["locationOrLoadError"] = {"__typename": "PythonError", "message": "Trace\nbad key\n"}
    path.write_text(DECLARATION)
    list(news.lines())
    assert list(news.lines()) == ["declarations: readings is new; Dagster loads them in some seconds"]
    assert webserver.asked.get(timeout=20) == "here"
    assert news._answers.get(timeout=20) == "Dagster could not load here: bad key"
