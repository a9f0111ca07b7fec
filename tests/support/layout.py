"""The layout of the packages in a copy of the repository."""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("gateway", "shared", "worker")


def lay_out(tree: Path) -> None:
    """Make the packages of a copy importable from the copy: an editable installation imports those of the checkout.

    A tree in which they are packages of their own, as in older commits, is left as it is."""
    if not (tree / "holdfast" / "cli").is_dir():
        return
    for package in PACKAGES:
        (tree / "holdfast" / package).symlink_to(tree / package)
