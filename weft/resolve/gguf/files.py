"""Names of GGUF models and files: which names mean a GGUF model, which file of a folder is meant, which are its parts.

Forms: `file.gguf`, a folder, `folder:QUANT`, `org/repo:QUANT`, `org/repo/file.gguf`. Parts of one model are named
`x-00001-of-00003.gguf`. Lists folders and reads a file's first 4 bytes, no more; `sources/` downloads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from weft.errors import CheckpointError, ConfigError
from weft.resolve.gguf.header import MAGIC, TYPES

SUFFIX = ".gguf"
# File types that mix tensor types. Others are named by a tensor type, which one of _SIZES may follow (Q4_K_M).
_MIXTURES = frozenset({"IQ2_M", "IQ3_M", "IQ3_XS", "MXFP4_MOE"})
_SIZES = ("_M", "_S", "_L", "_XL", "_XS", "_XXS")
_QUANT = re.compile(r"(?:[A-Z]+-)?[A-Z]+[0-9A-Z_]*", re.IGNORECASE)
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


def check_gguf_file(path: str | Path) -> bool:
    """True for a file that is named *.gguf or begins with GGUF's magic bytes."""
    path = Path(path)
    try:
        if not path.is_file():
            return False
        if path.suffix.lower() == SUFFIX:
            return True
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def is_valid_gguf_quant_type(name: str) -> bool:
    """True for the QUANT part of a name: a tensor type, perhaps with a size (Q4_K_M), or a mixture.

    A prefix like UD- is allowed.
    """
    if not _QUANT.fullmatch(name):
        return False
    name = name.upper().rpartition("-")[2]
    types = {entry.name for entry in TYPES.values()}
    return name in types | _MIXTURES or any(name.endswith(size) and name.removesuffix(size) in types for size in _SIZES)


def split_quant(name: str) -> tuple[str, str | None]:
    """("org/repo", "Q4_K_M") for "org/repo:Q4_K_M"; (name, None) without a QUANT."""
    base, colon, quant = name.rpartition(":")
    return (base, quant) if colon and base and is_valid_gguf_quant_type(quant) else (name, None)


def is_remote_gguf(model: str | Path) -> bool:
    """True for `org/repo:QUANT` and `org/repo/file.gguf`, unless the name is a path on this machine."""
    name = str(model)
    base, quant = split_quant(name)
    try:
        is_here = name.startswith(("/", "./", "../", "~", ".\\")) or Path(base).expanduser().exists()
    except (OSError, ValueError):       # not a valid file name
        return False
    if is_here:
        return False
    parts = PurePosixPath(base).parts
    return len(parts) == 2 if quant else len(parts) >= 3 and name.lower().endswith(SUFFIX)


def is_gguf(model: str | Path) -> bool:
    """True for a GGUF file, or a name that means a GGUF model."""
    base, quant = split_quant(str(model))
    return check_gguf_file(model) or is_remote_gguf(model) or (quant is not None and Path(base).expanduser().is_dir())


def split_remote_gguf(model: str | Path) -> tuple[str, str]:
    """(repository, QUANT or the file's path in the repository). ConfigError for a name of neither form."""
    name = str(model)
    if not is_remote_gguf(name):
        raise ConfigError("model", name, expected="org/repo:QUANT or org/repo/file.gguf")
    base, quant = split_quant(name)
    if quant is not None:
        return base, quant
    org, repo, *rest = PurePosixPath(name).parts
    return f"{org}/{repo}", "/".join(rest)


def choose_gguf_file(names: Iterable[str], wanted: str | None, *, source: str) -> str:
    """The GGUF file that is meant, chosen from the names in a repository or folder; the first part of a split model.

    wanted: QUANT, a file's name, or None for the only model present. ConfigError when none or several fit; the error
    lists the files.
    """
    files = sorted(name for name in names if name.lower().endswith(SUFFIX) and not _is_projector(name))
    found = [name for name in files if wanted is None or _is_meant(PurePosixPath(name), wanted)]
    models: dict[str, str] = {}         # the parts of one model count once
    for name in sorted(found, key=lambda name: (name.count("-"), name)):
        models.setdefault(_without_part(name), name)
    if not models or (wanted is None and len(models) > 1):
        shown = ", ".join(files[:12]) + (f" and {len(files) - 12} more" if len(files) > 12 else "")
        expected = f"a .gguf file of {wanted}" if wanted else "one GGUF model"
        raise ConfigError("model", source, expected=expected, hint=f"There are: {shown or 'no .gguf files'}. "
                          "Pass the file's path, or add :QUANT to the name.")
    return next(iter(models.values()))


def gguf_models(names: Iterable[str]) -> dict[str, str]:
    """{name of a model: its file} of the GGUF files among `names`; the first part of a split model."""
    files = sorted(name for name in names if name.lower().endswith(SUFFIX) and not _is_projector(name))
    found: dict[str, str] = {}
    for name in files:
        found.setdefault(_without_part(name)[:-len(SUFFIX)], name)
    return found


def find_gguf(folder: Path, quant: str | None) -> Path:
    """The GGUF file in a folder or one level below it. ConfigError when none or several fit."""
    inside = [path.relative_to(folder).as_posix() for pattern in ("*", "*/*") for path in folder.glob(pattern)
              if path.suffix.lower() == SUFFIX]
    return folder / choose_gguf_file(inside, quant, source=str(folder))


def local_gguf(name: str) -> Path | None:
    """The GGUF file that a name means on this machine; None when the name means something else.

    A folder means its GGUF file if it holds no other weights. ConfigError when several files fit.
    """
    try:
        base, quant = split_quant(name)
        path = Path(name).expanduser()
        if path.is_dir():
            has_other = any(True for pattern in ("*.safetensors", "*.bin") for _ in path.glob(pattern))
            has_gguf = any(entry.suffix.lower() == SUFFIX for entry in path.iterdir())
            return find_gguf(path.resolve(), None) if has_gguf and not has_other else None
        if quant is not None and Path(base).expanduser().is_dir():
            return find_gguf(Path(base).expanduser().resolve(), quant)
        return path.resolve() if check_gguf_file(path) else None
    except (OSError, RuntimeError):         # name too long, or unknown home directory: `local_directory` reports it
        return None


def parts_of(path: Path) -> tuple[Path, ...]:
    """All files of a model, given any of them. CheckpointError when some are missing."""
    files = [path.parent / name for name in part_names(path.name)]
    if len(files) == 1:
        return (path,)
    there = set(path.parent.iterdir())
    missing = [file.name for file in files if file not in there]
    if missing:
        raise CheckpointError(f"{path}: {len(missing)} of {len(files)} parts are missing: {', '.join(missing[:5])}"
                              f"{', …' if len(missing) > 5 else ''}. Download the model again, all of it.")
    return tuple(files)


def part_names(name: str) -> list[str]:
    """The names of all files of a model, given the name of any of them. CheckpointError for a part 3 of 2."""
    match = _PART.fullmatch(name)
    if match is None:
        return [name]
    number, count = int(match["number"]), int(match["count"])
    if not 1 <= number <= count:
        raise CheckpointError(f"{name}: its name says part {number} of {count}.")
    return [f"{match['stem']}-{n:05}-of-{match['count']}{name[-len(SUFFIX):]}" for n in range(1, count + 1)]


def _is_projector(name: str) -> bool:
    return PurePosixPath(name).name.lower().startswith("mmproj")


def _is_meant(name: PurePosixPath, wanted: str) -> bool:
    if wanted.lower().endswith(SUFFIX):
        return str(name) == wanted
    stem, quant = f"{_without_part(name.name).removesuffix(SUFFIX)}".lower(), wanted.lower()
    return stem == quant or stem.endswith((f"-{quant}", f".{quant}", f"_{quant}")) or f"-{quant}-" in stem or (
        str(name.parent).lower() == quant)


def _without_part(name: str) -> str:
    match = _PART.fullmatch(name)
    return f"{match['stem']}{SUFFIX}" if match else name
