"""Writing files so that a reader finds the whole file or none."""

import contextlib
import hashlib
import json
import os
import pathlib


@contextlib.contextmanager
def atomic(path):
    """Yield a temporary path beside `path`; on success it takes the final name in one step.

    An error or a kill leaves `path` as it was; a leftover temporary file is overwritten next time.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path, content) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_parquet(path, frame) -> None:
    """Write a pandas data frame as Parquet without its index, atomically."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def sha256(path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def concatenate_parquet(paths, out) -> None:
    """Write the rows of several Parquet files of one schema, in the order given, as one file, atomically."""
    import pyarrow.parquet as pq

    with atomic(out) as temporary, pq.ParquetWriter(temporary, pq.read_schema(paths[0])) as writer:
        for path in paths:
            writer.write_table(pq.read_table(path))
