"""What a declaration over HTTP may name outside its own dataset: whatever the operator's lists of patterns allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import assert_never

from timestore_assets.model.dataset import Dataset, FileSource, HttpSource, KafkaSource
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.segment import DEFAULT_TARGET

_DATASET = "{dataset}"

_OWN_PREFIXES, _OWN_GROUPS = f"inbox/{_DATASET}/*", f"timestore-{_DATASET}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowances:
    """Patterns as of a shell, `*` also for `/`; `{dataset}` in one stands for the name that is declared.

    Attributes: `prefixes`, folders and bucket prefixes that are watched; `topics`, that are read; `groups`, whose offsets are
    moved; `dead_letter_topics`, that are written to; `targets`, where segments are kept.
    """

    prefixes: tuple[str, ...] = (_OWN_PREFIXES,)
    topics: tuple[str, ...] = ()
    groups: tuple[str, ...] = (_OWN_GROUPS,)
    dead_letter_topics: tuple[str, ...] = ()
    targets: tuple[str, ...] = (DEFAULT_TARGET,)

    def check(self, dataset: Dataset) -> None:
        """DeclarationError for the first thing the dataset names that no pattern allows."""
        for key, name, patterns, setting in self._named(dataset):
            own = tuple(pattern.replace(_DATASET, dataset.name) for pattern in patterns)
            if not any(fnmatchcase(name, pattern) for pattern in own):
                raise DeclarationError(_refusal(name, own, setting), key=key)

    def _named(self, dataset: Dataset) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
        """What the dataset names: key, name, patterns, and the setting that holds those."""
        for number, source in enumerate(dataset.sources):
            key = f"sources.{number}.{source.kind}"
            match source:
                case FileSource():
                    yield f"{key}.prefix", f"{source.prefix.rstrip('/')}/", self.prefixes, "PREFIXES"
                case KafkaSource():
                    for topic in source.topics:
                        yield f"{key}.topic", topic, self.topics, "TOPICS"
                    yield f"{key}.group", source.group_of(dataset.name), self.groups, "GROUPS"
                    if source.dead_letter_topic is not None:
                        yield f"{key}.dead_letter_topic", source.dead_letter_topic, self.dead_letter_topics, "DEAD_LETTER_TOPICS"
                case HttpSource():
                    pass
                case _:
                    assert_never(source)
        yield "storage", dataset.storage, self.targets, "TARGETS"
        for tier in dataset.retention.tier:
            yield "retention.tier", tier.to, self.targets, "TARGETS"


def patterns_of(text: str) -> tuple[str, ...]:
    """The patterns of a setting, which are separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _refusal(name: str, patterns: tuple[str, ...], setting: str) -> str:
    why = f"only what TIMESTORE_HTTP_DECLARE_{setting} lists may be declared over HTTP"
    if setting == "PREFIXES" and patterns:
        beginnings = " or ".join(pattern.removesuffix("*") for pattern in patterns)
        return f"must begin with {beginnings}, since {why}; a file may declare another folder"
    return f"is {name[:100]!r}, and {why}; a file may declare it"
