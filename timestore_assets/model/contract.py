"""The contract of a dataset with its records: what those may change about its schema. The modes are named as dlt names them."""

from __future__ import annotations

from typing import Literal, get_args

ContractMode = Literal["evolve", "freeze", "discard_value", "discard_row"]
"""What happens when records ask for another schema. evolve: it changes · freeze: landing stops there · discard_value: they land
without the values that ask for it · discard_row: they become dead letters.

See https://dlthub.com/docs/general-usage/schema-contracts."""
CONTRACT_MODES: tuple[ContractMode, ...] = get_args(ContractMode)

_FROZEN = "the schema contract is frozen"


def frozen_reason(problem: str) -> str:
    """Why landing stops under `freeze`. `problem`: what the records ask for."""
    return f"{_FROZEN}: {problem}; declare it, or write another mode below `evolution:`"


def is_frozen(reason: str) -> bool:
    """Whether it is for the contract that something does not land: a changed declaration lets it be tried again."""
    return reason.startswith(_FROZEN)
