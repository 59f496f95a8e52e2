"""From what a person types after `land` to the files that are meant."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from timestore_assets.model.dataset import STORE_SCHEMES
from timestore_assets.model.errors import BadFileError, InputError

if TYPE_CHECKING:
    from timestore_assets.settings import Settings
    from timestore_assets.sources.files.input_file import InputFile


def expand(uris: Sequence[str], settings: Settings) -> tuple[list[Path | InputFile], list[str]]:
    """The files that paths, URIs, folders and globs name, in the order given and without repetitions.

    A folder means every file below it except those that a watched prefix ignores too (`.*`, `_*`, `*.tmp`, `*.part`, …); in an
    object store it is a URI that ends with `/`.

    Returns:
        The files, and one sentence for each entry of a folder that should be one but can't be read.

    Raises:
        InputError: a URI names nothing, or has a scheme that can't be read. UnavailableError: a store can't be reached.
    """
    found: dict[str, Path | InputFile] = {}
    problems: list[str] = []
    for uri in uris:
        if not uri.strip():
            raise InputError("a path is empty, as that of a shell variable that is not set; name the files to land")
        if urlsplit(uri).scheme in STORE_SCHEMES:
            found |= {file.address: file for file in _in_store(uri, settings) if file.address not in found}
        else:
            found |= {str(path): path for path in _expand_one(uri, problems) if str(path) not in found}
    return list(found.values()), problems


def _in_store(uri: str, settings: Settings) -> list[InputFile]:
    from timestore_assets.sources.objects.bucket_listing import ObjectFolder
    from timestore_assets.sources.objects.object_file import ObjectFile
    from timestore_assets.storage.remote.buckets import open_bucket

    bucket = open_bucket(settings, uri)
    key, root, pattern = bucket.prefix, *_folder_and_glob(bucket.prefix)
    if key and not pattern:
        file = ObjectFile(bucket, key)
        try:
            file.status()
        except BadFileError as error:
            missing = f"there is no object {uri!r}; what stands for a folder ends with /"
            raise InputError(missing if error.code == "missing" else error.reason) from None
        return [file]
    folder = ObjectFolder(bucket=bucket, root=root, glob=pattern or "**/*")
    found: list[InputFile] = [
        ObjectFile(bucket, f"{root}{file.address}", expected_bytes=file.size) for page in folder.pages() for file in page.files
    ]
    if not found:
        raise InputError(f"no object matches {uri!r}" if glob.has_magic(key) else f"there is no object to land below {uri!r}")
    return found


def _folder_and_glob(key: str) -> tuple[str, str]:
    """What can be listed of a key, up to the last `/` before anything that a glob stands for; and the rest."""
    if not glob.has_magic(key):
        return (key, "**/*") if key.endswith("/") else ("", "")
    first = min(key.index(char) for char in "*?[" if char in key)
    root = key[: key.rfind("/", 0, first) + 1]
    return root, key.removeprefix(root)


def _expand_one(uri: str, problems: list[str]) -> list[Path]:
    text = _local(uri)
    path = Path(text).expanduser()
    if path.is_dir():
        return _below(path, problems)
    if path.exists() or path.is_symlink():
        return [path]
    if glob.has_magic(text):
        found = glob.glob(str(path), recursive=True)  # noqa: PTH207 - pathlib's takes no absolute pattern
        matches = sorted(match for match in found if not Path(match).is_dir())
        if matches:
            return [Path(match) for match in matches]
        raise InputError(f"no file matches {uri!r}")
    raise InputError(f"there is no file {uri!r}")


def _local(uri: str) -> str:
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise InputError(
            f"{parts.scheme}:// can't be read; give a path, a folder, a glob, or s3://bucket/key, gs://… or az://container/…"
        )
    return unquote(parts.path)


def _below(folder: Path, problems: list[str]) -> list[Path]:
    from timestore_assets.sources.files.file_listing import list_files
    from timestore_assets.sources.files.input_file import path_at

    listing = list_files(folder)
    problems.extend(f"{folder / problem.address}: {problem.reason}" for problem in listing.problems)
    if not listing.files and not listing.problems:
        raise InputError(f"there is no file to land in the folder {str(folder)!r}")
    return [path_at(folder, file.address) for file in listing.files]
