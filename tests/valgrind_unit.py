#!/usr/bin/python3
"""Runs the unit tests of a build under valgrind and writes a JUnit report.

usage: valgrind_unit.py BUILD --output-junit FILE
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

# what valgrind cannot do, and the tests that need just that
LEFT_OUT = {
    "unit_launcher_": "a child that shares memory with its launcher is a plain fork to valgrind",
    "unit_keeper_": "stays plain for the same reason",
    "unit_base_test_fdpass": "valgrind keeps descriptors of its own at the limit that the test lowers",
    "unit_runtime_test_limits": "the same",
    "unit_engine_test_control": "the same",
    "unit_engine_test_access": "no pidfd under valgrind",
    "unit_process_test_tree": "no pidfd under valgrind",
    "unit_process_test_children": "no pidfd under valgrind",
    "unit_rpc_test_fetch": "no pidfd under valgrind",
}
VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite",
            "--child-silent-after-fork=yes", "--trace-children=no"]


def run(program):
    done = subprocess.run([*VALGRIND, str(program)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    return program.name, done.returncode, done.stdout.decode(errors="replace")


def main():
    build, _, report = sys.argv[1:]
    programs = sorted(p for p in (pathlib.Path(build) / "bin").glob("unit_*") if not p.name.startswith(tuple(LEFT_OUT)))
    suite = ElementTree.Element("testsuite")
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, status, output in pool.map(run, programs):
            case = ElementTree.SubElement(suite, "testcase", name=name)
            if status:
                failed += 1
                ElementTree.SubElement(case, "failure").text = f"exit status {status}"
                print(f"{name}: exit status {status}\n{output}")
    ElementTree.ElementTree(suite).write(report)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
