"""What is written is what the file holds and what the digest is of, with and without the system's cache."""

import errno
import os
import random

import pytest
from blake3 import blake3

from imarium.pack import hashing_file
from imarium.pack.hashing_file import DIRECT_BYTES, HashingFile


def pieces_of(chance, most):
    return [chance.randbytes(chance.choice([0, 1, 100, 4096, 70_000, 1 << 20])) for _ in range(most)]


@pytest.fixture(params=["direct", "refused", "unknown", "short"])
def kind(request, monkeypatch):
    """A file system that can, one that says it cannot, a platform without it, and one that stops short."""
    write = os.pwrite
    if request.param == "refused":

        def refused(*_):
            raise OSError(errno.EINVAL, "no direct writes")

        monkeypatch.setattr(hashing_file.os, "pwrite", refused)
    elif request.param == "unknown":
        monkeypatch.delattr(hashing_file.os, "O_DIRECT", raising=False)
    elif request.param == "short":
        monkeypatch.setattr(
            hashing_file.os, "pwrite", lambda number, data, at: write(number, data[: len(data) // 2], at)
        )
    return request.param


@pytest.mark.parametrize("seed", range(6))
def test_any_pieces(tmp_path, kind, seed):
    chance = random.Random(seed)
    file = HashingFile(tmp_path / "file")
    expected = b""
    for _ in range(6):
        pieces = pieces_of(chance, chance.choice([1, 3, 40]))
        file.write(*pieces)
        expected += b"".join(pieces)
        if chance.random() < 0.5:
            mark = file.mark()
            file.write(*pieces_of(chance, 20))
            file.rollback(mark)
        assert file.position == len(expected)
    assert file.finish() == blake3(expected).hexdigest()
    file.close()
    assert (tmp_path / "file").read_bytes() == expected


def test_large_writes_leave_the_cache_alone(tmp_path, monkeypatch):
    calls = []
    write = os.pwrite
    monkeypatch.setattr(
        hashing_file.os, "pwrite", lambda *given: calls.append(len(given[1])) or write(*given)
    )
    file = HashingFile(tmp_path / "file")
    file.write(b"header")
    file.write(bytes(DIRECT_BYTES), bytes(DIRECT_BYTES))
    file.close()
    if not file._directly:
        pytest.skip("this file system has no direct writes")
    assert sum(calls) > 2 * DIRECT_BYTES - 2 * 4096


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(hashing_file.os, "pwrite", full)
    file = HashingFile(tmp_path / "file")
    with pytest.raises(OSError, match="full"):
        file.write(bytes(DIRECT_BYTES))
    file.close()
