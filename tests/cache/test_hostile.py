"""Entries that were damaged or written by an enemy: never used, never followed, never expanded."""

import hashlib
import json
import os
import random
import tracemalloc

import h5py
import numpy as np
import pytest

from cache.errors import UntrustedDataError
from cache.format import Manifest
from cache.keys import canonical
from tests.cache.building import a_request, assert_right, build, clear, images_of
from tests.harness import cases, peak_memory, times

pytestmark = pytest.mark.faults

SECRET = b"the target's secret bytes" * 4
ROWS = 600


def refuses(store, wanted):
    """Neither a load nor `verify` trusts the entry; what both say of it."""
    with pytest.raises(UntrustedDataError, match=f"cache clear {wanted.key[:12]} ") as refusal:
        build(store.folder, wanted)
    (verdict,) = store.verify(wanted.key)
    assert verdict.state != "ok"
    assert verdict.reason in str(refusal.value)
    return verdict.reason


def vouch(entry, wanted):
    """Write the manifest that an enemy would: everything in it is true of the file."""
    content = (entry / "features.h5").read_bytes()
    manifest = Manifest(wanted, len(content), hashlib.sha256(content).hexdigest())
    (entry / "manifest.json").write_bytes(manifest.render())


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target.bin"
    path.write_bytes(SECRET * 2000)
    with h5py.File(tmp_path / "target.h5", "w") as file:
        file["features"] = np.frombuffer(path.read_bytes()[: ROWS * 256], "<f4").reshape(ROWS, 64)
    return tmp_path


def external_link(file, target):
    file["features"] = h5py.ExternalLink(str(target / "target.h5"), "/features")


def external_storage(file, target):
    file.create_dataset("features", (ROWS, 64), "<f4", external=[(str(target / "target.bin"), 0, ROWS * 256)])


def soft_link(file, target):
    file["real"] = np.zeros((ROWS, 64), "<f4")
    file["features"] = h5py.SoftLink("/real")


def hard_link(file, target):
    file["features"] = np.zeros((ROWS, 64), "<f4")
    file["twin"] = file["features"]


def virtual(file, target):
    layout = h5py.VirtualLayout((ROWS, 64), "<f4")
    layout[:] = h5py.VirtualSource(str(target / "target.h5"), "features", (ROWS, 64))
    file.create_virtual_dataset("features", layout)


def references(file, target):
    file.create_dataset("features", (ROWS,), h5py.ref_dtype)


def variable_length(file, target):
    file.create_dataset("features", (ROWS,), h5py.vlen_dtype(np.float32))


def endless(file, target):
    file.create_dataset("features", (2**40, 64), "<f4", chunks=(1024, 64))


def bomb(file, target):
    file.create_dataset("features", (ROWS, 64), "<f4", data=np.zeros((ROWS, 64)), compression="gzip")


def huge_bomb(file, target):
    file.create_dataset("features", (2**20, 64), "<f4", chunks=(2**20, 64), compression="gzip")
    file["features"][:] = 0


def other_type(file, target):
    file["features"] = np.zeros((ROWS, 32), "<f8")


def other_names(file, target):
    file["Features"] = np.zeros((ROWS, 64), "<f4")


def with_a_group(file, target):
    file["features"] = np.zeros((ROWS, 64), "<f4")
    file.create_group("more").attrs["x"] = "y" * 1000


def only_an_attribute(file, target):
    file["features"] = np.zeros((ROWS, 64), "<f4")
    file["features"].attrs["dtype"] = "bfloat16"


ATTACKS = [
    external_link, external_storage, soft_link, hard_link, virtual, references, variable_length, endless, bomb,
    huge_bomb, other_type, other_names, with_a_group, only_an_attribute,
]  # fmt: skip


@pytest.mark.parametrize("attack", cases(*ATTACKS))
@pytest.mark.parametrize("padded", [False, True], ids=["own size", "right size"])
def test_hostile_hdf5_is_refused_before_anything_parses_it(store, entry, wanted, target, attack, padded, monkeypatch):
    path = entry / "features.h5"
    size = path.stat().st_size
    with h5py.File(path, "w", libver="earliest") as file:
        attack(file, target)
        file["images"] = images_of(wanted)
    if padded:
        os.truncate(path, size)
    vouch(entry, wanted)
    monkeypatch.setattr(h5py, "File", None)  # would be a TypeError, and no UntrustedDataError
    before = peak_memory()
    tracemalloc.start()
    reason = refuses(store, wanted)
    growth = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert growth < 10 * 2**20
    assert peak_memory() - before < 100 * 10**6
    assert "structure" in reason if padded else "bytes" in reason


@pytest.mark.parametrize("attack", cases(external_link, external_storage, virtual))
def test_hostile_hdf5_shows_nothing_of_its_target_on_the_command_line(store, entry, wanted, target, cmpt726, attack):
    with h5py.File(entry / "features.h5", "w") as file:
        attack(file, target)
        file["images"] = images_of(wanted)
    vouch(entry, wanted)
    for arguments in (["verify"], ["verify", "--json"], ["ls", "--json"], ["info", wanted.key]):
        done = cmpt726("cache", *arguments, "--cache-dir", store.folder)
        assert done.status == (3 if "verify" in arguments else 0)
        assert "secret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["features.h5", "manifest.json"])
def test_every_flipped_byte_is_found(store, entry, wanted, name):
    path = entry / name
    whole = bytearray(path.read_bytes())
    step = times(5000, 1000) if name == "features.h5" else times(31, 7)
    structure = list(range(0, 1216, 19)) if name == "features.h5" else []
    for offset in [*structure, *range(0, len(whole), step), len(whole) - 1]:
        whole[offset] ^= 0x10
        path.write_bytes(whole)
        refuses(store, wanted)
        whole[offset] ^= 0x10
    path.write_bytes(whole)
    assert store.verify()[0].state == "ok"


@pytest.mark.parametrize("name", ["features.h5", "manifest.json"])
def test_truncated_and_lengthened_files_are_found(store, entry, wanted, name):
    whole = (entry / name).read_bytes()
    for content in (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"\0", whole + b"\n", whole * 2):
        (entry / name).write_bytes(content)
        refuses(store, wanted)
        assert store.entries()[0].state != "ok"


@pytest.mark.parametrize("seed", cases(*range(4)))
def test_mutated_entries_are_refused_without_a_crash(store, seed):
    wanted = a_request(rows=8, shape=(3,))
    build(store.folder, wanted)
    entry = store.path(wanted.key)
    originals = {name: (entry / name).read_bytes() for name in ("features.h5", "manifest.json")}
    chance = random.Random(seed)
    for _ in range(times(60, 2500)):
        name = chance.choice(list(originals))
        content = bytearray(originals[name])
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(content))
            what = chance.randrange(4)
            if what == 0:
                content[at] = chance.randrange(256)
            elif what == 1:
                del content[at : at + chance.randint(1, 50)]
            elif what == 2:
                content[at:at] = chance.randbytes(chance.randint(1, 50))
            else:
                content[at : at + 8] = chance.choice([b"\xff" * 8, b"\0" * 8, b"99999999", b'"\\ud800"', b"[[[[[[[["])
            if not content:
                break
        if content != originals[name]:
            (entry / name).write_bytes(content)
            refuses(store, wanted)
            (entry / name).write_bytes(originals[name])


def rewritten(entry, **changed):
    """A manifest of an enemy who knows the format: everything else fits what was changed."""
    document = json.loads((entry / "manifest.json").read_text()) | changed
    document.pop("digest")
    document = {name: value for name, value in document.items() if value is not ...}
    document["digest"] = hashlib.sha256(canonical(document).encode()).hexdigest()
    (entry / "manifest.json").write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")


LIES = [
    {"rows": 300}, {"rows": 2**40}, {"rows": 10**4000}, {"rows": True}, {"shape": [2**62]}, {"shape": [64, 1]},
    {"shape": {"64": 1}}, {"dtype": "bfloat16"}, {"dtype": ["float32"]}, {"bytes": 1}, {"bytes": "many"},
    {"sha256": "0" * 64}, {"sha256": None}, {"fields": {}}, {"fields": ...}, {"provenance": "me"}, {"key": "0" * 64},
    {"extra": 1}, {"schema": True}, {"schema": 3},
]  # fmt: skip
NONSENSE = [b"[" * 100_000, b'{"a":' * 100_000, b"null", b"\xff\xfe", b" " * 2**21, b"1" * 100_000, b"NaN"]


def test_manifests_that_lie_consistently_are_refused(store, entry, wanted):
    whole = (entry / "manifest.json").read_bytes()
    for changed in LIES:
        rewritten(entry, **changed)
        refuses(store, wanted)
        (entry / "manifest.json").write_bytes(whole)
    for content in NONSENSE:
        (entry / "manifest.json").write_bytes(content)
        refuses(store, wanted)
    for size, reason in ((2**20, "rules of its format"), (2**20 + 1, "is larger than 1048576 bytes")):
        (entry / "manifest.json").write_bytes(b" " * size)
        assert reason in refuses(store, wanted)


def test_another_versions_entry_is_foreign_and_not_damaged(store, entry, wanted):
    rewritten(entry, schema=3)
    assert refuses(store, wanted) == "it is of format 3; this version's is 2"
    assert [info.state for info in store.entries()] == ["foreign"]


@pytest.mark.parametrize("name", ["features.h5", "manifest.json"])
@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "missing"])
def test_only_ordinary_files_are_opened(store, entry, wanted, tmp_path, name, kind):
    path = entry / name
    path.rename(tmp_path / "elsewhere")
    if kind == "symlink":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    refuses(store, wanted)


def test_an_entry_that_is_a_link_is_refused_and_its_target_survives_clearing(store, entry, wanted, tmp_path):
    entry.rename(tmp_path / "real")
    entry.symlink_to(tmp_path / "real")
    refuses(store, wanted)
    clear(store)
    assert not entry.is_symlink()
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["features.h5", "manifest.json", "usage.json"]


def test_a_sidecar_that_is_a_link_is_not_followed(store, entry, wanted, tmp_path):
    (tmp_path / "victim").write_text("mine")
    os.utime(tmp_path / "victim", (0, 0))
    for target in (tmp_path / "victim", tmp_path / "new"):
        (entry / "usage.json").unlink()
        (entry / "usage.json").symlink_to(target)
        assert build(store.folder, wanted).state == "hit"
    assert (tmp_path / "victim").stat().st_mtime == 0
    assert not (tmp_path / "new").exists()


def test_the_remedy_works(store, entry, wanted):
    (entry / "features.h5").write_bytes(b"")
    refuses(store, wanted)
    clear(store, wanted.key[:12])
    rebuilt = build(store.folder, wanted)
    assert rebuilt.state == "built"
    assert_right(rebuilt, wanted)
