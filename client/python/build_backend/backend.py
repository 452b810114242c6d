"""Builds the wheel and the sdist (PEP 517), with the standard library and protoc alone, so that an installation fetches nothing
but protobuf.

The message classes in spawnd/v1 are made from proto/ by protoc and never committed. An sdist has them already, so who installs from
one, or from a wheel, needs no protoc.
"""
import base64
import csv
import hashlib
import io
import os
import pathlib
import re
import subprocess
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent.parent
PROTOS = HERE.parent.parent / "proto"
TAG = "py3-none-any"
OLDEST_PROTOBUF = "4.21"  # whose runtime protoc 3.20 to 3.21 writes for; a later protoc names its own
EPOCH = (1980, 1, 1, 0, 0, 0)


def _version():
    text = (HERE / "spawnd" / "_version.py").read_text()
    return re.search(r'__version__ = "([^"]+)"', text).group(1)


def _generate(directory):
    """Has protoc write spawnd/v1 into a directory."""
    names = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("spawnd/v1/*.proto"))
    command = ["protoc", "-I", str(PROTOS), f"--python_out={directory}", f"--pyi_out={directory}", *names]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise SystemExit("spawnd: building from a checkout needs protoc (Debian: protobuf-compiler), 3.20 or later") from None
    except subprocess.CalledProcessError:
        raise SystemExit("spawnd: protoc failed; it must be 3.20 or later") from None
    (directory / "spawnd" / "v1" / "__init__.py").write_text('"""The messages of the protocol, as protoc makes them from proto/."""\n')


def _sources():
    """{path inside the package: bytes} of everything that is installed."""
    found = {"spawnd_child.py": (HERE / "spawnd_child.py").read_bytes()}
    for path in (HERE / "spawnd").rglob("*"):
        if path.suffix in (".py", ".pyi", ".typed"):
            found[path.relative_to(HERE).as_posix()] = path.read_bytes()
    if (PROTOS / "spawnd" / "v1" / "processes.proto").exists():
        with tempfile.TemporaryDirectory() as made:
            directory = pathlib.Path(made)
            _generate(directory)
            found.update((path.relative_to(directory).as_posix(), path.read_bytes()) for path in directory.rglob("*.py*"))
    if "spawnd/v1/processes_pb2.py" not in found:
        raise SystemExit("spawnd: neither proto/ nor what is made from it is here")
    return dict(sorted(found.items()))


def _oldest_protobuf(sources):
    """The runtime that generated code asks for."""
    found = re.search(rb"^# Protobuf Python Version: ([0-9.]+)", sources["spawnd/v1/processes_pb2.py"], re.MULTILINE)
    return found.group(1).decode() if found else OLDEST_PROTOBUF


def _metadata(sources):
    lines = [
        "Metadata-Version: 2.1",
        "Name: spawnd",
        f"Version: {_version()}",
        "Summary: Processes owned by the spawnd daemon, with the feel of asyncio.subprocess and subprocess",
        "Requires-Python: >=3.9",
        f"Requires-Dist: protobuf>={_oldest_protobuf(sources)}",
        "Classifier: Operating System :: POSIX :: Linux",
        "Classifier: Programming Language :: Python :: 3",
        "Classifier: Framework :: AsyncIO",
        "Classifier: Typing :: Typed",
        "Description-Content-Type: text/markdown",
        "",
    ]
    return ("\n".join(lines) + "\n" + (HERE / "README.md").read_text()).encode()


def _dist_info(sources):
    wheel = f"Wheel-Version: 1.0\nGenerator: spawnd\nRoot-Is-Purelib: true\nTag: {TAG}\n"
    return {"METADATA": _metadata(sources), "WHEEL": wheel.encode()}


def _record(files, name):
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={digest}", len(data)])
    rows.writerow([name, "", ""])
    return out.getvalue().encode()


def get_requires_for_build_wheel(config_settings=None):
    return []


def get_requires_for_build_sdist(config_settings=None):
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    sources = _sources()
    info = f"spawnd-{_version()}.dist-info"
    files = dict(sources, **{f"{info}/{name}": data for name, data in _dist_info(sources).items()})
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    name = f"spawnd-{_version()}-{TAG}.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return name


def build_sdist(sdist_directory, config_settings=None):
    sources = _sources()
    files = dict(sources, **{"PKG-INFO": _metadata(sources)})
    for name in ("pyproject.toml", "README.md", "build_backend/backend.py"):
        files[name] = (HERE / name).read_bytes()
    base = f"spawnd-{_version()}"
    with tarfile.open(os.path.join(sdist_directory, f"{base}.tar.gz"), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"{base}/{path}")
            entry.size = len(data)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    return f"{base}.tar.gz"
