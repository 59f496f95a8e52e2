"""`tag`: names for versions, which keep them from being collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse, timestore
from timestore_assets.cli.options import AsJson, DatasetName
from timestore_assets.cli.output import print_json, print_table, stdout
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_time

if TYPE_CHECKING:
    from timestore_assets.catalog.tags import Tag

HELP = """Give a version of a dataset a name and keep it, show the names there are, or take one back.

A tagged version can be asked for (`timestore query --as-of NAME`) and rolled back to for as long as the tag is there."""

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="The tag; without one all are shown.", show_default=False)]
Version = Annotated[int | None, typer.Option("--version", min=0, help="This version instead of the newest.")]
AsOf = Annotated[str | None, typer.Option("--as-of", metavar="TIME", help="The version that was in force at this time.")]
Note = Annotated[str, typer.Option("--note", help="What it is for.")]
LegalHold = Annotated[bool, typer.Option("--legal-hold", help="Nothing that it shows may be deleted, whatever a policy says.")]
Delete = Annotated[bool, typer.Option("--delete", help="Take the name back; its version may be collected then.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Even if that ends a legal hold.")]


def add_to(app: typer.Typer) -> None:
    app.command("tag", help=HELP)(tag)


def tag(
    dataset: DatasetName,
    name: Name = None,
    version: Version = None,
    as_of: AsOf = None,
    note: Note = "",
    legal_hold: LegalHold = False,
    delete: Delete = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    if version is not None and as_of is not None:
        raise InputError("--version and --as-of both say which version; give one of them")
    if name is None:
        if delete or note or legal_hold or version is not None or as_of is not None:
            raise InputError("say which tag: timestore tag DATASET NAME")
        _show(dataset, json=json)
        return
    with open_warehouse() as warehouse:
        if delete:
            found = warehouse.untag(dataset, name, may_release=yes, actor=actor())
            if found is None:
                raise InputError(f"dataset {dataset!r} has no tag {name!r}; `{timestore('tag', dataset)}` shows those it has")
        else:
            found = warehouse.tag(
                dataset,
                name,
                version=version if as_of is None else as_of,
                note=note,
                is_legal_hold=legal_hold,
                may_release=yes,
                actor=actor(),
            )
    if json:
        print_json({"dataset": dataset, "deleted": delete, **tag_to_plain(found)})
    elif delete:
        _say(f"{name} is gone; version {found.version} of {dataset} may be collected once nothing else holds it.")
    else:
        _say(f"{name} is version {found.version} of {dataset}{', under legal hold' if found.is_legal_hold else ''}.")


def _show(dataset: str, *, json: bool) -> None:
    with open_warehouse() as warehouse:
        found = warehouse.tags(dataset)
    if json:
        print_json({"dataset": dataset, "tags": [tag_to_plain(one) for one in found]})
    elif not found:
        _say(f"{dataset} has no tags.")
    else:
        rows = ([one.name, str(one.version), _at(one), one.actor, _kind(one), one.note] for one in found)
        print_table(["tag", ">version", "since", "by", "kind", "~note"], rows)


def tag_to_plain(tag: Tag) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "tag": tag.name,
        "version": tag.version,
        "legal_hold": tag.is_legal_hold,
        "note": tag.note,
        "actor": tag.actor,
        "at": format_time(tag.at),
    }


def _at(tag: Tag) -> str:
    return format_time(tag.at)[:19].replace("T", " ")


def _kind(tag: Tag) -> str:
    return "legal hold" if tag.is_legal_hold else "tag"


def _say(text: str) -> None:
    stdout().print(text, markup=False, soft_wrap=True)
