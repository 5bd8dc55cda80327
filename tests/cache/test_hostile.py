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
from cache.format import Manifest, Sketch
from cache.keys import canonical
from tests.cache.building import a_request, assert_right, build, clear, images_of
from tests.harness import cases, peak_memory, times

pytestmark = pytest.mark.faults

ROWS = 600
FILES = pytest.mark.parametrize("name", ["features.h5", "manifest.json"])


def refuses(store, wanted):
    """Neither a load nor `verify` trusts the entry; what both say of it."""
    with pytest.raises(UntrustedDataError, match=f"cache clear {wanted.key[:12]} ") as refusal:
        build(store.folder, wanted)
    (verdict,) = store.verify(wanted.key)
    assert verdict.state != "ok"
    assert verdict.reason in str(refusal.value)
    return verdict.reason


def virtual(target):
    layout = h5py.VirtualLayout((ROWS, 64), "<f4")
    layout[:] = h5py.VirtualSource(str(target / "target.h5"), "features", (ROWS, 64))
    return layout


ZEROS = np.zeros((ROWS, 64), "<f4")
LEADING = {
    "external link": lambda file, at: file.update(features=h5py.ExternalLink(str(at / "target.h5"), "/features")),
    "external storage": lambda file, at: file.create_dataset(
        "features", (ROWS, 64), "<f4", external=[(str(at / "target.bin"), 0, ROWS * 256)]
    ),
    "virtual": lambda file, at: file.create_virtual_dataset("features", virtual(at)),
}
ATTACKS = LEADING | {
    "soft link": lambda file, _: file.update(real=ZEROS, features=h5py.SoftLink("/real")),
    "hard link": lambda file, _: file.update(features=ZEROS) or file.update(twin=file["features"]),
    "references": lambda file, _: file.create_dataset("features", (ROWS,), h5py.ref_dtype),
    "variable length": lambda file, _: file.create_dataset("features", (ROWS,), h5py.vlen_dtype(np.float32)),
    "endless": lambda file, _: file.create_dataset("features", (2**40, 64), "<f4", chunks=(1024, 64)),
    "bomb": lambda file, _: file.create_dataset("features", data=ZEROS, compression="gzip"),
    "huge bomb": lambda file, _: file.create_dataset(
        "features", data=np.zeros((2**20, 64), "<f4"), chunks=(2**20, 64), compression="gzip"
    ),
    "other type": lambda file, _: file.update(features=np.zeros((ROWS, 32), "<f8")),
    "other names": lambda file, _: file.update(Features=ZEROS),
    "a group": lambda file, _: file.update(features=ZEROS) or file.create_group("more").attrs.update(x="y" * 1000),
    "an attribute": lambda file, _: file.update(features=ZEROS) or file["features"].attrs.update(dtype="bfloat16"),
}


@pytest.fixture
def attacked(entry, wanted, tmp_path):
    """Puts an attack into the entry's file, and vouches for it as an enemy would: all in the manifest is true of it."""
    (tmp_path / "target.bin").write_bytes(b"the target's secret bytes" * 8000)
    with h5py.File(tmp_path / "target.h5", "w") as file:
        file["features"] = np.frombuffer((tmp_path / "target.bin").read_bytes()[: ROWS * 256], "<f4").reshape(ROWS, 64)

    def attack(name, size=None):
        path = entry / "features.h5"
        with h5py.File(path, "w", libver="earliest") as file:
            ATTACKS[name](file, tmp_path)
            file["images"] = images_of(wanted)
        if size:
            os.truncate(path, size)
        content = path.read_bytes()
        manifest = Manifest(wanted, len(content), hashlib.sha256(content).hexdigest())
        (entry / "manifest.json").write_bytes(manifest.render())

    return attack


@pytest.mark.parametrize("name", cases(*ATTACKS))
@pytest.mark.parametrize("padded", [False, True], ids=["own size", "right size"])
def test_hostile_hdf5_is_refused_before_anything_parses_it(store, entry, wanted, attacked, name, padded, monkeypatch):
    attacked(name, (entry / "features.h5").stat().st_size if padded else None)
    real = h5py.File

    def only_sketches(file, *rest, **options):
        assert isinstance(file, Sketch), "HDF5 must never open what is on the disk"
        return real(file, *rest, **options)

    monkeypatch.setattr(h5py, "File", only_sketches)
    before = peak_memory()
    tracemalloc.start()
    reason = refuses(store, wanted)
    growth = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert growth < 10 * 2**20
    assert peak_memory() - before < 100 * 10**6
    assert "structure" in reason if padded else "bytes" in reason


@pytest.mark.parametrize("name", cases(*LEADING))
def test_hostile_hdf5_shows_nothing_of_its_target_on_the_command_line(store, wanted, cmpt726, attacked, name):
    attacked(name)
    for arguments in (["verify"], ["verify", "--json"], ["ls", "--json"], ["info", wanted.key]):
        done = cmpt726("cache", *arguments, "--cache-dir", store.folder)
        assert done.status == (3 if "verify" in arguments else 0)
        assert "secret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@FILES
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


@FILES
def test_truncated_and_lengthened_files_are_found_and_the_remedy_works(store, entry, wanted, name):
    whole = (entry / name).read_bytes()
    for content in (whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"\0", whole + b"\n", whole * 2, b""):
        (entry / name).write_bytes(content)
        refuses(store, wanted)
        assert store.entries()[0].state != "ok"
    clear(store, wanted.key[:12])
    rebuilt = build(store.folder, wanted)
    assert rebuilt.state == "built"
    assert_right(rebuilt, wanted)


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
            at = chance.randrange(len(content) + 1)
            new = [b"\xff" * 8, b"\0" * 8, b"99999999", b'"\\ud800"', b"[[[[[[[[", b"", chance.randbytes(at % 50 + 1)]
            content[at : at + chance.choice([0, 1, 8, 50])] = chance.choice(new)
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
    {"extra": 1}, {"schema": True},
]  # fmt: skip
NONSENSE = [b"[" * 100_000, b'{"a":' * 100_000, b"null", b"\xff\xfe", b" " * 2**21, b"1" * 100_000, b"NaN"]


def test_manifests_that_lie_consistently_are_refused(store, entry, wanted):
    whole = (entry / "manifest.json").read_bytes()
    for changed in LIES:
        rewritten(entry, **changed)
        refuses(store, wanted)
        assert store.entries()[0].state in ("ok", "damaged")
        (entry / "manifest.json").write_bytes(whole)
    for content in NONSENSE:
        (entry / "manifest.json").write_bytes(content)
        refuses(store, wanted)
    for size, reason in ((2**20, "rules of its format"), (2**20 + 1, "is larger than 1048576 bytes")):
        (entry / "manifest.json").write_bytes(b" " * size)
        assert reason in refuses(store, wanted)


@pytest.mark.parametrize(("schema", "state"), [(3, "foreign"), (1, "superseded")])
def test_another_versions_entry_is_not_damaged_and_an_earlier_one_goes_with_prune(store, entry, wanted, schema, state):
    rewritten(entry, schema=schema)
    assert refuses(store, wanted) == f"it is of format {schema}; this version's is 2"
    assert [info.state for info in store.entries()] == [state]
    assert [info.reason for info in store.prunable()] == (["superseded"] if schema == 1 else [])


@FILES
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
