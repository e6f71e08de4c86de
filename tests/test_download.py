"""Downloads against a local server that breaks, forgets, lies and hides."""

import errno
import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from download_server import serving
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.models import download as module
from robustvideo.benchmark.models.download import download

CONTENT = random.Random(0).randbytes(3_000_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(module, "CHUNK", 1 << 16)
    for name in ("VBENCH_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site():
    with serving(CONTENT) as found:
        yield found


def only(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(url, path, match, **values):
    with pytest.raises(InputError, match=match) as caught:
        download(url, path, where="model tsm: weights", **values)
    assert str(caught.value).startswith("model tsm: weights: ") and "\n" not in str(caught.value)
    assert not path.exists()
    return str(caught.value)


def test_a_file_arrives_whole_and_its_line_tells_licence_size_and_address(site, tmp_path, capsys):
    path = tmp_path / "deep" / "net.pth"
    assert download(f"{site.url}net.pth", path, SHA[:8], "net of tsm, licence MIT") == SHA
    assert path.read_bytes() == CONTENT and only(path.parent) == ["net.pth"]
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err == f"downloading net of tsm, licence MIT, 3.0 MB, from {site.url}net.pth\n"


def test_a_broken_connection_is_taken_up_where_it_ended(site, tmp_path, capsys):
    site.cuts = [1_000_000, 500_000]
    assert download(f"{site.url}a.pth", tmp_path / "a.pth", SHA) == SHA
    assert site.asked == [None, "bytes=1000000-", "bytes=1500000-"]
    assert (tmp_path / "a.pth").read_bytes() == CONTENT and only(tmp_path) == ["a.pth"]
    assert "going on at 1.5 MB" in capsys.readouterr().err


def test_what_arrived_is_kept_for_the_next_call(site, tmp_path):
    site.cuts = [300_000, 0, 0]
    message = refused(f"{site.url}a.pth", tmp_path / "a.pth", "connection ended at 300.0 kB of 3.0 MB", sha256=SHA)
    assert "same command goes on" in message
    assert (tmp_path / "a.pth.part").stat().st_size == 300_000
    assert download(f"{site.url}a.pth", tmp_path / "a.pth") == SHA
    assert site.asked[-1] == "bytes=300000-" and only(tmp_path) == ["a.pth"]


def test_a_server_without_ranges_starts_again(site, tmp_path):
    site.ranges = False
    site.cuts = [1_000_000]
    assert download(f"{site.url}a.pth", tmp_path / "a.pth", SHA) == SHA
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"two"', ""])
def test_bytes_of_two_versions_are_not_mixed(site, tmp_path, etag):
    """The file changes on the server in between; no hash would tell."""
    old = hashlib.sha256(b"old").digest() * 10_000
    new, site.content, site.cuts = CONTENT, old, [200_000, 0, 0]
    site.etag = '"one"' if etag else ""
    refused(f"{site.url}a.pth", tmp_path / "a.pth", "connection ended")
    site.content, site.etag = new, etag
    assert download(f"{site.url}a.pth", tmp_path / "a.pth") == SHA
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_dropped(site, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(CONTENT + b"more")
    assert download(f"{site.url}a.pth", tmp_path / "a.pth", SHA) == SHA
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_foreign_part_is_found_out_by_the_hash_and_removed(site, tmp_path):
    (tmp_path / "a.pth.part").write_bytes(b"x" * 1000)
    refused(f"{site.url}a.pth", tmp_path / "a.pth", "is not the file that was published", sha256=SHA)
    assert only(tmp_path) == []
    assert download(f"{site.url}a.pth", tmp_path / "a.pth", SHA) == SHA


def test_another_file_than_promised_is_removed(site, tmp_path):
    message = refused(f"{site.url}a.pth", tmp_path / "a.pth", f"begins with {SHA[:8]}, not 00000000", sha256="0" * 64)
    assert only(tmp_path) == [] and "removed" in message


@pytest.mark.parametrize("status", [404, 403, 410])
def test_no_such_file(site, tmp_path, status):
    site.statuses = [status] * 9
    refused(f"{site.url}gone.pth", tmp_path / "gone.pth", f"gone.pth: the server answers {status}")
    assert len(site.asked) == 1 and only(tmp_path) == []


def test_a_busy_server_is_asked_again_but_not_forever(site, tmp_path):
    site.statuses = [503, 500]
    assert download(f"{site.url}a.pth", tmp_path / "a.pth", SHA) == SHA
    site.statuses = [503] * 9
    refused(f"{site.url}b.pth", tmp_path / "b.pth", "failed: the server answers 503")
    assert len(site.asked) == 3 + module.ATTEMPTS


def test_nobody_listens(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = refused(f"http://127.0.0.1:{port}/a.pth", tmp_path / "a.pth", f"cannot reach 127.0.0.1:{port} .*refused")
    assert "check the network" in message


def test_no_such_host(tmp_path):
    refused("http://nowhere.invalid/a.pth", tmp_path / "a.pth", "cannot reach nowhere.invalid")


@pytest.mark.parametrize("url", ["http:///a.pth", "http://[::1/a.pth", "https://a b/c.pth"])
def test_an_address_that_is_none(tmp_path, url):
    refused(url, tmp_path / "a.pth", "cannot reach")


def test_a_silent_server(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    site.gate.clear()
    refused(f"{site.url}a.pth", tmp_path / "a.pth", "connection broke .*timed out")
    assert len(site.asked) == module.ATTEMPTS


def test_a_web_page_is_no_checkpoint(site, tmp_path):
    site.kind = "text/html; charset=utf-8"
    refused(f"{site.url}a.pth", tmp_path / "a.pth", "is a web page")
    assert only(tmp_path) == []


@pytest.mark.parametrize("name", ["VBENCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(site, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    refused(f"{site.url}a.pth", tmp_path / "a.pth", f"{name} forbids downloads")
    assert site.asked == []
    monkeypatch.setenv(name, "0")
    assert download(f"{site.url}a.pth", tmp_path / "a.pth") == SHA


def test_a_disk_too_small_is_seen_before(site, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 2_999_999))
    assert "VBENCH_CACHE" in refused(f"{site.url}a.pth", tmp_path / "a.pth", "disk of .* is full")
    assert only(tmp_path) == []


def test_a_disk_that_fills_up_keeps_what_arrived(site, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        refused(f"{site.url}a.pth", tmp_path / "a.pth", "disk of .* is full", sha256=SHA)
    assert (tmp_path / "a.pth.part").stat().st_size == len(CONTENT)
    assert download(f"{site.url}a.pth", tmp_path / "a.pth", SHA) == SHA


def test_a_folder_that_cannot_be_made(site, tmp_path):
    (tmp_path / "file").write_text("")
    refused(f"{site.url}a.pth", tmp_path / "file" / "a.pth", "cannot write .*; set VBENCH_CACHE")


def test_of_two_at_once_one_downloads(site, tmp_path):
    site.gate.clear()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(download(f"{site.url}a.pth", tmp_path / "a.pth", SHA))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while not site.asked:
        pass
    site.gate.set()
    for thread in threads:
        thread.join()
    assert found == [SHA, SHA] and len(site.asked) == 1
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_killed_process_leaves_its_part_and_no_lock(site, tmp_path):
    site.gate.clear()
    code = f"""
from pathlib import Path
from robustvideo.benchmark.models.download import download
download({site.url + "a.pth"!r}, Path({str(tmp_path / "a.pth")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    part = tmp_path / "a.pth.part"
    while not (part.exists() and part.stat().st_size > 0):
        assert process.poll() is None
    process.kill()
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    site.gate.set()
    assert download(f"{site.url}a.pth", tmp_path / "a.pth") == SHA
    assert site.asked[-1] == f"bytes={kept}-"


def test_the_package_asks_for_nothing_by_itself():
    """Only `download.py` opens connections."""
    root = Path(module.__file__).parents[2]
    folders = ("attacks", "benchmark", "corruptions", "defenses", "leaderboard")
    files = [path for folder in folders for path in (root / folder).rglob("*.py")]
    openers = {path.name for path in files if "urlopen" in path.read_text() or "load_state_dict_from_url" in path.read_text()}
    assert openers == {"download.py"}
