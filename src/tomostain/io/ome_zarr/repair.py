"""Removing damaged shards of a volume that several processes may write and repair."""

from pathlib import Path

from tomostain.io.chunk_progress import ChunkProgress
from tomostain.io.locks import lock
from tomostain.io.ome_zarr.plan import FINISH_LOCK, unfinished
from tomostain.io.ome_zarr.shards import shard_checksum


def remove_damaged(volume: Path, shard: str, chunks: ChunkProgress, z0: int) -> bool | None:
    """Remove the shard and the record of a written chunk of an unfinished volume if they differ.

    The lock of the chunk is held meanwhile: another process may have removed the shard, and written it again. The lock
    of finishing is held for the removal: a process that finishes the volume relies on the records.

    Parameters
    ----------
    volume : Path
        The folder of the volume.
    shard : str
        Its name within the folder.
    chunks : ChunkProgress
        The records of its level.
    z0 : int
        First slice of the chunk.

    Returns
    -------
    bool or None
        Whether they were removed; None if another process has finished the volume before that.
    """
    path = volume / shard
    try:
        if chunks.text(z0) == shard_checksum(path):
            return False
        with chunks.lock_written(z0):
            if chunks.text(z0) == shard_checksum(path):
                return False
            with lock(volume / FINISH_LOCK, wait=True):
                if not unfinished(volume):
                    return None
                # The shard first: after an interruption between the two, it is found again.
                path.unlink(missing_ok=True)
                chunks.forget(z0)
                return True
    except FileNotFoundError:  # another process has finished the volume, or writes the shard again
        return False if unfinished(volume) else None
