"""A process of a rolling update: with the file of a generation it lands, builds and asks until it is ended or killed.

Argument: an `Order` as JSON. What it is about to send and what has been taken stands in its journal, a JSON object a line; so
does what it found wrong, and then it ends with 1.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from timestore_assets.model.errors import TimestoreError
from timestore_assets.model.question import Question
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, serving
from timestore_assets_tests.support.kafka_brokers import produce
from timestore_assets_tests.support.rolling_generations import DAYS, NAME, Row, checked, declared, record

NUMBERS = 1_000_000
"""Records that a process may send at most."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """`number`: of the process, no two have the same. `pause`: seconds between two things of a kind."""

    home: str
    url: str
    servers: str
    topic: str
    number: int
    generation: int
    generations: int
    pause: float

    @property
    def journal(self) -> Path:
        return Path(self.home) / f"journal-{self.number}.jsonl"

    @property
    def plain(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class Life:
    """`taken`: numbers of records that have been answered for, so that every question since finds them."""

    order: Order
    warehouse: Warehouse
    service: HttpService
    stop: threading.Event = field(default_factory=threading.Event)
    taken: set[int] = field(default_factory=set)
    failed: bool = False

    def __post_init__(self) -> None:
        self.dataset = declared(self.order.generation, self.order.generations, self.order.topic)
        self.random = random.Random(self.order.number)
        self.numbers = count(self.order.number * NUMBERS)
        self.lock, self.log = threading.Lock(), self.order.journal.open("a")

    def say(self, **what: Any) -> None:
        with self.lock:
            self.log.write(json.dumps(what) + "\n")
            self.log.flush()

    def made(self, some: int, way: str) -> tuple[list[int], list[Row]]:
        """Records in the form of this generation or of the one before, told before they are sent."""
        with self.lock:
            numbers = [next(self.numbers) for _ in range(some)]
            form = max(0, self.order.generation - self.random.randint(0, 1))
        self.say(sends=numbers, way=way)
        return numbers, [record(number, form, self.order.generations) for number in numbers]

    def took(self, numbers: list[int], way: str) -> None:
        self.say(taken=numbers, way=way)
        with self.lock:
            self.taken |= set(numbers)

    # --- what it does, again and again

    def file(self) -> None:
        is_csv = self.random.random() < 0.5
        numbers, records = self.made(5, "csv" if is_csv else "json")
        path = Path(self.order.home) / "dropped" / f"{numbers[0]}.{'csv' if is_csv else 'jsonl'}"
        path.parent.mkdir(exist_ok=True)
        if is_csv:
            lines = [",".join(records[0]), *(",".join(map(str, one.values())) for one in records)]
        else:
            lines = [json.dumps(one) for one in records]
        path.write_text("\n".join(lines) + "\n")
        report = self.warehouse.land(NAME, [path])
        assert (report.counters.landed, report.schema_changes) == (len(records), ()), report
        self.took(numbers, "csv" if is_csv else "json")

    def request(self) -> None:
        numbers, records = self.made(2, "http")
        answered = self.post("ingest", {"records": records}, **{"Idempotency-Key": str(numbers[0])})
        assert answered.status_code == 200 and answered.json()["landed"] == len(records), answered.text
        self.took(numbers, "http")

    def post(self, door: str, body: Row, **headers: str) -> httpx.Response:
        """Once more where the service had just closed a connection that nobody had used for a while."""
        for _ in range(3):
            with suppress(httpx.TransportError):
                return self.service.client.post(f"/datasets/{NAME}/{door}", json=body, headers=headers)
        raise ConnectionError(f"{door} is not answered")

    def topic(self) -> None:
        numbers, records = self.made(3, "topic")
        produce(self.order.servers, self.order.topic, [(None, None, json.dumps(one), None, None) for one in records])
        self.say(taken=numbers, way="topic")  # by the broker
        report = self.warehouse.stream(NAME, self.dataset.kafka_sources[0])
        assert report.counters.dead_letters == 0, report
        self.say(stream=report.ending, landed=report.counters.landed)

    def build(self) -> None:
        parts = [self.dataset.partition(day) for day in DAYS]
        done = Counter(one.outcome for one in self.warehouse.build(NAME, parts, close=self.random.random() < 0.5))
        self.say(builds=done)

    def question(self) -> None:
        way = self.random.choice(["ask", "sql", "http"])
        with self.lock:
            wanted = set(self.taken)
        generation, found = checked(getattr(self, f"by_{way}")(), self.order.generations, Path(self.order.home))
        assert not wanted - found, f"{way}: {sorted(wanted - found)[:5]} were taken and are not found"
        self.say(asked=way, generation=generation, rows=len(found))

    def by_ask(self) -> list[Row]:
        with self.warehouse.ask(Question(dataset=NAME)) as answer:
            rows: list[Row] = answer.table().to_pylist()
            return rows

    def by_sql(self) -> list[Row]:
        with self.warehouse.sql(f"SELECT * FROM {NAME}") as answer:
            rows: list[Row] = answer.table().to_pylist()
            return rows

    def by_http(self) -> list[Row]:
        """All pages; they are of one version."""
        rows: list[Row] = []
        more: dict[str, Any] = {}
        while True:
            answered = self.post("query", {"pageSize": 5000, **more})
            assert answered.status_code == 200, answered.text
            found = answered.json()
            names = [one["name"] for one in found["columns"]]
            rows += [one if isinstance(one, dict) else dict(zip(names, one, strict=True)) for one in found["rows"]]
            if not found.get("nextCursor"):
                return rows
            more = {"cursor": found["nextCursor"]}

    def again_and_again(self, work: Callable[[], None], times: float) -> None:
        while not self.stop.wait(self.order.pause * times * (0.5 + self.random.random())):
            try:
                work()
            except TimestoreError as error:
                # what may be tried again is said, and whoever reads the journal counts it
                self.say(refused=f"{type(error).__name__}: {error}", at=work.__name__)
            except BaseException:
                self.failed = True
                self.say(wrong=traceback.format_exc(), at=work.__name__)
                self.stop.set()


def main(order: Order) -> int:
    its = declared(order.generation, order.generations, order.topic)
    with ExitStack() as stack:
        warehouse = stack.enter_context(
            open_warehouse(Path(order.home), {NAME: its}, catalog_url=order.url, kafka_bootstrap_servers=order.servers)
        )
        life = Life(order, warehouse, stack.enter_context(serving(warehouse)))
        signal.signal(signal.SIGTERM, lambda *_: life.stop.set())
        faulthandler.register(signal.SIGUSR1)
        works = {life.file: 2.0, life.request: 1.0, life.topic: 3.0, life.build: 5.0, life.question: 1.5}
        threads = [threading.Thread(target=life.again_and_again, args=one, daemon=True) for one in works.items()]
        for thread in threads:
            thread.start()
        life.say(begun=os.getpid(), generation=order.generation)
        for thread in threads:
            # a signal that another thread was given is only seen once this one wakes
            while thread.is_alive():
                thread.join(0.5)
        life.say(ended=os.getpid(), cpu=sum(os.times()[:2]))
    return int(life.failed)


if __name__ == "__main__":
    sys.exit(main(Order(**json.loads(sys.argv[1]))))
