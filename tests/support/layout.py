"""The layout of the packages in a copy of the repository."""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("gateway", "shared", "worker")


def has_one_import_name(tree: Path) -> bool:
    """Return whether the packages are imported as holdfast.*; in older commits each has a name of its own."""
    return (tree / "holdfast" / "cli").is_dir()


def lay_out(tree: Path) -> None:
    """Make the packages of a copy importable from the copy: an editable installation imports those of the checkout.

    A tree of an older commit is left as it is."""
    if not has_one_import_name(tree):
        return
    for package in PACKAGES:
        (tree / "holdfast" / package).symlink_to(tree / package)
    if (tree / "clients" / "js").is_dir():
        (tree / "gateway" / "client_js").symlink_to(tree / "clients" / "js")
