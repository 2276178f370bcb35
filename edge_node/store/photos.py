"""Photos of meters' faces, as files of the office named by their digest. Floor: edge_node/store; on the reading walk.

The hub is told the digest; the picture stays here until somebody asks for it. A file is whole and durable before the
work that names it is recorded, so that no record names a picture that is not there.

Codes: TQ-FW-30 no such file, -31 too large, -32 not a picture.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from gridmodel.field_work import PHOTO_BYTES_MAX, FieldWorkFault, Photo, work_fault
from hosting.files import publish

FOLDER_NAME = "photos"
"""In the data folder."""
_KINDS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"RIFF": ".webp"}
"""How pictures begin, and what their files are called."""


class Photos:
    """The pictures of one office; blocking: tasks for `compute`."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER_NAME

    def take(self, path: Path) -> Photo:
        """Keep a copy of the picture at `path`; raises FieldWorkFault TQ-FW-30…32."""
        try:
            size_bytes = path.stat().st_size
            if not path.is_file():
                raise _absent(path, "it is no file")
            if size_bytes > PHOTO_BYTES_MAX:
                raise _large(size_bytes)
            content = path.read_bytes()
        except OSError as error:
            raise _absent(path, error.strerror or "it cannot be read") from error
        return self.keep(content)

    def keep(self, content: bytes) -> Photo:
        """Keep a picture, once however often it comes; raises FieldWorkFault TQ-FW-31 and 32."""
        if len(content) > PHOTO_BYTES_MAX:
            raise _large(len(content))
        ending = next((ending for magic, ending in _KINDS.items() if content.startswith(magic)), None)
        if ending is None:
            raise work_fault(32, "the photo is no JPEG, PNG or WebP picture", "send what the phone took, unpacked")
        photo = Photo(sha256(content).hexdigest(), len(content))
        if self.path_of(photo) is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            partial = self._folder / f".{photo.sha256}.partial"
            partial.write_bytes(content)
            publish(partial, self._folder / f"{photo.sha256}{ending}")
        return photo

    def missing(self, named: Mapping[str, Photo]) -> list[str]:
        """Works whose picture is gone."""
        return sorted(work for work, photo in named.items() if self.path_of(photo) is None)

    def path_of(self, photo: Photo) -> Path | None:
        """Where the picture lies; None when it is gone, or is not as long as it was."""
        for ending in _KINDS.values():
            path = self._folder / f"{photo.sha256}{ending}"
            if path.is_file() and path.stat().st_size == photo.size_bytes:
                return path
        return None


def _absent(path: Path, why: str) -> FieldWorkFault:
    return work_fault(30, f"there is no photo {path}: {why}", "give the whole path of a file that the node may read")


def _large(size_bytes: int) -> FieldWorkFault:
    return work_fault(
        31, f"the photo has {size_bytes} bytes", f"at most {PHOTO_BYTES_MAX}: take it with less resolution"
    )
