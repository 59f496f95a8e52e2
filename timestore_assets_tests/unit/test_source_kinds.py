"""The kinds of sources are named alike by values, declarations and what is decided by the kind alone."""

from __future__ import annotations

from typing import get_args

import pytest

from timestore_assets.declaration.attributes import AnySourceAttributes, SourceAttributes
from timestore_assets.model.dataset import FileSource, HttpSource, KafkaSource, Source
from timestore_assets.model.source_kinds import (
    SOURCE_KINDS,
    SourceKind,
    has_partitions_of_sessions,
    lands_files,
    reads_topics,
)

SOURCES: tuple[Source, ...] = (FileSource(prefix="p"), KafkaSource(topics=("t",)), HttpSource())


def test_every_source_has_a_kind_and_a_key_of_declarations() -> None:
    assert {type(source) for source in SOURCES} == set(get_args(Source))
    assert tuple(source.kind for source in SOURCES) == SOURCE_KINDS
    assert tuple(SourceAttributes.model_fields) == SOURCE_KINDS
    assert len(get_args(AnySourceAttributes)) == len(SOURCE_KINDS)


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_each_question_has_an_answer_for_each_kind(kind: SourceKind) -> None:
    answers = reads_topics(kind), has_partitions_of_sessions(kind), lands_files(kind)
    assert answers.count(True) == 1
