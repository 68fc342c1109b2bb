from messenger.client.deadlines import FOREVER_S, Deadlines


def test_given_a_ping_interval_when_frames_come_then_silence_is_counted_from_each() -> None:
    deadlines = Deadlines(patience_s=10)
    deadlines.opened(100.0, timeout_s=5)
    assert deadlines.next(None, 100.0) == 5

    deadlines.expect_ping(25, 101.0)

    assert deadlines.silent_at == 136.0
    assert deadlines.next(None, 140.0) == 0


def test_given_a_server_without_pings_when_connected_then_silence_means_nothing() -> None:
    deadlines = Deadlines(patience_s=10)

    deadlines.expect_ping(0, 100.0)

    assert deadlines.silent_at == 100 + FOREVER_S


def test_given_a_token_that_ends_when_most_of_its_life_is_over_then_it_is_due_once() -> None:
    deadlines = Deadlines(patience_s=10)
    deadlines.expect_ping(25, 0.0)
    deadlines.expires(10, 0.0)

    assert deadlines.next(None, 0.0) == 8
    assert deadlines.next(3.0, 0.0) == 3
    assert not deadlines.refresh_due(7.9)
    assert deadlines.refresh_due(8.0)
    assert not deadlines.refresh_due(8.1)


def test_given_a_token_without_end_when_time_passes_then_nothing_is_due() -> None:
    deadlines = Deadlines(patience_s=10)
    deadlines.expires(None, 0.0)

    assert not deadlines.refresh_due(1e9)
