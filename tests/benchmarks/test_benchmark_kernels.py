"""The benchmark of the small kernels runs, for its table and not for its numbers."""

import json

import pytest


@pytest.mark.parametrize("isa", [[], ["--isa", "reference"]], ids=["native", "reference"])
def test_each_kernel_has_a_row_with_its_share_of_the_machine(run, tmp_path, isa):
    done = run("kernels.py", "--num-threads", 1, "--rows", 2, "--rounds", 1, "--buffer-bytes", 1 << 20, *isa,
               "--output-json", tmp_path / "rows.json")

    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {row["kernel"].split(",")[0] for row in rows} == {
        "norm", "qk", "activation", "embedding", "draw", "argmax", "logprobs", "causal conv", "gated delta", "mamba 1",
        "mamba 2", "residual and norm", "rope"}
    assert all(row["milliseconds"] > 0 and row["fraction"] > 0 for row in rows)
    assert all(row["kernel"] in done.stdout for row in rows)
