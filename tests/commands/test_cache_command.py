"""`cmpt726 cache`, as typed."""

import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.keys import Request, as_size
from cache.store import Store, digest_of
from cli726.errors import RequestError
from commands.cache import parse_age, parse_size


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "my [/x] caches"
    monkeypatch.setenv("CMPT726_CACHE_DIR", str(folder))
    return folder


def build(folder, **provenance):
    images = np.arange(20 * 32, dtype=np.uint8).reshape(20, 32)
    fields = {"weights": provenance, "images": digest_of(images)}
    request = Request(fields, 20, (3,), "float32", provenance)
    Store(folder).get_or_build(request, images, lambda rows: [np.zeros((20, 3), np.float32)])
    return request.key


def use_long_ago(folder, key):
    os.utime(Store(folder).path(key) / "usage.json", (1, 1))


@pytest.fixture
def keys(folder):
    first = build(folder, model="resnet20", data="digits", pool="train", cut="pool")
    return [first, build(folder, model="resnet20", data="digits", pool="test", cut="pool")]


def test_path_prints_the_folder_and_makes_nothing(cmpt726, folder):
    done = cmpt726("cache", "path")
    assert (done.status, done.stdout) == (0, f"{folder}\n")
    assert cmpt726("cache", "path", "--cache-dir", "elsewhere").stdout == "elsewhere\n"
    assert cmpt726("cache", "path", "--json").json == {"path": str(folder)}
    for command in ("ls", "verify", "prune", "clear"):  # an empty cache is no error
        done = cmpt726("cache", command)
        assert (done.status, done.stderr) == (0, "")
        assert "0" in done.stdout
    assert cmpt726("cache", "ls", "--json").json["entries"] == []
    assert not folder.exists()


def test_ls_lists_what_there_is(cmpt726, folder, keys):
    done = cmpt726("cache", "ls")
    assert done.status == 0
    for shown in (keys[0][:12], keys[1][:12], "resnet20", "digits", "train", "test", "pool", "ok", "2 entries in "):
        assert shown in done.stdout
    document = cmpt726("cache", "ls", "--json").json
    assert {entry["key"] for entry in document["entries"]} == set(keys)
    assert document["bytes"] == sum(entry["bytes"] for entry in document["entries"])
    assert document["entries"][0].keys() >= {"model", "data", "pool", "cut", "bytes", "used", "state"}


def test_info_takes_a_shortened_key_or_the_last_used(cmpt726, folder, keys):
    for arguments, key in (([keys[0][:10]], keys[0]), ([keys[0]], keys[0]), ([], keys[1])):
        use_long_ago(folder, keys[0])
        document = cmpt726("cache", "info", *arguments, "--json").json
        assert document["key"] == key
        assert (document["rows"], document["shape"], document["dtype"]) == (20, [3], "float32")
        assert (document["fields"].keys(), document["provenance"]["data"]) == ({"weights", "images"}, "digits")
    text = cmpt726("cache", "info", keys[0]).stdout
    assert keys[0] in text
    assert "weights" in text


@pytest.mark.parametrize("command", [["info"], ["verify"], ["clear", "--yes"]], ids=" ".join)
def test_a_key_that_names_nothing_is_refused(cmpt726, keys, command):
    for key in ("zz", "", "0" * 65, "../.."):
        done = cmpt726("cache", *command, key)
        assert done.status == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert "cache ls" in done.stderr


def test_verify_lists_everything_and_then_exits_3_on_damage_with_a_remedy_that_works(cmpt726, folder, keys):
    assert cmpt726("cache", "verify").status == 0
    data = Store(folder).path(keys[0]) / "features.h5"
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    done = cmpt726("cache", "verify")
    assert done.status == 3
    for shown in ("1 of 2 entries in ", "SHA-256", keys[1][:12]):
        assert shown in done.stdout
    assert done.stderr.startswith("error: ")
    assert "--cache-dir" not in done.stderr
    document = cmpt726("cache", "verify", "--json").json
    assert {entry["key"]: entry["state"] for entry in document["entries"]} == {keys[0]: "damaged", keys[1]: "ok"}
    assert document["entries"][0].keys() == {"key", "state", "reason", "bytes", "seconds"}
    assert document["damaged"] == 1
    assert cmpt726("cache", "verify", keys[1][:10]).status == 0
    assert cmpt726("cache", "verify", keys[0][:10]).status == 3
    # Of another folder than the usual one, the remedy says so.
    elsewhere = folder.rename(folder.with_name("else where"))
    done = cmpt726("cache", "verify", "--cache-dir", elsewhere)
    (short,) = re.findall(r"\(([0-9a-f]{12})\)", done.stderr)
    remedy = shlex.split(re.findall(r"`cmpt726 (.*)`", done.stderr)[0].replace("KEY", short))
    assert cmpt726(*remedy, "--yes").status == 0
    assert cmpt726("cache", "verify", "--cache-dir", elsewhere).status == 0


def test_what_is_not_ours_is_listed_and_is_no_damage(cmpt726, folder, keys):
    (folder / "v1" / "notes.txt").write_text("mine")
    os.mkdir(os.fsencode(folder / "v1") + b"/caf\xe9")  # noqa: PTH102
    for arguments in (["ls"], ["verify"], ["verify", "--json"]):
        done = cmpt726("cache", *arguments)
        assert done.status == 0
        assert done.stdout.count("foreign") == 2
    assert "2 of 4 entries in " in cmpt726("cache", "verify").stdout
    assert cmpt726("cache", "clear", "--yes", "--json").json["removed"][0].keys() == {"key", "bytes", "reason"}
    assert cmpt726("cache", "verify").status == 0
    assert len(list((folder / "v1").iterdir())) > 1


def test_prune_plans_and_then_does(cmpt726, folder, keys):
    for option, value, example in (("--max-size", "5", "5GB"), ("--older-than", "soon", "30d")):
        done = cmpt726("cache", "prune", option, value, "--yes")
        assert (done.status, value in done.stderr, example in done.stderr) == (2, True, True)
    use_long_ago(folder, keys[0])
    plan = cmpt726("cache", "prune", "--older-than", "30d", "--max-size", "5GB", "--dry-run", "--json").json
    assert plan["dry_run"] is True
    assert [removal["key"] for removal in plan["removed"]] == [keys[0]]
    assert len(Store(folder).entries()) == 2
    done = cmpt726("cache", "prune", "--older-than", "30d", "--yes", "--json").json
    assert done["removed"] == plan["removed"]
    assert done["bytes"] == plan["bytes"] > 0
    assert (done["dry_run"], done["left_bytes"]) == (False, plan["left_bytes"])
    assert [info.key for info in Store(folder).entries()] == [keys[1]]
    assert "would remove 1 entry, " in cmpt726("cache", "prune", "--max-size", "0B", "--dry-run").stdout
    assert "removed 1 entry, " in cmpt726("cache", "prune", "--max-size", "0B", "--yes").stdout
    assert Store(folder).entries() == []


@pytest.mark.parametrize("command", ["clear", "prune --max-size 0B", "clear KEY"])
def test_removing_needs_a_yes(cmpt726, folder, keys, command, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    arguments = command.replace("KEY", keys[0][:10]).split()
    done = cmpt726("cache", *arguments)
    assert done.status == 2
    assert "--yes" in done.stderr
    assert ("1 entry" if "KEY" in command else "2 entries") in done.stderr
    assert len(Store(folder).entries()) == 2
    removed = cmpt726("cache", *arguments, "--yes", "--json").json["removed"]
    assert {removal["key"] for removal in removed} == {keys[0]} if "KEY" in command else set(keys)
    assert len(Store(folder).entries()) == 2 - len(removed)


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("y", 0)])
@pytest.mark.parametrize("command", ["clear", "prune --max-size 0B"])
def test_removing_asks_on_a_terminal_about_what_it_would_remove(folder, command, answer, left):
    build(folder, model="resnet20")
    (folder / "v1" / "notes.txt").write_text("mine")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli726", "cache", *command.split()],
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.write(ours, f"{answer}\n".encode())
    _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert b"Remove 1 entry, " in err
    assert [info.state for info in Store(folder).entries()].count("ok") == left


def test_names_from_a_manifest_can_not_speak_to_the_terminal(cmpt726, folder):
    key = build(folder, model="[/x]\x1b[31m<b>\u202e", data="a\nb\udce9", pool={"x": 1}, cut="=1" * 5000)
    for command in (["ls"], ["info", key], ["verify"]):
        done = cmpt726("cache", *command)
        assert done.status == 0
        assert not set("\x1b\u202e") & set(done.stdout + done.stderr)
        assert "a\nb" not in done.stdout
    document = cmpt726("cache", "ls", "--json").json
    assert document["entries"][0]["model"] == "[/x]\x1b[31m<b>\u202e"
    assert len(document["entries"][0]["cut"]) == 60


def test_times_beyond_any_calendar_are_no_error(cmpt726, folder, keys):
    for time in (-(2**40), 2**33 - 1):
        os.utime(Store(folder).path(keys[0]) / "usage.json", (time, time))
        assert cmpt726("cache", "ls").status == 0
        json.dumps(cmpt726("cache", "ls", "--json").json)


def test_sizes_and_ages_are_read_as_people_write_them():
    sizes = {"5GB": 5 * 10**9, "500 mb": 500 * 10**6, "1.5GiB": 3 * 2**29, "1024b": 1024, "2k": 2000}
    assert {text: parse_size(text) for text in sizes} == sizes
    ages = {"30d": 30 * 86400, "12H": 43200, "2w": 14 * 86400, "0.5m": 30, "45s": 45}
    assert {text: parse_age(text) for text in ages} == ages
    for nonsense in ("", "GB", "5", "-5GB", "5XB", "nan", "inf", "1e3", "5 G B", "٣GB", "1" * 5000):
        for parse, example in ((parse_size, "5GB"), (parse_age, "30d")):
            with pytest.raises(RequestError, match=example):
                parse(nonsense)


@given(st.integers(0, 10**16))
def test_a_size_reads_back_within_its_rounding(number):
    shown = as_size(number)
    assert len(shown) <= 11
    assert abs(parse_size(shown) - number) <= max(0.5, 0.051 * number)
