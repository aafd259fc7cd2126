"""The table of a connection's states is whole."""

from osm_healthcheck.server.connection import TRANSITIONS, Event, State


def test_every_state_has_its_row_and_every_state_is_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    reached = {State.NEW}
    for _ in State:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == set(State)


def test_a_connection_can_be_lost_at_any_time_and_once() -> None:
    for state, row in TRANSITIONS.items():
        assert row.get(Event.LOST) is (None if state is State.CLOSED else State.CLOSED)


def test_there_is_one_request_and_no_way_back_from_it() -> None:
    before = {State.NEW, State.HEAD}
    requests = {Event.REQUEST, Event.REQUEST_AND_MORE, Event.TLS}
    for state in set(State) - before:
        assert not requests & set(TRANSITIONS[state])
        assert not before & set(TRANSITIONS[state].values())


def test_bytes_are_taken_in_every_state_but_the_last() -> None:
    for state in set(State) - {State.CLOSED}:
        assert Event.BYTES in TRANSITIONS[state]


def test_a_caller_with_more_to_send_is_never_closed_on() -> None:
    assert TRANSITIONS[State.ANSWERING_UNREAD][Event.ANSWERED] is State.LINGERING
    assert TRANSITIONS[State.ANSWERING][Event.BYTES] is State.ANSWERING_UNREAD
