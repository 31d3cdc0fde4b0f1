"""What torch saves and loads, atomically, and without ever executing what lies in a file."""

import io
import zipfile

import torch

from cpgtaxa.files import atomic


def save(path, content, durable: bool = True) -> None:
    """torch.save, atomically. By way of memory: torch's own writing hides what is wrong with a disk."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic(path, durable) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def tensors(source):
    """What torch saved, tensors and plain values only; nothing in it is ever executed. Raises on damage.

    torch.load itself does not look at the checksums in the archive that it writes.
    """
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} differs")
    if isinstance(source, io.BytesIO):
        source.seek(0)
    return torch.load(source, map_location="cpu", weights_only=True)
