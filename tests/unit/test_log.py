import json
import logging

import pytest

from warmwire.log import configure


@pytest.fixture
def out(capsys):
    """Gives what was written to stdout since it was last asked; the loggers are as before afterwards."""
    logger = logging.getLogger("warmwire")
    before = logger.handlers[:], logger.propagate, logger.level
    yield lambda: capsys.readouterr().out
    logger.handlers[:], logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


class TestJson:
    def test_an_event_is_one_line_with_the_keys_that_lambda_knows(self, out):
        configure("info", as_json=True)
        logging.getLogger("warmwire.pool").warning("discarded %s:\nlost", "upstream 7", extra={"upstream": 7, "reason": "lost"})
        (line,) = out().splitlines()
        entry = json.loads(line)
        timestamp = entry.pop("timestamp")
        assert entry == {
            "level": "WARN", "message": "discarded upstream 7:\nlost", "logger": "warmwire.pool", "upstream": 7,
            "reason": "lost",
        }  # fmt: skip
        assert len(timestamp) == len("2026-01-01T00:00:00.000Z")
        assert (timestamp[4], timestamp[10], timestamp[19], timestamp[-1]) == ("-", "T", ".", "Z")

    def test_the_time_is_utc_to_the_millisecond(self, out):
        logger = configure("info", as_json=True)
        record = logger.makeRecord("warmwire", logging.INFO, "f", 1, "m", (), None)
        record.created, record.msecs = 1_700_000_000.042, 42.0
        logger.handle(record)
        assert json.loads(out())["timestamp"] == "2023-11-14T22:13:20.042Z"

    @pytest.mark.parametrize(("level", "name"), [("debug", "DEBUG"), ("info", "INFO"), ("critical", "FATAL")])
    def test_levels_have_the_names_that_lambda_filters_by(self, out, level, name):
        logger = configure("debug", as_json=True)
        getattr(logger, level)("x")
        assert json.loads(out())["level"] == name

    def test_an_exception_is_part_of_its_event(self, out):
        logger = configure("info", as_json=True)
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            logger.exception("a task failed")
        (line,) = out().splitlines()
        assert json.loads(line)["stackTrace"].endswith("RuntimeError: broken")

    def test_what_is_not_ascii_stays_readable(self, out):
        configure("info", as_json=True).info("Zürich")
        assert "Zürich" in out()


def test_outside_lambda_a_line_is_text(out):
    configure("info", as_json=False)
    logging.getLogger("warmwire.app").info("listening on %d", 3306)
    assert out().endswith(" INFO    warmwire.app: listening on 3306\n")


def test_events_below_the_level_are_not_written(out):
    logger = configure("warning", as_json=True)
    logger.info("x")
    assert out() == ""
    logger.warning("x")
    assert out()


def test_configuring_again_replaces_the_first_and_nothing_reaches_other_loggers(out, caplog):
    configure("info", as_json=True)
    configure("info", as_json=False).info("once")
    assert out().count("once") == 1
    assert caplog.records == []
