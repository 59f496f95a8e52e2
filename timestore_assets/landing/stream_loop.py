class _Session:
    """The loop of one session and what it keeps in mind."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        dataset: Dataset,
        source: KafkaSource,
        record: SourceRecord,
        session_id: int,
        topics: Topics,
        landing: BatchLanding,
        tally: Tally,
        wishes: Wishes,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        unreachable_seconds: float,
    ) -> None:
        self._catalog, self._dataset, self._source, self._record = catalog, dataset, source, record
        self._session_id, self._topics, self._landing, self._tally = session_id, topics, landing, tally
        self._wishes, self._clock, self._unreachable_seconds = wishes, clock, unreachable_seconds
        self._clocks: QuietClocks[Key] = QuietClocks(monotonic)
        self._recorded: dict[Key, timedelta] = {}  # quiet times as the catalog has them
        self._places = Places()
        self._positions: dict[Key, int] = {}
        self._targets: dict[Key, int] = {}
        self._gone: set[Key] = set()
        self._commits = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._publishing: Future[Counters] | None = None
        self._paused = ""
        self._paused_since = self._paused_seconds = 0.0
        now = time.monotonic()
        self._began = self._last_record = self._next_look = self._next_judgement = self._next_mirror = self._next_word = now
        self._unreachable_since: float | None = None

    def run(self) -> StreamReport:
        ending, reason = self._start()
        if ending is not None:
            return self._report(ending, reason)
        reader = self._topics.reader()
        try:
            reader.assign(self._positions)
            ending, reason = self._loop(reader)
            self._note_quiet(everything=True)
        except OvertakenError as error:
            ending, reason = "overtaken", str(error)
        finally:
            self._pool.shutdown(wait=True)
            reader.close(self._positions if ending is not None else None)
            if self._paused:
                self._keep_pause(self._paused)
        return self._report(ending, reason)

    # --- beginning and end

    def _start(self) -> tuple[Ending | None, str]:
        lag = self._topics.look(self._catalog.topic_partitions(self._record.id))
        if not lag.partitions:
            names = ", ".join(lag.missing)
            raise InputError(f"no topic of {self._dataset.name!r} exists on this cluster: {names}; create it or mend `topic:`")
        self._take(lag)
        self._targets = dict(self._places.highs)
        self._next_look = time.monotonic() + _LOOK_SECONDS
        if self._places.held:
            return None, ""
        if self._places.lost:
            return "lost_offsets", self._places.lost[0].reason
        return "held_elsewhere", "other sessions read all topic partitions of this shard"

    def _take(self, lag: SourceLag) -> dict[Key, int]:
        """Claim what is to be read; returns the positions of what is new to this session."""
        taken = take_places(
            self._catalog,
            self._record.id,
            self._source,
            lag,
            session_id=self._session_id,
            shard=self._wishes.shard,
            actor=self._wishes.actor,
        )
        fresh = {key: one.position for key, one in taken.held.items() if key not in self._positions or key in self._gone}
        for key in fresh:
            self._clocks.add(key, taken.held[key].quiet)
            self._recorded[key] = taken.held[key].quiet
        taken.held = {**self._places.held, **{key: taken.held[key] for key in fresh}}
        self._places = taken
        self._positions.update(fresh)
        self._gone -= fresh.keys()
        return fresh

    def _report(self, ending: Ending, reason: str) -> StreamReport:
        tally = self._tally
        lag = sum(max(0, high - self._positions.get(key, high)) for key, high in self._places.highs.items())
        source = next(one for one in self._catalog.sources(self._record.dataset_id) if one.id == self._record.id)
        return StreamReport(
            dataset=self._dataset.name,
            source=self._source.address,
            counters=tally.counters,
            manifest_version=self._catalog.manifest_version(self._record.dataset_id),
            partitions=tuple(key for _, key in sorted(tally.partitions)),
            schema_changes=tuple(tally.changes),
            seconds=time.monotonic() - self._began,
            commits=self._commits,
            ending=ending,
            reason=reason,
            lag=lag,
            watermark=source.watermark,
            paused_seconds=self._paused_seconds,
            lost=tuple(self._places.lost),
            missing_topics=self._places.missing,
            dead_letter_reasons=dict(tally.reasons),
        )

    # --- the loop

    def _loop(self, reader: TopicReader) -> tuple[Ending, str]:
        while True:
            fetched = reader.take(_TAKE_SECONDS)
            if fetched is not None:
                self._land(fetched)
            self._settle(wait=False)
            now = time.monotonic()
            self._note_quiet()
            if now >= self._next_look:
                self._settle()
                self._look(reader)
            if now >= self._next_judgement:
                self._judge(reader)
            if now >= self._next_mirror:
                self._settle()
                reader.mirror(dict(self._positions))
                self._next_mirror = now + _MIRROR_SECONDS
            self._tell(now)
            ending = self._ending(now)
            if ending is not None:
                self._settle()
                return ending

    def _land(self, fetched: Fetched) -> None:
        """Judge what was read while the batch before it is written and committed, then have it written in its turn."""
        delivered = fetched.delivered
        self._clocks.moved(delivered, fetched.at_end)
        self._mark_gone(fetched.gone)
        spans = [self._span(key, end, delivered) for key, end in sorted(fetched.ends.items()) if key in self._positions]
        effects = self._effects(tuple(spans))
        if delivered:
            self._last_record = time.monotonic()
            batch = fetched.batch({key: one.id for key, one in self._places.held.items()})
            prepared = patiently(lambda: self._landing.prepare(batch, effects))
            self._settle()
            self._publishing = self._pool.submit(self._landing.publish, batch, effects, prepared)
        elif any(span.end > span.start for span in spans):
            self._settle()
            self._landing.note(effects)
        else:
            return
        self._went_on(fetched.ends, spans)

    def _settle(self, *, wait: bool = True) -> None:
        """Take note of the batch that was being published; its error is the session's."""
        publishing = self._publishing
        if publishing is not None and (wait or publishing.done()):
            self._publishing = None
            publishing.result()
            self._commits += 1
            self._wishes.after_commit()

    def _span(self, key: Key, end: int, delivered: set[Key]) -> Span:
        start = self._positions[key]
        return Span(
            source_partition_id=self._places.held[key].id,
            start=Position(offset=start),
            end=Position(offset=max(start, end)),
            quiet=timedelta(0) if key in delivered and self._recorded[key] else None,
        )

    def _effects(self, spans: tuple[Span, ...]) -> Effects:
        late_before = None
        if self._dataset.late.policy != "correct":
            source = patiently(lambda: self._catalog.source(self._record.dataset_id, self._record.kind, self._record.address))
            late_before = closed_before(self._dataset, source.watermark)
        return Effects(
            spans=spans,
            claimed=True,
            watermark=WatermarkRule(over=self._places.whole, idle=self._source.idle, cap=self._clock()),
            late_before=late_before,
            forward=self._source.dead_letter_topic is not None,
            max_record_bytes=self._source.max_record_bytes,
        )

    def _went_on(self, ends: Mapping[Key, int], spans: Sequence[Span]) -> None:
        """The next batch begins where this one ends; should it fail, so does the session."""
        for key, end in ends.items():
            if key in self._positions:
                self._positions[key] = max(self._positions[key], end)
                self._places.highs[key] = max(self._places.highs.get(key, 0), end)
        quiet = {span.source_partition_id: span.quiet for span in spans if span.quiet is not None}
        for key, one in self._places.held.items():
            if one.id in quiet:
                self._recorded[key] = quiet[one.id]

    def _note_quiet(self, *, everything: bool = False) -> None:
        """Let the watermark go on without topic partitions that have become idle; at the end, remember all quiet times."""
        idle, spans = self._source.idle, []
        for key, quiet in self._clocks.quiet().items():
            before = self._recorded[key]
            if (before < idle <= quiet) or (everything and quiet - before >= timedelta(seconds=1)):
                at = Position(offset=self._positions[key])
                spans.append(Span(source_partition_id=self._places.held[key].id, start=at, end=at, quiet=quiet))
        if spans:
            self._settle()
            self._landing.note(self._effects(tuple(spans)))
            self._went_on({}, spans)

    # --- between batches

    def _look(self, reader: TopicReader) -> None:
        """See what the brokers have now: more partitions, other ends, offsets that are gone."""
        now = time.monotonic()
        try:
            lag = self._topics.look(self._catalog.topic_partitions(self._record.id))
        except UnavailableError:
            self._unreachable_since = self._unreachable_since or now
            if now - self._unreachable_since > self._unreachable_seconds:
                raise
            self._next_look = now + _LOOK_SOON_SECONDS
            return
        self._unreachable_since = None
        self._next_look = time.monotonic() + _LOOK_SECONDS
        fresh = self._take(lag)
        if self._gone:
            reader.drop(self._gone)
            self._clocks.forget(self._gone)
        if fresh:
            reader.drop(fresh)
            reader.assign(fresh)
        self._clocks.behind(key for key, high in self._places.highs.items() if high > self._positions.get(key, high))

    def _mark_gone(self, keys: set[Key]) -> None:
        if keys:
            self._gone |= keys
            self._next_look = 0.0  # at once: the brokers no longer have what comes next

    def _judge(self, reader: TopicReader) -> None:
        """Pause or go on by what waits behind landing."""
        marks, now = self._wishes.marks, time.monotonic()
        self._next_judgement = now + (self._wishes.pause_seconds if self._paused else _JUDGE_SECONDS)
        if marks is None:
            return
        backlog = replace(self._wishes.gauge(), commit_ms=int(self._landing.last_write_seconds * 1000))
        reason = judge(backlog, marks, paused=bool(self._paused))
        if reason and not self._paused:
            reader.pause()
            self._paused_since = now
        elif self._paused and not reason:
            self._paused_seconds += now - self._paused_since
            self._landing.last_write_seconds = 0.0
            self._last_record = now
            reader.resume()
        if reason != self._paused:
            self._keep_pause(reason)
        self._paused = reason

    def _keep_pause(self, reason: str) -> None:
        with suppress(UnavailableError):
            self._catalog.pause(self._record.id, reason)

    def _tell(self, now: float) -> None:
        if self._wishes.progress is not None and now >= self._next_word:
            lag = sum(max(0, high - self._positions.get(key, high)) for key, high in self._places.highs.items())
            self._wishes.progress.committed(self._tally.counters, lag, self._paused)
            self._next_word = now + _TOLD_SECONDS

    def _ending(self, now: float) -> tuple[Ending, str] | None:
        limits = self._wishes.limits
        if self._wishes.stop.is_set():
            return "stopped", "it was asked to stop"
        if limits.longest is not None and now - self._began >= limits.longest.total_seconds():
            return "time_over", f"its {limits.longest.total_seconds():g} s are over"
        if self._paused:
            long_paused = now - self._paused_since >= limits.paused.total_seconds()
            return ("paused", f"paused for {limits.paused}: {self._paused}") if long_paused else None
        if self._gone >= self._positions.keys():
            return "lost_offsets", self._places.lost[0].reason if self._places.lost else "the topics are gone"
        if limits.until_caught_up and self._caught_up() and now - self._last_record >= limits.linger.total_seconds():
            return "caught_up", "it landed all that was there when it began"
        return None

    def _caught_up(self) -> bool:
        return all(self._positions[key] >= end for key, end in self._targets.items() if key not in self._gone)
