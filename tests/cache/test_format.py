"""The structure of the file: h5py, which reads it, is the oracle for what we compare byte by byte."""

import hashlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.format import layout_of
from cache.keys import Request
from cache.store import Store
from tests.cache.building import a_request, build, features_of, files_of, images_of

requests = st.builds(
    a_request,
    rows=st.integers(1, 3000),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=8).map(tuple),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)


@given(requests)
@settings(max_examples=50, deadline=None)
def test_h5py_finds_the_data_where_the_layout_says(tmp_path_factory, request):
    layout = layout_of(request)
    path = tmp_path_factory.mktemp("layout") / "features.h5"
    features, images = features_of(request), images_of(request)
    path.write_bytes(layout.head + features.tobytes() + layout.middle + images.tobytes() + layout.tail)
    assert path.stat().st_size == layout.size
    with h5py.File(path) as file:
        assert sorted(file) == ["features", "images"]
        np.testing.assert_array_equal(file["features"][:], features)
        np.testing.assert_array_equal(file["images"][:], images)
        assert file["features"].attrs["dtype"].decode() == request.dtype
        assert file["features"].dtype == ("<f4" if request.dtype == "float32" else "<u2")
        assert file["images"].dtype == "u1"
        for dataset in file.values():
            assert dataset.chunks is dataset.compression is dataset.external is None
            assert not dataset.is_virtual


def test_the_structure_is_the_one_that_earlier_releases_wrote_and_a_huge_one_takes_no_memory():
    """Written down from h5py 3.11 (HDF5 1.14.2); 3.16 (HDF5 2.0) agrees."""
    digest = hashlib.sha256()
    for rows in (1, 2, 10, 100, 511, 512, 600, 5000, 10**6, 2**30):
        for shape in ((1,), (3,), (64,), (2,) * 8):
            for dtype in ("float32", "bfloat16"):
                layout = layout_of(Request({}, rows, shape, dtype))
                digest.update(b"|".join((layout.head, layout.middle, layout.tail)))
    assert digest.hexdigest() == "cb650a04464ce907de396cfe0d72b88acb4b1643a694bdc6e5c3e3a5a57e570c"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_request_gives_the_same_bytes_anywhere(tmp_path, dtype):
    for name in ("one", "two"):
        build(Store(tmp_path / name).folder, a_request(dtype=dtype))
    assert len(files_of(tmp_path / "one")) == 2
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
