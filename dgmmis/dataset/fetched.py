"""Fetched: what zarr reads of a bucket, kept until it was checked, so that what is decoded is what is checked."""

from typing import TYPE_CHECKING, Any

import zarr
from zarr import AsyncArray
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore, StorePath, WrapperStore

from dgmmis.dataset import checksum
from dgmmis.dataset.object_store import asking, client
from dgmmis.dataset.place import BucketPath
from dgmmis.errors import StoreError, UnreachableError

if TYPE_CHECKING:
    from obstore.store import S3Store


class Fetched(WrapperStore["ObjectStore[S3Store]"]):
    """A zarr store of a bucket, with errors that name the object; as `fetched` makes it, it keeps what it hands out."""

    def __init__(self, store: "ObjectStore[S3Store]") -> None:
        super().__init__(store)
        self.keeps: dict[tuple[str, ByteRequest | None], bytes] | None = None

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        try:
            with asking(self._url(key)):
                found = await self._store.get(key, prototype, byte_range)
        except UnreachableError:
            await self._require_long_enough(key, byte_range)
            raise
        if found is not None and self.keeps is not None:
            self.keeps[key, byte_range] = found.to_bytes()
        return found

    async def _require_long_enough(self, key: str, byte_range: ByteRequest | None) -> None:
        """A part that the object does not have is refused in words that say nothing of it."""
        import obstore

        with asking(self._url(key)):
            size = (await obstore.head_async(self._store.store, key))["size"]
        match byte_range:
            case SuffixByteRequest(suffix=n) | RangeByteRequest(end=n) if size < n:
                raise ValueError(f"{size} bytes are too few")

    def _url(self, key: str) -> str:
        return f"s3://{self._store.store.config.get('bucket')}/{key}"

    def require(self, file: BucketPath) -> None:
        """Raise StoreError if nothing was there: zarr hands out the fill value without a word."""
        if not self._kept(file):
            raise StoreError("missing file")

    def checksum(self, file: BucketPath, n_chunks: int, place: int) -> int:
        """That of the chunk which was read of a file, one of so many.

        Raises:
            ValueError: it is too short, or was not there.
        """
        kept = self._kept(file)
        content = kept.get(None, b"")
        if n_chunks > 1:
            index = content or kept[SuffixByteRequest(checksum.index_bytes(n_chunks))]
            start, size = (int(number) for number in checksum.index_in(index, n_chunks)[place])
            content = content[: start + size] or kept.get(RangeByteRequest(start, start + size), b"")
        return checksum.at_end(content)

    def _kept(self, file: BucketPath) -> dict[ByteRequest | None, bytes]:
        return {request: content for (key, request), content in (self.keeps or {}).items() if key == file.key}


def bucket_array(folder: BucketPath) -> "zarr.Array[Any]":
    """The array in a folder of a bucket."""
    store = Fetched(ObjectStore(client(folder.bucket), read_only=True))
    return zarr.open_array(store, path=folder.key, mode="r", zarr_format=3)


def fetched(array: "zarr.Array[Any]") -> "tuple[zarr.Array[Any], Fetched]":
    """The same array, and what is kept of all that is read of it."""
    assert isinstance(array.store, Fetched)
    store = Fetched(array.store._store)
    store.keeps = {}
    return zarr.Array(AsyncArray(metadata=array.metadata, store_path=StorePath(store, array.path))), store
