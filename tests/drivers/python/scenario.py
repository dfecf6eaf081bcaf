"""What the scenario programs of both Python drivers share: settings, checks and the runner.

A program is a list of functions marked with `@scenario`. Each runs against `DATABASE_URL`, directly or through the
proxy, and compares what it gets with what PostgreSQL is known to answer. Environment:

DATABASE_URL                the server under test
EXPECT_TENANT_VALUE         what `app.current_org_id` must show inside every transaction; unset: not looked at
OTHER_URL                   a second tenant on the same server, for the scenario that interleaves two
OTHER_EXPECT_TENANT_VALUE   what the second tenant must see
DIRECT_URL                  the server without the proxy; errors and server parameters are compared with it
SCENARIO_SCHEMA             where tables are created (default `public`)
POOL_MODE                   `session` also runs what needs one backend for a whole session

Arguments are names of scenarios to run; `--list` prints them all.
"""

import asyncio
import contextlib
import faulthandler
import inspect
import itertools
import os
import random
import signal
import sys
import traceback

DATABASE_URL = os.environ.get("DATABASE_URL", "")
EXPECT = os.environ.get("EXPECT_TENANT_VALUE")
OTHER_URL = os.environ.get("OTHER_URL")
OTHER_EXPECT = os.environ.get("OTHER_EXPECT_TENANT_VALUE")
DIRECT_URL = os.environ.get("DIRECT_URL")
SCHEMA = os.environ.get("SCENARIO_SCHEMA", "public")
SESSION_POOLING = os.environ.get("POOL_MODE") == "session"
TIMEOUT_SECONDS = int(os.environ.get("SCENARIO_TIMEOUT", "120"))

# As an expression in a scenario's own statements: the statement that works must see the context, not one beside it.
CONTEXT = "current_setting('app.current_org_id', true)"

_scenarios = []
_table_numbers = itertools.count(1)


class Failure(Exception):
    """A check that did not hold."""


class Skip(Exception):
    """The scenario does not apply to these settings."""


def scenario(function):
    """Registers a scenario under the function's name."""
    _scenarios.append(function)
    return function


def short(value, limit=400):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def equal(got, want, what):
    if got != want or type(got) is bool and type(want) is not bool:
        raise Failure(f"{what}\n    expected: {short(want)}\n    got:      {short(got)}")


def true(condition, what):
    if not condition:
        raise Failure(what)


def in_context(value, what="context", want=EXPECT):
    """Checks a value of `CONTEXT` that a statement returned."""
    if want is not None:
        equal(value, want, what)


@contextlib.contextmanager
def raises(exception, sqlstate, what):
    """Checks that the block fails with this exception and SQLSTATE; yields a list that receives the exception."""
    caught = []
    try:
        yield caught
    except exception as error:
        equal(error.sqlstate, sqlstate, f"{what}: SQLSTATE ({error})")
        caught.append(error)
    else:
        raise Failure(f"{what}: expected an error {sqlstate}, but it went through")


def new_table():
    """A qualified table name that nobody else uses."""
    return f"{SCHEMA}.pgw_{os.getpid()}_{random.randrange(16**8):08x}_{next(_table_numbers)}"


def run():
    """Runs the scenarios named on the command line, or all; ends the program."""
    names = sys.argv[1:]
    if names == ["--list"]:
        print(*(function.__name__ for function in _scenarios), sep="\n")
        sys.exit(0)
    unknown = set(names) - {function.__name__ for function in _scenarios}
    if unknown or not DATABASE_URL:
        print(f"unknown scenarios: {sorted(unknown)}" if unknown else "DATABASE_URL is not set", file=sys.stderr)
        sys.exit(2)
    outcomes = [_run_one(function) for function in _scenarios if not names or function.__name__ in names]
    failed = outcomes.count("failed")
    print(f"{outcomes.count('ok')} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


def _run_one(function):
    name = function.__name__
    try:
        _call(function)
    except Skip as reason:
        print(f"skip {name}: {reason}", flush=True)
        return "skip"
    except Failure as failure:
        line = next((frame.lineno for frame in reversed(traceback.extract_tb(failure.__traceback__))
                     if frame.filename == inspect.getsourcefile(function)), "?")
        print(f"FAILED {name} (line {line}): {failure}", flush=True)
        return "failed"
    except Exception:
        print(f"FAILED {name}: {traceback.format_exc()}", flush=True)
        return "failed"
    print(f"ok {name}", flush=True)
    return "ok"


def _call(function):
    # A driver stuck below Python does not notice the alarm; the second line of defence ends the program.
    faulthandler.dump_traceback_later(TIMEOUT_SECONDS + 15, exit=True)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(TIMEOUT_SECONDS)
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(asyncio.wait_for(function(), TIMEOUT_SECONDS - 5))
        else:
            function()
    except asyncio.TimeoutError:
        raise Failure(f"not done after {TIMEOUT_SECONDS - 5} s") from None
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()


def _too_long(_signal, _frame):
    raise Failure(f"not done after {TIMEOUT_SECONDS} s")
