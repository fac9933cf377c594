import re

import numpy as np
import pytest
from nibbleforge.golden.anda.config import AndaSettings, MantissaSettings
from nibbleforge.golden.bitmap import Populations
from nibbleforge.golden.contract.config import NoSettings
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import PackedBitmap, Workload


def refuses(sentence):
    return pytest.raises(UserError, match=f"^{re.escape(sentence)}$")


def bits(*shape, value=0):
    return np.full(shape, value, np.uint8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 5, 3), "tokens, in_features and outputs must be at least 1, got 0, 5 and 3."),
        ((2, -1), "tokens and in_features must be at least 1, got 2 and -1."),
        ((2, 5, 3, None, 0), "weight_group must be at least 1, got 0."),
    ],
)
def test_illegal_shapes(arguments, sentence):
    with refuses(sentence):
        Workload(*arguments)


def test_a_linear_layer_needs_outputs():
    assert Workload(2, 5, 3).layer == (2, 5, 3)
    with refuses("the workload of a linear layer needs outputs."):
        _ = Workload(2, 5).layer


def test_settings():
    assert Workload(1, 1).settings_as(MantissaSettings) == MantissaSettings()
    finer = AndaSettings(mantissa=4)
    assert Workload(1, 1, settings=finer).settings_as(MantissaSettings) is finer
    with refuses("the settings of the workload must be MantissaSettings, got NoSettings."):
        Workload(1, 1, settings=NoSettings()).settings_as(MantissaSettings)


def test_profile():
    profile = PackedBitmap(bits(1, 1))
    assert Workload(1, 8, profile=profile).profile_as(PackedBitmap) is profile
    with refuses("the profile of the workload must be Populations, got PackedBitmap."):
        Workload(1, 8, profile=profile).profile_as(Populations)
    with refuses("the profile of the workload must be PackedBitmap or Populations, got none."):
        Workload(1, 8).profile_as(PackedBitmap, Populations)


MUST_BE = "a packed bitmap must be uint8 (tokens, bytes), "


@pytest.mark.parametrize(
    ("packed", "sentence"),
    [
        (np.zeros(8, np.uint8), MUST_BE + "got uint8 (8,)."),
        (np.zeros((2, 8), bool), MUST_BE + "got bool (2, 8)."),
        (np.zeros((0, 8), np.uint8), MUST_BE + "got uint8 (0, 8)."),
        (np.zeros((2, 0), np.uint8), MUST_BE + "got uint8 (2, 0)."),
    ],
)
def test_bad_packed_bitmaps(packed, sentence):
    with refuses(sentence):
        PackedBitmap(packed)


HAVE = "a packed bitmap of 2 tokens and 9 in_features must have 2 rows of at least 2 bytes, "


@pytest.mark.parametrize(
    ("packed", "sentence"),
    [
        (bits(3, 2), HAVE + "got 3 of 2."),
        (bits(2, 1), HAVE + "got 2 of 1."),
        (bits(2, 2, value=2), "a packed bitmap must be 0 beyond in_features = 9."),
        (bits(2, 3, value=1), "a packed bitmap must be 0 beyond in_features = 9."),
    ],
)
def test_bitmaps_of_another_shape(packed, sentence):
    with refuses(sentence):
        Workload(2, 9, profile=PackedBitmap(packed))


def test_bytes_of_a_bitmap():
    profile = PackedBitmap(np.array([[1, 2]], np.uint8))
    assert profile.of_bytes(1).tolist() == [[1]]
    assert profile.of_bytes(2) is profile.bits
    assert profile.of_bytes(3).tolist() == [[1, 2, 0]]
