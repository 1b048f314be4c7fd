"""Files on any fsspec path: a local folder, `s3://`, `https://` and the rest.

Every write is atomic: a reader sees the old file, no file or the new file, never a part of one. Locally that is a
temporary name, fsync and rename; on object stores the upload completes when the file is closed.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmill.core.errors import InfrastructureError, InputError, UserError

_COPY_BYTES = 1 << 20
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # what open_write makes


def is_local(path: str) -> bool:
    """Whether `path` is on this machine's file system."""
    return "://" not in path or path.startswith("file://")


def local_path(path: str) -> Path:
    """`path` without the `file://` scheme."""
    return Path(path.removeprefix("file://"))


def _filesystem(path: str) -> tuple[Any, str]:
    """The fsspec file system of `path`, and the path in it. Raises UserError when its package is not installed."""
    try:
        return fsspec.core.url_to_fs(path)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:  # ValueError: an unknown scheme
        raise UserError(
            "this kind of address cannot be opened",
            where=path,
            value=str(error),
            remedy="pip install 'corpusmill[cloud]' for https:// and s3://; others need their fsspec package",
        ) from error


def _open_remote(path: str) -> IO[bytes]:
    fs, inner = _filesystem(path)
    file: IO[bytes] = fs.open(inner, "rb")
    return file


def join(root: str, *parts: str) -> str:
    """Path of `parts` under `root`, with forward slashes."""
    return "/".join([root.rstrip("/") if root != "/" else "", *parts])


def absolute(path: str) -> str:
    """`path` so that it means the same file from any working folder; URLs stay as they are."""
    return str(local_path(path).absolute()) if is_local(path) else path


def file_name(path: str) -> str:
    """Last part of a path or URL, without a query."""
    return path.split("?", 1)[0].rstrip("/").rsplit("/", 1)[-1]


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(path):
        return local_path(path).exists()
    fs, inner = _filesystem(path)
    return bool(fs.exists(inner))


def size_bytes(path: str) -> int:
    """Size of a file. Raises InputError when it does not exist or its size is not known."""
    try:
        if is_local(path):
            return local_path(path).stat().st_size
        fs, inner = _filesystem(path)
        size = fs.size(inner)
    except FileNotFoundError as error:
        raise InputError("no such file", where=path, remedy="check the path or URL") from error
    if size is None:
        raise InputError("the server does not tell the size of this file", where=path)
    return int(size)


@contextmanager
def open_read(path: str) -> Iterator[IO[bytes]]:
    """A seekable binary reader. Raises InputError when the file does not exist."""
    try:
        file: IO[bytes] = open(local_path(path), "rb") if is_local(path) else _open_remote(path)
    except FileNotFoundError as error:
        raise InputError("no such file", where=path, remedy="check the path or URL") from error
    with file:
        yield file


def read_bytes(path: str) -> bytes:
    """The whole file."""
    with open_read(path) as file:
        return file.read()


def read_text(path: str) -> str:
    """The whole file as UTF-8."""
    return read_bytes(path).decode("utf-8")


@contextmanager
def open_write(path: str) -> Iterator[IO[bytes]]:
    """A binary writer whose file appears at `path` when the block ends without an error, and not before."""
    if not is_local(path):
        fs, inner = _filesystem(path)
        with fs.open(inner, "wb") as file:
            yield file
        return
    target = local_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InfrastructureError(
            "could not write a file", where=path, value=str(error), remedy="check free space and permissions"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str, data: bytes) -> None:
    """Writes `data` atomically."""
    with open_write(path) as file:
        file.write(data)


def write_text(path: str, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def sha256_file(path: str) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits; constant memory."""
    state = hashlib.sha256()
    with open_read(path) as file:
        while chunk := file.read(_COPY_BYTES):
            state.update(chunk)
    return state.hexdigest()


def list_files(folder: str, suffix: str = "") -> list[str]:
    """Sorted full paths of the files directly in `folder`; [] when it does not exist. Temporary files are left out."""
    if is_local(folder):
        root = local_path(folder)
        if not root.is_dir():
            return []
        names = [p.name for p in root.iterdir() if p.is_file()]
    else:
        fs, inner = _filesystem(folder)
        if not fs.exists(inner):
            return []
        names = [file_name(p) for p in fs.ls(inner, detail=False)]
    return [join(folder, n) for n in sorted(names) if n.endswith(suffix) and not n.startswith(".")]


def glob(pattern: str) -> list[str]:
    """Sorted paths that match `pattern` (`**` spans folders); the pattern itself when it has no wildcard."""
    if not any(c in pattern for c in "*?["):
        return [pattern]
    fs, inner = _filesystem(pattern)
    found = sorted(fs.glob(inner))
    return [str(p) if is_local(pattern) else fs.unstrip_protocol(p) for p in found]


def remove(path: str) -> None:
    """Deletes a file if it is there."""
    if is_local(path):
        local_path(path).unlink(missing_ok=True)
        return
    fs, inner = _filesystem(path)
    if fs.exists(inner):
        fs.rm(inner)


def remove_folder(path: str) -> None:
    """Deletes a folder and all in it if it is there."""
    if is_local(path):
        shutil.rmtree(local_path(path), ignore_errors=True)
        return
    fs, inner = _filesystem(path)
    if fs.exists(inner):
        fs.rm(inner, recursive=True)


def remove_leftovers(folder: str) -> None:
    """Deletes the temporary files that killed writers left anywhere under a local `folder`."""
    if is_local(folder):
        for path in local_path(folder).rglob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def parquet_bytes(table: pa.Table, row_group_rows: int = 16_384) -> bytes:
    """`table` as zstd Parquet. The same table always gives the same bytes (with one pyarrow version)."""
    sink = io.BytesIO()
    # One chunk a column: how a table was put together must not show in the file.
    pq.write_table(
        table.combine_chunks(),
        sink,
        compression="zstd",
        compression_level=3,
        row_group_size=row_group_rows,
        version="2.6",
        write_page_index=True,
    )
    return sink.getvalue()


def write_parquet(path: str, table: pa.Table, row_group_rows: int = 16_384) -> None:
    """Writes `table` as zstd Parquet, atomically."""
    write_bytes(path, parquet_bytes(table, row_group_rows))


def read_parquet(path: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """Reads a Parquet file into memory.

    `ParquetFile` is used when there is no filter, because `pq.read_table` would infer hive partitions from the path.
    """
    if filters is None:
        with open_read(path) as file:
            return pq.ParquetFile(file).read(columns=columns)
    with open_read(path) as file:
        return pq.read_table(file, columns=columns, filters=filters)
