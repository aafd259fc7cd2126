"""The lines of a log that report errors."""

from osm_healthcheck.verification.log_errors import read_log


def test_lines_with_a_level_are_counted_and_errors_are_kept() -> None:
    log = read_log(
        [
            "Defaulted container web",
            '[pod/web-0/web] {"level":"ERROR","time":"t","component":"c","message":"x","port":1}',
            '{"level":"info","message":"y"}',
            '{"level":"fatal"',
            '{"message":"no level"}',
            '{"level":"panic"}',
            '["error"]',
            "{" * 100_000,
        ]
    )
    assert (log.lines, log.levelled) == (8, 3)
    assert [(line.number, str(line)) for line in log.errors] == [
        (2, "t c ERROR: x port=1"),
        (6, "panic: "),
    ]


def test_an_empty_log_has_none() -> None:
    log = read_log([])
    assert (log.errors, log.lines, log.levelled) == ([], 0, 0)
