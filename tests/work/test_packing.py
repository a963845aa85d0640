"""What is packed comes back as it was, and what is not whole is never taken for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breastlens.work.packing import pack, unpack


@dataclass(frozen=True)
class Inner:
    values: tuple[float, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner | None
    told: dict[str, Any]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda held: st.lists(held) | st.tuples(held, held) | st.dictionaries(st.text(), held),
    max_leaves=12,
)


@given(plain)
def test_plain_values_come_back(value: Any) -> None:
    assert unpack(pack(value), ()) == value


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.1, -0.0, np.inf, np.nan]),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.empty((0, 4)),
        np.array(["a", "ü"]),
    ],
)
def test_arrays_come_back_to_the_last_bit(array: np.ndarray) -> None:
    back = unpack(pack({"x": array}), ())["x"]
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def test_dataclasses_come_back_where_they_are_known() -> None:
    value = Outer(Inner((0.1, 2.0)), {"n": np.float64(3.5)})
    assert unpack(pack(value), (Inner, Outer)) == Outer(Inner((0.1, 2.0)), {"n": 3.5})
    with pytest.raises(ValueError, match="it holds Inner, which is not expected"):
        unpack(pack(value), (Outer,))


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()])])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be packed"):
        pack(value)


@pytest.mark.parametrize("cut", [0, 10, -30])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.npz"
    path.write_bytes(pack({"x": np.arange(1000)})[:cut])
    with pytest.raises(ValueError, match=r".+"):
        unpack(path, ())


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    packed = bytearray(pack({"x": np.zeros(1000)}))
    packed[len(packed) // 2] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        unpack(bytes(packed), ())
