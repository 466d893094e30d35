"""Keys: the format of the standard, and a way back from every text."""

import re
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from my_project.data_layer.redis import InvalidKey, Key, digest
from my_project.data_layer.redis.keys import LONGEST, owner

ODD = ["a:b", "{a}", "a b", "a\nb", "%", "%41", "*", "Ä", "\0", "🂡", "\ud800", "..", "'\"", "v1"]
# Of each character an escape makes up to twelve: three such parts still fit into one key.
SHORT = LONGEST // 36
# Surrogates too: what a file name or a broken client may hold.
TEXT = st.text(st.characters(), min_size=1, max_size=SHORT) | st.sampled_from(ODD)
PARTS = st.tuples(TEXT, TEXT, TEXT, st.integers(1, 999_999_999))


@pytest.mark.standard("DL-RD-10")
def test_the_example_of_the_standard_is_what_is_built() -> None:
    assert str(Key("users", "profile", "user-123")) == "users:profile:user-123:v1"
    assert Key.parse("users:profile:user-123:v1") == Key("users", "profile", "user-123", 1)


@pytest.mark.standard("DL-RD-10")
@given(PARTS)
@example(("a:b", "{c}", "d e\n", 2))
def test_every_text_finds_its_way_back(parts: tuple[str, str, str, int]) -> None:
    key = Key(*parts)
    text = str(key)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]+(:[A-Za-z0-9_.~%-]+){2}:v[1-9][0-9]*", text)
    assert Key.parse(text) == key
    assert Key.parse(text.encode()) == key
    assert owner(key.companion("lock")) == key


@pytest.mark.standard("DL-RD-10")
@given(PARTS, PARTS)
def test_two_keys_never_have_one_text(
    one: tuple[str, str, str, int], other: tuple[str, str, str, int]
) -> None:
    assume(one != other)
    assert str(Key(*one)) != str(Key(*other))


@given(PARTS)
def test_a_companion_is_in_the_slot_of_its_key(parts: tuple[str, str, str, int]) -> None:
    key = Key(*parts)
    assert key_slot(str(key).encode()) == key_slot(key.companion("lock").encode())


@given(st.binary(max_size=80) | st.text(max_size=80))
@example("a:b:c:v01")
@example("a:b:c:v0")
@example("a:b:%61:v1")
@example("a:b:%ff:v1")
@example("a:b::v1")
@example("{a:b:c:v1}:")
def test_what_is_no_key_is_refused_with_a_sentence(text: bytes | str) -> None:
    with pytest.raises(InvalidKey, match=r"(?s)\.$"):
        owner(text)


def test_an_empty_part_and_a_version_below_one_are_refused() -> None:
    with pytest.raises(InvalidKey, match="identifier of a key is empty"):
        Key("users", "profile", "")
    with pytest.raises(InvalidKey, match="version of a key is 0"):
        Key("users", "profile", "user-123", 0)


@given(st.text(st.characters(), min_size=1, max_size=2 * SHORT).map(lambda text: text * 3))
@example("x" * (LONGEST - len("users:profile::v1")))
@example("x" * (LONGEST - len("users:profile::v1") + 1))
def test_a_key_fits_or_is_refused(identifier: str) -> None:
    if len(f"users:profile:{quote(identifier, safe='', errors='surrogatepass')}:v1") > LONGEST:
        with pytest.raises(InvalidKey, match=f"more than {LONGEST}"):
            Key("users", "profile", identifier)
    else:
        assert Key.parse(str(Key("users", "profile", identifier))).identifier == identifier


def test_a_very_long_identifier_is_refused_and_has_a_digest() -> None:
    long = "ä" * LONGEST
    with pytest.raises(InvalidKey, match="digest"):
        Key("users", "profile", long)
    assert str(Key("users", "profile", digest(long))).startswith("users:profile:sha256-")
    assert digest(long) != digest(long + "ä")
