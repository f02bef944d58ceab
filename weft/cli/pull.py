"""`weft pull MODEL`: downloads the files of a model that weft needs into the cache, so later runs need no network."""

from __future__ import annotations

import argparse
import json

from weft.cli.parser import Parser
from weft.config.human_bytes import human_bytes

WEIGHTS = ("auto", "safetensors", "pt", "mistral", "gguf", "adapter", "none")


def add_arguments(parser: Parser) -> None:
    """The model, and the files to download."""
    parser.usage = "weft pull MODEL [options]"
    parser.add_argument("model", metavar="MODEL", help="name on the hub; one GGUF file: org/repo:Q4_K_M or "
                                                       "org/repo/file.gguf")
    parser.add_argument("--revision", metavar="TEXT", help="branch, tag or commit")
    parser.add_argument("--include", metavar="PATTERN", nargs="+", action="extend", default=[],
                        help="take the files that match, and no others, instead of what weft would use")
    parser.add_argument("--weights", choices=WEIGHTS, default="auto", metavar="FORMAT",
                        help=f"{', '.join(WEIGHTS[:-1])} or none (default: auto)")
    parser.add_argument("--trust-remote-code", action="store_true", help="take the Python files too")
    parser.add_argument("--hf-token", metavar="TEXT", help="token for the hub")
    parser.add_argument("--download-dir", metavar="TEXT", help="where to keep the files, instead of the usual cache")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Download, and print files, sizes and the directory."""
    from weft.resolve.sources.find import find
    from weft.resolve.sources.repository import Access
    from weft.resolve.sources.wanted import Wanted

    found = find(options.model, revision=options.revision,
                 access=Access(token=options.hf_token, download_dir=options.download_dir),
                 want=Wanted(weights=options.weights, has_code=options.trust_remote_code,
                             include=tuple(options.include)))
    sizes = {name: (found.directory / name).stat().st_size for name in sorted(found.origins)}
    if options.json:
        print(json.dumps({
            "model": found.name, "source": found.source, "commit": found.commit, "directory": str(found.directory),
            "gguf": str(found.gguf) if found.gguf else None,
            "files": [{"name": name, "bytes": size, "from": found.origins[name]} for name, size in sizes.items()]},
            indent=2))
        return 0
    if not found.origins:
        print(f"{found.name} is on this machine already: {found.gguf or found.directory}")
        return 0
    num_new = sum(origin != "cache" for origin in found.origins.values())
    new_bytes = sum(size for name, size in sizes.items() if found.origins[name] != "cache")
    print(f"{found.name}, {found.origin}: {len(sizes)} files, {human_bytes(sum(sizes.values()))}; "
          f"{num_new} of them downloaded now, {human_bytes(new_bytes)}\n{found.gguf or found.directory}")
    return 0
