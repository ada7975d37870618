import signal
import time
from pathlib import Path

import pytest

from tests.component.emulator.workshop import PLAIN, said, until

COUNTS = """
def count(name):
    number = 0
    while True:
        number += 1
        with open(os.path.join(os.environ["COUNTS"], name), "w") as file:
            file.write(str(number))
        time.sleep(0.005)
"""


def alive(pid):
    # A process that nobody has buried yet is dead as well.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_freeze_stops_every_process_and_a_thaw_lets_them_go_on(workshop, tmp_path):
    # In the extension, in a child of it, and in the runtime.
    workshop.extension(
        COUNTS
        + """
if os.fork() == 0:
    count("child")
threading.Thread(target=count, args=("extension",), daemon=True).start()
"""
        + PLAIN
    )
    environment = workshop.environment(
        COUNTS + "threading.Thread(target=count, args=('runtime',), daemon=True).start()\nRuntime().serve()",
        variables={"COUNTS": str(tmp_path)},
    )
    environment.invoke({})
    files = [tmp_path / name for name in ("child", "extension", "runtime")]
    until(lambda: all(file.exists() for file in files))

    def counts():
        return [file.read_text() for file in files]

    environment.freeze()
    time.sleep(0.05)
    before = counts()
    time.sleep(0.25)
    assert counts() == before
    assert environment.thaw() >= 0.3
    until(lambda: all(now != then for now, then in zip(counts(), before, strict=True)))


def test_an_invocation_thaws_and_says_how_long_it_was_frozen(workshop):
    workshop.extension()
    environment = workshop.environment()
    environment.init()
    environment.freeze()
    environment.freeze()
    time.sleep(0.2)
    invocation = environment.invoke({})
    assert invocation.succeeded and invocation.frozen_s >= 0.2
    assert environment.invoke({}).frozen_s == 0.0


def test_a_frozen_environment_shuts_down(workshop):
    workshop.extension()
    environment = workshop.environment()
    environment.invoke({})
    environment.freeze()
    assert environment.shutdown().clean
    assert said(environment.log, "extension toy") == ["shut down"]


def test_the_runtime_goes_first_and_the_extension_gets_an_event_but_no_signal(workshop):
    workshop.extension("signal.signal(signal.SIGTERM, lambda *_: note('SIGTERM'))\n" + PLAIN)
    environment = workshop.environment(
        """
        def leave(*_):
            note("runtime leaves")
            os._exit(0)
        signal.signal(signal.SIGTERM, leave)
        threading.Thread(target=Runtime().serve, daemon=True).start()
        while True:
            time.sleep(1)
        """
    )
    environment.invoke({})
    first_line = len(environment.log)
    report = environment.shutdown()
    assert said(environment.log[first_line:]) == ["runtime leaves", "shut down"]
    assert report.reason == "spindown" and report.clean
    assert [(end.name, end.status, end.killed) for end in report.processes] == [
        ("runtime", "exit status 0", False),
        ("extension toy", "exit status 0", False),
    ]


def test_a_runtime_that_ignores_sigterm_is_killed_before_the_extension_hears(workshop):
    workshop.extension()
    environment = workshop.environment("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nRuntime().serve()")
    environment.invoke({})
    runtime, toy = environment.shutdown().processes
    assert runtime.killed and runtime.status == "signal: killed" and 600 <= runtime.duration_ms < toy.duration_ms
    assert not toy.killed


def test_an_extension_that_stays_is_killed_when_two_seconds_are_over(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        while (event := extension.next())["eventType"] != "SHUTDOWN":
            pass
        note(round(event["deadlineMs"] / 1000 - time.time()))
        time.sleep(60)
        """
    )
    environment = workshop.environment()
    environment.invoke({})
    report = environment.shutdown()
    toy = report.processes[-1]
    assert toy.killed and toy.duration_ms >= 2000 and not report.clean
    assert said(environment.log, "extension toy") == ["2"]


def test_an_extension_that_wants_no_shutdown_is_killed_at_once(workshop):
    workshop.extension('extension = Extension("INVOKE")\nwhile True:\n    note(extension.next()["eventType"])')
    environment = workshop.environment()
    environment.invoke({})
    toy = environment.shutdown().processes[-1]
    assert toy.killed
    assert said(environment.log, "extension toy") == ["INVOKE"]


def test_a_runtime_without_extensions_is_killed_at_once(workshop):
    environment = workshop.environment("signal.signal(signal.SIGTERM, lambda *_: note('SIGTERM'))\nRuntime().serve()")
    environment.invoke({})
    (runtime,) = environment.shutdown().processes
    assert runtime.killed and "SIGTERM" not in said(environment.log)


def test_what_an_extension_leaves_behind_is_ended_with_it(workshop):
    workshop.extension("child = os.fork()\nif child == 0:\n    time.sleep(60)\nnote(child)\n" + PLAIN)
    environment = workshop.environment()
    environment.invoke({})
    child = int(said(environment.log, "extension toy")[0])
    assert alive(child)
    environment.shutdown()
    until(lambda: not alive(child))


def test_closing_an_environment_in_the_middle_of_nothing_ends_its_processes(workshop):
    workshop.extension()
    environment = workshop.environment()
    environment.init()
    pids = list(environment.processes.values())
    environment.close()
    workshop.environments.clear()
    assert len(pids) == 2 and not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_of_a_signal_is_named_with_it(workshop, number):
    environment = workshop.environment(f"Runtime().next()\nos.kill(os.getpid(), {int(number)})")
    message = environment.invoke({}).json()["errorMessage"]
    assert message.endswith(f"Runtime exited with error: signal: {signal.strsignal(number).lower()}")
