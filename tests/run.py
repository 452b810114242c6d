#!/usr/bin/python3
"""Every test of the project, one suite after the other. The last line is `N passed, N failed, N skipped`.

usage: run.py [SUITE...]   names as printed; all by default
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
RELEASE = ROOT / "build"
ASAN = ROOT / "build" / "asan"
TSAN = ROOT / "build" / "tsan"
FAILPOINTS = ROOT / "build" / "failpoints"
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "SPAWND_SANITIZED": "1",
}
RACES = {"TSAN_OPTIONS": "halt_on_error=0:exitcode=66:second_deadlock_stack=1"}


def ctest(build, *args):
    return ["ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error", "-L", "unit", *args]


def pytest(*paths):
    return ["/usr/bin/python3", "-m", "pytest", "-q", "--durations=5", "--timeout=240", "-p", "no:cacheprovider", *paths]


SUITES = [
    # name, command, environment
    ("architecture", pytest("tests/architecture"), {}),
    ("unit", ctest(RELEASE), {}),
    ("unit with sanitizers", ctest(ASAN), SANITIZERS),
    ("unit with the thread sanitizer", ctest(TSAN, "-j2"), RACES),
    ("threads", pytest("tests/threads"), {"SPAWND_BUILD": str(RELEASE), "SPAWND_TSAN": str(TSAN), **RACES}),
    ("unit under valgrind", ["tests/valgrind_unit.py", str(RELEASE)], {}),
    ("child modules", pytest("tests/unit"), {"SPAWND_BUILD": str(RELEASE)}),
    ("child modules with sanitizers", pytest("tests/unit"), {"SPAWND_BUILD": str(ASAN), **SANITIZERS}),
    ("integration", pytest("tests/integration"), {"SPAWND_BUILD": str(RELEASE)}),
    ("integration with sanitizers", pytest("tests/integration"), {"SPAWND_BUILD": str(ASAN), **SANITIZERS}),
    ("python", pytest("tests/python"), {"SPAWND_BUILD": str(RELEASE)}),
    ("conformance", pytest("tests/conformance"), {"SPAWND_BUILD": str(RELEASE)}),
    ("node", pytest("tests/node"), {"SPAWND_BUILD": str(RELEASE)}),
    ("chaos", pytest("tests/chaos"), {"SPAWND_BUILD": str(RELEASE)}),
    ("failpoints", pytest("tests/failpoints"), {"SPAWND_BUILD": str(FAILPOINTS)}),
]


def count(report):
    """(passed, failed, skipped) of a JUnit report; a report that is missing or empty is a failure."""
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))
    except (FileNotFoundError, ElementTree.ParseError):
        return 0, 1, 0
    failed = sum(1 for c in cases if c.find("failure") is not None or c.find("error") is not None)
    skipped = sum(1 for c in cases if c.find("skipped") is not None)
    return len(cases) - failed - skipped, failed or (0 if cases else 1), skipped


def run(name, command, environment):
    with tempfile.TemporaryDirectory() as directory:
        report = os.path.join(directory, "report.xml")
        option = "--junitxml=" if "pytest" in command else "--output-junit "
        full = command + (option + report).split(" ")
        print(f"==== {name}", flush=True)
        started = time.monotonic()
        status = subprocess.run(full, cwd=ROOT, env=dict(os.environ, **environment)).returncode
        passed, failed, skipped = count(report)
        if status and not failed:
            failed = 1
        print(f"==== {name}: {passed} passed, {failed} failed, {skipped} skipped in {time.monotonic() - started:.0f} s", flush=True)
        return passed, failed, skipped


def main():
    chosen = sys.argv[1:]
    unknown = set(chosen) - {name for name, _, _ in SUITES}
    if unknown:
        sys.exit(f"run.py: no suite {', '.join(sorted(unknown))}; there are: {', '.join(name for name, _, _ in SUITES)}")
    results = [run(*suite) for suite in SUITES if not chosen or suite[0] in chosen]
    passed, failed, skipped = (sum(column) for column in zip(*results))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
