"""`cmpt726 cache`, as typed."""

import io
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest

from cache.keys import Request
from cache.store import Store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "my [/x] caches"
    monkeypatch.setenv("CMPT726_CACHE_DIR", str(folder))
    return folder


def build(folder, **provenance):
    request = Request({"weights": provenance}, 20, (3,), "float32", provenance)
    Store(folder).get_or_build(request, np.zeros(20, np.int64), lambda: [np.zeros((20, 3), np.float32)])
    return request.key


@pytest.fixture
def keys(folder):
    first = build(folder, model="resnet20", data="digits", pool="train", cut="pool")
    return [first, build(folder, model="resnet20", data="digits", pool="test", cut="pool")]


def test_path_prints_the_folder_and_makes_nothing(cmpt726, folder):
    done = cmpt726("cache", "path")
    assert (done.status, done.stdout) == (0, f"{folder}\n")
    assert cmpt726("cache", "path", "--cache-dir", "elsewhere").stdout == "elsewhere\n"
    assert cmpt726("cache", "path", "--json").json == {"path": str(folder)}
    assert not folder.exists()


def test_ls_lists_what_there_is(cmpt726, folder, keys):
    done = cmpt726("cache", "ls")
    assert done.status == 0
    for shown in (keys[0][:12], keys[1][:12], "resnet20", "digits", "train", "test", "pool", "ok", "2 in "):
        assert shown in done.stdout
    document = cmpt726("cache", "ls", "--json").json
    assert {entry["key"] for entry in document["entries"]} == set(keys)
    assert document["bytes"] == sum(entry["bytes"] for entry in document["entries"])
    assert document["entries"][0].keys() >= {"model", "data", "pool", "cut", "bytes", "used", "state"}


def test_an_empty_cache_is_no_error(cmpt726, folder):
    for command in ("ls", "verify", "prune", "clear"):
        done = cmpt726("cache", command)
        assert (done.status, done.stderr) == (0, "")
        assert "0" in done.stdout
    assert cmpt726("cache", "ls", "--json").json["entries"] == []


def test_info_takes_a_shortened_key_or_the_last_used(cmpt726, folder, keys):
    for arguments, key in (([keys[0][:10]], keys[0]), ([keys[0]], keys[0]), ([], keys[1])):
        os.utime(Store(folder).path(keys[0]) / "usage.json", (1, 1))
        document = cmpt726("cache", "info", *arguments, "--json").json
        assert document["key"] == key
        assert (document["rows"], document["shape"], document["dtype"]) == (20, [3], "float32")
    text = cmpt726("cache", "info", keys[0]).stdout
    assert keys[0] in text
    assert "weights" in text


@pytest.mark.parametrize("key", ["zz", "", "0" * 65, "../.."])
@pytest.mark.parametrize("command", [["info"], ["verify"], ["clear", "--yes"]])
def test_a_key_that_names_nothing_is_refused(cmpt726, keys, command, key):
    done = cmpt726("cache", *command, key)
    assert done.status == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "cache ls" in done.stderr


def test_verify_lists_everything_and_then_exits_3_on_damage(cmpt726, folder, keys):
    assert cmpt726("cache", "verify").status == 0
    data = Store(folder).path(keys[0]) / "features.h5"
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    done = cmpt726("cache", "verify")
    assert done.status == 3
    assert "1 of 2 in " in done.stdout
    assert "SHA-256" in done.stdout
    assert keys[1][:12] in done.stdout
    assert done.stderr.startswith("error: ")
    assert keys[0][:12] in done.stderr
    document = cmpt726("cache", "verify", "--json").json
    assert {entry["key"]: entry["state"] for entry in document["entries"]} == {keys[0]: "damaged", keys[1]: "ok"}
    assert document["damaged"] == 1
    assert cmpt726("cache", "verify", keys[1][:10]).status == 0
    assert cmpt726("cache", "verify", keys[0][:10]).status == 3


def test_prune_plans_and_then_does(cmpt726, folder, keys):
    os.utime(Store(folder).path(keys[0]) / "usage.json", (1, 1))
    plan = cmpt726("cache", "prune", "--older-than", "30d", "--max-size", "5GB", "--dry-run", "--json").json
    assert plan["dry_run"] is True
    assert [removal["key"] for removal in plan["removed"]] == [keys[0]]
    assert len(Store(folder).entries()) == 2
    done = cmpt726("cache", "prune", "--older-than", "30d", "--json").json
    assert done["removed"] == plan["removed"]
    assert done["bytes"] == plan["bytes"] > 0
    assert [info.key for info in Store(folder).entries()] == [keys[1]]
    assert "removed 1" in cmpt726("cache", "prune", "--max-size", "0B").stdout
    assert Store(folder).entries() == []


@pytest.mark.parametrize("arguments", [["--max-size", "5XB"], ["--max-size", "-1GB"], ["--older-than", "soon"]])
def test_sizes_and_ages_that_are_none_remove_nothing(cmpt726, folder, keys, arguments):
    done = cmpt726("cache", "prune", *arguments)
    assert done.status == 2
    assert arguments[1] in done.stderr
    assert len(Store(folder).entries()) == 2


def test_clear_needs_a_yes(cmpt726, folder, keys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    for arguments in ([], [keys[0][:10]]):
        done = cmpt726("cache", "clear", *arguments)
        assert done.status == 2
        assert "--yes" in done.stderr
    assert len(Store(folder).entries()) == 2
    assert cmpt726("cache", "clear", keys[0][:10], "--yes", "--json").json["removed"][0]["key"] == keys[0]
    assert [info.key for info in Store(folder).entries()] == [keys[1]]
    assert cmpt726("cache", "clear", "--yes").status == 0
    assert Store(folder).entries() == []


@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 0)])
def test_clear_asks_on_a_terminal(folder, keys, answer, left):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli726", "cache", "clear"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.write(ours, f"{answer}\n".encode())
    _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert b"all 2 entries" in err
    assert len(Store(folder).entries()) == left


def test_names_from_a_manifest_can_not_speak_to_the_terminal(cmpt726, folder):
    key = build(folder, model="[/x]\x1b[31m<b>\u202e", data="a\nb", pool={"x": 1}, cut="=1" * 5000)
    for command in (["ls"], ["info", key], ["verify"]):
        done = cmpt726("cache", *command)
        assert done.status == 0
        assert not set("\x1b\u202e") & set(done.stdout + done.stderr)
        assert "a\nb" not in done.stdout
    document = cmpt726("cache", "ls", "--json").json
    assert document["entries"][0]["model"] == "[/x]\x1b[31m<b>\u202e"
    assert len(document["entries"][0]["cut"]) <= 60


def test_names_that_are_no_text_are_listed(cmpt726, folder, keys):
    strange = os.fsencode(folder / "v1") + b"/caf\xe9"
    os.mkdir(strange)  # noqa: PTH102
    for arguments in (["ls"], ["ls", "--json"], ["verify"], ["verify", "--json"], ["clear", "--yes"]):
        done = cmpt726("cache", *arguments)
        assert done.status == (3 if "verify" in arguments else 0)
    assert os.path.isdir(strange)  # noqa: PTH112


def test_times_beyond_any_calendar_are_no_error(cmpt726, folder, keys):
    for time in (-(2**40), 2**33 - 1):
        os.utime(Store(folder).path(keys[0]) / "usage.json", (time, time))
        assert cmpt726("cache", "ls").status == 0
        json.dumps(cmpt726("cache", "ls", "--json").json)


@pytest.mark.parametrize("command", ["ls", "info", "verify", "prune", "clear", "path"])
def test_every_command_has_help_with_examples(cmpt726, command):
    done = cmpt726("cache", command, "--help")
    assert done.status == 0
    assert f"cmpt726 cache {command}" in done.stdout.split("Examples")[1]
