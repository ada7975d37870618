"""A layer on disk: unpacked, and the extensions in it."""

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path


def extension_files(layer: Path | None) -> list[Path]:
    """Every plain file in the layer's ``extensions`` folder, hidden ones too: Lambda executes all of them."""
    folder = layer / "extensions" if layer is not None else None
    if folder is None or not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if not entry.is_dir())


@contextlib.contextmanager
def unpacked(layer: Path) -> Iterator[Path]:
    """The folder of a layer that is a folder or a zip; a zip is unpacked, modes included, for as long as this lasts.

    Raises:
        OSError, zipfile.BadZipFile: There is no such layer, or it is neither.
    """
    if layer.is_dir():
        yield layer.resolve()
        return
    if layer.exists() and not zipfile.is_zipfile(layer):
        raise zipfile.BadZipFile(f"{layer} is neither a folder nor a zip file")
    with tempfile.TemporaryDirectory(prefix="layer-") as folder:
        unpack(layer, Path(folder))
        yield Path(folder).resolve()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip with the modes that are recorded in it, which ``zipfile`` alone leaves out."""
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            path = Path(opened.extract(entry, folder))
            mode = entry.external_attr >> 16 & 0o777
            if mode:
                path.chmod(mode | (0o700 if entry.is_dir() else 0))
