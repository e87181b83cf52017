"""Removing damaged shards of a volume that several processes may write and repair."""

from pathlib import Path

from tomostain.io.chunk_progress import ChunkProgress
from tomostain.io.ome_zarr.shards import shard_checksum


def remove_damaged(shard: Path, chunks: ChunkProgress, z0: int) -> bool:
    """Remove the shard and the record of a written chunk of an unfinished volume if they differ.

    The lock of the chunk is held meanwhile: another process may have removed the shard, and written it again.

    Parameters
    ----------
    shard : Path
    chunks : ChunkProgress
        The records of its level.
    z0 : int
        First slice of the chunk.

    Returns
    -------
    bool
        Whether they were removed.
    """
    try:
        if chunks.text(z0) == shard_checksum(shard):
            return False
        with chunks.lock_written(z0):
            if chunks.text(z0) == shard_checksum(shard):
                return False
            # The shard first: after an interruption between the two, it is found again.
            shard.unlink(missing_ok=True)
            chunks.forget(z0)
            return True
    except FileNotFoundError:  # another process has finished the volume, or writes the shard again
        return False
