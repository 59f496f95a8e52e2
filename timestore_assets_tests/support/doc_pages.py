"""Pages of the documentation: where they are, their blocks of code, and their commands run as a person pastes them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timestore_assets_tests.support.command_line import CommandLine, Result

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FOR_A_SHELL = re.compile(r"[|<>;&$`~]")


def pages() -> list[Path]:
    """All of them, recipes too."""
    return sorted(DOCS.rglob("*.md"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block of code. `file`: its title, the file that it is the content of; empty where it has none."""

    language: str
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class DocPage:
    """A page, by its path below `docs/`."""

    name: str

    @property
    def blocks(self) -> list[Block]:
        text = (DOCS / self.name).read_text(encoding="utf-8")
        return [Block(language=language, file=file, text=body) for language, file, body in _BLOCK.findall(text)]

    def of(self, language: str) -> list[str]:
        """The blocks of a language, in order."""
        return [block.text for block in self.blocks if block.language == language]

    def file(self, name: str) -> str:
        """The content of a file that the page shows."""
        (found,) = (block.text for block in self.blocks if block.file == name)
        return found

    def write_files(self, line: CommandLine) -> None:
        """Put the page's files where it says: those of `defs/` into the home, others where the commands are typed."""
        for block in self.blocks:
            if block.file:
                path = (line.home if block.file.startswith("defs/") else line.folder) / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")

    def type_commands(self, line: CommandLine, *, skip: str = "", **more: str) -> str:
        """Type what its `sh` blocks hold, each of which has to succeed; what they print. `skip`: lines to leave out."""
        shown = []
        for block in self.of("sh"):
            for typed in [block] if "<<" in block else _logical_lines(block):
                if skip and re.search(skip, typed):
                    continue
                done = _type(line, typed, more)
                assert done.code == 0, f"{typed}\n{done.out}{done.err}"
                assert "Traceback" not in done.out + done.err
                shown.append(done.out)
        return "".join(shown)


def _type(line: CommandLine, typed: str, more: dict[str, str]) -> Result:
    """A `timestore` command without anything for a shell runs in this process, which spares seconds."""
    words = shlex.split(typed, comments=True)
    if words[0] == "timestore" and not _FOR_A_SHELL.search(re.sub(r"'[^']*'|\"[^\"$`]*\"", "", typed.split(" #")[0])):
        return line.inside(*words[1:], **more)
    return line.shell(typed, **more)


def _logical_lines(block: str) -> Iterator[str]:
    """Lines of a block, continued ones joined, without comments of their own and empty ones."""
    for text in block.replace("\\\n", " ").splitlines():
        if text.strip() and not text.lstrip().startswith("#"):
            yield text.strip()
