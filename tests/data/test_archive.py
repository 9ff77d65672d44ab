"""A folder, a .zip and a .tgz look the same from inside, and none of them can lead out of itself or hang a reader."""

import io
import os
import socket
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from vitedu.data import archive as archive_module
from vitedu.data.archive import identity, list_entries, read_files

FILES = {"a/1.txt": b"one", "a/2.txt": b"two" * 1000, "b/3.txt": b""}


def contents(source: Path) -> dict[str, bytes]:
    """All files of a source with their bytes, as the loader reads them."""
    return dict(read_files(source, {name: place for name, place in list_entries(source).items() if place is not None}))


def tar_member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, io.BytesIO(data)


def as_tar(path: Path, members: list[tuple], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            archive.addfile(info, data)
    return path


def as_zip(path: Path, members: list[tuple[str, bytes, int]]) -> Path:
    """Members with their names as they stand, bytes, and kind of file."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data, kind in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr = name, (kind | 0o644) << 16  # ZipInfo would turn backslashes on Windows
            archive.writestr(info, data)
    return path


@pytest.fixture(params=["folder", "zip", "tgz", "tar", "tar.xz"])
def store(request, tmp_path):
    """`FILES` and an empty folder `c`, stored in one of several ways."""
    folder = tmp_path / "store"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "c").mkdir()
    path = tmp_path / f"store.{request.param}"
    if request.param == "folder":
        return folder
    if request.param == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(str(p.relative_to(folder)) for p in folder.rglob("*")):
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, {"tgz": "w:gz", "tar": "w", "tar.xz": "w:xz"}[request.param]) as archive:
            archive.add(folder, arcname="")
    return path


def test_files_and_folders_are_listed_with_folders_marked(store):
    entries = list_entries(store)
    assert {name for name, place in entries.items() if place is None} == {"a", "b", "c"}
    assert {name for name, place in entries.items() if place is not None} == FILES.keys()


def test_the_named_files_come_with_their_bytes_and_nothing_is_unpacked(store, tmp_path):
    before, entries = sorted(os.listdir(tmp_path)), list_entries(store)
    assert contents(store) == FILES
    some = ("b/3.txt", "a/1.txt")
    assert dict(read_files(store, {name: entries[name] for name in some})) == {name: FILES[name] for name in some}
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_cut_archive_is_refused_by_name(tmp_path, share):
    for path in (
        as_zip(tmp_path / "a.zip", [("x", os.urandom(5_000), 0)]),
        as_tar(tmp_path / "a.tgz", [tar_member("x", os.urandom(5_000))]),
    ):
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with pytest.raises(
            ValueError, match=rf"{path.name} is neither a folder nor a whole .zip or .tgz file: [^\n]*$"
        ):
            list_entries(path)


@pytest.mark.parametrize("what", ["name", "sum", "missing", "doubled"])
def test_a_tar_whose_second_header_is_damaged_or_missing_is_not_taken_for_its_first_half(tmp_path, what):
    path = as_tar(tmp_path / "a.tar", [tar_member(name, b"data") for name in "xyz"], mode="w")
    data = bytearray(path.read_bytes())
    if what in ("name", "sum"):
        data[512 * 2 + {"name": 5, "sum": 150}[what]] ^= 0x55
    path.write_bytes(data * 2 if what == "doubled" else data[: 512 * 4] if what == "missing" else data)
    with pytest.raises(
        ValueError, match=r"a\.tar is neither .* it (ends in the middle|goes on after its end); replace it"
    ):
        list_entries(path)


def test_a_wrong_checksum_of_a_tgz_is_seen(tmp_path):
    path = as_tar(tmp_path / "a.tgz", [tar_member("x", b"data")])
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="CRC check failed"):
        list_entries(path)


def test_a_damaged_member_is_named(tmp_path):
    path = as_zip(tmp_path / "a.zip", [("good.txt", b"g" * 100, 0), ("bad.txt", b"b" * 100, 0)])
    path.write_bytes(path.read_bytes().replace(b"bbbb", b"bbcb", 1))
    assert dict(read_files(path, {"good.txt": 0})) == {"good.txt": b"g" * 100}
    with pytest.raises(ValueError, match=r"bad\.txt cannot be read: Bad CRC"):
        contents(path)


@pytest.mark.parametrize(("field", "value"), [("method", 9), ("flags", 1)])
def test_a_member_that_is_locked_or_packed_in_an_unknown_way_is_named(tmp_path, field, value):
    path = as_zip(tmp_path / "a.zip", [("x.txt", b"data", 0)])
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.index(signature) + offset + (2 if field == "method" else 0)
        data[at : at + 2] = value.to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.zip: x\.txt cannot be read: .*; replace it"):
        contents(path)


def test_what_is_too_large_for_a_picture_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "LARGEST", 10)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x").write_bytes(bytes(11))
    zipped, packed = (
        as_zip(tmp_path / "a.zip", [("x", bytes(11), 0)]),
        as_tar(tmp_path / "a.tgz", [tar_member("x", bytes(11))]),
    )
    for source in (tmp_path / "f", zipped, packed):
        with pytest.raises(ValueError, match=r": x is larger than"):
            contents(source)


def test_a_tar_that_ends_in_a_zip_and_a_zip_behind_a_program_are_read_as_what_they_are(tmp_path):
    zipped = as_zip(tmp_path / "a.zip", [("inner.txt", b"inner", 0)]).read_bytes()
    packed = as_tar(tmp_path / "a.tar", [tar_member("outer.zip", zipped)], mode="w")
    assert contents(packed) == {"outer.zip": zipped}
    (tmp_path / "a.exe").write_bytes(b"a program" * 100 + zipped)
    assert contents(tmp_path / "a.exe") == {"inner.txt": b"inner"}


def test_of_a_file_that_was_packed_twice_the_last_one_counts(tmp_path):
    members = [tar_member("x", b"old"), tar_member("./x", b"new"), tar_member("/y", b"y")]
    assert contents(as_tar(tmp_path / "a.tgz", members)) == {"x": b"new", "y": b"y"}
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = as_zip(tmp_path / "a.zip", [("x", b"old", 0), ("x", b"new", 0)])
    assert contents(path) == {"x": b"new"}


def test_backslashes_of_a_zip_are_slashes(tmp_path):
    path = as_zip(tmp_path / "a.zip", [("a\\b\\1.txt", b"one", 0), ("a\\c\\", b"", 0)])
    assert contents(path) == {"a/b/1.txt": b"one"}
    assert list_entries(path)["a/c"] is None


@pytest.mark.parametrize("name", ["../x.txt", "a/../../x.txt", "..\\x.txt", "/../x.txt"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    zipped, packed = as_zip(tmp_path / "a.zip", [(name, b"", 0)]), as_tar(tmp_path / "a.tgz", [tar_member(name)])
    for path in (zipped, *([packed] if "\\" not in name else [])):
        with pytest.raises(ValueError, match=r"x\.txt has \.\. in its path, .*; pack it again without"):
            list_entries(path)


def test_hidden_files_and_those_of_other_programs_are_left_out(tmp_path):
    junk = [".DS_Store", "__MACOSX/a", "a/thumbs.db", "a/Thumbs.db", "a/Desktop.ini", "@eaDir/x", ".git/x", "a/Icon\r"]
    path = as_tar(tmp_path / "a.tgz", [tar_member(name, b"junk") for name in (*junk, "a/good.txt")])
    assert contents(path) == {"a/good.txt": b"junk"}


# --- links, pipes, devices ---

LINKS = {  # name -> target; with what they stand for below
    "to_file": "a/1.txt",
    "a/up": "../b/3.txt",
    "chain": "to_file",
    "to_folder": "./a",
    "through": "to_folder/2.txt",
}
LINKED = {
    "to_file": b"one",
    "a/up": b"",
    "chain": b"one",
    "to_folder/1.txt": b"one",
    "to_folder/2.txt": FILES["a/2.txt"],
    "to_folder/up": b"",
    "through": FILES["a/2.txt"],
}


def linked(tmp_path: Path, how: str, links: dict[str, str]) -> Path:
    """`FILES` with these symbolic links, in a folder, a .zip or a .tgz whose links come first."""
    if how == "zip":
        files = [(name, data, stat.S_IFREG) for name, data in FILES.items()]
        return as_zip(tmp_path / "l.zip", [*((n, t.encode(), stat.S_IFLNK) for n, t in links.items()), *files])
    if how == "tgz":
        files = [tar_member(name, data) for name, data in FILES.items()]
        return as_tar(tmp_path / "l.tgz", [*(tar_member(n, b"", tarfile.SYMTYPE, t) for n, t in links.items()), *files])
    for name, data in FILES.items():
        (tmp_path / "l" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "l" / name).write_bytes(data)
    for name, target in links.items():
        (tmp_path / "l" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "l" / name).symlink_to(target)
    return tmp_path / "l"


ALL = pytest.mark.parametrize("how", ["folder", "zip", "tgz"])


@ALL
def test_links_to_files_and_folders_count_as_what_they_lead_to(tmp_path, how):
    assert contents(linked(tmp_path, how, LINKS)) == FILES | LINKED


def test_a_folder_may_lie_elsewhere_on_the_disk(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(b"x")
    assert contents(linked(tmp_path, "folder", {"d": str(tmp_path / "elsewhere")})) == FILES | {"d/x": b"x"}


@ALL
@pytest.mark.parametrize(
    "links",
    [
        {"lost": "nowhere.txt"},
        {"lost": "/etc/hostname/x"},
        {"lost": "lost"},
        {"lost": "b", "b": "lost"},
        {"lost": "../../x"},
    ],
)
def test_a_link_to_nothing_or_to_itself_is_named(tmp_path, how, links):
    if "b" in links:
        links = {"lost": "c", "c": "lost"}
    with pytest.raises(
        ValueError, match=r"l\S*: (lost|c) is a link (that leads nowhere|to \S+, which (leads back|is not in))"
    ):
        list_entries(linked(tmp_path, how, links))


@ALL
@pytest.mark.parametrize("links", [{"a/loop": "../a"}, {"a/loop": ".."}, {"a/loop": "../b", "b/loop": "../a"}])
def test_a_link_to_a_folder_that_holds_it_is_named(tmp_path, how, links):
    with pytest.raises(ValueError, match=r"loop is a link to"):
        list_entries(linked(tmp_path, how, links))


@ALL
def test_a_hidden_link_to_nothing_is_no_matter(tmp_path, how):
    assert contents(linked(tmp_path, how, {"a/.lock": "nowhere"})) == FILES


def test_hard_links_of_a_tar_are_files_and_one_to_nothing_is_named(tmp_path):
    member, lost = tar_member("b", b"", tarfile.LNKTYPE, "./a"), tar_member("c", b"", tarfile.LNKTYPE, "nowhere")
    assert contents(as_tar(tmp_path / "a.tgz", [member, tar_member("a", b"x")])) == {"a": b"x", "b": b"x"}
    with pytest.raises(ValueError, match="c is a link to nowhere, which is not in the archive; pack the files"):
        list_entries(as_tar(tmp_path / "b.tgz", [lost, tar_member("a", b"x")]))


def test_ten_thousand_hard_links_take_no_time(tmp_path):
    links = [tar_member(f"{i}", b"", tarfile.LNKTYPE, "a") for i in range(10_000)]
    assert len(list_entries(as_tar(tmp_path / "a.tar", [tar_member("a", b"x"), *links], mode="w"))) == 10_001


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_pipe_or_device_in_a_tar_is_named(tmp_path, kind):
    with pytest.raises(ValueError, match=r"a\.tgz: x is a pipe, a socket or a device"):
        list_entries(as_tar(tmp_path / "a.tgz", [tar_member("x", b"", kind)]))


def test_a_pipe_in_a_zip_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.zip: x is a pipe, a socket or a device"):
        list_entries(as_zip(tmp_path / "a.zip", [("x", b"", stat.S_IFIFO)]))


def test_a_pipe_or_socket_on_the_disk_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is a pipe, a socket or a device"):
        list_entries(tmp_path / "pipe")
    with pytest.raises(ValueError, match=": pipe is a pipe, a socket or a device"):
        list_entries(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(ValueError, match=": socket is a pipe, a socket or a device"):
            list_entries(tmp_path)


# --- the identity of a source ---


@pytest.mark.parametrize("change", ["bytes", "time kept", "new file", "other name", "removed", "behind a link"])
def test_any_change_of_a_file_changes_the_identity(tmp_path, change):
    source = linked(tmp_path, "folder", {"far": str(tmp_path / "far")} if change == "behind a link" else {})
    if change == "behind a link":
        (tmp_path / "far").write_bytes(b"x")
    before, path = identity(source), source / "a" / "1.txt"
    assert before == identity(source)
    if change == "bytes":
        path.write_bytes(b"longer than before")
    elif change == "time kept":
        times = path.stat()
        path.write_bytes(b"two")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "new file":
        (source / "a" / "new").touch()
    elif change == "other name":
        path.rename(source / "a" / "7.txt")
    elif change == "removed":
        path.unlink()
    else:
        (tmp_path / "far").write_bytes(b"longer")
    assert identity(source) != before
