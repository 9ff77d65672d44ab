"""A folder, a .zip and a .tgz look the same from inside."""

import io
import os
import tarfile
import zipfile

import pytest

from vitedu.data.archive import list_names, read_files

FILES = {"a/1.txt": b"one", "a/2.txt": b"two" * 1000, "b/3.txt": b""}


@pytest.fixture(params=["folder", "zip", "tgz"])
def store(request, tmp_path):
    """`FILES` and an empty folder `c`, stored in one of three ways."""
    folder = tmp_path / "store"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "c").mkdir()
    path = folder.with_suffix("." + request.param)
    if request.param == "folder":
        return folder
    if request.param == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(str(p.relative_to(folder)) for p in folder.rglob("*")):
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, arcname="")
    return path


def test_files_and_folders_are_listed_with_folders_marked(store):
    assert {name for name in list_names(store) if name not in ("", "/")} == {*FILES, "a/", "b/", "c/"}


def test_the_named_files_come_with_their_bytes_and_nothing_is_unpacked(store, tmp_path):
    before = sorted(os.listdir(tmp_path))
    assert dict(read_files(store, set(FILES))) == FILES
    assert dict(read_files(store, {"b/3.txt", "a/1.txt"})) == {"a/1.txt": b"one", "b/3.txt": b""}
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_cut_archive_is_refused_by_name(tmp_path, share):
    for name in ("a.zip", "a.tgz"):
        file = io.BytesIO()
        if name == "a.zip":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("x", os.urandom(5_000))
        else:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                info = tarfile.TarInfo("x")
                info.size = 5_000
                archive.addfile(info, io.BytesIO(os.urandom(5_000)))
        data = file.getvalue()
        (tmp_path / name).write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=rf"{name} is neither a folder nor a whole"):
            list_names(tmp_path / name)


def test_a_damaged_member_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", b"g" * 100)
        archive.writestr("bad.txt", b"b" * 100)
    path.write_bytes(path.read_bytes().replace(b"bbbb", b"bbcb", 1))
    assert dict(read_files(path, {"good.txt"})) == {"good.txt": b"g" * 100}
    with pytest.raises(ValueError, match=r"bad\.txt cannot be read: Bad CRC"):
        dict(read_files(path, {"bad.txt"}))
