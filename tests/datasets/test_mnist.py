"""MNIST's loader: where it looks, what it verifies, what it says offline. No network is used."""

import gzip
import hashlib
import importlib
import io
import struct
import urllib.error

import numpy as np
import pytest

import gibbsite as gb

module = importlib.import_module("gibbsite.datasets.mnist")


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Two tiny IDX files that pass for MNIST; an empty cache; no network."""
    contents = {}
    for number, name in enumerate(module.CHECKSUMS, start=1):
        pixels = np.full((number, 28, 28), 51, np.uint8).tobytes()
        contents[name] = bytes([0, 0, 8, 3]) + struct.pack(">3I", number, 28, 28) + pixels
    checksums = {name: hashlib.sha256(raw).hexdigest() for name, raw in contents.items()}
    monkeypatch.setattr(module, "CHECKSUMS", checksums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GIBBSITE_DATA", raising=False)
    monkeypatch.setattr(module.urllib.request, "urlopen", _offline)
    return contents


def _offline(url, timeout):
    raise urllib.error.URLError("offline")


@pytest.mark.parametrize("folder", ["", "mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_files_in_the_data_folder_are_found(files, monkeypatch, tmp_path, folder, packed):
    place = tmp_path / "data" / folder
    place.mkdir(parents=True)
    for name, raw in files.items():
        (place / (f"{name}.gz" if packed else name)).write_bytes(
            gzip.compress(raw) if packed else raw
        )
    monkeypatch.setenv("GIBBSITE_DATA", str(tmp_path / "data"))
    data = gb.datasets.load("mnist")
    assert (len(data.train), len(data.test)) == (1, 2)
    assert data.image_shape == (28, 28)
    assert data.train.unique().item() == pytest.approx(0.2)


def test_offline_without_files_says_what_to_do(files, tmp_path):
    with pytest.raises(gb.DataError) as error:
        gb.datasets.load("mnist")
    assert "GIBBSITE_DATA" in str(error.value)
    assert str(tmp_path / "cache") in str(error.value)
    assert all(mirror in str(error.value) for mirror in module.MIRRORS)


def test_a_download_is_verified_and_kept(files, monkeypatch, tmp_path):
    asked = []

    def serve(url, timeout):
        asked.append(url)
        name = url.rsplit("/", 1)[1].removesuffix(".gz")
        bad = url.startswith(module.MIRRORS[0])
        return io.BytesIO(gzip.compress(b"something else" if bad else files[name]))

    monkeypatch.setattr(module.urllib.request, "urlopen", serve)
    assert len(gb.datasets.load("mnist").test) == 2
    assert len(asked) == 4  # each file: the bad mirror, then the good one
    monkeypatch.setattr(module.urllib.request, "urlopen", _offline)
    assert len(gb.datasets.load("mnist").test) == 2  # from the cache


def test_a_wrong_file_is_named_with_its_checksum(files, monkeypatch, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"not mnist")
    monkeypatch.setenv("GIBBSITE_DATA", str(tmp_path))
    with pytest.raises(gb.DataError, match=r"train-images-idx3-ubyte is not MNIST.*sha256"):
        gb.datasets.load("mnist")


def test_a_broken_gzip_file_is_named(files, monkeypatch, tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"x" * 100)[:-9])
    monkeypatch.setenv("GIBBSITE_DATA", str(tmp_path))
    with pytest.raises(gb.DataError, match="not a whole gzip file"):
        gb.datasets.load("mnist")


def test_a_download_is_used_though_it_cannot_be_kept(files, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")

    def serve(url, timeout):
        return io.BytesIO(gzip.compress(files[url.rsplit("/", 1)[1].removesuffix(".gz")]))

    monkeypatch.setattr(module.urllib.request, "urlopen", serve)
    with pytest.warns(UserWarning, match="used, but not kept .*XDG_CACHE_HOME"):
        assert len(gb.datasets.load("mnist").test) == 2
