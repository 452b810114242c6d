"""The manual pages know every command and every option there is, and are well-formed."""
import re
import shutil
import subprocess

import pytest

import ttrpc
from harness import BIN, SPAWNCTL

MAN = ttrpc.ROOT / "docs" / "man"


def help_of(*command):
    return subprocess.run([*command, "--help"], stdout=subprocess.PIPE, check=True, text=True, timeout=60).stdout


def commands():
    return re.findall(r"^  ([a-z]+) ", help_of(SPAWNCTL).partition("Commands:")[2].partition("Options:")[0], re.M)


def check_options(text, page):
    """Every option that a help text names, as the page writes it."""
    source = (MAN / page).read_text()
    names = set(re.findall(r"--([a-z][a-z0-9-]+)", text)) - {"help"}
    letters = set(re.findall(r"^  -([a-zA-Z]), ", text, re.M)) - {"V"}
    missing = [f"--{name}" for name in names if not re.search(rf"(Fl|\|) -{name}(?![a-z-])", source)]
    missing += [f"-{letter}" for letter in letters if not re.search(rf"Fl {letter}(?!\w)", source)]
    assert not missing, (page, missing)


@pytest.mark.parametrize("command", commands())
def test_every_command_and_its_options(command):
    assert re.search(rf"^\.It Cm {command}\b", (MAN / "spawnctl.1").read_text(), re.M)
    check_options(help_of(SPAWNCTL, command), "spawnctl.1")


def test_the_options_of_all_commands_and_of_the_daemon():
    check_options(help_of(SPAWNCTL), "spawnctl.1")
    check_options(help_of(str(BIN / "spawnd")), "spawnd.8")


@pytest.mark.parametrize("page", sorted(path.name for path in MAN.iterdir()))
def test_pages_are_well_formed(page):
    done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", str(MAN / page)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 0 and done.stderr == b"" and done.stdout
