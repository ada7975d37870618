import os

from tests.component.emulator.workshop import PLAIN, said

LISTENS_THEN_REGISTERS = """
listener = socket.create_server(("127.0.0.1", 0))
time.sleep(0.2)
with open(os.environ["PORT_FILE"], "w") as file:
    file.write(str(listener.getsockname()[1]))
note("registers")
extension = Extension("INVOKE", "SHUTDOWN")
listener.accept()
time.sleep(0.3)
note("is ready")
while extension.next()["eventType"] != "SHUTDOWN":
    pass
"""
CONNECTS = """
note("starts")
with open(os.environ["PORT_FILE"]) as file:
    socket.create_connection(("127.0.0.1", int(file.read()))).close()
Runtime().serve()
"""


def test_the_runtime_starts_after_every_register_and_the_invocation_after_every_next(workshop, tmp_path):
    workshop.extension(LISTENS_THEN_REGISTERS, "one")
    workshop.extension(PLAIN, "two")
    environment = workshop.environment(CONNECTS, variables={"PORT_FILE": str(tmp_path / "port")})
    invocation = environment.invoke({})
    assert invocation.succeeded and invocation.init.phase == "init"
    start = f"START RequestId: {invocation.request_id} Version: $LATEST"
    lines = [text for text in said(invocation.log) if text in ("registers", "starts", "is ready", start)]
    assert lines == ["registers", "starts", "is ready", start]


def test_extension_processes_lack_what_belongs_to_the_runtime(workshop):
    workshop.extension("note('sees', *sorted(os.environ))\n" + PLAIN)
    environment = workshop.environment(
        "note('sees', *sorted(os.environ))\nRuntime().serve()", variables={"MINE": "1", "_HIDDEN": "1"}
    )
    assert environment.init().succeeded
    of_extension, of_runtime = (
        next(set(text.split()[1:]) for text in said(environment.log, source) if text.startswith("sees"))
        for source in ("extension toy", "function")
    )
    of_runtime -= {"LC_CTYPE"}
    assert of_runtime - of_extension >= {
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "PYTHONPATH",
        "_HANDLER",
        "_HIDDEN",
    }
    assert of_extension >= {"MINE", "AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_INITIALIZATION_TYPE", "WARMWIRE_LAYER_ROOT"}


def test_a_stray_file_in_the_extensions_folder_fails_every_invocation(workshop):
    workshop.extension()
    (workshop.layer / "extensions" / ".gitkeep").touch()
    environment = workshop.environment()
    for _ in range(2):
        invocation = environment.invoke({})
        assert invocation.status == "failure"
        assert invocation.response.error_type == invocation.json()["errorType"] == "Extension.LaunchError"
    assert "EXTENSION\tName: .gitkeep\tState: LaunchError\tEvents: []\tError Type: PermissionDenied" in said(environment.log)


def test_an_eleventh_extension_is_one_too_many(workshop):
    for number in range(11):
        workshop.extension(name=f"toy-{number}")
    environment = workshop.environment()
    report = environment.init()
    assert report.error_type == "Extension.LaunchError" and environment.processes == {}


def test_an_extension_that_reports_an_init_error_and_exits_fails_init_with_it(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        note("answer", extension.error("init", "Extension.NoDatabase"))
        sys.exit(1)
        """
    )
    environment = workshop.environment()
    report = environment.init()
    assert (report.status, report.error_type) == ("error", "Extension.InitError")
    assert "answer 202" in said(environment.log)
    text = "EXTENSION\tName: toy\tState: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Extension.NoDatabase"
    assert text in said(environment.log)


def test_an_extension_that_exits_during_init_is_a_crash(workshop):
    workshop.extension("sys.exit(0)")
    assert workshop.environment().init().error_type == "Extension.Crash"


def test_a_python_function_that_cannot_be_imported_says_so_to_the_caller(workshop):
    environment = workshop.environment(handler="import nowhere_to_be_found\ndef handler(event, context): pass")
    invocation = environment.invoke({})
    assert invocation.status == "failure"
    assert invocation.json()["errorType"] == "Runtime.ImportModuleError"
    assert "nowhere_to_be_found" in invocation.json()["errorMessage"]


def test_a_missing_bootstrap_is_an_invalid_entrypoint(workshop):
    environment = workshop.environment()
    (workshop.function / "bootstrap").unlink()
    assert environment.init().error_type == "Runtime.InvalidEntrypoint"


def test_init_that_takes_too_long_is_repeated_inside_the_invocation(workshop, tmp_path):
    go = tmp_path / "go"
    workshop.extension(f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n" + PLAIN)
    environment = workshop.environment(init_timeout=0.5, timeout=30.0)
    report = environment.init()
    assert (report.status, report.succeeded) == ("timeout", False)
    go.touch()
    invocation = environment.invoke({"a": 1})
    assert invocation.succeeded and invocation.json() == {"a": 1}
    assert invocation.init.phase == "invoke" and invocation.init.succeeded


def test_init_inside_an_invocation_counts_against_the_timeout(workshop):
    workshop.extension("time.sleep(30)")
    environment = workshop.environment(init_timeout=0.2, timeout=0.3)
    invocation = environment.invoke({})
    assert invocation.status == "timeout" and invocation.json()["errorType"] == "Sandbox.Timedout"


def test_a_python_function_runs_under_awslambdaric_with_the_layers_libraries(workshop):
    library = workshop.layer / "python" / "from_the_layer.py"
    library.parent.mkdir(parents=True)
    library.write_text("VALUE = 42")
    environment = workshop.environment(
        handler="""
        import os
        from from_the_layer import VALUE
        def handler(event, context):
            left = context.get_remaining_time_in_millis()
            return [VALUE, os.getcwd(), context.aws_request_id, context.invoked_function_arn, 0 < left <= 5000]
        """,
        timeout=5.0,
    )
    invocation = environment.invoke({})
    arn = "arn:aws:lambda:us-east-1:123456789012:function:function"
    assert invocation.json() == [42, os.path.realpath(workshop.function), invocation.request_id, arn, True]
