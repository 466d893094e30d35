"""Which segments a restore needs, across timelines and the end of a log file."""

import pytest

from my_project.data_layer.recovery.wal import Archive, missing, position, segment

BEFORE, AFTER = "0000000100000001000000FE", "000000010000000200000001"


def archive(*names: str, **histories: str) -> Archive:
    return Archive(frozenset(names), {int(key[1:]): text for key, text in histories.items()})


def test_names_go_on_after_a_log_file_ends() -> None:
    names = [segment(1, position(BEFORE) + number) for number in range(4)]
    assert names == [BEFORE, "0000000100000001000000FF", "000000010000000200000000", AFTER]
    assert segment(1, 4097, 1 << 20) == "000000010000000100000001"
    assert position("000000010000000100000001", 1 << 20) == 4097


@pytest.mark.parametrize("gone", range(4))
def test_each_missing_name_is_found(gone: int) -> None:
    names = [segment(1, position(BEFORE) + number) for number in range(4)]
    left = archive(*(name for name in names if name != names[gone]))
    assert missing(left, BEFORE, AFTER) == [names[gone]]


def test_where_the_timeline_switched_the_newer_one_is_needed() -> None:
    """Timeline 2 began in segment 3, timeline 3 in segment 5."""
    history = "1\t0/3000158\tno recovery target\n\n2\t0/5000100\tbefore the release\n"
    names = [
        *("000000010000000000000001", "000000010000000000000002"),
        *("000000020000000000000003", "000000020000000000000004"),
        *("000000030000000000000005", "000000030000000000000006"),
    ]
    assert missing(archive(*names, t3=history), names[0], names[-1]) == []
    for name in names:
        left = (one for one in names if one != name)
        assert missing(archive(*left, t3=history), names[0], names[-1]) == [name]
    # The old timeline's end of a segment is no help.
    old = [*names[:2], "000000010000000000000003", *names[3:]]
    assert missing(archive(*old, t3=history), names[0], names[-1]) == [names[2]]
    assert missing(archive(*names), names[0], names[-1]) == ["00000003.history"]
    # A backup of a later timeline needs nothing of an earlier one.
    assert missing(archive(*names[3:], t3=history), names[3], names[-1]) == []
